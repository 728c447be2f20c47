package storetest

import (
	"context"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// exports gives away two meters of four: one whose change has not begun, and one whose key was sent.
func exports(t *testing.T, w *world) {
	c, meters, dcs := w.campaigns(2)
	gone := meters[:2]
	k := c.start(rotation.Campaign{Budget: -1})
	if p := c.beat(k.ID); p.Asked != 4 {
		t.Fatalf("want 4 keys under way, got %+v", p)
	}
	all, err := w.Changes().ByReason(t.Context(), k.ChangeReason())
	w.must(err)
	for _, ch := range all {
		if ch.Meter == gone[1] {
			ch.Step, ch.To = rotation.StepSent, 2
			w.must(w.Changes().Save(t.Context(), []rotation.Change{ch}))
		}
	}
	w.update(func(ctx context.Context) error { return w.AddKeys(ctx, []vault.KeyRow{lanKey(gone[1], 2, vault.Sent)}) })
	unproven, err := w.Changes().Unproven(t.Context(), meters)
	w.must(err)
	if !slices.Equal(unproven, gone[1:]) {
		t.Errorf("want %v unproven, got %v", gone[1:], unproven)
	}

	rows := []vault.ExportRow{{Meter: gone[0], To: "b", At: at}, {Meter: gone[1], To: "b", At: at}}
	for range 2 { // the key journal may bring it a second time
		w.update(func(ctx context.Context) error { return w.AddExports(ctx, rows) })
	}
	n, _, err := w.Changes().Open(t.Context())
	w.must(err)
	if n != 2 {
		t.Errorf("want the 2 changes of the others open, got %d", n)
	}
	orphans, err := w.Changes().Orphans(t.Context(), 10)
	w.must(err)
	asked, err := w.Changes().Ask(t.Context(), []rotation.Change{
		{Meter: gone[0], Role: role.CCLAN, Step: rotation.StepWanted, CreatedAt: at, DueAt: at},
		{Meter: gone[1], Role: role.CCLOCALE, Step: rotation.StepSearching, CreatedAt: at, DueAt: at},
	})
	w.must(err)
	if len(orphans)+asked != 0 {
		t.Errorf("a meter that was given away is taken up again: %v, %d asked for", orphans, asked)
	}
	if p := c.beat(k.ID); p.Asked != 2 || p.Dropped != 2 || p.State != rotation.CampaignRunning {
		t.Errorf("want 2 under way and 2 dropped, got %+v", p)
	}
	c.finish(k, 4)
	if p := c.beat(k.ID); p.State != rotation.CampaignDone || p.Done != 2 || p.Dropped != 2 {
		t.Errorf("want the campaign done, got %+v", p)
	}
	served, err := w.CountServed(t.Context())
	w.must(err)
	var under []dlms.SystemTitle
	for _, d := range dcs {
		of, err := w.Served(t.Context(), d)
		w.must(err)
		under = append(under, of...)
	}
	if served != 2 || !slices.Equal(under, meters[2:]) {
		t.Errorf("want %v in service, got %d: %v", meters[2:], served, under)
	}
}
