package security_test

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/security"
)

var (
	alice = dlms.SystemTitle{'A', 'L', 'I', 0, 0, 0, 0, 1}
	bob   = dlms.SystemTitle{'B', 'O', 'B', 0, 0, 0, 0, 2}
)

// nvm keeps floors as a meter's memory does.
type nvm struct {
	floors map[dlms.SystemTitle]security.Floor
	fail   bool
}

func (n *nvm) persist(f security.Floor) error {
	if n.fail {
		return errDisk
	}
	if n.floors == nil {
		n.floors = map[dlms.SystemTitle]security.Floor{}
	}
	n.floors[f.Title] = f
	return nil
}

func (n *nvm) table(t testing.TB) *security.FloorTable {
	t.Helper()
	cfg := security.FloorConfig{Persist: n.persist}
	for _, f := range n.floors {
		cfg.Floors = append(cfg.Floors, f)
	}
	table, err := security.NewFloorTable(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// everyFloor runs a test on each implementation.
func everyFloor(t *testing.T, test func(t *testing.T, f security.ReceiveFloor)) {
	t.Helper()
	t.Run("table", func(t *testing.T) { test(t, (&nvm{}).table(t)) })
	t.Run("memory", func(t *testing.T) { test(t, security.NewMemoryFloor(alice, security.MaxJump)) })
}

func TestReceiveRefusesAnEqualCounter(t *testing.T) {
	everyFloor(t, func(t *testing.T, f security.ReceiveFloor) {
		commit(t, f, alice, 7)
		for name, err := range map[string]error{"check": f.Check(alice, 7), "commit": f.Commit(alice, 7)} {
			mustRefuse(t, name, err, security.ErrReplay, 8)
		}
		commit(t, f, alice, 8)
	})
}

func TestReceiveRefusesALowerCounterAndAcceptsGaps(t *testing.T) {
	everyFloor(t, func(t *testing.T, f security.ReceiveFloor) {
		commit(t, f, alice, 0) // foreign peers begin at 0
		commit(t, f, alice, 5)
		commit(t, f, alice, 1000)
		for _, ic := range []dlms.InvocationCounter{0, 5, 6, 999} {
			mustRefuse(t, "lower", f.Check(alice, ic), security.ErrReplay, 1001)
		}
	})
}

func TestForgedHighCounterLocksNobodyOut(t *testing.T) {
	everyFloor(t, func(t *testing.T, f security.ReceiveFloor) {
		honest, forger := newCipher(t, ek, ak), newCipher(t, ak, ek)
		if err := receive(t, f, honest, seal(t, honest, alice, 1)); err != nil {
			t.Fatal(err)
		}
		for _, ic := range []dlms.InvocationCounter{2, 1 << 20, security.MaxJump, dlms.MaxInvocationCounter} {
			if err := receive(t, f, honest, seal(t, forger, alice, ic)); err == nil {
				t.Fatalf("forged %d was accepted", ic)
			}
		}
		if err := receive(t, f, honest, seal(t, honest, alice, 2)); err != nil {
			t.Errorf("the honest peer is locked out: %v", err)
		}
	})
}

func TestReplayOfTheLastFrameIsRefused(t *testing.T) {
	everyFloor(t, func(t *testing.T, f security.ReceiveFloor) {
		c := newCipher(t, ek, ak)
		frame := seal(t, c, alice, 9)
		if err := receive(t, f, c, frame); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, "replay", receive(t, f, c, frame), security.ErrReplay, 10)
	})
}

func TestForgedTitlesFillNoTable(t *testing.T) {
	table := (&nvm{}).table(t)
	c, forger := newCipher(t, ek, ak), newCipher(t, ak, ek)
	for i := range 100 {
		title := dlms.SystemTitle{'X', byte(i)}
		if err := receive(t, table, c, seal(t, forger, title, 1)); !errors.Is(err, security.ErrTag) {
			t.Fatalf("forged title %d: got %v", i, err)
		}
	}
	if err := receive(t, table, c, seal(t, c, alice, 1)); err != nil || len(table.Floors()) != 1 {
		t.Errorf("after 100 forged titles: got %v, %d titles", err, len(table.Floors()))
	}
}

func TestNinthTitleUnderAKeyIsRefusedAndTheEightGoOn(t *testing.T) {
	table := (&nvm{}).table(t)
	for i := range security.MaxTitles {
		commit(t, table, dlms.SystemTitle{byte(i + 1)}, 10)
	}
	for name, err := range map[string]error{"check": table.Check(alice, 1), "commit": table.Commit(alice, 1)} {
		if !errors.Is(err, security.ErrTitles) {
			t.Errorf("%s: want ErrTitles, got %v", name, err)
		}
	}
	for i := range security.MaxTitles {
		commit(t, table, dlms.SystemTitle{byte(i + 1)}, 11)
	}
}

func TestEachTitleHasAFloorOfItsOwn(t *testing.T) {
	table := (&nvm{}).table(t)
	commit(t, table, alice, 1_000_000)
	commit(t, table, bob, 1)
	mustRefuse(t, "alice", table.Check(alice, 1), security.ErrReplay, 1_000_001)
	if a, b, none := table.Expected(alice), table.Expected(bob), table.Expected(dlms.SystemTitle{}); a != 1_000_001 || b != 2 || none != 0 {
		t.Errorf("floors: got %d, %d, %d", a, b, none)
	}
	if got := table.Highest(); got != 1_000_001 {
		t.Errorf("highest: got %d", got)
	}
}

func TestCounterFarAboveTheFloorIsRefused(t *testing.T) {
	everyFloor(t, func(t *testing.T, f security.ReceiveFloor) {
		commit(t, f, alice, 99)
		mustRefuse(t, "jump", f.Check(alice, 100+security.MaxJump+1), security.ErrJump, 100)
		mustRefuse(t, "jump", f.Commit(alice, dlms.MaxInvocationCounter), security.ErrJump, 100)
		commit(t, f, alice, 100+security.MaxJump)
	})
	fresh := (&nvm{}).table(t)
	mustRefuse(t, "first contact", fresh.Check(bob, security.MaxJump+1), security.ErrJump, 0)
	if err := security.NewMemoryFloor(alice, 0).Check(alice, dlms.MaxInvocationCounter); err != nil {
		t.Errorf("without a bound: got %v", err)
	}
}

func TestFloorAfterTheLastCounterAcceptsNothingMore(t *testing.T) {
	n := &nvm{floors: map[dlms.SystemTitle]security.Floor{alice: {Title: alice, Last: dlms.MaxInvocationCounter - 1}}}
	session := security.NewMemoryFloor(alice, 0)
	for _, f := range []security.ReceiveFloor{n.table(t), session} {
		commit(t, f, alice, dlms.MaxInvocationCounter)
		for _, ic := range []dlms.InvocationCounter{0, 1, dlms.MaxInvocationCounter} {
			mustRefuse(t, "after the end", f.Commit(alice, ic), security.ErrReplay, dlms.MaxInvocationCounter)
		}
	}
	mustRefuse(t, "after a restart", n.table(t).Check(alice, 0), security.ErrReplay, dlms.MaxInvocationCounter)
}

func TestFloorIsDurableBeforeCommitReturnsAndExactlySo(t *testing.T) {
	n := &nvm{}
	table := n.table(t)
	for _, ic := range []dlms.InvocationCounter{1, 2, 50} {
		commit(t, table, alice, ic)
		if got := n.floors[alice].Last; got != ic {
			t.Errorf("committed %d, %d on disk", ic, got)
		}
		mustRefuse(t, "after a crash", n.table(t).Check(alice, ic), security.ErrReplay, ic+1)
		if err := n.table(t).Check(alice, ic+1); err != nil {
			t.Errorf("after a crash the honest peer is locked out: %v", err)
		}
	}
	if err := table.Check(alice, 60); err != nil || n.floors[alice].Last != 50 {
		t.Errorf("check: got %v, %d on disk", err, n.floors[alice].Last)
	}
}

func TestCommitThatCannotPersistIsAnErrorAndMovesNothing(t *testing.T) {
	n := &nvm{}
	table := n.table(t)
	commit(t, table, alice, 5)
	n.fail = true
	for _, title := range []dlms.SystemTitle{alice, bob} {
		if err := table.Commit(title, 9); !errors.Is(err, errDisk) {
			t.Errorf("want the error of the disk, got %v", err)
		}
	}
	n.fail = false
	if got := table.Floors(); len(got) != 1 || got[0].Last != 5 {
		t.Errorf("floors: got %+v", got)
	}
	commit(t, table, alice, 9)
}

func TestInnerCounterOfHLSRaisesTheFloorAndIsNotHeldAgainstIt(t *testing.T) {
	for name, c := range map[string]struct{ outer, inner, floor dlms.InvocationCounter }{
		"inner first": {11, 10, 12}, "outer first": {10, 11, 12}, "equal": {10, 10, 11}, "inner far below": {10, 0, 11},
	} {
		table := (&nvm{}).table(t)
		commit(t, table, alice, c.outer)
		if err := security.CommitInner(table, alice, c.inner); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := table.Expected(alice); got != c.floor {
			t.Errorf("%s: want floor %d, got %d", name, c.floor, got)
		}
	}
	table := (&nvm{}).table(t)
	commit(t, table, alice, 1)
	if err := security.CommitInner(table, alice, dlms.MaxInvocationCounter); !errors.Is(err, security.ErrJump) {
		t.Errorf("an inner counter at the end: want ErrJump, got %v", err)
	}
}

func TestSessionFloorServesItsPeerAlone(t *testing.T) {
	f := security.NewMemoryFloor(alice, 0)
	for name, err := range map[string]error{"check": f.Check(bob, 1), "commit": f.Commit(bob, 1)} {
		if !errors.Is(err, security.ErrTitle) {
			t.Errorf("%s: want ErrTitle, got %v", name, err)
		}
	}
	if got := f.Expected(alice); got != 0 {
		t.Errorf("floor: got %d", got)
	}
}

func TestFloorTableRefusesAStateThatCannotBeItsOwn(t *testing.T) {
	persist := (&nvm{}).persist
	for name, cfg := range map[string]security.FloorConfig{
		"no disk":      {},
		"nine titles":  {Persist: persist, Floors: make([]security.Floor, security.MaxTitles+1)},
		"twice listed": {Persist: persist, Floors: []security.Floor{{Title: alice}, {Title: alice}}},
	} {
		if table, err := security.NewFloorTable(cfg); err == nil || table != nil {
			t.Errorf("%s: got %v, %v", name, table, err)
		}
	}
}

func TestNoCounterIsAcceptedTwiceOverRestartsAndFailingMemories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := &nvm{}
		table := n.table(t)
		type seenKey struct {
			title dlms.SystemTitle
			ic    dlms.InvocationCounter
		}
		accepted := map[seenKey]bool{}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				n.fail = rapid.IntRange(0, 4).Draw(rt, "fail") == 0
				k := seenKey{dlms.SystemTitle{rapid.Byte().Draw(rt, "title") % 12}, dlms.InvocationCounter(rapid.Uint32Range(0, 30).Draw(rt, "ic"))}
				if table.Commit(k.title, k.ic) != nil {
					return
				}
				if accepted[k] {
					rt.Fatalf("%v accepted twice", k)
				}
				accepted[k] = true
			},
			"restart": func(*rapid.T) { table = n.table(t) },
		})
	})
}

// frame is what travels.
type frame struct {
	title   dlms.SystemTitle
	ic      dlms.InvocationCounter
	content []byte
}

func seal(t testing.TB, c *security.Cipher, title dlms.SystemTitle, ic dlms.InvocationCounter) frame {
	t.Helper()
	content, err := c.Seal(nil, security.AuthenticatedEncrypted, title, ic, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	return frame{title, ic, content}
}

// receive does what every receiver does, in its order: check, authenticate, commit.
func receive(t testing.TB, f security.ReceiveFloor, c *security.Cipher, fr frame) error {
	t.Helper()
	if err := f.Check(fr.title, fr.ic); err != nil {
		return err
	}
	text, err := c.Open(nil, security.AuthenticatedEncrypted, fr.title, fr.ic, fr.content)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, []byte("text")) {
		t.Fatalf("opened to %q", text)
	}
	return f.Commit(fr.title, fr.ic)
}

func commit(t testing.TB, f security.ReceiveFloor, title dlms.SystemTitle, ic dlms.InvocationCounter) {
	t.Helper()
	if err := f.Check(title, ic); err != nil {
		t.Fatalf("check %d: %v", ic, err)
	}
	if err := f.Commit(title, ic); err != nil {
		t.Fatalf("commit %d: %v", ic, err)
	}
}

func mustRefuse(t testing.TB, what string, err, want error, expected dlms.InvocationCounter) {
	t.Helper()
	var ce *security.CounterError
	if !errors.Is(err, want) || !errors.As(err, &ce) || ce.Expected != expected {
		t.Errorf("%s: want %v with expected counter %d, got %v", what, want, expected, err)
	}
}
