package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// ahead moves the floor that a meter has for the central system's title, as if somebody who holds the key had used it.
func (u *unit) ahead(t *testing.T, r role.Role, title dlms.SystemTitle, to dlms.InvocationCounter) {
	t.Helper()
	setup, _ := r.Setup()
	lt, err := u.meter.LongTerm(setup)
	if err != nil {
		t.Fatal(err)
	}
	if err := lt.Floor.Commit(title, to); err != nil {
		t.Fatal(err)
	}
}

// quiet runs f in a world in which nothing goes wrong.
func quiet(t *testing.T, profile string, f func(t *testing.T, w *World)) {
	t.Helper()
	opt := Options{Seed: 1, Profile: profile, Concentrators: 2, Meters: 2, Nodes: 2, Dir: inMemory(t)}
	synctest.Test(t, func(t *testing.T) {
		w, err := New(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { // also after a failure: the bubble waits for all that runs in it
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(t, w)
		if w.oracle.repeats > 0 || w.rolledBack > 0 || len(w.problems) > 0 {
			t.Errorf("%d nonces repeated, %d keys rolled back, problems %q", w.oracle.repeats, w.rolledBack, w.problems)
		}
	})
}

// answered is how many meters answer a roll call.
func (w *World) answered(t *testing.T) int {
	t.Helper()
	r, err := w.nodes[0].is.RollCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Answered
}

func TestLaw4ACounterThatIsBehindIsRaisedToWhatTheMeterExpects(t *testing.T) {
	for profile, r := range map[string]role.Role{shipment.ProfileHardened: role.CCIS, shipment.ProfileLinky: role.CCLAN} {
		quiet(t, profile, func(t *testing.T, w *World) {
			t.Helper()
			for _, u := range w.units {
				u.ahead(t, r, w.nodes[0].title, 100_000)
			}
			if n := w.answered(t); n != len(w.units) {
				t.Errorf("%s: want all %d meters to answer, got %d", profile, len(w.units), n)
			}
		})
	}
}

func TestLaw4AKeyWhoseCounterIsOutOfReachIsChangedByItselfAndOnceAWeekAtMost(t *testing.T) {
	quiet(t, shipment.ProfileLinky, func(t *testing.T, w *World) {
		u := w.units[0]
		u.ahead(t, role.CCLAN, w.nodes[0].title, 1<<22)
		for week := range 2 {
			if n := w.answered(t); n != len(w.units)-1 {
				t.Fatalf("want the meter not to answer, got %d answers of %d", n, len(w.units))
			}
			for range 5 {
				w.turn(t.Context())
				w.sleep(t.Context(), time.Minute, 2*time.Minute)
			}
			changes, err := w.nodes[0].is.Changes(t.Context(), "a counter is out of reach")
			if err != nil || len(changes) != week+1 || w.answered(t) != len(w.units) {
				t.Fatalf("want it changed and the meter to answer, got %+v, %v", changes, err)
			}
			// Again within the week it may be somebody on the line who only says so.
			u.ahead(t, role.CCLAN, w.nodes[0].title, 1<<22)
			w.answered(t)
			if changes, err = w.nodes[0].is.Changes(t.Context(), "a counter is out of reach"); err != nil || len(changes) != week+1 {
				t.Fatalf("want no further change within the week, got %+v, %v", changes, err)
			}
			w.sleep(t.Context(), 8*24*time.Hour, 9*24*time.Hour)
		}
	})
}
