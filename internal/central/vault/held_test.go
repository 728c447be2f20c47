package vault

import (
	"runtime"
	"testing"
	"time"
)

func TestWhatIsOutIsFoundAgainAndWhatIsIdleIsForgotten(t *testing.T) {
	h := newHeld[int, [64]int](10)
	out := new([64]int)
	h.put(-1, out)
	for i := range 1000 {
		if h.get(i) != nil {
			t.Fatalf("%d is there before it was made", i)
		}
		h.put(i, new([64]int))
	}
	for end := time.Now().Add(10 * time.Second); h.size() > 21 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		runtime.GC()
	}
	if n := h.size(); n > 21 {
		t.Errorf("%d are remembered, want the last 10 to 20 and the one that is out", n)
	}
	if h.get(-1) != out {
		t.Error("the one that is out was lost: a second one would be made")
	}
	if h.get(999) == nil || h.get(995) == nil {
		t.Error("the last ones are forgotten")
	}
	runtime.KeepAlive(out)
}

func TestANameIsNotForgottenForOneThatWasMadeAnew(t *testing.T) {
	h := newHeld[int, [64]int](0)
	for range 100 {
		h.put(1, new([64]int))
		runtime.GC() // the cleanup of the one may come after the next was put
		again := new([64]int)
		if h.get(1) == nil {
			h.put(1, again)
		}
		time.Sleep(time.Millisecond)
		if h.get(1) != again {
			t.Fatal("one that is out was forgotten")
		}
		runtime.KeepAlive(again)
	}
}
