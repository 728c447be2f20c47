package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// work lets everything work until no change is open.
func (w *World) work(t *testing.T) {
	t.Helper()
	for range 200 {
		w.turn(t.Context())
		s, err := w.nodes[0].is.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.OpenChanges == 0 {
			return
		}
		w.sleep(t.Context(), time.Minute, 2*time.Minute)
	}
	changes, err := w.nodes[0].is.Changes(t.Context(), "test")
	t.Fatalf("changes do not end: %+v, %v", changes, err)
}

// change has the keys of one role changed.
func (w *World) change(t *testing.T, r role.Role) {
	t.Helper()
	if _, err := w.nodes[0].is.Rotate(t.Context(), api.Rotation{Roles: []role.Role{r}, Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	w.work(t)
}

// deliver lets held orders arrive after all, at a concentrator that does not look at their deadlines.
func (s *station) deliverLate(ctx context.Context, t *testing.T) {
	t.Helper()
	late := s.late
	s.late, s.hold = nil, nil
	for _, data := range late {
		var o bus.Order
		if err := json.Unmarshal(data, &o); err != nil {
			t.Fatal(err)
		}
		s.take(ctx, o)
	}
}

// strayed counts meters whose key is not the one that the vault has in force.
func (w *World) strayed(ctx context.Context) (n int) {
	for _, u := range w.units {
		if w.unknown(ctx, u) != "" {
			n++
		}
	}
	return n
}

func TestLaw5AKeyThatComesAfterItWasGivenUpIsFoundAndReplaced(t *testing.T) {
	quietNight := map[role.Role]func(ctx context.Context, w *World) error{
		role.CCLAN: func(ctx context.Context, w *World) error { // its concentrator cannot open an association
			_, err := w.nodes[0].is.Associate(ctx, w.stations[0].title)
			return err
		},
		role.CCLOCALE: func(ctx context.Context, w *World) error { // nobody remote can try it: the check value shows it
			r, err := w.nodes[0].is.RollCall(ctx)
			if err == nil && len(r.Astray) != 1 {
				w.broken("want one key astray, got %v", r.Astray)
			}
			return err
		},
	}
	for r, night := range quietNight {
		quiet(t, shipment.ProfileLinky, func(t *testing.T, w *World) {
			t.Helper()
			s, held := w.stations[0], false
			s.hold = func(o bus.Order) bool {
				first := o.Perform != nil && !held
				held = held || first
				return first
			}
			w.change(t, r)
			s.deliverLate(t.Context(), t)
			if n := w.strayed(t.Context()); n != 1 {
				t.Fatalf("%s: want one meter to have taken a version that was given up, got %d", r, n)
			}
			if err := night(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			w.work(t)
			if n := w.strayed(t.Context()); n != 0 {
				t.Errorf("%s: %d meters have another key than the one in force", r, n)
			}
		})
	}
}

func TestAConcentratorThatSaysThatItsMetersRefuseCostsOneSearchAnHourAndNoKey(t *testing.T) {
	quiet(t, shipment.ProfileHardened, func(t *testing.T, w *World) {
		s, u := w.stations[0], w.units[0]
		for range 3 {
			u.refuses = true
			if _, err := w.nodes[0].is.Associate(t.Context(), s.title); err != nil {
				t.Fatal(err)
			}
			u.refuses = false
			w.work(t)
		}
		changes, err := w.nodes[0].is.Changes(t.Context(), "the meter does not answer under the key in force")
		if err != nil || len(changes) != 1 || changes[0].Tried != 0 || u.changes() != 0 {
			t.Errorf("want one search that finds the key in force, got %+v, %d key changes, %v", changes, u.changes(), err)
		}
	})
}

// opening counts requests to open an association of the central system's own.
func (u *unit) opening(client dlms.SAP) (n int) {
	for _, e := range u.heard {
		if e.client == client && len(e.apdu) > 0 && apdu.Tag(e.apdu[0]) == apdu.TagAARQ {
			n++
		}
	}
	return n
}

func TestAMeterThatMayLockOutIsTriedTwiceAnHourWhateverIsRestarted(t *testing.T) {
	quiet(t, shipment.ProfileHardened, func(t *testing.T, w *World) {
		n, u := w.nodes[0], w.units[0]
		n.cfg.OwnMakers = []string{"ACM"} // the meters here are of another
		n.restart(t.Context())
		u.refuses = true
		if _, err := n.is.Rotate(t.Context(), api.Rotation{Meters: []dlms.SystemTitle{u.title}, Roles: []role.Role{role.CCIS}, Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		began := w.now()
		for turn := 0; w.now().Sub(began) < 5*time.Hour; turn++ {
			w.turn(t.Context())
			if turn%7 == 0 {
				n.restart(t.Context())
			}
			w.sleep(t.Context(), 5*time.Minute, 6*time.Minute)
			hours := int(w.now().Sub(began)/time.Hour) + 1
			if got := u.opening(role.SAPIS); got > 2*hours {
				t.Fatalf("want at most %d tries in %d hours, got %d", 2*hours, hours, got)
			}
		}
		if got := u.opening(role.SAPIS); got < 8 {
			t.Errorf("want it tried on and on, got %d tries", got)
		}
		u.refuses = false
		w.work(t)
		if u.changes() != 1 {
			t.Errorf("want the key changed in the end, got %d changes", u.changes())
		}
	})
}

// Provisioning takes no lease of the concentrator, and the orders of a person do not: what two nodes do beside each other
// there, the concentrator and the meter can bear. The worst is a copy of what held a while ago.
func TestLaw5AProvisionOfAnotherNodeThatComesLateLosesNothing(t *testing.T) {
	for _, profile := range []string{shipment.ProfileHardened, shipment.ProfileLinky} {
		quiet(t, profile, func(t *testing.T, w *World) {
			t.Helper()
			s := w.stations[0]
			s.hold = func(o bus.Order) bool { return o.Provision != nil }
			if _, err := w.nodes[0].is.Provision(t.Context(), s.title); err == nil {
				t.Fatal("want no answer")
			}
			late := s.late
			s.late, s.hold = nil, nil
			w.change(t, role.CCLAN)
			w.change(t, role.CCLAN)
			s.late = late
			s.deliverLate(t.Context(), t)
			status, err := w.nodes[0].is.Associate(t.Context(), s.title)
			if err != nil || len(status.Failed) > 0 || w.strayed(t.Context()) > 0 {
				t.Errorf("%s: want every meter reached, got %+v, %v", profile, status.Failed, err)
			}
		})
	}
}

func TestLaw4TwoNodesThatWorkOnOneMeterUnderNoLeaseRepeatNoNonceAndLoseNothing(t *testing.T) {
	quiet(t, shipment.ProfileHardened, func(t *testing.T, w *World) {
		a, u := w.nodes[0], w.units[0]
		b := w.nodes[1]
		for range 5 { // nothing is serialised between them but what the meter and the concentrator do themselves
			for _, n := range []*node{a, b} {
				if _, err := n.is.BreakerStatus(t.Context(), u.title); err != nil {
					t.Error(err)
				}
				if _, err := n.is.Provision(t.Context(), w.stations[0].title); err != nil {
					t.Error(err)
				}
				if err := n.is.SetClock(t.Context(), u.title); err != nil {
					t.Error(err)
				}
			}
			w.change(t, role.CCIS)
		}
		if n := w.strayed(t.Context()); n != 0 {
			t.Errorf("%d meters have another key than the one in force", n)
		}
	})
}

func TestLaw8TheLogOfAConcentratorGoesOnAfterTheDatabaseForgotTheEndOfIt(t *testing.T) {
	quiet(t, shipment.ProfileLinky, func(t *testing.T, w *World) {
		s := w.snapshot(t.Context())
		w.change(t, role.CCLAN)
		if err := w.stations[0].c.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.goBack(t.Context(), s)
		if err := w.stations[0].c.Beat(t.Context()); err != nil {
			t.Errorf("nothing new: want nothing told, got %v", err)
		}
		w.change(t, role.CCLAN)
		if err := w.stations[0].c.Beat(t.Context()); err != nil {
			t.Errorf("want the log told from where it is known, got %v", err)
		}
		for _, a := range w.log(t, "device.alarm.log-gap") {
			t.Errorf("an alarm: %s", a)
		}
	})
}

// log returns the lines of the audit log that have a word in them.
func (w *World) log(t *testing.T, word string) (out []string) {
	t.Helper()
	var all bytes.Buffer
	if err := w.nodes[0].is.ExportAudit(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(all.String()) {
		if strings.Contains(l, word) {
			out = append(out, l)
		}
	}
	return out
}
