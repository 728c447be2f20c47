package keysfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

func testName() Name {
	return Name{Key: key.CheckValue{1, 2, 3}, Title: dlms.SystemTitle{'M', 'S', 'T', 0, 0, 0, 0, 1}}
}

var peer = dlms.SystemTitle{'P', 'E', 'E', 0, 0, 0, 0, 9}

func keysPath(t *testing.T) string { return filepath.Join(t.TempDir(), "keys.json") }

func open(t *testing.T, path string) *Counters {
	t.Helper()
	c, err := OpenCounters(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func next(t *testing.T, s security.SendCounter) dlms.InvocationCounter {
	t.Helper()
	ic, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	return ic
}

func TestSendCounterStartsAtOneForANewKeyAndForAChangedKey(t *testing.T) {
	c, n := open(t, keysPath(t)), testName()
	if ic := next(t, c.Send(n)); ic != 1 {
		t.Errorf("new key: want 1, got %d", ic)
	}
	n.Key[0]++
	if ic := next(t, c.Send(n)); ic != 1 {
		t.Errorf("changed key: want 1, got %d", ic)
	}
}

func TestSendCounterNeverRepeatsAcrossReopening(t *testing.T) {
	path, last := keysPath(t), dlms.InvocationCounter(0)
	for run := range 5 {
		s := open(t, path).Send(testName())
		for range run*30 + 1 {
			ic := next(t, s)
			if ic <= last {
				t.Fatalf("run %d: %d after %d", run, ic, last)
			}
			last = ic
		}
	}
}

func TestSendCounterIsOnDiskBeforeItIsHandedOut(t *testing.T) {
	path := keysPath(t)
	s := open(t, path).Send(testName())
	for range 3 * lastBlock {
		ic := next(t, s)
		st, _, err := readState(path + Suffix)
		if err != nil {
			t.Fatal(err)
		}
		if on := st.row(testName()).Ceiling; on < ic {
			t.Fatalf("%d was handed out with %d on disk", ic, on)
		}
	}
}

func TestSendCountersOfOneNameInOneProcessDoNotOverlap(t *testing.T) {
	c := open(t, keysPath(t))
	a, b, seen := c.Send(testName()), c.Send(testName()), map[dlms.InvocationCounter]bool{}
	for range 2000 {
		for _, s := range []*SendCounter{a, b} {
			ic := next(t, s)
			if seen[ic] {
				t.Fatalf("%d twice", ic)
			}
			seen[ic] = true
		}
	}
}

func TestSendCounterRefusesAtTheEnd(t *testing.T) {
	s := open(t, keysPath(t)).Send(testName())
	if err := s.SetNext(dlms.MaxInvocationCounter); err != nil {
		t.Fatal(err)
	}
	if ic := next(t, s); ic != dlms.MaxInvocationCounter {
		t.Fatalf("want the last value, got %d", ic)
	}
	for range 3 {
		if _, err := s.Next(); !errors.Is(err, dlms.ErrCounterExhausted) {
			t.Fatalf("want %v, got %v", dlms.ErrCounterExhausted, err)
		}
	}
}

func TestRaiseToLiftsWithinTheBoundsAndNeverLowers(t *testing.T) {
	path := keysPath(t)
	s := open(t, path).Send(testName())
	steps := []struct {
		to, want dlms.InvocationCounter
	}{{0, 1}, {1, 2}, {5, 5}, {3, 6}, {1000, 1000}, {999, 1001}, {1 << 20, 1 << 20}, {1, 1<<20 + 1}}
	for _, step := range steps {
		if err := s.RaiseTo(step.to); err != nil {
			t.Fatalf("to %d: %v", step.to, err)
		}
		if ic := next(t, s); ic != step.want {
			t.Fatalf("to %d: want %d, got %d", step.to, step.want, ic)
		}
	}
	if ic := next(t, open(t, path).Send(testName())); ic <= 1<<20+1 {
		t.Errorf("after reopening: got %d again", ic)
	}
}

func TestRaiseToRefusesBeyondTheBoundAtATime(t *testing.T) {
	s := open(t, keysPath(t)).Send(testName())
	if err := s.RaiseTo(security.MaxRaise + 2); !errors.Is(err, security.ErrRaise) {
		t.Fatalf("want %v, got %v", security.ErrRaise, err)
	}
	if ic := next(t, s); ic != 1 {
		t.Errorf("a refused raise moved the counter to %d", ic)
	}
}

func TestRaiseToRefusesBeyondTheSumPerKeyAndRemembersItOnDisk(t *testing.T) {
	path, at := keysPath(t), dlms.InvocationCounter(0)
	for i := range security.MaxRaisePerKey / security.MaxRaise {
		s := open(t, path).Send(testName())
		at += security.MaxRaise + 1
		if err := s.RaiseTo(at); err != nil {
			t.Fatalf("raise %d: %v", i, err)
		}
		at = next(t, s) + firstBlock - 1
	}
	s := open(t, path).Send(testName())
	if err := s.RaiseTo(at + 1000); !errors.Is(err, security.ErrRaise) {
		t.Fatalf("want %v, got %v", security.ErrRaise, err)
	}
	other := testName()
	other.Key[0]++
	if err := open(t, path).Send(other).RaiseTo(1000); err != nil {
		t.Errorf("a new key has its own sum: %v", err)
	}
}

func TestFloorRefusesAnEqualCounterAfterReopening(t *testing.T) {
	path := keysPath(t)
	f := open(t, path).Floor(testName())
	if err := f.Check(peer, 7); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(peer, 7); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*Floor{"same": f, "reopened": open(t, path).Floor(testName())} {
		var ce *security.CounterError
		if err := f.Check(peer, 7); !errors.As(err, &ce) || ce.Expected != 8 || !errors.Is(err, security.ErrReplay) {
			t.Errorf("%s: check: want a replay with 8 expected, got %v", name, err)
		}
		if err := f.Commit(peer, 7); !errors.Is(err, security.ErrReplay) {
			t.Errorf("%s: commit: want %v, got %v", name, security.ErrReplay, err)
		}
		if err := f.Check(peer, 8); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.Highest(); got != 8 {
			t.Errorf("%s: highest: want 8, got %d", name, got)
		}
	}
}

func TestFloorCommitSeesWhatAnotherProcessAccepted(t *testing.T) {
	path := keysPath(t)
	a, b := open(t, path).Floor(testName()), open(t, path).Floor(testName())
	if err := a.Commit(peer, 100); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(peer, 100); !errors.Is(err, security.ErrReplay) {
		t.Errorf("want %v, got %v", security.ErrReplay, err)
	}
	if err := b.Commit(peer, 101); err != nil {
		t.Error(err)
	}
	for _, ic := range []dlms.InvocationCounter{100, 101} { // a has seen 100 alone
		if err := a.Commit(peer, ic); !errors.Is(err, security.ErrReplay) {
			t.Errorf("%d: want %v, got %v", ic, security.ErrReplay, err)
		}
	}
}

func TestFloorBoundsAJumpButForTheClientsFirstContact(t *testing.T) {
	c := open(t, keysPath(t))
	high := dlms.InvocationCounter(security.MaxJump + 10)
	if err := c.Floor(testName()).Commit(peer, high); !errors.Is(err, security.ErrJump) {
		t.Errorf("meter: want %v, got %v", security.ErrJump, err)
	}
	f := c.ClientFloor(testName())
	if err := f.Commit(peer, high); err != nil {
		t.Fatalf("client, first contact: %v", err)
	}
	if err := f.Check(peer, 2*high+10); !errors.Is(err, security.ErrJump) {
		t.Errorf("client, second contact: want %v, got %v", security.ErrJump, err)
	}
}

func TestFloorRefusesANinthTitle(t *testing.T) {
	f := open(t, keysPath(t)).Floor(testName())
	for i := range byte(security.MaxTitles) {
		if err := f.Commit(dlms.SystemTitle{i + 1}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Commit(dlms.SystemTitle{100}, 1); !errors.Is(err, security.ErrTitles) {
		t.Errorf("want %v, got %v", security.ErrTitles, err)
	}
}

func TestAFilePutBackFromACopyLowersNothingInARunningProcess(t *testing.T) {
	path := keysPath(t)
	c := open(t, path)
	s, f := c.Send(testName()), c.Floor(testName())
	next(t, s)
	copied, err := os.ReadFile(path + Suffix)
	if err != nil {
		t.Fatal(err)
	}
	last := dlms.InvocationCounter(0)
	for range 100 {
		last = next(t, s)
	}
	if err := f.Commit(peer, 50); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+Suffix, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	if ic := next(t, c.Send(testName())); ic <= last {
		t.Errorf("%d after %d", ic, last)
	}
	if err := f.Commit(peer, 50); !errors.Is(err, security.ErrReplay) {
		t.Errorf("want %v, got %v", security.ErrReplay, err)
	}
}

func TestOpenCountersRefusesWhatItCannotReadOrWrite(t *testing.T) {
	for name, prepare := range map[string]func(path string) error{
		"a folder in its place": func(p string) error { return os.Mkdir(p, 0o700) },
		"damaged":               func(p string) error { return os.WriteFile(p, []byte(`{"format":"meters`), 0o600) },
		"empty":                 func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"newer": func(p string) error {
			return os.WriteFile(p, []byte(`{"format":"meterseal counters 2","keys":[]}`), 0o600)
		},
		"unknown field": func(p string) error {
			return os.WriteFile(p, []byte(`{"format":"meterseal counters 1","keys":[],"x":1}`), 0o600)
		},
		"a row twice": func(p string) error {
			r := `{"check_value":"010203","system_title":"4D53540000000001","send_ceiling":1,"send_raised":0}`
			return os.WriteFile(p, []byte(`{"format":"meterseal counters 1","keys":[`+r+","+r+`]}`), 0o600)
		},
		"no folder": func(p string) error { return os.RemoveAll(filepath.Dir(p)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := keysPath(t)
			if err := prepare(path + Suffix); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenCounters(path); !errors.Is(err, ErrCounters) {
				t.Errorf("want %v, got %v", ErrCounters, err)
			}
		})
	}
}

func TestNextRefusesWhenTheFileCanNoLongerBeWritten(t *testing.T) {
	path := keysPath(t)
	s := open(t, path).Send(testName())
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if ic, err := s.Next(); !errors.Is(err, ErrCounters) {
			t.Errorf("want %v, got %d and %v", ErrCounters, ic, err)
		}
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	ic := next(t, s)
	st, _, err := readState(path + Suffix)
	if err != nil || st.row(testName()).Ceiling < ic {
		t.Errorf("%d was handed out with %d on disk, %v", ic, st.row(testName()).Ceiling, err)
	}
}

func TestABlockWhoseWriteFailedIsNotHandedOut(t *testing.T) {
	// The longest name for which the counters file and its lock can be made, and the temporary file cannot.
	path := filepath.Join(t.TempDir(), strings.Repeat("k", 255-len(Suffix)-len(lockSuffix)))
	if err := os.WriteFile(path+Suffix, []byte(`{"format":"`+format+`","keys":null}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path).Send(testName())
	for range 3 {
		if ic, err := s.Next(); !errors.Is(err, ErrCounters) {
			t.Fatalf("want %v, got %d and %v", ErrCounters, ic, err)
		}
	}
}

func TestOwnTitleIsDrawnOnceAndKept(t *testing.T) {
	path := keysPath(t)
	first, err := open(t, path).OwnTitle(bytes.NewReader([]byte{1, 2, 3, 4, 5}))
	if err != nil {
		t.Fatal(err)
	}
	again, err := open(t, path).OwnTitle(bytes.NewReader([]byte{9, 9, 9, 9, 9}))
	if err != nil {
		t.Fatal(err)
	}
	if want := (dlms.SystemTitle{'M', 'S', 'L', 1, 2, 3, 4, 5}); first != want || again != want {
		t.Errorf("want %s twice, got %s and %s", want, first, again)
	}
}

func TestEphemeralCountersKeepNothing(t *testing.T) {
	c := EphemeralCounters()
	if !c.Ephemeral() {
		t.Error("want ephemeral")
	}
	s, f := c.Send(testName()), c.Floor(testName())
	for want := range dlms.InvocationCounter(100) {
		if ic := next(t, s); ic != want+1 {
			t.Fatalf("want %d, got %d", want+1, ic)
		}
	}
	if err := f.Commit(peer, 5); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(peer, 5); !errors.Is(err, security.ErrReplay) {
		t.Errorf("want %v, got %v", security.ErrReplay, err)
	}
	if err := f.Check(peer, 5); !errors.Is(err, security.ErrReplay) {
		t.Errorf("want %v, got %v", security.ErrReplay, err)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"format":"meterseal counters 1","keys":[{"check_value":"010203","system_title":"4D53540000000001",` +
		`"send_ceiling":16,"send_raised":0,"received":[{"system_title":"5045450000000009","last":7}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		raised := s.clone()
		raised.raise(s)
		if !raised.equal(s) {
			t.Fatal("raising a state to itself changed it")
		}
	})
}
