package rotation

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/internal/role"
)

func (w *world) reconciler() *Reconciler {
	return New(Config{
		Store: w, Vault: w, Provisioner: w, Hand: w, Width: 1,
		Now: func() time.Time { return w.now }, RetryMin: time.Second, RetryMax: time.Minute,
	})
}

// drive lets processes live and die until nothing is open; the faults end after half of the passes.
func (w *world) drive(t interface{ Fatalf(string, ...any) }, passes int) {
	for i := range passes {
		w.crashed = false
		w.faulty = w.faulty && i < passes/2
		_, _ = w.reconciler().Pass(context.Background()) // a crash or a cut is the point; the rows are judged
		w.now = w.now.Add(2 * time.Minute)
		if n, _, _ := w.Open(context.Background()); n == 0 && !w.faulty {
			return
		}
	}
	for _, c := range w.changes {
		if c.Step != StepDone {
			t.Fatalf("change not done: %+v; meter holds v%d", *c, w.meters[MeterRole{c.Meter, c.Role}].inForce)
		}
	}
}

func askAll(t interface{ Fatalf(string, ...any) }, w *world) {
	var all []Change
	for mr := range w.meters {
		all = append(all, Change{Meter: mr.Meter, Role: mr.Role, Reason: "test"})
	}
	if _, err := w.reconciler().Ask(context.Background(), all); err != nil {
		t.Fatalf("ask: %v", err)
	}
}

func TestLaw5NoMeterIsLostWhateverIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(t, "seed"), 3)
		askAll(t, w)
		w.drive(t, 200)
		for _, law := range w.broken {
			t.Fatalf("law broken: %s", law)
		}
		for mr, m := range w.meters {
			active, err := w.Active(context.Background(), []MeterRole{mr})
			if err != nil || active[0].Version != m.inForce {
				t.Fatalf("%s %s: the vault holds %v as active, the meter v%d", mr.Meter, mr.Role, active, m.inForce)
			}
			if m.inForce == 1 {
				t.Fatalf("%s %s was never changed", mr.Meter, mr.Role)
			}
		}
	})
}

func TestAChangeFoundSentAfterARestartIsProvenAndNeverSentAgain(t *testing.T) {
	w := newWorld(1, 1)
	w.faulty = false
	askAll(t, w)
	r := w.reconciler()
	if _, err := r.Pass(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.changes {
		if c.Role == role.CCIS && c.Step != StepDone {
			t.Fatalf("want the CC_IS change done first, got %+v", *c)
		}
		if c.Role == role.CCLOCALE {
			// As a crash between the mark and the transfer leaves it.
			w.versions[MeterRole{c.Meter, c.Role}] = []*version{{1, "active"}, {2, "sent"}}
			c.Step, c.To, c.From = StepSent, 2, 1
		}
	}
	w.drive(t, 10)
	m := w.meters[MeterRole{w.changes[1].Meter, role.CCLOCALE}]
	if m.ever[2] || m.inForce != 3 {
		t.Fatalf("want v2 given up and v3 in force, got v%d in force (v2 taken: %t)", m.inForce, m.ever[2])
	}
	for _, law := range w.broken {
		t.Fatal(law)
	}
}

func TestAskingTwiceChangesAKeyOnce(t *testing.T) {
	w := newWorld(2, 2)
	w.faulty = false
	askAll(t, w)
	askAll(t, w)
	w.drive(t, 10)
	for mr, m := range w.meters {
		if m.inForce != 2 {
			t.Fatalf("%s %s: want v2, got v%d", mr.Meter, mr.Role, m.inForce)
		}
	}
}
