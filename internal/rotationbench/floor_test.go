package rotationbench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// inHand is how many concentrators the central system has in hand at once.
const inHand = rotation.DefaultConcentrators

// floor writes what rotations write, and reads nothing: the same rows in the same commits, of so many concentrators at
// once. No key is made, no journal written, nobody asked. Its rows are those of CC_LOCALE, which nothing else touches here.
type floor struct {
	s    *store.Store
	log  *audit.Log
	name string // of the round
	own  dlms.SystemTitle
}

// floorOf writes the rows of n rotations, of these concentrators.
func (w *world) floorOf(ctx context.Context, stations []int, n int) error {
	w.rounds++
	f := &floor{
		s: w.db, log: audit.New(w.db, audit.Options{}), name: fmt.Sprintf("floor %d", w.rounds),
		own: dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 1},
	}
	groups := make([]*group, 0, len(stations))
	for _, i := range stations {
		g := f.group(w, i, min(perConcentrator, n))
		groups, n = append(groups, g), n-len(g.changes)
	}
	if err := f.ask(ctx, groups); err != nil {
		return err
	}
	var wg sync.WaitGroup
	sem := make(chan struct{}, inHand)
	errs := make([]error, len(groups))
	for i, g := range groups {
		sem <- struct{}{}
		wg.Go(func() { defer func() { <-sem }(); errs[i] = f.steps(ctx, g) })
	}
	wg.Wait()
	_, err := f.log.Sequence(ctx)
	return errors.Join(append(errs, err)...)
}

// group is the meters of one concentrator.
type group struct {
	f       *floor
	station dlms.SystemTitle
	changes []rotation.Change
	keys    []vault.KeyRow
}

func (f *floor) group(w *world, station, n int) *group {
	g := &group{f: f, station: stationTitle(station)}
	for _, row := range w.rows[station*perConcentrator:][:n] {
		w.floors[row.Title]++
		ref := role.KeyRef{Meter: row.Title, Role: role.CCLOCALE, Version: 1 + w.floors[row.Title]}
		g.changes = append(g.changes, rotation.Change{
			Meter: row.Title, Concentrator: g.station, Role: ref.Role, From: ref.Version - 1, To: ref.Version, Step: rotation.StepWanted,
			Reason: f.name, CreatedAt: time.Now(), DueAt: time.Now(),
		})
		k := vault.KeyRow{
			Ref: ref, Term: 1, Sealed: make([]byte, 24), MAC: make([]byte, 16), CheckValue: vault.CheckValue{1, 2, 3},
			State: vault.Pending, CreatedAt: time.Now(),
		}
		_, _ = rand.Read(k.Fingerprint[:])
		g.keys = append(g.keys, k)
	}
	return g
}

func (f *floor) ask(ctx context.Context, groups []*group) error {
	var all []rotation.Change
	for _, g := range groups {
		all = append(all, g.changes...)
	}
	if _, err := f.s.Changes().Ask(ctx, all); err != nil {
		return err
	}
	asked, err := f.s.Changes().ByReason(ctx, f.name)
	if err != nil || len(asked) != len(all) {
		return errors.Join(fmt.Errorf("asked for %d changes, want %d", len(asked), len(all)), err)
	}
	for _, g := range groups {
		g.changes, asked = asked[:len(g.changes)], asked[len(g.changes):]
	}
	return nil
}

// steps are the commits of a group.
func (f *floor) steps(ctx context.Context, g *group) error {
	for _, step := range []func(ctx context.Context) error{
		func(ctx context.Context) error {
			return errors.Join(f.s.AddKeys(ctx, g.keys), g.note(ctx, vault.ActionGenerated, audit.Done, 1), g.save(ctx, rotation.StepGenerated))
		},
		func(ctx context.Context) error {
			return errors.Join(f.s.RaiseSendCounters(ctx, g.counters(g.station)), f.s.AddHandouts(ctx, g.handouts()), g.note(ctx, vault.ActionSealed, audit.Intent, 1))
		},
		func(ctx context.Context) error { return g.note(ctx, vault.ActionSealed, audit.Result, 1) },
		func(ctx context.Context) error {
			return errors.Join(f.s.SetKeyStates(ctx, g.states(0, vault.Sent)), g.note(ctx, vault.ActionSent, audit.Done, 1), g.save(ctx, rotation.StepSent))
		},
		func(ctx context.Context) error { return g.note(ctx, vault.ActionWrapped, audit.Intent, 1) },
		func(ctx context.Context) error { return g.note(ctx, vault.ActionWrapped, audit.Result, 1) },
		func(ctx context.Context) error { return g.note(ctx, vault.ActionUsed, audit.Intent, 1) },
		func(ctx context.Context) error { return g.floors(ctx, true, 1) },
		func(ctx context.Context) error { return g.floors(ctx, true, 2) },
		func(ctx context.Context) error { return g.note(ctx, vault.ActionUsed, audit.Result, 1) },
		func(ctx context.Context) error {
			return errors.Join(f.s.RaiseSendCounters(ctx, g.counters(f.own)), g.note(ctx, vault.ActionUsed, audit.Intent, 1))
		},
		func(ctx context.Context) error { return g.floors(ctx, false, 1) },
		func(ctx context.Context) error { return g.floors(ctx, false, 2) },
		func(ctx context.Context) error { return g.note(ctx, vault.ActionUsed, audit.Result, 1) },
		func(ctx context.Context) error {
			return errors.Join(f.s.SetKeyStates(ctx, g.states(1, vault.Superseded)), f.s.SetKeyStates(ctx, g.states(0, vault.Active)),
				g.note(ctx, vault.ActionActive, audit.Done, 2), g.save(ctx, rotation.StepDone))
		},
	} {
		if err := f.s.Durable(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// ref is the version of the i-th meter that is so many before the new one.
func (g *group) ref(i int, before uint32) role.KeyRef {
	k := g.keys[i].Ref
	k.Version -= before
	return k
}

// note writes so many audit entries of each meter.
func (g *group) note(ctx context.Context, action audit.Action, phase audit.Phase, each int) error {
	entries := make([]audit.Entry, 0, each*len(g.keys))
	for i, k := range g.keys {
		s := audit.KeySubject(g.ref(i, 0), k.CheckValue.String())
		s.Device = g.station
		for range each {
			entries = append(entries, audit.Entry{Actor: "system:floor", Action: action, Phase: phase, Op: "0011223344556677", Subject: s, Outcome: "ok"})
		}
	}
	return g.f.log.Append(ctx, entries...)
}

func (g *group) save(ctx context.Context, step rotation.Step) error {
	for i := range g.changes {
		if g.changes[i].Step, g.changes[i].To = step, g.keys[i].Ref.Version; step == rotation.StepDone {
			g.changes[i].DoneAt = time.Now()
		}
	}
	return g.f.s.Changes().Save(ctx, g.changes)
}

func (g *group) counters(title dlms.SystemTitle) []vault.CounterRow {
	rows := make([]vault.CounterRow, len(g.keys))
	for i := range rows {
		rows[i] = vault.CounterRow{Ref: g.ref(i, 0), Title: title, Ceiling: 64}
	}
	return rows
}

func (g *group) handouts() []vault.Handout {
	rows := make([]vault.Handout, len(g.keys))
	for i := range rows {
		rows[i] = vault.Handout{Device: g.station, Ref: g.ref(i, 0), FirstCounter: 1, LastCounter: 1 << 20, At: time.Now()}
	}
	return rows
}

func (g *group) states(before uint32, s vault.State) []vault.StateChange {
	rows := make([]vault.StateChange, len(g.keys))
	for i := range rows {
		rows[i] = vault.StateChange{Ref: g.ref(i, before), State: s, At: time.Now()}
	}
	return rows
}

// floors raises the floors of one answer of each meter, the first or second one under the new version or under one that
// stays for long.
func (g *group) floors(ctx context.Context, long bool, last uint32) error {
	rows := make([]vault.FloorRow, len(g.keys))
	for i := range rows {
		rows[i] = vault.FloorRow{Ref: g.ref(i, 0), Title: g.changes[i].Meter, Last: last}
		if before := rows[i].Ref.Version - 1; long {
			rows[i].Ref, rows[i].Last = g.ref(i, before), last+2*before
		}
	}
	refused, err := g.f.s.RaiseReceiveFloors(ctx, rows)
	return errors.Join(append(refused, err)...)
}

// stationTitle is the system title of the i-th concentrator.
func stationTitle(i int) dlms.SystemTitle {
	t := dlms.SystemTitle{'M', 'S', 'C'}
	binary.BigEndian.PutUint32(t[4:], uint32(i+1))
	return t
}
