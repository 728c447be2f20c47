package concentrator

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	sim "github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/role"
)

func TestBothAssociationsAreOpenOnEachMeterAtOnce(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 3)
	w.start()
	s := w.order(bus.Order{Status: &bus.Status{Associate: true}}).Status
	if len(s.Found) != 3 || len(s.Associations) != 6 || len(s.Failed) != 0 {
		t.Fatalf("status: %+v", s)
	}
	for i, a := range s.Associations {
		want := []dlms.SAP{role.SAPReadWrite, role.SAPBroadcast}[i%2]
		if a.Meter != w.rows[i/2].Title || a.ClientSAP != want || a.KeyVersion != 1 {
			t.Errorf("association %d: %+v", i, a)
		}
	}
	for _, r := range w.rows {
		m, _ := w.fleet.Meter(r.Title)
		if open, _ := m.Server().Associations(); open != 2 {
			t.Errorf("meter %s has %d open associations", r.Title, open)
		}
	}
	if s.LANBytesIn == 0 || s.LANBytesOut == 0 {
		t.Errorf("bytes: %d, %d", s.LANBytesIn, s.LANBytesOut)
	}
	again := w.order(bus.Order{Status: &bus.Status{Associate: true}}).Status
	for i, a := range again.Associations {
		if !a.Since.Equal(s.Associations[i].Since) {
			t.Errorf("association %d was opened again for nothing", i)
		}
	}
}

func TestADayIsCollectedAsTheMeterMeasuredIt(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 2)
	w.start()
	if r := w.collect(); r.Read != 2 || len(r.Failed) != 0 {
		t.Fatalf("collect: %+v", r)
	}
	var blocks []bus.DayBlock
	w.eventually("both blocks are delivered", func() bool {
		blocks, _ = w.delivered()
		return len(blocks) == 2
	})
	for _, b := range blocks {
		m, _ := w.fleet.Meter(b.Meter)
		start := time.Date(2026, 3, 2, 23, 0, 0, 0, time.UTC)
		if b.Day != yesterday || !b.Start.Equal(start) || b.PeriodSeconds != 1800 || b.Channel != loadCurve || len(b.Values) != 48 {
			t.Fatalf("block: %+v", b)
		}
		for i, v := range b.Values {
			wh, _ := m.Load().Interval(start.Add(time.Duration(i)*30*time.Minute), start.Add(time.Duration(i+1)*30*time.Minute))
			if v != wh || b.Status[i]&bus.StatusMissing != 0 {
				t.Errorf("interval %d: want %d Wh, got %d with status %02x", i, wh, v, b.Status[i])
			}
		}
		if top := m.Load().Wh(w.now()); b.Index <= 0 || b.Index > top || b.ClockSeconds < -2 || b.ClockSeconds > 2 {
			t.Errorf("index %d of %d, clock %d", b.Index, top, b.ClockSeconds)
		}
	}
	w.eventually("the spool is empty", func() bool { return w.order(bus.Order{Status: &bus.Status{}}).Status.Spooled == 0 })
}

func TestADayThatIsNotOverIsNotCollected(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.start()
	for day, text := range map[string]string{"2026-03-04": "not over", "2026-02-01": "no rows"} {
		r := w.order(bus.Order{Collect: &bus.Collect{Day: day}}).Collect
		if r.Read != 0 || len(r.Failed) != 1 || r.Failed[0].Code != bus.FaultRefused || !strings.Contains(r.Failed[0].Text, text) {
			t.Errorf("%s: %+v", day, r)
		}
	}
	w.wantFault(bus.Order{Collect: &bus.Collect{Day: "03/03/2026"}}, bus.FaultRefused)
}

func TestReadingsAreRepeatedUntilTheyAreAcknowledgedAndNotAfter(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	w.start()
	w.setRefuse(func(u bus.Up) error {
		if u.Readings != nil {
			return errors.New("disk full")
		}
		return nil
	})
	if r := w.collect(); r.Read != 1 {
		t.Fatalf("collect: %+v", r)
	}
	w.eventually("it was repeated", func() bool { _, n := w.delivered(); return n >= 3 })
	if r := w.collect(); r.Read != 1 {
		t.Fatalf("collect again: %+v", r)
	}
	w.setRefuse(nil)
	w.eventually("it was taken", func() bool { b, _ := w.delivered(); return len(b) == 1 })
	_, n := w.delivered()
	time.Sleep(time.Second)
	if _, after := w.delivered(); after != n {
		t.Errorf("delivered %d times more after the acknowledgement", after-n)
	}
}

func TestWhatWasCollectedSurvivesARestart(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 2)
	w.setRefuse(func(u bus.Up) error {
		if u.Readings != nil {
			return errors.New("not now")
		}
		return nil
	})
	_, stop := w.start()
	if r := w.collect(); r.Read != 2 {
		t.Fatalf("collect: %+v", r)
	}
	entries := len(w.logged())
	stop()
	w.setRefuse(nil)
	w.run(w.config(w.lan()...)) // with the keys, too: nothing is provisioned again
	w.eventually("both blocks are delivered", func() bool { b, _ := w.delivered(); return len(b) == 2 })
	if s := w.order(bus.Order{Status: &bus.Status{Associate: true}}).Status; len(s.Associations) != 4 {
		t.Errorf("associations after the restart: %+v", s)
	}
	w.eventually("the key log goes on", func() bool { return len(w.logged()) > entries })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoch != 2 {
		t.Errorf("boot counter: want 2, got %d", w.epoch)
	}
}

func TestLaw8EachUseOfALongTermKeyIsDelivered(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 2)
	w.start()
	w.order(bus.Order{Status: &bus.Status{Associate: true}})
	w.eventually("four entries are there", func() bool { return len(w.logged()) == 4 })
	for _, e := range w.logged() {
		if !strings.HasPrefix(e.Text, "association ") || !strings.Contains(e.Text, "CC_LAN v1") {
			t.Errorf("entry: %q", e.Text)
		}
	}
}

func TestClocksAreCorrectedByBroadcast(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 2)
	w.ahead = 3 * time.Second
	w.start()
	r := w.order(bus.Order{Broadcast: &bus.Broadcast{Clock: true}}).Broadcast
	if r.Meters != 2 || len(r.Failed) != 0 {
		t.Fatalf("broadcast: %+v", r)
	}
	for _, row := range w.rows {
		m, _ := w.fleet.Meter(row.Title)
		w.eventually("the clock is corrected", func() bool {
			shows, _ := m.Clock()
			off := shows.Sub(w.now())
			return off > time.Second && off < 5*time.Second
		})
	}
	w.wantFault(bus.Order{Broadcast: &bus.Broadcast{}}, bus.FaultRefused)
}
