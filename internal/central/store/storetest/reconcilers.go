package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// field is the meters of both reconcilers, and what was seen of them.
type field struct {
	mu      sync.Mutex
	under   map[dlms.SystemTitle]dlms.SystemTitle // meter to concentrator
	inForce map[dlms.SystemTitle]uint32
	sent    map[role.KeyRef]int
	busy    map[dlms.SystemTitle]string // concentrator to the node that works there
	did     map[string]int
	broken  []string
}

// party is one node: its vault, over the shared rows, and its hand on the shared meters.
type party struct {
	*field
	name  string
	s     *store.Store
	pause func(ctx context.Context) // in the middle of a transfer
}

var (
	_ rotation.Vault       = (*party)(nil)
	_ rotation.Hand        = (*party)(nil)
	_ rotation.Provisioner = (*party)(nil)
)

// enter notes that the node works under a concentrator, and finds another one there.
func (p *party) enter(meter dlms.SystemTitle) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dc := p.under[meter]
	if who := p.busy[dc]; who != "" && who != p.name {
		p.broken = append(p.broken, fmt.Sprintf("%s works under %s, where %s is", p.name, dc, who))
	}
	p.busy[dc] = p.name
	p.did[p.name]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.busy[dc] == p.name {
			p.busy[dc] = ""
		}
	}
}

// Generate makes the next version, or returns the one that is pending.
func (p *party) Generate(ctx context.Context, keys []rotation.MeterRole) (refs []role.KeyRef, err error) {
	defer p.enter(keys[0].Meter)()
	err = p.s.Update(ctx, func(ctx context.Context) error {
		refs = nil
		for _, k := range keys {
			vs, err := p.s.KeyVersions(ctx, []vault.Target{{Meter: k.Meter, Role: k.Role}})
			if err != nil {
				return err
			}
			row := vs[0][0]
			if row.State != vault.Pending {
				row = keyRow(k.Meter, row.Ref.Version+1, vault.Pending)
				if err := p.s.AddKeys(ctx, []vault.KeyRow{row}); err != nil {
					return err
				}
			}
			refs = append(refs, row.Ref)
		}
		return nil
	})
	return refs, err
}

// Active returns what the rows call active.
func (p *party) Active(ctx context.Context, keys []rotation.MeterRole) ([]role.KeyRef, error) {
	out := make([]role.KeyRef, len(keys))
	for i, k := range keys {
		rows, err := p.s.MeterKeyRows(ctx, k.Meter)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if r.State == vault.Active {
				out[i] = r.Ref
			}
		}
	}
	return out, nil
}

// Standing reads it off the row.
func (p *party) Standing(ctx context.Context, k role.KeyRef) (rotation.Standing, error) {
	rows, err := p.s.KeyRows(ctx, []role.KeyRef{k})
	if err != nil {
		return 0, err
	}
	standing := map[vault.State]rotation.Standing{
		vault.Pending: rotation.StandingPending, vault.Sent: rotation.StandingSent, vault.Active: rotation.StandingActive,
	}[rows[k].State]
	if standing == 0 {
		standing = rotation.StandingOver
	}
	return standing, nil
}

// Entry is the one key that these meters have.
func (*party) Entry(context.Context, dlms.SystemTitle) (role.Role, error) { return role.CCIS, nil }

func (p *party) mark(ctx context.Context, keys []role.KeyRef, s vault.State) error {
	return p.s.Update(ctx, func(ctx context.Context) error {
		changes := make([]vault.StateChange, len(keys))
		for i, k := range keys {
			changes[i] = vault.StateChange{Ref: k, State: s, At: at}
		}
		return p.s.SetKeyStates(ctx, changes)
	})
}

func (p *party) MarkSent(ctx context.Context, keys []role.KeyRef) error {
	return p.mark(ctx, keys, vault.Sent)
}

func (p *party) MarkActive(ctx context.Context, keys []role.KeyRef) error {
	return p.mark(ctx, keys, vault.Active)
}

func (p *party) MarkAbandoned(ctx context.Context, keys []role.KeyRef) error {
	return p.mark(ctx, keys, vault.Abandoned)
}

func (*party) Wrap(_ context.Context, keys []role.KeyRef) ([][]byte, error) {
	return make([][]byte, len(keys)), nil
}

func (*party) Candidates(context.Context, rotation.MeterRole) ([]role.KeyRef, error) { return nil, nil }

func (*party) CheckValue(_ context.Context, k role.KeyRef) (vault.CheckValue, error) {
	return vault.CheckValue{byte(k.Version)}, nil
}

func (*party) Provision(context.Context, dlms.SystemTitle, []role.KeyRef) error { return nil }

// Transfer gives the key to the meter.
func (p *party) Transfer(ctx context.Context, parcels []rotation.Parcel) []error {
	for _, k := range parcels {
		p.transfer(ctx, k.Key)
	}
	return make([]error, len(parcels))
}

func (p *party) transfer(ctx context.Context, k role.KeyRef) {
	defer p.enter(k.Meter)()
	if p.pause != nil {
		p.pause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent[k]++; p.sent[k] > 1 {
		p.broken = append(p.broken, fmt.Sprintf("%s was transferred twice", k))
	}
	p.inForce[k.Meter] = k.Version
}

// Opens opens under the version in force.
func (p *party) Opens(_ context.Context, keys []role.KeyRef) []error {
	out := make([]error, len(keys))
	for i, k := range keys {
		out[i] = p.opens(k)
	}
	return out
}

func (p *party) opens(k role.KeyRef) error {
	defer p.enter(k.Meter)()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inForce[k.Meter] != k.Version {
		return rotation.ErrRefused
	}
	return nil
}

func (*party) Shows(context.Context, rotation.MeterRole) (vault.CheckValue, bool, error) {
	return vault.CheckValue{}, false, nil
}

// plant puts meters under concentrators, with a change of CC_IS asked for each.
func (w *world) plant(concentrators, each int) *field {
	w.t.Helper()
	f := &field{
		under: map[dlms.SystemTitle]dlms.SystemTitle{}, inForce: map[dlms.SystemTitle]uint32{}, sent: map[role.KeyRef]int{},
		busy: map[dlms.SystemTitle]string{}, did: map[string]int{},
	}
	meters, _ := w.enrol(concentrators * each)
	for i := range concentrators {
		dc, mine := title('D', 2+i), meters[i*each:(i+1)*each]
		w.update(func(ctx context.Context) error { return w.AddDevice(ctx, deviceRow(dc)) })
		w.update(func(ctx context.Context) error { _, err := w.AssignMeters(ctx, dc, mine); return err })
		for _, m := range mine {
			f.under[m], f.inForce[m] = dc, 1
		}
		w.ask(dc, []role.Role{role.CCIS}, mine...)
	}
	return f
}

func (w *world) party(f *field, name string, now func() time.Time) (*party, *rotation.Reconciler) {
	w.t.Helper()
	p := &party{field: f, name: name, s: w.as(name)}
	return p, rotation.New(rotation.Config{
		Store: p.s.Changes(), Vault: p, Provisioner: p, Hand: p, Now: now, Batch: 20, RetryMin: time.Second, RetryMax: time.Minute,
		Leases: lease.New(p.s, name, lease.Options{Now: now, TTL: ttl}),
	})
}

func twoReconcilers(t *testing.T, w *world) {
	const concentrators, each = 24, 5
	f := w.plant(concentrators, each)
	now := func() time.Time { return at }
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		_, r := w.party(f, name, now)
		wg.Go(func() {
			for idle := 0; idle < 50; {
				n, err := r.Pass(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if open, _, err := w.Changes().Open(t.Context()); err != nil || open == 0 {
					return
				}
				if n == 0 {
					idle++
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	for _, b := range f.broken {
		t.Error(b)
	}
	open, _, err := w.Changes().Open(t.Context())
	w.must(err)
	if open != 0 || len(f.sent) != concentrators*each {
		t.Errorf("want every change done and one transfer a meter, got %d open, %d transfers", open, len(f.sent))
	}
	for m, v := range f.inForce {
		if v != 2 {
			t.Errorf("%s: want v2 in force, got v%d", m, v)
		}
	}
	t.Logf("a did %d, b did %d", f.did["a"], f.did["b"])
}

// pausedReconciler: a is paused in the middle of a transfer, past its lease; b finishes the change; then a goes on.
func pausedReconciler(t *testing.T, w *world) {
	f := w.plant(1, 1)
	c := &clock{t: at}
	a, ra := w.party(f, "a", c.now)
	_, rb := w.party(f, "b", c.now)
	var after rotation.Change
	a.pause = func(context.Context) {
		if n, err := rb.Pass(t.Context()); n != 0 || err != nil {
			t.Errorf("while a holds the lease: want nothing to do, got %d, %v", n, err)
		}
		c.add(ttl)
		f.mu.Lock()
		clear(f.busy) // a does nothing while it is paused
		f.mu.Unlock()
		// b finds the change sent and the old key in force, gives v2 up and brings v3 in.
		for range 8 {
			if _, err := rb.Pass(t.Context()); err != nil {
				t.Error(err)
			}
			c.add(time.Minute)
		}
		all, err := w.Changes().ByReason(t.Context(), "test")
		w.must(err)
		after = all[0]
	}
	if _, err := ra.Pass(t.Context()); err == nil {
		t.Error("want the pass of a to fail, for it has lost its lease")
	}
	all, err := w.Changes().ByReason(t.Context(), "test")
	w.must(err)
	if after.Step != rotation.StepDone || all[0] != after {
		t.Errorf("want the change as b left it, done: %+v, got %+v", after, all[0])
	}
	rows, err := w.MeterKeyRows(t.Context(), all[0].Meter)
	w.must(err)
	states := map[uint32]vault.State{}
	for _, r := range rows {
		states[r.Ref.Version] = r.State
	}
	if states[2] != vault.Abandoned || states[3] != vault.Active {
		t.Errorf("want v2 abandoned and v3 active, got %v", states)
	}
}
