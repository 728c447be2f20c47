package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// Result is what became of one seed.
type Result struct {
	Seed           uint64         `json:"seed"`
	Profile        string         `json:"profile"`
	Meters         int            `json:"meters"`
	KeyChanges     int            `json:"key_changes"`
	Faults         int            `json:"faults"`
	FaultKinds     map[string]int `json:"fault_kinds"`
	Lost           int            `json:"lost"`
	NoncesRepeated int            `json:"nonces_repeated"`
	RolledBack     int            `json:"rolled_back"`
	Outlived       int            `json:"associations_outlived"`
	// Astray counts the keys that, when all changes were done, were not the ones in force as far as the vault knew: a version
	// that was given up had come late. The next roll call, or the concentrator's complaint, has them searched for.
	Astray   int      `json:"astray"`
	Problems []string `json:"problems,omitempty"`
	// Trace is a hash over all that was decided and all that happened: the same for every run of the seed.
	Trace string `json:"trace"`
	// Record is the end of the record, for a person.
	Record []string `json:"-"`
}

// Failed reports whether a law was broken.
func (r Result) Failed() bool {
	return r.Lost+r.NoncesRepeated+r.RolledBack+r.Outlived+len(r.Problems) > 0
}

// String is one line.
func (r Result) String() string {
	return fmt.Sprintf("seed %d (%s, %d meters): %d key changes, %d faults, %d lost, %d nonces repeated, %d rolled back, %d associations outlived their key, problems %q",
		r.Seed, r.Profile, r.Meters, r.KeyChanges, r.Faults, r.Lost, r.NoncesRepeated, r.RolledBack, r.Outlived, r.Problems)
}

// Run runs one seed to its end.
func Run(ctx context.Context, opt Options) (Result, error) {
	w, err := New(ctx, opt)
	if err != nil {
		return Result{Seed: opt.Seed}, err
	}
	w.storm(ctx)
	w.settle(ctx)
	r := w.count(ctx)
	return r, w.Close()
}

// Bounds of a run, in turns: a turn is one beat of everything and a while.
const (
	stormTurns = 12  // for each round
	calmTurns  = 200 // at most
)

// storm asks for changes of all keys again and again while anything may fail.
func (w *World) storm(ctx context.Context) {
	w.calm = false
	if w.one(4) && !w.opt.Honest {
		w.stations[w.IntN(len(w.stations))].liar = true
	}
	for round := range w.opt.Rounds {
		w.ask(ctx, round)
		for range stormTurns {
			w.event(ctx)
			w.revert(ctx)
			w.turn(ctx)
			w.sleep(ctx, time.Second, 2*time.Minute)
		}
	}
}

// ask asks for a change of all keys, or those of one concentrator.
func (w *World) ask(ctx context.Context, round int) {
	q := api.Rotation{Reason: fmt.Sprintf("round %d", round+1)}
	if w.one(3) {
		q.Concentrator = w.stations[w.IntN(len(w.stations))].title
	}
	if w.one(3) {
		q.Roles = []role.Role{role.Associations()[w.IntN(3)]}
	}
	n := w.alive()
	if n == nil {
		return
	}
	a, err := n.is.Rotate(ctx, q)
	w.note("round %d: asked for %d of %d: %v", round+1, a.Asked, a.Selected, err)
}

// turn is one beat of everything.
func (w *World) turn(ctx context.Context) {
	w.remember(ctx)
	for _, n := range w.nodes {
		n.beat(ctx)
		switch {
		case !n.dead:
		case w.opt.Without.Off(defence.DurableBeforeSend) && !w.calm:
			w.forget(ctx)
		default:
			n.restart(ctx)
		}
	}
	w.expel(ctx)
	for _, s := range w.stations {
		s.beat(ctx)
	}
}

// settle ends the storm: all that is broken is mended, and everything may finish.
func (w *World) settle(ctx context.Context) {
	w.calm = true
	w.note("calm")
	for _, n := range w.nodes {
		n.skew, n.crashIn = 0, 0
		n.restart(ctx)
	}
	for _, s := range w.stations {
		s.skew, s.late = 0, nil
		if !s.evicted {
			s.restart()
		}
	}
	for _, u := range w.units {
		u.late, u.memory.cutIn = nil, 0
		u.reboot()
	}
	w.astray = -1
	nights := 0 // in a row in which there was nothing to do: what follows from the last change is asked for a turn later
	for range calmTurns {
		w.carryRoots(ctx)
		w.turn(ctx)
		if w.nodes[0].is == nil {
			return // which is on the record as broken
		}
		if s, err := w.nodes[0].is.Status(ctx); err == nil && s.OpenChanges == 0 && w.rootSettled(ctx) && w.quiet(ctx) {
			nights++
		} else {
			nights = 0
		}
		if nights == 2 {
			return
		}
		w.sleep(ctx, time.Minute, 2*time.Hour)
	}
	w.broken("changes are still open after %d turns of calm", calmTurns)
	for _, r := range w.reasons(ctx) {
		w.note("open: %s", r)
	}
	for _, n := range w.nodes {
		if n.is == nil {
			continue
		}
		s, err := n.is.Root(ctx)
		w.note("root of %s: %+v, %v", n.title, s, err)
	}
}

// quiet is the first night after the storm: the central system calls the roll, and has every concentrator open associations
// with its meters. It reports whether nothing was left to be done.
func (w *World) quiet(ctx context.Context) bool {
	is := w.nodes[0].is
	roll, err := is.RollCall(ctx)
	if err != nil {
		w.broken("roll call: %v", err)
	}
	found := len(roll.Astray)
	if w.astray < 0 {
		w.astray = found
		for _, k := range roll.Astray {
			w.note("astray: %s %s", k.Meter, k.Role)
		}
	}
	found += len(roll.Missing)
	for _, s := range w.stations {
		if s.evicted {
			continue
		}
		status, err := is.Associate(ctx, s.title)
		if err != nil {
			w.broken("associate: %v", err)
		}
		found += len(status.Failed)
	}
	return found == 0
}

func (w *World) reasons(ctx context.Context) (out []string) {
	for round := range w.opt.Rounds {
		changes, err := w.nodes[0].is.Changes(ctx, fmt.Sprintf("round %d", round+1))
		if err != nil {
			continue
		}
		for _, c := range changes {
			if c.Step != rotation.StepDone {
				out = append(out, fmt.Sprintf("%s %s v%d->v%d %s, tried %d: %s", c.Meter, c.Role, c.From, c.To, c.Step, c.Tried, c.LastError))
			}
		}
	}
	return out
}

// count counts what must be zero.
func (w *World) count(ctx context.Context) Result {
	r := Result{
		Seed: w.opt.Seed, Profile: w.opt.Profile, Meters: len(w.units), FaultKinds: w.faults, NoncesRepeated: w.oracle.repeats,
		RolledBack: w.rolledBack, Outlived: w.outlived, Astray: max(w.astray, 0),
	}
	for _, k := range slices.Sorted(maps.Keys(w.faults)) {
		r.Faults += w.faults[k]
	}
	for _, u := range w.units {
		r.KeyChanges += u.changes()
	}
	r.Trace, r.Record = w.sum(), w.lines // what follows asks many meters at once, in no order
	w.lines = nil
	if w.nodes[0].is != nil {
		r.Lost = w.lost(ctx)
	}
	if w.nodes[0].is != nil {
		if m, err := w.nodes[0].is.Missing(ctx); err != nil || len(m.NotAsked) > 0 {
			w.broken("concentrators that were not asked for what they keep: %v, %v", m.NotAsked, err)
		}
	}
	r.Problems, r.Record = w.problems, append(r.Record, w.lines...)
	return r
}

// changes counts the keys that came into force after the factory's.
func (u *unit) changes() (n int) {
	for _, past := range u.ever {
		n += len(past) - 1
	}
	return n
}

// lost counts, after the last quiet night, the meters that the central system or its concentrators cannot reach, or whose keys it does not know.
func (w *World) lost(ctx context.Context) int {
	is, lost := w.nodes[0].is, map[dlms.SystemTitle]string{}
	roll, err := is.RollCall(ctx)
	if err != nil {
		w.broken("roll call: %v", err)
	}
	for _, t := range roll.Missing {
		lost[t] = "no association of the central system's own"
	}
	for _, s := range w.stations {
		if s.evicted {
			continue
		}
		status, err := is.Associate(ctx, s.title)
		if err != nil {
			w.broken("associate: %v", err)
		}
		for _, f := range status.Failed {
			lost[f.Meter] = "no association of its concentrator: " + f.Text
		}
	}
	for _, u := range w.units {
		if why := w.unknown(ctx, u); why != "" {
			lost[u.title] = why
		}
	}
	w.exposed(ctx)
	w.proven(ctx)
	for t, why := range lost {
		w.note("LOST: %s: %s", t, why)
		w.history(ctx, t)
	}
	return len(lost)
}

// exposed looks for evicted concentrators that were given a key that is in force (law 7).
func (w *World) exposed(ctx context.Context) {
	for _, u := range w.units {
		keys, err := w.nodes[0].is.Keys(ctx, u.title)
		if err != nil {
			w.broken("keys: %v", err)
			return
		}
		for _, k := range keys {
			for _, h := range k.Holders {
				if s := w.stationNamed(h); s != nil && s.evicted && k.State == "active" {
					w.broken("evicted concentrator %s holds %s, which is in force", h, k.KeyRef)
					w.history(ctx, u.title)
				}
			}
		}
	}
}

func (w *World) stationNamed(title string) *station {
	t, err := dlms.ParseSystemTitle(title)
	if err != nil {
		return nil
	}
	return w.station(t)
}

// unknown says which key of a meter the central system does not know, if there is one.
func (w *World) unknown(ctx context.Context, u *unit) string {
	keys, err := w.nodes[0].is.Keys(ctx, u.title)
	if err != nil {
		return err.Error()
	}
	for _, r := range role.Associations() {
		held, generation := u.meter.Held(r)
		if generation == 0 || r == role.CCIS && w.opt.Profile == shipment.ProfileLinky {
			continue
		}
		if !inForce(keys, r, held) {
			return fmt.Sprintf("it holds %s %s, which is not what the vault has in force", r, held)
		}
	}
	return ""
}

// history puts all that the vault knows of a meter's keys on the record.
func (w *World) history(ctx context.Context, t dlms.SystemTitle) {
	keys, err := w.nodes[0].is.Keys(ctx, t)
	if err != nil {
		w.note("%v", err)
	}
	for _, k := range keys {
		w.note("  %s %s %s, made %s, sent %s, active %s, ended %s, holders %v", k.KeyRef, k.State, k.CheckValue,
			k.CreatedAt.Format(time.DateTime), k.SentAt.Format(time.DateTime), k.ActiveAt.Format(time.DateTime), k.EndedAt.Format(time.DateTime), k.Holders)
	}
}

func inForce(keys []api.Key, r role.Role, held key.CheckValue) bool {
	for _, k := range keys {
		if k.Role == r && k.State == "active" {
			return k.CheckValue == held.String()
		}
	}
	return false
}
