package storetest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// makers: a key of a maker is there once, stays as it came in, and is revoked for good.
func makers(t *testing.T, w *world) {
	first := vault.MakerRow{Maker: "MSL", Fingerprint: "f1", Public: bytes.Repeat([]byte{7}, 32), State: vault.MakerActive, AddedAt: at}
	second := vault.MakerRow{Maker: "MSL", Fingerprint: "f0", Public: bytes.Repeat([]byte{8}, 32), State: vault.MakerActive, AddedAt: at.Add(time.Minute)}
	third := vault.MakerRow{Maker: "ABC", Fingerprint: "f9", Public: bytes.Repeat([]byte{9}, 32), State: vault.MakerActive, AddedAt: at.Add(time.Hour)}
	put := func(rows ...vault.MakerRow) {
		t.Helper()
		w.update(func(ctx context.Context) error { return w.PutMakers(ctx, rows) })
	}
	want := func(what string, want ...vault.MakerRow) {
		t.Helper()
		got, err := w.other.MakerRows(t.Context())
		w.must(err)
		if len(got) != len(want) {
			t.Fatalf("%s: want %d keys, got %+v", what, len(want), got)
		}
		for i, m := range want {
			g := got[i]
			if g.Maker != m.Maker || g.Fingerprint != m.Fingerprint || !bytes.Equal(g.Public, m.Public) || g.State != m.State ||
				!g.AddedAt.Equal(m.AddedAt) || !g.RevokedAt.Equal(m.RevokedAt) {
				t.Errorf("%s: want %+v, got %+v", what, m, g)
			}
		}
	}
	want("none")
	put(second, third, first)
	want("by maker and age", third, first, second)
	changed := first
	changed.Maker, changed.Public, changed.AddedAt = "XXX", []byte{1}, at.Add(time.Hour)
	put(changed)
	want("one that is there stays", third, first, second)
	first.State, first.RevokedAt = vault.MakerRevoked, at.Add(2*time.Hour)
	changed.State, changed.RevokedAt = first.State, first.RevokedAt
	put(changed)
	want("revoked", third, first, second)
	later, back := first, first
	later.RevokedAt = at.Add(3 * time.Hour)
	back.State, back.RevokedAt = vault.MakerActive, time.Time{}
	put(later)
	put(back)
	want("for good, since the first time", third, first, second)
	put()
	want("nothing", third, first, second)
}

// departed: a meter goes once, to the first that it was given to, and with all that was spent.
func departed(t *testing.T, w *world) {
	meters, _ := w.enrol(3)
	want := func(what string, want map[dlms.SystemTitle]string) {
		t.Helper()
		got, err := w.other.ExportRows(t.Context(), meters)
		w.must(err)
		if len(got) != len(want) {
			t.Errorf("%s: want %v gone, got %v", what, want, got)
		}
		for m, to := range want {
			if g := got[m]; g.Meter != m || g.To != to || !g.At.Equal(at) {
				t.Errorf("%s: want %s at %s, got %+v", what, m, to, g)
			}
		}
	}
	want("none", nil)
	give := func(to string, when time.Time, some ...dlms.SystemTitle) {
		t.Helper()
		var rows []vault.ExportRow
		for _, m := range some {
			rows = append(rows, vault.ExportRow{Meter: m, To: to, At: when})
		}
		w.update(func(ctx context.Context) error { return w.AddExports(ctx, rows) })
	}
	give("b", at, meters[0])
	give("c", at.Add(time.Hour), meters[0]) // it is gone already
	give("c", at, meters[2])
	give("d", at)
	want("two", map[dlms.SystemTitle]string{meters[0]: "b", meters[2]: "c"})
	served, err := w.CountServed(t.Context())
	w.must(err)
	if served != 1 {
		t.Errorf("want one meter in service, got %d", served)
	}
	if err := w.AddExports(t.Context(), []vault.ExportRow{{Meter: meters[1], To: "b", At: at}}); err == nil {
		t.Error("a meter was given away outside of an update")
	}
	if err := w.Update(t.Context(), func(ctx context.Context) error {
		return w.AddExports(ctx, []vault.ExportRow{{Meter: meters[1], To: "b", At: at}, {Meter: title('X', 1), To: "b", At: at}})
	}); err == nil {
		t.Error("a meter was given away that is not there")
	}
	want("still two", map[dlms.SystemTitle]string{meters[0]: "b", meters[2]: "c"})

	k := role.KeyRef{Meter: meters[0], Role: role.CCIS, Version: 1}
	w.update(func(ctx context.Context) error {
		return w.RaiseSendCounters(ctx, []vault.CounterRow{{Ref: k, Title: title('N', 1), Ceiling: 640, Raised: 3}, {Ref: k, Title: title('N', 2), Ceiling: 64}})
	})
	spent, err := w.other.CountersOf(t.Context(), []role.KeyRef{{Meter: meters[1], Role: role.CCIS, Version: 1}, k})
	w.must(err)
	if len(spent) != 2 || len(spent[0]) != 0 || len(spent[1]) != 2 {
		t.Fatalf("want what two titles have spent under the second key, got %+v", spent)
	}
	for _, c := range spent[1] {
		if c.Ref != k || c.Title == title('N', 1) && (c.Ceiling != 640 || c.Raised != 3) || c.Title == title('N', 2) && c.Ceiling != 64 {
			t.Errorf("got %+v", c)
		}
	}
}
