package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// reSeal: rows are found by their term, in order, and sealed anew only as what they are.
func reSeal(t *testing.T, w *world) {
	meters, dc := w.enrol(3)
	var rows []vault.KeyRow
	for _, m := range meters {
		rows = append(rows, keyOf(role.CCLAN, m, 11, vault.Active), keyOf(role.CCLAN, m, 12, vault.Pending), keyOf(role.CCIS, m, 11, vault.Active))
	}
	for i := range rows {
		rows[i].Term = 1
	}
	rows[4].Term = 2
	w.update(func(ctx context.Context) error { return w.AddKeys(ctx, rows) })
	device, _, err := w.DeviceRow(t.Context(), dc)
	w.must(err)
	old := device.KEK.Term

	counts := func(want map[uint32]int) {
		t.Helper()
		got, err := w.TermCounts(t.Context())
		w.must(err)
		want[keyRow(meters[0], 1, vault.Active).Term] += len(meters) // that are there in any case
		if want[old] += 2; !maps.Equal(got, want) {
			t.Errorf("want %v, got %v", want, got)
		}
	}
	counts(map[uint32]int{1: 8, 2: 1})
	var found []role.KeyRef
	var after role.KeyRef
	for {
		part, err := w.KeyRowsUnder(t.Context(), 2, after, 3)
		w.must(err)
		for _, r := range part {
			after = r.Ref
			found = append(found, r.Ref)
		}
		if len(part) < 3 {
			break
		}
	}
	if len(found) != 8 || slices.Contains(found, rows[4].Ref) {
		t.Errorf("got %v", found)
	}
	fresh, other, behind := rows[0], rows[1], rows[4]
	fresh.Term, fresh.Sealed, fresh.MAC = 2, []byte("another blob"), []byte("another mac")
	other.Term, other.Fingerprint[0] = 2, other.Fingerprint[0]^1 // it is another key by now
	behind.Term, behind.Sealed = 1, []byte("an old blob")
	if err := w.ReSealKeys(t.Context(), []vault.KeyRow{fresh}); err == nil {
		t.Error("outside of an update")
	}
	w.update(func(ctx context.Context) error { return w.ReSealKeys(ctx, []vault.KeyRow{fresh, other, behind}) })
	counts(map[uint32]int{1: 7, 2: 2})
	got, err := w.KeyRows(t.Context(), []role.KeyRef{fresh.Ref, behind.Ref})
	w.must(err)
	if g := got[fresh.Ref]; g.Term != 2 || string(g.Sealed) != "another blob" || string(g.MAC) != "another mac" || g.State != fresh.State || g.Fingerprint != fresh.Fingerprint {
		t.Errorf("got %+v", g)
	}
	if string(got[behind.Ref].Sealed) == "an old blob" {
		t.Error("a row went back to an older term")
	}
	if found, err := w.DevicesUnder(t.Context(), old, dlms.SystemTitle{}, 9); err != nil || len(found) != 0 {
		t.Errorf("got %v, %v", found, err)
	}
	found2, err := w.DevicesUnder(t.Context(), old+1, dlms.SystemTitle{}, 9)
	if err != nil || !slices.Equal(found2, []dlms.SystemTitle{dc}) {
		t.Errorf("got %v, %v", found2, err)
	}
	device.KEK.Term, device.KEK.Sealed, device.MAC.Term, device.MAC.MAC = old+1, []byte("kek"), old+1, []byte("mac")
	w.update(func(ctx context.Context) error { return w.ReSealDevices(ctx, []vault.DeviceRow{device}) })
	now, _, err := w.DeviceRow(t.Context(), dc)
	if err != nil || string(now.KEK.Sealed) != "kek" || string(now.MAC.MAC) != "mac" || now.MAC.Term != old+1 {
		t.Errorf("got %+v, %v", now, err)
	}
	errUndone := errors.New("undone")
	if err := w.Update(t.Context(), func(ctx context.Context) error {
		return errors.Join(w.ReSealDevices(ctx, []vault.DeviceRow{device}), errUndone)
	}); !errors.Is(err, errUndone) {
		t.Error(err)
	}
}
