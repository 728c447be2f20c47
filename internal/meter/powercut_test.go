package meter

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/role"
)

// errCut is what a memory says whose power is cut.
var errCut = errors.New("power cut")

// cutMemory loses its power at write number at, before or after the write reached the chip, and takes nothing more
// until it is mended.
type cutMemory struct {
	nvm.Volatile
	writes, at int
	after, cut bool
	durable    int // writes that said they were durable
}

func (c *cutMemory) Append(frame []byte, durable bool) error {
	if c.cut {
		return errCut
	}
	c.writes++
	if durable {
		c.durable++
	}
	if c.writes != c.at {
		return c.Volatile.Append(frame, durable)
	}
	c.cut = true
	if c.after {
		if err := c.Volatile.Append(frame, durable); err != nil {
			return err
		}
	}
	return errCut
}

// witness remembers the highest counters that the meter ever accepted, by key and peer.
type witness map[string]dlms.InvocationCounter

func (w witness) look(t *testing.T, what string, r *rig) {
	t.Helper()
	for _, k := range r.meter.state.keys {
		for _, f := range k.floors {
			id := fmt.Sprint(k.key.Fingerprint(), f.Title)
			if f.Last < w[id] {
				t.Errorf("%s: the floor of %s went from %d to %d", what, f.Title, w[id], f.Last)
			}
			w[id] = f.Last
		}
		for _, f := range k.days {
			id := fmt.Sprint(k.key.Fingerprint(), f.title, f.day)
			if f.last < w[id] {
				t.Errorf("%s: the floor of %s until %s went from %d to %d", what, f.title, f.day, w[id], f.last)
			}
			w[id] = f.last
		}
	}
}

// day of a meter: every kind of write there is. It goes on over errors, as the world does.
func (r *rig) live(next map[role.Role][]byte) {
	for _, w := range []who{readWrite, central, terminals} {
		if a, err := r.tryOpen(w); err == nil {
			_, _ = a.Get(context.Background(), ref(clockObject(), 2)) // a meter without power does not answer
			_ = a.Release(context.Background())                       // as above
		}
	}
	is, err := r.tryOpen(central)
	if err != nil {
		return
	}
	_ = invoke(is, breakerObject(), 1, dlms.Int8(0))
	_ = invoke(is, clockObject(), 6, dlms.Int16(2))
	for _, ro := range []role.Role{role.CCLAN, role.CCLOCALE, role.CCIS} {
		_ = invoke(is, setupOf(ro), cosem.MethodKeyTransfer, cosem.KeyTransfer(0, next[ro]))
	}
}

func TestLaw5APowerCutAtAnyWriteLeavesTheOldStateOrTheNewAndNoMeterIsLost(t *testing.T) {
	writes := 0
	for _, after := range []bool{false, true} {
		for at := 2; ; at++ { // write 1 is the factory's
			memory := &cutMemory{at: at, after: after}
			r := newRig(t, ProfileHardened, func(r *rig) { r.memory = memory })
			old := map[role.Role]key.Unicast{}
			next := map[role.Role]key.Unicast{}
			blobs := map[role.Role][]byte{}
			for ro, k := range r.keys {
				old[ro] = k
				next[ro], blobs[ro] = r.wrapped()
			}
			seen := witness{}
			r.live(blobs)
			seen.look(t, "before the cut", r)
			if !memory.cut {
				if at < 12 {
					t.Fatalf("only %d writes in a day", at)
				}
				writes = max(writes, at)
				break
			}
			what := fmt.Sprintf("cut at write %d (after: %v)", at, after)
			memory.cut = false
			r.restart()
			seen.look(t, what, r)
			for ro, w := range map[role.Role]who{role.CCLAN: readWrite, role.CCLOCALE: terminals, role.CCIS: central} {
				r.wantOneOf(what, ro, w, old[ro], next[ro])
			}
			seen.look(t, what+", afterwards", r)
		}
	}
	t.Logf("%d writes cut, before and after", writes-2)
}

// wantOneOf fails the test unless exactly one of two keys opens, and the log says which.
func (r *rig) wantOneOf(what string, ro role.Role, w who, old, next key.Unicast) {
	r.t.Helper()
	opened := 0
	for i, k := range []key.Unicast{old, next} {
		r.keys[ro] = k
		a, err := r.tryOpen(w)
		if err != nil {
			continue
		}
		opened++
		r.get(a, clockObject(), 2)
		if logged := contains(r.codes(logMain), changed(ro)); logged != (i == 1) {
			r.t.Errorf("%s: %s: key %d opens, and the log says changed: %v", what, ro, i, logged)
		}
	}
	if opened != 1 {
		r.t.Errorf("%s: %s: want one key to open, %d do", what, ro, opened)
	}
	// The key in force is shown in time for the next: leave it in place.
	if check, _ := r.meter.Held(ro); check == old.CheckValue() {
		r.keys[ro] = old
	}
}

func TestLaw4AFloorIsDurableBeforeTheAPDUTakesEffect(t *testing.T) {
	memory := &cutMemory{}
	r := newRig(t, ProfileHardened, func(r *rig) { r.memory = memory })
	r.open(readWrite)
	aarq := r.requests[0]
	memory.cut = true // and in the memory nothing more
	cfg := r.config(readWrite)
	if _, err := client.Open(context.Background(), &conn{r: r, link: LinkLAN, sap: role.SAPReadWrite, server: role.SAPServer}, cfg); err == nil {
		t.Error("an association without a durable floor")
	}
	memory.cut = false
	r.restart()
	got := r.hand(readWrite, aarq)
	if len(got) < 3 || got[0] != 0xD8 {
		t.Errorf("the old AARQ after a restart: want an exception, got %X", got)
	}
}

func TestAMemoryThatIsCompactedIsTheSameMemory(t *testing.T) {
	r := newRig(t, ProfileHardened)
	for range 3 {
		for _, w := range []who{readWrite, central, terminals} {
			r.open(w)
		}
		_, blob := r.wrapped()
		if err := r.transfer(role.CCLOCALE, 0, blob); err != nil {
			t.Fatal(err)
		}
		r.keys[role.CCLOCALE] = must(r.birth.Row.CCC.UnwrapUnicast(blob))
		must(0, invoke(r.open(central), clockObject(), 6, dlms.Int16(-1)))
	}
	var again state
	if err := again.apply(r.meter.state.snapshot()); err != nil {
		t.Fatal(err)
	}
	a, b := r.meter.state, again
	for i := range a.keys {
		if a.keys[i].key.CheckValue() != b.keys[i].key.CheckValue() {
			t.Errorf("role %d: another key", i)
		}
		a.keys[i].key, b.keys[i].key = key.Unicast{}, key.Unicast{}
	}
	if a.master.CheckValue() != b.master.CheckValue() {
		t.Error("another master key")
	}
	if len(a.prints) != len(b.prints) || len(a.prints) != 4+3 {
		t.Errorf("want 7 fingerprints, got %d and %d", len(a.prints), len(b.prints))
	}
	a.master, b.master, a.prints, b.prints = key.Master{}, key.Master{}, nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("want the same state, got\n%v\n%v", a, b)
	}
}

func TestAMemoryIsCompactedAndStaysSmall(t *testing.T) {
	r := newRig(t, ProfileHardened)
	largest := 0
	for range 1500 {
		r.open(readWrite)
		largest = max(largest, r.memory.Size())
	}
	if largest > 2*firstFull {
		t.Errorf("the memory grew to %d bytes", largest)
	}
	r.restart()
	r.open(readWrite)
}

func TestLaw5AKeyWhoseCountersCannotBeReadIsRefusedAndLoggedUntilItIsReplaced(t *testing.T) {
	for what, spoil := range map[string]func(w *frameWriter){
		"a floor that is cut": func(w *frameWriter) {
			w.record(recFloor, func(b []byte) []byte { return append(b, byte(role.CCLAN), 0, 0, 0, 1, 7) })
		},
		"a floor of a version that is not there": func(w *frameWriter) {
			w.floor(role.CCLAN, 9, security.Floor{Title: titleDC, Last: 5})
		},
		"a ceiling that is cut": func(w *frameWriter) {
			w.record(recSend, func(b []byte) []byte { return append(b, byte(role.CCLAN), 0, 0, 0, 1) })
		},
		"more peers than there can be": func(w *frameWriter) {
			for i := range byte(security.MaxTitles + 1) {
				w.floor(role.CCLAN, 1, security.Floor{Title: dlms.SystemTitle{i + 1}, Last: 5})
			}
		},
	} {
		r := newRig(t, ProfileHardened)
		w := new(frameWriter)
		spoil(w)
		if err := r.memory.Append(w.b, true); err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			r.restart()
			if _, err := r.tryOpen(readWrite); err == nil {
				t.Errorf("%s: CC_LAN opens all the same", what)
			}
			if !contains(r.codes(logMain), codeUnproven) {
				t.Errorf("%s: want code %d in the main log, got %v", what, codeUnproven, r.codes(logMain))
			}
			r.open(central)
			if round == 0 { // compacting must not mend it
				r.meter.mu.Lock()
				r.meter.compactLocked()
				r.meter.mu.Unlock()
			}
		}
		k, blob := r.wrapped()
		if err := r.transfer(role.CCLAN, 0, blob); err != nil {
			t.Fatalf("%s: a new key over CC_IS: %v", what, err)
		}
		r.keys[role.CCLAN] = k
		r.restart()
		r.open(readWrite)
	}
}

func TestAMemoryThatMakesNoSenseIsRefused(t *testing.T) {
	for what, spoil := range map[string]func(w *frameWriter){
		"a second birth":       func(w *frameWriter) { w.birth(birth{title: titleDC}) },
		"an unknown record":    func(w *frameWriter) { w.record(99, func(b []byte) []byte { return b }) },
		"a key that is cut":    func(w *frameWriter) { w.record(recKey, func(b []byte) []byte { return append(b, 2, 0, 0) }) },
		"a key going back":     func(w *frameWriter) { w.key(role.CCLAN, 1, 0, must(key.GenerateUnicast(seeded(1)))) },
		"a master cut":         func(w *frameWriter) { w.record(recMaster, func(b []byte) []byte { return append(b, 1) }) },
		"a clock that is cut":  func(w *frameWriter) { w.record(recClock, func(b []byte) []byte { return append(b, 1) }) },
		"a log of no number":   func(w *frameWriter) { w.event(logEntry{log: 77}) },
		"a record that is cut": func(w *frameWriter) { w.b = append(w.b, byte(recEvent), 200, 1) },
	} {
		r := newRig(t, ProfileHardened)
		w := new(frameWriter)
		spoil(w)
		if err := r.memory.Append(w.b, true); err != nil {
			t.Fatal(err)
		}
		if _, err := restore(r.kind, r.birth.Row.Title, r.memory); !errors.Is(err, ErrMemory) {
			t.Errorf("%s: want ErrMemory, got %v", what, err)
		}
		r.open(readWrite)
	}
	r := newRig(t, ProfileHardened)
	if _, err := restore(r.kind, titleDC, r.memory); !errors.Is(err, ErrMemory) {
		t.Errorf("the memory of another meter: want ErrMemory, got %v", err)
	}
	r.open(readWrite)
}

func FuzzApply(f *testing.F) {
	w := new(frameWriter)
	w.birth(birth{title: titleDC, scale: 1000})
	w.clock(clockStep{at: 5})
	w.key(role.CCLAN, 1, 0, must(key.GenerateUnicast(seeded(1))))
	w.floor(role.CCLAN, 1, security.Floor{Title: titleIS, Last: 5})
	w.send(role.CCLAN, 1, security.Reservation{Ceiling: 64})
	w.event(logEntry{log: logMain, code: 94})
	f.Add(w.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again state
		if s.apply(b) != nil || s.birth.title.IsZero() {
			return
		}
		if len(s.prints) > maxPrints || s.master.IsZero() {
			return
		}
		if err := again.apply(s.snapshot()); err != nil {
			t.Fatalf("the snapshot of what was applied: %v", err)
		}
	})
}
