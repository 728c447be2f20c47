package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// Steps measures the rows and commits of complete key changes, without a key: groups of 50 meters, each group in one
// commit a step (generated, sent, opened, floors, active, done), eight groups at once. Meters say how many there are.
func Steps(b *testing.B, s *store.Store, meters int) {
	const group = 50
	log := audit.New(s, audit.Options{})
	groups := make(chan []dlms.SystemTitle, meters/group)
	for i := 0; i < meters; i += group {
		g := make([]dlms.SystemTitle, group)
		for j := range g {
			g[j] = title('M', i+j)
		}
		if err := s.Update(b.Context(), func(ctx context.Context) error { return enrolGroup(ctx, s, g, i/group) }); err != nil {
			b.Fatal(err)
		}
		groups <- g
	}
	var done atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 8 {
		wg.Go(func() {
			for done.Add(group)-group < int64(b.N) {
				g := <-groups
				vs, err := s.KeyVersions(b.Context(), targets(g))
				if err != nil {
					b.Error(err)
					return
				}
				if err := changeGroup(b.Context(), s, log, g, vs[0][0].Ref.Version+1); err != nil {
					b.Error(err)
					return
				}
				groups <- g
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((b.N+group-1)/group*group)/b.Elapsed().Seconds(), "rotations/s")
}

func targets(g []dlms.SystemTitle) []vault.Target {
	out := make([]vault.Target, len(g))
	for i, m := range g {
		out[i] = vault.Target{Meter: m, Role: role.CCIS}
	}
	return out
}

func enrolGroup(ctx context.Context, s *store.Store, g []dlms.SystemTitle, n int) error {
	rows, keys := make([]vault.MeterRow, len(g)), make([]vault.KeyRow, len(g))
	for i, m := range g {
		rows[i] = vault.MeterRow{Title: m, Maker: "MSL", Batch: "1", Profile: "hardened", EnrolledAt: at}
		keys[i] = keyRow(m, 1, vault.Active)
	}
	d := deviceRow(title('D', n))
	d.KEK.Fingerprint[4], d.MAC.Fingerprint[4] = byte(n>>8), byte(n>>8)
	err := errors.Join(s.AddDevice(ctx, d), s.AddMeters(ctx, rows), s.AddKeys(ctx, keys))
	_, errA := s.AssignMeters(ctx, d.Title, g)
	return errors.Join(err, errA)
}

func changeGroup(ctx context.Context, s *store.Store, log *audit.Log, g []dlms.SystemTitle, version uint32) error {
	own, reason := title('N', 1), fmt.Sprintf("%s v%d", g[0], version)
	var changes []rotation.Change
	var keys []vault.KeyRow
	var counters []vault.CounterRow
	states := map[vault.State][]vault.StateChange{}
	entries := make([]audit.Entry, len(g))
	for i, m := range g {
		k := keyRow(m, version, vault.Pending)
		old := role.KeyRef{Meter: m, Role: role.CCIS, Version: version - 1}
		changes = append(changes, rotation.Change{Meter: m, Concentrator: title('D', 0), Role: role.CCIS, From: version - 1, Step: rotation.StepWanted, Reason: reason, DueAt: at, CreatedAt: at})
		keys, counters = append(keys, k), append(counters, vault.CounterRow{Ref: k.Ref, Title: own, Ceiling: 64})
		for _, st := range []vault.State{vault.Sent, vault.Active} {
			states[st] = append(states[st], vault.StateChange{Ref: k.Ref, State: st, At: at})
		}
		states[vault.Superseded] = append(states[vault.Superseded], vault.StateChange{Ref: old, State: vault.Superseded, At: at})
		entries[i] = audit.Entry{Actor: "a", Action: "vault.key.sent", Phase: audit.Done, Subject: audit.KeySubject(k.Ref, "aabbcc")}
	}
	if _, err := s.Changes().Ask(ctx, changes); err != nil {
		return err
	}
	changes, err := s.Changes().ByReason(ctx, reason)
	if err != nil {
		return err
	}
	save := func(ctx context.Context, step rotation.Step) error {
		for i := range changes {
			if changes[i].Step, changes[i].To = step, version; step == rotation.StepDone {
				changes[i].DoneAt = at
			}
		}
		return errors.Join(s.Changes().Save(ctx, changes), log.Append(ctx, entries...))
	}
	for _, step := range []func(ctx context.Context) error{
		func(ctx context.Context) error {
			return errors.Join(s.AddKeys(ctx, keys), save(ctx, rotation.StepGenerated))
		},
		func(ctx context.Context) error {
			return errors.Join(s.SetKeyStates(ctx, states[vault.Sent]), save(ctx, rotation.StepSent))
		},
		func(ctx context.Context) error {
			return errors.Join(s.RaiseSendCounters(ctx, counters), log.Append(ctx, entries...))
		},
		func(ctx context.Context) error {
			return errors.Join(s.SetKeyStates(ctx, append(states[vault.Active], states[vault.Superseded]...)), save(ctx, rotation.StepDone))
		},
	} {
		if err := s.Durable(ctx, step); err != nil {
			return err
		}
	}
	return nil
}
