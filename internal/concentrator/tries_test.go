package concentrator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/concentrator/keyring"
	sim "github.com/meterseal/meterseal/internal/meter"
)

var (
	stranger = dlms.SystemTitle{'A', 'C', 'M', 0, 0, 0, 0, 1}
	ours     = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
)

// counted is a file of tries under a clock that the test moves.
type counted struct {
	*tries
	at time.Time
}

func openCounted(t *testing.T, path string, at time.Time) *counted {
	t.Helper()
	c := &counted{at: at}
	cfg := Config{OwnMakers: []string{"MSL"}, TriesPerHour: 2}
	var damaged, err error
	if c.tries, damaged, err = openTries(path, cfg, func() time.Time { return c.at }); err != nil || damaged != nil {
		t.Fatal(err, damaged)
	}
	t.Cleanup(func() { _ = c.close() })
	return c
}

// may tries once, and says whether that was allowed.
func (c *counted) may(t *testing.T, m dlms.SystemTitle, version uint32) bool {
	t.Helper()
	err := c.begin(m, version)
	var f *bus.Fault
	if err != nil && (!errors.As(err, &f) || f.Code != bus.FaultUnreachable) {
		t.Fatal(err)
	}
	return err == nil
}

func TestAForeignMeterIsTriedTwiceAnHourThroughRestartsAndOneOfOurOwnWithoutBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tries")
	c := openCounted(t, path, midday())
	for i := range 2 {
		if !c.may(t, stranger, 1) {
			t.Fatalf("try %d was refused", i+1)
		}
	}
	for range 3 {
		if c = openCounted(t, path, c.at.Add(10*time.Minute)); c.may(t, stranger, 1) {
			t.Fatal("a restart let it be tried again")
		}
	}
	for range 10 {
		if !c.may(t, ours, 1) {
			t.Fatal("a meter of our own was refused")
		}
	}
	c.at = midday().Add(time.Hour)
	for i, want := range []bool{true, true, false} {
		if got := c.may(t, stranger, 1); got != want {
			t.Errorf("try %d after an hour: allowed %v, want %v", i+1, got, want)
		}
	}
	c.at = c.at.Add(-30 * 24 * time.Hour) // what the clock that was ahead has written holds nobody up
	if !c.may(t, stranger, 1) {
		t.Error("a clock that was put back holds the meter up")
	}
}

func TestATryThatOpenedOrNeverLeftDoesNotCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tries")
	for name, end := range map[string]error{"opened": nil, "not sent": fmt.Errorf("line 1: %w", ErrNotSent)} {
		c := openCounted(t, path, midday())
		for range 5 {
			if !c.may(t, stranger, 1) {
				t.Fatalf("%s: refused", name)
			}
			if err := c.ended(stranger, end); err != nil {
				t.Fatal(err)
			}
		}
		if c = openCounted(t, path, midday()); !c.may(t, stranger, 1) {
			t.Errorf("%s: refused after a restart", name)
		}
		_ = c.ended(stranger, nil)
	}
	c := openCounted(t, path, midday())
	for range 2 { // the answer was lost: the meter may have counted it
		c.may(t, stranger, 1)
		if err := c.ended(stranger, io.ErrUnexpectedEOF); err != nil {
			t.Fatal(err)
		}
	}
	if c.may(t, stranger, 1) {
		t.Error("a try whose answer was lost was not counted")
	}
}

func TestWithinTheBoundEveryVersionHasItsTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tries")
	versions := []keyring.Version{{Number: 9}, {Number: 8}, {Number: 7}, {Number: 3, Phase: bus.PhaseActive}}
	c := openCounted(t, path, midday())
	var tried []uint32
	for range 4 { // hours, each in a process of its own
		for _, v := range c.order(stranger, versions) {
			if c.may(t, stranger, v.Number) {
				tried = append(tried, v.Number)
			}
		}
		c = openCounted(t, path, c.at.Add(time.Hour))
	}
	if want := []uint32{9, 8, 7, 3, 9, 8, 7, 3}; fmt.Sprint(tried) != fmt.Sprint(want) {
		t.Errorf("want %v, got %v", want, tried)
	}
	if got := c.order(ours, versions); got[0].Number != 9 {
		t.Errorf("one of our own: want the newest first, got %v", got)
	}
}

func TestTriesThatWereDamagedCountAsMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tries")
	if err := os.WriteFile(path, []byte("00000000 {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := midday()
	cfg := Config{OwnMakers: []string{"MSL"}, TriesPerHour: 2}
	tr, damaged, err := openTries(path, cfg, func() time.Time { return at })
	if err != nil || damaged == nil {
		t.Fatalf("want the damage told, got %v, %v", damaged, err)
	}
	if err := errors.Join(tr.close(), os.Remove(path+".damaged")); err != nil {
		t.Fatal(err)
	}
	c := openCounted(t, path, at.Add(59*time.Minute))
	if c.may(t, stranger, 1) {
		t.Error("tried within the hour after the damage")
	}
	if c.at = at.Add(time.Hour); !c.may(t, stranger, 1) {
		t.Error("not tried after the hour")
	}
}

func TestTheFileOfTriesIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tries")
	c := openCounted(t, path, midday())
	if err := c.note(tryLine{Meter: ours, At: c.at, Version: 4}); err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		if !c.may(t, stranger, 7) {
			t.Fatal("refused")
		}
		c.at = c.at.Add(40 * time.Minute)
	}
	if size := c.file.Size(); size > 2*triesSlack {
		t.Errorf("the file has %d bytes", size)
	}
	versions := []keyring.Version{{Number: 8}, {Number: 7}, {Number: 6}}
	if got := openCounted(t, path, c.at).order(stranger, versions); got[0].Number != 6 {
		t.Errorf("want the version after the one tried last kept, got %v", got)
	}
}

// The whole concentrator: a meter that may lock out, whose key it has not, is sent two associations an hour, whatever is
// asked and restarted; and with the right key it is read at once.
func TestAMeterThatMayLockOutIsTriedTwiceAnHourWhateverIsAskedAndRestarted(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	g := w.gate(w.lan()[0])
	var ciphered atomic.Int32
	g.set(func(b []byte) bool {
		if len(b) > 8 && b[3] != 16 && apdu.Tag(b[8]) == apdu.TagAARQ { // of another client than the public one
			ciphered.Add(1)
		}
		return true
	})
	cfg := w.config(g.address)
	cfg.OwnMakers = []string{"ACM"} // the meters here are of another
	c, stop := w.run(cfg)
	m := w.rows[0]
	wrong := must(key.NewUnicast(bytes.Repeat([]byte{0x5A, 0xC3}, 8)))
	w.order(bus.Order{Provision: &bus.Provision{Keys: []bus.ProvisionKey{w.sealed(m.Title, 1, bus.PhaseActive, wrong, 1)}}})
	for hour := range 3 {
		for range 3 {
			if _, _, failed := c.openAll(t.Context()); len(failed) != 1 {
				t.Fatalf("want it not reached, got %+v", failed)
			}
			stop()
			c, stop = w.run(cfg)
		}
		if got := int(ciphered.Load()); got != 2*(hour+1) {
			t.Fatalf("hour %d: want %d associations tried, got %d", hour+1, 2*(hour+1), got)
		}
		stop()
		w.ahead += time.Hour
		c, stop = w.run(cfg)
	}
	stop()
	ahead := w.ahead
	w.ahead = 0
	_, stop = w.run(cfg)
	w.order(bus.Order{Provision: &bus.Provision{Keys: []bus.ProvisionKey{w.sealed(m.Title, 2, bus.PhaseSent, m.LAN, 1)}}})
	stop()
	w.ahead = ahead
	c, stop = w.run(cfg)
	defer stop()
	if _, _, failed := c.openAll(t.Context()); len(failed) != 0 {
		t.Errorf("want it reached with its key, got %+v", failed)
	}
}
