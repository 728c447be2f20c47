package fleet_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
)

const by audit.Actor = "test"

var (
	m1, m2 = title('L', 1), title('L', 2)
	dc     = title('C', 1)
	dc2    = title('C', 2)
	tsp    = title('T', 1)
	now    = time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
)

func title(kind, n byte) dlms.SystemTitle { return dlms.SystemTitle{'M', 'S', kind, 0, 0, 0, 0, n} }

// newFleet has two meters, a concentrator and a terminal, put in as the vault puts them in.
func newFleet(t *testing.T) (*fleet.Fleet, *audit.Log, *time.Time) {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	err = s.Update(t.Context(), func(ctx context.Context) error {
		if err := s.AddMeters(ctx, []vault.MeterRow{{Title: m1, Profile: "linky"}, {Title: m2, Profile: "hardened"}}); err != nil {
			return err
		}
		for i, d := range []vault.DeviceRow{
			{Title: dc, Kind: "concentrator", NKeyPublic: "U1"},
			{Title: tsp, Kind: "terminal"},
			{Title: dc2, Kind: "concentrator", NKeyPublic: "U2"},
		} {
			d.State = "enrolled"
			d.KEK.Fingerprint, d.MAC.Fingerprint = vault.Fingerprint{byte(i), 1}, vault.Fingerprint{byte(i), 2}
			d.KEK.Sealed, d.KEK.MAC, d.MAC.Sealed, d.MAC.MAC = []byte{1}, []byte{1}, []byte{1}, []byte{1}
			if err := s.AddDevice(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	clock := now
	log := audit.New(s, audit.Options{Now: func() time.Time { return clock }})
	return fleet.New(s, log, func() time.Time { return clock }, rand.Reader), log, &clock
}

func TestAssignTakesAllMetersOrNone(t *testing.T) {
	f, log, _ := newFleet(t)
	for name, c := range map[string]struct {
		concentrator dlms.SystemTitle
		meters       []dlms.SystemTitle
	}{
		"an unknown meter":        {dc, []dlms.SystemTitle{m1, title('L', 9)}},
		"a device as meter":       {dc, []dlms.SystemTitle{m1, tsp}},
		"an unknown concentrator": {title('C', 9), []dlms.SystemTitle{m1}},
		"a terminal":              {tsp, []dlms.SystemTitle{m1}},
	} {
		if err := f.Assign(t.Context(), by, c.concentrator, c.meters); !errors.Is(err, fleet.ErrUnknown) {
			t.Errorf("%s: want ErrUnknown, got %v", name, err)
		}
		if m, err := f.Find(t.Context(), m1); err != nil || !m.Concentrator.IsZero() {
			t.Errorf("%s: a part was assigned: %+v, %v", name, m, err)
		}
	}
	if err := f.Assign(t.Context(), by, dc, []dlms.SystemTitle{m1, m2}); err != nil {
		t.Fatal(err)
	}
	m, err := f.Find(t.Context(), m2)
	if err != nil || m.Concentrator != dc || !m.EndToEnd() {
		t.Fatalf("got %+v, %v", m, err)
	}
	if err := f.Revoke(t.Context(), by, dc, "stolen"); err != nil {
		t.Fatal(err)
	}
	if err := f.Assign(t.Context(), by, dc, []dlms.SystemTitle{m1}); !errors.Is(err, fleet.ErrUnknown) {
		t.Errorf("a revoked concentrator: want ErrUnknown, got %v", err)
	}
	for action, want := range map[audit.Action]int{fleet.ActionAssigned: 2, fleet.ActionRevoked: 1} {
		if rows, err := log.List(t.Context(), audit.Filter{Action: action}); err != nil || len(rows) != want {
			t.Errorf("%s: want %d on record, got %d, %v", action, want, len(rows), err)
		}
	}
}

func TestAssignRefusesAMeterThatIsUnderAnotherConcentratorAndMoveMovesIt(t *testing.T) {
	f, log, _ := newFleet(t)
	if err := f.Assign(t.Context(), by, dc, []dlms.SystemTitle{m1}); err != nil {
		t.Fatal(err)
	}
	if err := f.Assign(t.Context(), by, dc2, []dlms.SystemTitle{m1, m2}); !errors.Is(err, fleet.ErrUnassigned) {
		t.Errorf("want ErrUnassigned, got %v", err)
	}
	if m, err := f.Find(t.Context(), m1); err != nil || m.Concentrator != dc {
		t.Errorf("a refused assignment moved a meter: %+v, %v", m, err)
	}
	moved, err := f.Move(t.Context(), by, dc2, []dlms.SystemTitle{m1, m2})
	if err != nil || len(moved) != 1 || moved[0] != m1 {
		t.Fatalf("want the one moved that was elsewhere, got %v, %v", moved, err)
	}
	if m, err := f.Find(t.Context(), m1); err != nil || m.Concentrator != dc2 {
		t.Errorf("got %+v, %v", m, err)
	}
	rows, err := log.List(t.Context(), audit.Filter{Action: fleet.ActionMoved})
	if err != nil || len(rows) != 1 {
		t.Errorf("want the move on record, got %d, %v", len(rows), err)
	}
}

func TestFindSaysWhatIsUnknown(t *testing.T) {
	f, _, _ := newFleet(t)
	if _, err := f.Find(t.Context(), dc); !errors.Is(err, fleet.ErrUnknown) {
		t.Errorf("a concentrator as meter: want ErrUnknown, got %v", err)
	}
	if _, err := f.Device(t.Context(), m1); !errors.Is(err, fleet.ErrUnknown) {
		t.Errorf("a meter as device: want ErrUnknown, got %v", err)
	}
	if err := f.Revoke(t.Context(), by, m1, ""); !errors.Is(err, fleet.ErrUnknown) {
		t.Errorf("revoke a meter: want ErrUnknown, got %v", err)
	}
	if ds, err := f.Of(t.Context(), fleet.KindTerminal); err != nil || len(ds) != 1 || ds[0].Title != tsp {
		t.Errorf("terminals: got %v, %v", ds, err)
	}
}

func TestRegisterNodeTwiceChangesNothing(t *testing.T) {
	f, log, _ := newFleet(t)
	for range 2 {
		if err := f.RegisterNode(t.Context(), by, title('I', 1)); err != nil {
			t.Fatal(err)
		}
	}
	if rows, err := log.List(t.Context(), audit.Filter{Action: fleet.ActionNode}); err != nil || len(rows) != 1 {
		t.Fatalf("want one record, got %d, %v", len(rows), err)
	}
	for _, taken := range []dlms.SystemTitle{m1, dc, tsp} {
		if err := f.RegisterNode(t.Context(), by, taken); !errors.Is(err, fleet.ErrTitleInUse) {
			t.Errorf("%s: want ErrTitleInUse, got %v", taken, err)
		}
	}
	if err := f.RegisterNode(t.Context(), by, dlms.SystemTitle{}); err == nil {
		t.Error("no title was accepted")
	}
}

func TestGrantRefusesWhatCannotBeGranted(t *testing.T) {
	f, _, _ := newFleet(t)
	good := fleet.Grant{Terminal: tsp, Meters: []dlms.SystemTitle{m1}, NotBefore: now, NotAfter: now.Add(time.Hour)}
	for name, c := range map[string]struct {
		change func(g *fleet.Grant)
		want   error
	}{
		"over before it begins": {func(g *fleet.Grant) { g.NotAfter = now.Add(-time.Hour) }, fleet.ErrTime},
		"over already":          {func(g *fleet.Grant) { g.NotBefore, g.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour) }, fleet.ErrTime},
		"no meter":              {func(g *fleet.Grant) { g.Meters = nil }, fleet.ErrUnknown},
		"an unknown meter":      {func(g *fleet.Grant) { g.Meters = []dlms.SystemTitle{m1, title('L', 9)} }, fleet.ErrUnknown},
		"a meter twice":         {func(g *fleet.Grant) { g.Meters = []dlms.SystemTitle{m1, m1} }, fleet.ErrUnknown},
		"a concentrator":        {func(g *fleet.Grant) { g.Terminal = dc }, fleet.ErrUnknown},
		"an unknown terminal":   {func(g *fleet.Grant) { g.Terminal = title('T', 9) }, fleet.ErrUnknown},
	} {
		g := good
		c.change(&g)
		if _, err := f.Grant(t.Context(), by, g); !errors.Is(err, c.want) {
			t.Errorf("%s: want %v, got %v", name, c.want, err)
		}
	}
	if live, err := f.Grants(t.Context(), fleet.GrantLive); err != nil || len(live) != 0 {
		t.Fatalf("a refused grant is live: %v, %v", live, err)
	}
}

func TestGrantsGoFromLiveToEndedToClosedAndNeverBack(t *testing.T) {
	f, _, clock := newFleet(t)
	short, err := f.Grant(t.Context(), by, fleet.Grant{Terminal: tsp, Meters: []dlms.SystemTitle{m1}, NotBefore: now, NotAfter: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	long, err := f.Grant(t.Context(), by, fleet.Grant{Terminal: tsp, Meters: []dlms.SystemTitle{m2}, NotBefore: now, NotAfter: now.Add(48 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ended := func(want ...string) {
		t.Helper()
		got, err := f.GrantsEnded(t.Context(), by)
		if err != nil || len(got) != len(want) {
			t.Fatalf("want %v, got %v, %v", want, got, err)
		}
		for i := range want {
			if got[i].ID != want[i] || len(got[i].Meters) != 1 {
				t.Fatalf("want %v, got %v", want, got)
			}
		}
	}
	ended()
	*clock = now.Add(2 * time.Hour)
	ended(short.ID)
	ended(short.ID) // until it is closed
	if err := f.Close(t.Context(), by, short); err != nil {
		t.Fatal(err)
	}
	ended()
	if err := f.End(t.Context(), by, short); err != nil { // changes nothing
		t.Fatal(err)
	}
	ended()
	if err := f.End(t.Context(), by, long); err != nil { // early
		t.Fatal(err)
	}
	ended(long.ID)
}
