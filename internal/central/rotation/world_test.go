package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
)

// world is one concentrator's meters, the vault's rows and the change rows, in memory, with faults that a seed
// decides. The reconciler under test is the real one.
type world struct {
	mu      sync.Mutex
	rng     *rand.Rand
	now     time.Time
	faulty  bool
	crashed bool

	changes  map[int64]*Change
	versions map[MeterRole][]*version
	meters   map[MeterRole]*meterKey
	held     map[role.KeyRef]bool // what the concentrator holds

	broken []string // laws seen broken
}

type version struct {
	number uint32
	state  string
}

// meterKey is what a meter holds: the version in force, and every version it ever took.
type meterKey struct {
	inForce uint32
	ever    map[uint32]bool
	late    uint32 // a key on its way that will be applied later
}

var errCut = errors.New("cut")

func newWorld(seed uint64, meters int) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(0, 0), faulty: true,
		changes: map[int64]*Change{}, versions: map[MeterRole][]*version{},
		meters: map[MeterRole]*meterKey{}, held: map[role.KeyRef]bool{},
	}
	for i := range meters {
		for _, r := range role.Associations() {
			mr := MeterRole{dlms.SystemTitle{'M', 'S', 'L', byte(i)}, r}
			w.versions[mr] = []*version{{1, "active"}}
			w.meters[mr] = &meterKey{inForce: 1, ever: map[uint32]bool{1: true}}
		}
	}
	return w
}

// fault cuts the step it is asked at, one time in n.
func (w *world) fault(n int) bool { return w.faulty && w.rng.IntN(n) == 0 }

// crash ends the process: everything after it fails until the next pass.
func (w *world) step() error {
	if w.crashed || w.fault(40) {
		w.crashed = true
		return fmt.Errorf("crash: %w", errCut)
	}
	return nil
}

func (w *world) law(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// Store

// Update is no transaction: what is cut in the middle of it stays half done, which is worse than a database.
func (w *world) Update(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }

func (w *world) Ask(_ context.Context, changes []Change) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range changes {
		open := false
		for _, o := range w.changes {
			open = open || o.Meter == c.Meter && o.Role == c.Role && o.Step != StepDone
		}
		if !open {
			c.ID = int64(len(w.changes) + 1)
			w.changes[c.ID] = &c
			n++
		}
	}
	return n, nil
}

func (w *world) Due(_ context.Context, now, _ time.Time, limit int) ([]Change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.step(); err != nil {
		return nil, err
	}
	first := map[dlms.SystemTitle]Change{}
	order := map[role.Role]int{role.CCIS: 1, role.CCLAN: 2, role.CCLOCALE: 3}
	for _, c := range w.changes {
		if o, ok := first[c.Meter]; c.Step != StepDone && (!ok || order[c.Role] < order[o.Role]) {
			first[c.Meter] = *c
		}
	}
	var out []Change
	for _, c := range first {
		if !c.DueAt.After(now) && len(out) < limit {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func (w *world) Save(_ context.Context, changes []Change) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.step(); err != nil {
		return err
	}
	for _, c := range changes {
		w.changes[c.ID] = &c
	}
	return nil
}

func (w *world) Follow(context.Context) error { return nil }

func (w *world) Orphans(context.Context, int) ([]Change, error) { return nil, nil }

func (w *world) Entry(context.Context, dlms.SystemTitle) (role.Role, error) { return role.CCIS, nil }

func (w *world) Standing(_ context.Context, k role.KeyRef) (Standing, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state(k) {
	case "pending":
		return StandingPending, nil
	case "sent":
		return StandingSent, nil
	case "active":
		return StandingActive, nil
	}
	return StandingOver, nil
}

func (w *world) Open(context.Context) (int, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.changes {
		if c.Step != StepDone {
			n++
		}
	}
	return n, w.now, nil
}

// Vault

func (w *world) Generate(_ context.Context, keys []MeterRole) ([]role.KeyRef, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.step(); err != nil {
		return nil, err
	}
	var out []role.KeyRef
	for _, k := range keys {
		vs := w.versions[k]
		last := vs[len(vs)-1]
		if last.state != "pending" {
			last = &version{last.number + 1, "pending"}
			w.versions[k] = append(vs, last)
		}
		out = append(out, role.KeyRef{Meter: k.Meter, Role: k.Role, Version: last.number})
	}
	return out, w.step()
}

func (w *world) Active(_ context.Context, keys []MeterRole) ([]role.KeyRef, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]role.KeyRef, len(keys))
	for i, k := range keys {
		for _, v := range w.versions[k] {
			if v.state == "active" {
				out[i] = role.KeyRef{Meter: k.Meter, Role: k.Role, Version: v.number}
			}
		}
	}
	return out, nil
}

func (w *world) mark(keys []role.KeyRef, state string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.step(); err != nil {
		return err
	}
	for _, k := range keys {
		mr := MeterRole{k.Meter, k.Role}
		for _, v := range w.versions[mr] {
			switch {
			case v.number == k.Version:
				if state == "active" && w.meters[mr].inForce != k.Version {
					w.law("%s marked active without being in force", k)
				}
				v.state = state
			case state == "active" && v.state == "active":
				v.state = "superseded"
			}
		}
	}
	return w.step()
}

func (w *world) MarkSent(_ context.Context, keys []role.KeyRef) error { return w.mark(keys, "sent") }

func (w *world) MarkActive(_ context.Context, keys []role.KeyRef) error {
	return w.mark(keys, "active")
}

func (w *world) MarkAbandoned(_ context.Context, keys []role.KeyRef) error {
	return w.mark(keys, "abandoned")
}

func (w *world) state(k role.KeyRef) string {
	for _, v := range w.versions[MeterRole{k.Meter, k.Role}] {
		if v.number == k.Version {
			return v.state
		}
	}
	return ""
}

func (w *world) Wrap(_ context.Context, keys []role.KeyRef) ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([][]byte, len(keys))
	for i, k := range keys {
		if s := w.state(k); s != "sent" {
			w.law("%s wrapped in state %q", k, s)
		}
		out[i] = []byte{byte(k.Version)}
	}
	return out, w.step()
}

func (w *world) Candidates(_ context.Context, k MeterRole) ([]role.KeyRef, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []role.KeyRef
	for _, v := range slices.Backward(w.versions[k]) {
		if v.state != "pending" {
			out = append(out, role.KeyRef{Meter: k.Meter, Role: k.Role, Version: v.number})
		}
	}
	return out, nil
}

func (w *world) CheckValue(_ context.Context, k role.KeyRef) (key.CheckValue, error) {
	return key.CheckValue{byte(k.Version)}, nil
}

// Provisioner

func (w *world) Provision(_ context.Context, _ dlms.SystemTitle, keys []role.KeyRef) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault(10) {
		return errCut
	}
	for _, k := range keys {
		w.held[k] = true
	}
	if w.fault(10) {
		return errCut
	}
	return nil
}

// Hand

func (w *world) Transfer(_ context.Context, parcels []Parcel) []error {
	out := make([]error, len(parcels))
	for i, p := range parcels {
		out[i] = w.transfer(p.Key)
	}
	return out
}

func (w *world) transfer(k role.KeyRef) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.meters[MeterRole{k.Meter, k.Role}]
	if k.Role == role.CCLAN && !w.held[k] {
		w.law("%s sent before its concentrator holds it", k)
	}
	if m.ever[k.Version] || m.late == k.Version {
		w.law("%s transferred twice", k)
	}
	if w.crashed {
		return errCut
	}
	if !w.faulty {
		m.apply(k.Version)
		return nil
	}
	switch w.rng.IntN(8) {
	case 0: // the request is lost
		return errCut
	case 1: // applied, the answer is lost
		m.apply(k.Version)
		return errCut
	case 2: // NOT_OK, and applied all the same
		m.apply(k.Version)
		return dlms.ActionOtherReason
	case 3: // success, and not applied
		return nil
	case 4: // applied late
		m.late = k.Version
		return errCut
	default:
		m.apply(k.Version)
		return nil
	}
}

func (m *meterKey) apply(v uint32) { m.inForce, m.ever[v] = v, true }

func (w *world) Opens(_ context.Context, keys []role.KeyRef) []error {
	out := make([]error, len(keys))
	for i, k := range keys {
		out[i] = w.opens(k)
	}
	return out
}

func (w *world) opens(k role.KeyRef) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.meters[MeterRole{k.Meter, k.Role}]
	switch {
	case w.crashed || w.fault(6):
		return errCut
	case w.fault(10): // somebody on the line refuses in the meter's name
		return ErrRefused
	}
	w.arrive(m)
	if m.inForce != k.Version {
		return ErrRefused
	}
	return nil
}

// arrive lets a key that was on its way take effect, some time.
func (w *world) arrive(m *meterKey) {
	if m.late != 0 && w.rng.IntN(3) == 0 {
		if m.late > m.inForce || !m.ever[m.late] {
			m.apply(m.late)
		}
		m.late = 0
	}
}

func (w *world) Shows(_ context.Context, k MeterRole) (key.CheckValue, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.crashed || w.fault(6) {
		return key.CheckValue{}, false, errCut
	}
	m := w.meters[k]
	w.arrive(m)
	return key.CheckValue{byte(m.inForce)}, m.inForce > 1, nil
}
