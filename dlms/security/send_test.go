package security_test

import (
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

var errDisk = errors.New("disk: no")

// disk is a durable place that can fail before or after it has written.
type disk struct {
	kept   security.Reservation
	writes int
	fail   func() (before, after bool)
}

func (d *disk) reserve(r security.Reservation) error {
	before, after := false, false
	if d.fail != nil {
		before, after = d.fail()
	}
	if before {
		return errDisk
	}
	d.kept = r
	d.writes++
	if after {
		return errDisk
	}
	return nil
}

// start makes a counter from what is on disk, as after a crash.
func (d *disk) start(t testing.TB, size uint32) *security.BlockCounter {
	t.Helper()
	c, err := security.NewBlockCounter(security.BlockConfig{Start: d.kept, Size: size, Reserve: d.reserve})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSendingCountersStartAtOneAndRise(t *testing.T) {
	d := &disk{}
	for name, c := range map[string]security.SendCounter{
		"memory": security.NewMemoryCounter(), "block": d.start(t, 3),
	} {
		for want := dlms.InvocationCounter(1); want <= 10; want++ {
			if got := next(t, c); got != want {
				t.Errorf("%s: want %d, got %d", name, want, got)
			}
		}
	}
	if d.writes != 4 || d.kept.Ceiling != 12 {
		t.Errorf("10 values in blocks of 3: want 4 writes up to 12, got %d up to %d", d.writes, d.kept.Ceiling)
	}
}

func TestBlockCounterReservesBeforeItHandsOut(t *testing.T) {
	d := &disk{}
	c := d.start(t, 5)
	if d.writes != 0 {
		t.Errorf("%d writes before the first value", d.writes)
	}
	for range 100 {
		if got := next(t, c); got > d.kept.Ceiling {
			t.Fatalf("%d handed out, %d on disk", got, d.kept.Ceiling)
		}
	}
}

func TestBlockCounterHandsOutNothingThatItCouldNotReserve(t *testing.T) {
	d := &disk{fail: func() (bool, bool) { return true, false }}
	c := d.start(t, 5)
	if v, err := c.Next(); !errors.Is(err, errDisk) || v != 0 {
		t.Errorf("want the error of the disk, got %d, %v", v, err)
	}
	if err := c.RaiseTo(100); !errors.Is(err, errDisk) {
		t.Errorf("raise: want the error of the disk, got %v", err)
	}
	d.fail = nil
	if got := next(t, c); got != 1 {
		t.Errorf("after the failure: want 1, got %d", got)
	}
}

func TestCrashSkipsTheRestOfTheBlock(t *testing.T) {
	d := &disk{}
	c := d.start(t, 64)
	next(t, c)
	if got := next(t, d.start(t, 64)); got != 65 {
		t.Errorf("want 65, got %d", got)
	}
}

func TestSendCounterRefusesAtItsEndAndNeverWraps(t *testing.T) {
	d := &disk{kept: security.Reservation{Ceiling: dlms.MaxInvocationCounter - 2}}
	c := d.start(t, 64)
	for want := dlms.MaxInvocationCounter - 1; want != 0; want++ {
		if got := next(t, c); got != want {
			t.Errorf("want %d, got %d", want, got)
		}
	}
	for _, c := range []*security.BlockCounter{c, d.start(t, 64)} {
		for range 3 {
			if v, err := c.Next(); !errors.Is(err, dlms.ErrCounterExhausted) || v != 0 {
				t.Errorf("at the end: got %d, %v", v, err)
			}
		}
	}
}

func TestLentRangeEndsAtItsLimit(t *testing.T) {
	d := &disk{kept: security.Reservation{Ceiling: 1000}}
	c, err := security.NewBlockCounter(security.BlockConfig{Start: d.kept, Limit: 1003, Reserve: d.reserve})
	if err != nil {
		t.Fatal(err)
	}
	for want := dlms.InvocationCounter(1001); want <= 1003; want++ {
		if got := next(t, c); got != want {
			t.Errorf("want %d, got %d", want, got)
		}
	}
	if _, err := c.Next(); !errors.Is(err, dlms.ErrCounterExhausted) {
		t.Errorf("beyond the range: got %v", err)
	}
	if err := c.RaiseTo(1005); !errors.Is(err, security.ErrRaise) || d.kept.Ceiling != 1003 {
		t.Errorf("raise beyond the range: got %v, %d on disk", err, d.kept.Ceiling)
	}
}

func TestPeerNeverLowersASendingCounter(t *testing.T) {
	d := &disk{}
	c := d.start(t, 10)
	for range 25 {
		next(t, c)
	}
	before := d.kept
	for _, v := range []dlms.InvocationCounter{0, 1, 24, 25, 26} {
		if err := c.RaiseTo(v); err != nil || d.kept != before {
			t.Errorf("to %d: got %v, disk %+v", v, err, d.kept)
		}
	}
	if got := next(t, c); got != 26 {
		t.Errorf("want 26, got %d", got)
	}
}

func TestPeerRaisesASendingCounterWithinBoundsAlone(t *testing.T) {
	d := &disk{}
	c := d.start(t, 10)
	if err := c.RaiseTo(security.MaxRaise + 2); !errors.Is(err, security.ErrRaise) || d.writes != 0 {
		t.Fatalf("by more than the bound: got %v, %d writes", err, d.writes)
	}
	target := dlms.InvocationCounter(1)
	for range security.MaxRaisePerKey / security.MaxRaise {
		target += security.MaxRaise
		if err := c.RaiseTo(target); err != nil {
			t.Fatal(err)
		}
		c = d.start(t, 10) // a restart forgets no part of the sum
		if got := c.Reservation().Ceiling + 1; got < target {
			t.Fatalf("want %d or more, got %d", target, got)
		}
		target = c.Reservation().Ceiling + 1
	}
	if err := c.RaiseTo(target + 1); !errors.Is(err, security.ErrRaise) {
		t.Errorf("beyond the sum: got %v", err)
	}
	if got := next(t, c); got != target {
		t.Errorf("a refused raise changed the counter: want %d, got %d", target, got)
	}
}

func TestRaiseInsideTheBlockAtHandCountsTowardsTheSum(t *testing.T) {
	d := &disk{}
	c := d.start(t, 100)
	next(t, c)
	if err := c.RaiseTo(50); err != nil || d.kept.Raised != 48 {
		t.Errorf("got %v, disk %+v", err, d.kept)
	}
	if got := next(t, c); got != 50 {
		t.Errorf("want 50, got %d", got)
	}
}

func TestNoCounterIsHandedOutTwiceOverCrashesAndFailingDisks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d, seen, last := &disk{}, map[dlms.InvocationCounter]bool{}, dlms.InvocationCounter(0)
		d.fail = func() (bool, bool) {
			return rapid.IntRange(0, 5).Draw(rt, "before") == 0, rapid.IntRange(0, 5).Draw(rt, "after") == 0
		}
		size := rapid.Uint32Range(1, 7).Draw(rt, "size")
		c := d.start(t, size)
		lowest := security.Reservation{}
		rt.Repeat(map[string]func(*rapid.T){
			"next": func(rt *rapid.T) {
				v, err := c.Next()
				if err != nil {
					return
				}
				if seen[v] || v <= last || v > d.kept.Ceiling {
					rt.Fatalf("handed out %d after %d, with %d on disk", v, last, d.kept.Ceiling)
				}
				seen[v], last = true, v
			},
			"raise": func(rt *rapid.T) {
				_ = c.RaiseTo(last + dlms.InvocationCounter(rapid.Uint32Range(0, 40).Draw(rt, "by"))) // a refusal is as good
			},
			"crash": func(*rapid.T) { c = d.start(t, size) },
			"": func(rt *rapid.T) {
				if d.kept.Ceiling < lowest.Ceiling || d.kept.Raised < lowest.Raised {
					rt.Fatalf("the disk went back from %+v to %+v", lowest, d.kept)
				}
				lowest = d.kept
			},
		})
	})
}

func TestNoCounterIsHandedOutTwiceToManyGoroutines(t *testing.T) {
	d := &disk{}
	for name, c := range map[string]security.SendCounter{
		"memory": security.NewMemoryCounter(), "block": d.start(t, 7),
	} {
		var mu sync.Mutex
		var wg sync.WaitGroup
		seen := map[dlms.InvocationCounter]int{}
		for range 8 {
			wg.Go(func() {
				for range 200 {
					v, err := c.Next()
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					seen[v]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != 1600 {
			t.Errorf("%s: want 1600 different values, got %d", name, len(seen))
		}
	}
}

func TestBlockCounterWithoutADiskIsRefused(t *testing.T) {
	if c, err := security.NewBlockCounter(security.BlockConfig{}); err == nil || c != nil {
		t.Errorf("got %v, %v", c, err)
	}
}

func next(t testing.TB, c security.SendCounter) dlms.InvocationCounter {
	t.Helper()
	v, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAKeyInMemoryIsWholeAndCountsFrom1(t *testing.T) {
	k, err := key.NewUnicast([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := k.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	lt, err := security.NewMemoryLongTerm(aead, key.Authentication{})
	if err != nil || lt.Check() != nil {
		t.Fatalf("%v, %v", err, lt.Check())
	}
	if ic, err := lt.Send.Next(); err != nil || ic != 1 {
		t.Errorf("the first counter: %d, %v", ic, err)
	}
	peer := dlms.SystemTitle{1}
	if err := lt.Floor.Commit(peer, 5); err != nil {
		t.Error(err)
	}
	if err := lt.Floor.Commit(peer, 5); !errors.Is(err, security.ErrReplay) {
		t.Errorf("an equal counter: %v", err)
	}
	if _, err := security.NewMemoryLongTerm(nil, key.Authentication{}); err == nil {
		t.Error("no aead: no error")
	}
}
