package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/collect"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

func countersNeverFall(t *testing.T, w *world) {
	meters, _ := w.enrol(1)
	ref, own := role.KeyRef{Meter: meters[0], Role: role.CCIS, Version: 1}, title('N', 1)
	for _, c := range []struct{ ceiling, raised, last uint32 }{{100, 5, 7}, {64, 9, 3}, {50, 0, 7}, {0, 0, 0}} {
		w.update(func(ctx context.Context) error {
			row := vault.CounterRow{Ref: ref, Title: own, Ceiling: c.ceiling, Raised: c.raised}
			return w.RaiseSendCounters(ctx, []vault.CounterRow{row, row}) // one counter twice in a batch
		})
		err := w.Durable(t.Context(), func(ctx context.Context) error {
			refused, err := w.RaiseReceiveFloors(ctx, []vault.FloorRow{{Ref: ref, Title: meters[0], Last: c.last}})
			return errors.Join(append(refused, err)...)
		})
		if rises := c.ceiling == 100; rises != (err == nil) || !rises && !errors.Is(err, store.ErrFloor) {
			t.Errorf("receive floor %d: got %v", c.last, err)
		}
	}
	got, err := w.SendCounters(t.Context(), own, []role.KeyRef{ref})
	w.must(err)
	if got[ref].Ceiling != 100 || got[ref].Raised != 9 {
		t.Errorf("want ceiling 100 and 9 raised, got %+v", got[ref])
	}
	all, err := w.ReceiveFloors(t.Context(), []role.KeyRef{ref})
	w.must(err)
	if floors := all[0]; len(floors) != 1 || floors[0].Last != 7 || floors[0].Title != meters[0] || floors[0].Ref != ref {
		t.Errorf("want 7, got %+v", all)
	}
}

func titlesOnce(t *testing.T, w *world) {
	meters, dc := w.enrol(2)
	for _, taken := range []dlms.SystemTitle{meters[1], dc} {
		if err := w.Update(t.Context(), func(ctx context.Context) error { return w.AddNode(ctx, taken, at) }); err == nil {
			t.Errorf("title %s was given a second time", taken)
		}
		err := w.Update(t.Context(), func(ctx context.Context) error {
			return w.AddMeters(ctx, []vault.MeterRow{{Title: title('M', 77)}, {Title: taken}})
		})
		if err == nil {
			t.Errorf("title %s was given a second time, in a batch", taken)
		}
	}
	if _, ok, err := w.Meter(t.Context(), title('M', 77)); ok || err != nil {
		t.Errorf("half of a batch was kept: %v", err)
	}
}

func keysComeBack(t *testing.T, w *world) {
	meters, _ := w.enrol(3)
	w.update(func(ctx context.Context) error {
		return w.AddKeys(ctx, []vault.KeyRow{keyRow(meters[0], 2, vault.Pending), keyRow(meters[0], 3, vault.Pending)})
	})
	all, err := w.KeyVersions(t.Context(), []vault.Target{{Meter: meters[0], Role: role.CCIS}, {Meter: meters[1], Role: role.CCIS}, {Meter: meters[2], Role: role.CCLAN}})
	w.must(err)
	if len(all[0]) != 3 || len(all[1]) != 1 || len(all[2]) != 0 {
		t.Fatalf("want 3, 1 and no versions, got %d, %d and %d", len(all[0]), len(all[1]), len(all[2]))
	}
	want, got := keyRow(meters[0], 3, vault.Pending), all[0][0]
	if got.Ref != want.Ref || !bytes.Equal(got.Sealed, want.Sealed) || got.CheckValue != want.CheckValue || got.Fingerprint != want.Fingerprint ||
		got.State != want.State || got.Term != 3 || !got.CreatedAt.Equal(at) || !got.SentAt.IsZero() {
		t.Errorf("want %+v, got %+v", want, got)
	}
	used, err := w.FingerprintsInUse(t.Context(), []vault.Fingerprint{want.Fingerprint, {9, 9}, {1, 'D', 1}})
	w.must(err)
	if !used[want.Fingerprint] || used[vault.Fingerprint{9, 9}] || !used[vault.Fingerprint{1, 'D', 1}] {
		t.Errorf("fingerprints in use: got %v", used)
	}
}

// law6OneKeyOneMeter tries to store keys that others have: among old ones, and twice in a batch. The whole batch is refused.
func law6OneKeyOneMeter(t *testing.T, w *world) {
	meters, _ := w.enrol(3)
	old := keyRow(meters[0], 1, vault.Active)
	again, fresh, twin := keyRow(meters[1], 2, vault.Pending), keyRow(meters[2], 2, vault.Pending), keyRow(meters[1], 3, vault.Pending)
	again.Fingerprint, twin.Fingerprint = old.Fingerprint, fresh.Fingerprint
	near := keyRow(meters[2], 3, vault.Pending)
	near.Fingerprint = old.Fingerprint
	near.Fingerprint[15] ^= 1 // another key, though nearly the same
	for name, rows := range map[string][]vault.KeyRow{"an old one's": {fresh, again}, "twice": {fresh, near, twin}} {
		err := w.Update(t.Context(), func(ctx context.Context) error { return w.AddKeys(ctx, rows) })
		if !errors.Is(err, vault.ErrKeyTaken) {
			t.Errorf("%s: one key was stored for two meters: %v", name, err)
		}
		used, err := w.FingerprintsInUse(t.Context(), []vault.Fingerprint{fresh.Fingerprint, near.Fingerprint})
		w.must(err)
		if len(used) > 0 {
			t.Errorf("%s: half of a batch is in use: %v", name, used)
		}
	}
	w.update(func(ctx context.Context) error { return w.AddKeys(ctx, []vault.KeyRow{fresh, near}) })
	used, err := w.FingerprintsInUse(t.Context(), []vault.Fingerprint{fresh.Fingerprint, near.Fingerprint, old.Fingerprint})
	w.must(err)
	if len(used) != 3 {
		t.Errorf("in use: %v", used)
	}
}

func manyRows(t *testing.T, w *world) {
	const n = 1500
	meters, _ := w.enrol(n)
	var rows []vault.KeyRow
	var changes []vault.StateChange
	for _, m := range meters {
		k := keyRow(m, 2, vault.Pending)
		rows = append(rows, k)
		changes = append(changes, vault.StateChange{Ref: k.Ref, State: vault.Sent, At: at.Add(time.Hour)})
	}
	w.update(func(ctx context.Context) error {
		return errors.Join(w.AddKeys(ctx, rows), w.SetKeyStates(ctx, changes))
	})
	bad := append(slices.Clone(rows[:n-1]), rows[3])
	for i := range bad {
		bad[i].Ref.Version, bad[i].Fingerprint[15] = 3, 3
	}
	if err := w.Update(t.Context(), func(ctx context.Context) error { return w.AddKeys(ctx, bad) }); err == nil {
		t.Error("a batch with one key twice was taken")
	}
	targets := make([]vault.Target, n)
	for i, m := range meters {
		targets[i] = vault.Target{Meter: m, Role: role.CCIS}
	}
	all, err := w.KeyVersions(t.Context(), targets)
	w.must(err)
	for i, vs := range all {
		if len(vs) != 2 || vs[0].Ref.Version != 2 || vs[0].State != vault.Sent || !vs[0].SentAt.Equal(at.Add(time.Hour)) {
			t.Fatalf("meter %d: got %+v", i, vs)
		}
	}
}

func unknownStates(t *testing.T, w *world) {
	meters, _ := w.enrol(2)
	ref := func(i int, v uint32) role.KeyRef {
		return role.KeyRef{Meter: meters[i], Role: role.CCIS, Version: v}
	}
	err := w.Update(t.Context(), func(ctx context.Context) error {
		return w.SetKeyStates(ctx, []vault.StateChange{
			{Ref: ref(0, 1), State: vault.Superseded, At: at}, {Ref: ref(1, 5), State: vault.Superseded, At: at},
		})
	})
	rows, errR := w.KeyRows(t.Context(), []role.KeyRef{ref(0, 1)})
	w.must(errR)
	if err == nil || rows[ref(0, 1)].State != vault.Active {
		t.Errorf("want a refusal and nothing changed, got %v, %s", err, rows[ref(0, 1)].State)
	}
}

func assign(t *testing.T, w *world) {
	meters, dc := w.enrol(3)
	other := title('D', 2)
	w.update(func(ctx context.Context) error { return w.AddDevice(ctx, deviceRow(other)) })
	w.update(func(ctx context.Context) error {
		n, err := w.AssignMeters(ctx, other, []dlms.SystemTitle{meters[1], title('M', 99)})
		if n != 1 {
			t.Errorf("want the one meter that there is, got %d", n)
		}
		none, errN := w.AssignMeters(ctx, title('D', 9), meters)
		if none != 0 {
			t.Errorf("want no meter under a concentrator that is not enrolled, got %d", none)
		}
		return errors.Join(err, errN)
	})
	mine, err := w.AssignedMeters(t.Context(), dc, meters)
	w.must(err)
	if len(mine) != 2 || mine[meters[1]] {
		t.Errorf("want two meters left, got %v", mine)
	}
	ms, err := w.Meters(t.Context())
	w.must(err)
	if len(ms) != 3 || ms[1].Concentrator != other || ms[0].Concentrator != dc || !ms[0].EnrolledAt.Equal(at) {
		t.Errorf("got %+v", ms)
	}
}

func grants(t *testing.T, w *world) {
	meters, _ := w.enrol(3)
	d := deviceRow(title('T', 1))
	d.Kind = fleet.KindTerminal
	g := fleet.Grant{ID: "g1", Terminal: d.Title, Meters: meters[:2], NotBefore: at, NotAfter: at.Add(time.Hour), State: fleet.GrantLive}
	w.update(func(ctx context.Context) error { return errors.Join(w.AddDevice(ctx, d), w.AddGrant(ctx, g, at)) })
	granted, err := w.GrantedMeters(t.Context(), d.Title, at, meters)
	w.must(err)
	if len(granted) != 2 {
		t.Errorf("want two granted meters, got %v", granted)
	}
	for _, c := range []struct {
		state string
		want  bool
	}{{fleet.GrantClosed, false}, {fleet.GrantEnded, true}, {fleet.GrantEnded, false}, {fleet.GrantClosed, true}, {fleet.GrantEnded, false}} {
		w.update(func(ctx context.Context) error {
			changed, err := w.SetGrantState(ctx, g.ID, c.state, at)
			if changed != c.want {
				t.Errorf("to %s: want changed %t, got %t", c.state, c.want, changed)
			}
			return err
		})
	}
	closed, err := w.Grants(t.Context(), fleet.GrantClosed)
	w.must(err)
	if len(closed) != 1 || len(closed[0].Meters) != 2 || !closed[0].NotAfter.Equal(g.NotAfter) || !closed[0].EndedAt.Equal(at) || !closed[0].EndedEarly() {
		t.Errorf("got %+v", closed)
	}
	if _, ok, err := w.GrantRow(t.Context(), "none"); ok || err != nil {
		t.Errorf("a grant that is not there: got %t, %v", ok, err)
	}
}

func readings(t *testing.T, w *world) {
	meters, dc := w.enrol(2)
	r, ch := w.Readings(), dlms.OBIS{1, 1, 99, 1, 0, 255}
	put := func(block string) (exists bool) {
		w.update(func(ctx context.Context) (err error) {
			exists, err = r.PutDay(ctx, collect.Day{Meter: meters[0], Date: "2026-11-03", Channel: ch, Values: []int64{1, 2}}, []byte(block), at)
			s := collect.Sighting{Meter: meters[0], IndexWh: int64(len(block)), ClockSeconds: -2, SeenAt: at}
			return errors.Join(err, r.PutSighting(ctx, s))
		})
		return exists
	}
	if put("first") || !put("another") {
		t.Error("want the first block taken and the second one known")
	}
	b, err := r.Block(t.Context(), meters[0], "2026-11-03", ch)
	w.must(err)
	blocks, values, err := r.Stored(t.Context(), "2026-11-03", ch)
	w.must(err)
	missing, err := r.Missing(t.Context(), dc, "2026-11-03", ch)
	w.must(err)
	seen, err := r.Sightings(t.Context())
	w.must(err)
	if string(b) != "first" || blocks != 1 || values != 2 || len(missing) != 1 || len(seen) != 1 || seen[0].IndexWh != 7 || seen[0].ClockSeconds != -2 {
		t.Errorf("got %q, %d blocks, %d values, missing %v, seen %+v", b, blocks, values, missing, seen)
	}
	if _, err := r.Block(t.Context(), meters[1], "2026-11-03", ch); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("want ErrNotFound, got %v", err)
	}
	blocks, values, err = r.Stored(t.Context(), "2026-11-04", ch)
	if blocks != 0 || values != 0 || err != nil {
		t.Errorf("a day without readings: got %d, %d, %v", blocks, values, err)
	}
}

func epochs(t *testing.T, w *world) {
	_, dc := w.enrol(1)
	for _, c := range []struct {
		epoch uint64
		want  error
	}{{5, nil}, {5, store.ErrEpoch}, {4, store.ErrEpoch}, {6, nil}} {
		if err := w.RaiseEpoch(t.Context(), dc, c.epoch); !errors.Is(err, c.want) {
			t.Errorf("boot %d: want %v, got %v", c.epoch, c.want, err)
		}
	}
}

func (w *world) ask(dc dlms.SystemTitle, roles []role.Role, meters ...dlms.SystemTitle) int {
	w.t.Helper()
	var all []rotation.Change
	for _, m := range meters {
		for _, r := range roles {
			all = append(all, rotation.Change{Meter: m, Concentrator: dc, Role: r, From: 1, Step: rotation.StepWanted, Reason: "test", DueAt: at, CreatedAt: at})
		}
	}
	n, err := w.Changes().Ask(w.t.Context(), all)
	w.must(err)
	return n
}

func dueChanges(t *testing.T, w *world) {
	meters, dc := w.enrol(3)
	c := w.Changes()
	w.ask(dc, role.Associations(), meters...)
	due, err := c.Due(t.Context(), at, at.Add(time.Hour), 10)
	w.must(err)
	if len(due) != 3 {
		t.Fatalf("want one change a meter, got %d", len(due))
	}
	for _, d := range due {
		if d.Role != role.CCIS || d.Concentrator != dc || !d.DueAt.Equal(at) {
			t.Errorf("want CC_IS first, got %+v", d)
		}
	}
	due[0].DueAt, due[0].LastError = at.Add(time.Hour), "later"
	due[1].Step, due[1].DoneAt = rotation.StepDone, at
	w.must(c.Save(t.Context(), due[:2]))
	next, err := c.Due(t.Context(), at, at.Add(time.Hour), 10)
	w.must(err)
	got := map[dlms.SystemTitle]role.Role{}
	for _, d := range next {
		got[d.Meter] = d.Role
	}
	if got[due[0].Meter] != role.CCLAN || got[due[1].Meter] != role.CCLAN || got[due[2].Meter] != role.CCIS {
		t.Errorf("want the next role where the first waits or is done, got %v", got)
	}
	open, when, err := c.Open(t.Context())
	w.must(err)
	if open != 8 || !when.Equal(at) {
		t.Errorf("want 8 open, due %s, got %d, %s", at, open, when)
	}
	due[2].Step = rotation.StepDone
	if err := c.Save(t.Context(), due[2:]); err == nil {
		t.Error("a change that is done was taken without a time")
	}
	last, err := c.Last(t.Context(), rotation.MeterRole{Meter: due[1].Meter, Role: role.CCIS})
	w.must(err)
	if last.ID != due[1].ID || last.Step != rotation.StepDone {
		t.Errorf("got %+v", last)
	}
}

func oneOpenChange(t *testing.T, w *world) {
	meters, dc := w.enrol(2)
	if n := w.ask(dc, []role.Role{role.CCIS, role.CCIS}, meters...); n != 2 {
		t.Errorf("want one change a key, got %d", n)
	}
	if n := w.ask(dc, []role.Role{role.CCIS}, meters...); n != 0 {
		t.Errorf("want none the second time, got %d", n)
	}
	all, err := w.Changes().ByReason(t.Context(), "test")
	w.must(err)
	all[0].Step, all[0].DoneAt = rotation.StepDone, at
	w.must(w.Changes().Save(t.Context(), all[:1]))
	if n := w.ask(dc, []role.Role{role.CCIS}, meters...); n != 1 {
		t.Errorf("want one more for the key whose change is done, got %d", n)
	}
}

func hostileText(t *testing.T, w *world) {
	meters, dc := w.enrol(1)
	w.ask(dc, []role.Role{role.CCIS}, meters...)
	due, err := w.Changes().Due(t.Context(), at, at.Add(time.Hour), 1)
	w.must(err)
	due[0].LastError = "a\x00b\xffc"
	w.must(w.Changes().Save(t.Context(), due))
	last, err := w.Changes().Last(t.Context(), rotation.MeterRole{Meter: meters[0], Role: role.CCIS})
	w.must(err)
	if last.LastError != "ab\uFFFDc" {
		t.Errorf("got %q", last.LastError)
	}
}
