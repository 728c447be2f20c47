package security_test

import (
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/security"
)

// The tests of this file are named after the rules for two ends that the implementations in the field get wrong, as
// far as the rules live in this package; client and server have the rest.

// Rule 1: counters are kept per key, for sending and for receiving apart; a new key starts at 1; on success the floor
// is value + 1; at the end a sender refuses and does not wrap.
func TestRule01CountersBelongToOneKeyAndOneDirection(t *testing.T) {
	oldKey, newKey := &disk{}, &disk{}
	old := oldKey.start(t, 4)
	for range 10 {
		next(t, old)
	}
	if got := next(t, newKey.start(t, 4)); got != 1 {
		t.Errorf("a new key starts at %d", got)
	}
	floors := (&nvm{}).table(t)
	commit(t, floors, alice, 5)
	if got := floors.Expected(alice); got != 6 {
		t.Errorf("after 5 the floor is %d", got)
	}
	if got := floors.Expected(bob); got != 0 {
		t.Errorf("another title's floor is %d", got)
	}
	if got := next(t, old); got != 11 {
		t.Errorf("receiving moved the sending counter to %d", got)
	}
}

func TestRule01ASenderAtItsEndRefusesAndStaysThere(t *testing.T) {
	d := &disk{kept: security.Reservation{Ceiling: dlms.MaxInvocationCounter - 1}}
	c := d.start(t, 64)
	if got := next(t, c); got != dlms.MaxInvocationCounter {
		t.Fatalf("got %d", got)
	}
	for range 3 {
		if got, err := c.Next(); !errors.Is(err, dlms.ErrCounterExhausted) || got != 0 {
			t.Errorf("past the end: got %d, %v", got, err)
		}
	}
	if d.kept.Ceiling != dlms.MaxInvocationCounter {
		t.Errorf("on disk: %d", d.kept.Ceiling)
	}
}

func TestRule01AKeyServesEightTitlesAndTheNinthWaits(t *testing.T) {
	table := (&nvm{}).table(t)
	for i := range byte(security.MaxTitles) {
		commit(t, table, dlms.SystemTitle{'T', i}, 1)
	}
	if err := table.Check(dlms.SystemTitle{'T', 99}, 1); !errors.Is(err, security.ErrTitles) {
		t.Errorf("a ninth title: got %v", err)
	}
	commit(t, table, dlms.SystemTitle{'T', 0}, 2)
}

func TestRule01AReceiverRefusesAJumpThatWouldBurnTheCounter(t *testing.T) {
	table := (&nvm{}).table(t)
	commit(t, table, alice, 10)
	mustRefuse(t, "jump", table.Check(alice, 11+security.MaxJump+1), security.ErrJump, 11)
	commit(t, table, alice, 11+security.MaxJump)
}

// Rule 2: the floor moves only after the tag has verified, and an equal value is refused.
func TestRule02TheFloorMovesAfterTheTagAndAnEqualCounterIsRefused(t *testing.T) {
	everyFloor(t, func(t *testing.T, f security.ReceiveFloor) {
		honest, forger := newCipher(t, ek, ak), newCipher(t, ak, ek)
		if err := receive(t, f, honest, seal(t, forger, alice, 1<<20)); !errors.Is(err, security.ErrTag) {
			t.Fatalf("forged: got %v", err)
		}
		frame := seal(t, honest, alice, 1)
		if err := receive(t, f, honest, frame); err != nil {
			t.Fatalf("the forged counter locked the honest peer out: %v", err)
		}
		mustRefuse(t, "the last frame again", receive(t, f, honest, frame), security.ErrReplay, 2)
	})
}

// Rule 3: nobody's word lowers a sending counter, and raising is bounded at a time and in sum.
func TestRule03NobodysWordLowersASendingCounter(t *testing.T) {
	d := &disk{}
	c := d.start(t, 8)
	for range 100 {
		next(t, c)
	}
	for _, v := range []dlms.InvocationCounter{0, 1, 50, 100, 101} {
		if err := c.RaiseTo(v); err != nil {
			t.Errorf("raise to %d: %v", v, err)
		}
	}
	if got := next(t, c); got != 101 {
		t.Errorf("after asking for less: %d", got)
	}
	if err := c.RaiseTo(101 + security.MaxRaise + 2); !errors.Is(err, security.ErrRaise) {
		t.Errorf("too far at a time: %v", err)
	}
	for i := 0; ; i++ {
		if err := c.RaiseTo(next(t, c) + security.MaxRaise); err != nil {
			if !errors.Is(err, security.ErrRaise) || i < security.MaxRaisePerKey/security.MaxRaise-1 {
				t.Errorf("raise %d: %v", i, err)
			}
			return
		}
		if i > security.MaxRaisePerKey/security.MaxRaise+1 {
			t.Fatal("raised beyond the sum")
		}
	}
}

// Rule 4: sending counters are durable before use, in blocks; floors are durable exactly, before effect, never ahead.
func TestRule04ACrashSkipsCountersAndRepeatsNone(t *testing.T) {
	d, last := &disk{}, dlms.InvocationCounter(0)
	for range 20 {
		c := d.start(t, 16) // as after a crash: nothing was saved at the end
		for range 5 {
			got := next(t, c)
			if got <= last || got > d.kept.Ceiling {
				t.Fatalf("%d after %d, %d on disk", got, last, d.kept.Ceiling)
			}
			last = got
		}
	}
}

func TestRule04AFloorIsKeptExactlyAndBeforeEffect(t *testing.T) {
	n := &nvm{}
	table := n.table(t)
	commit(t, table, alice, 7)
	if got := n.floors[alice].Last; got != 7 {
		t.Errorf("on disk: %d", got)
	}
	if err := n.table(t).Check(alice, 8); err != nil {
		t.Errorf("after a crash the honest peer is locked out: %v", err)
	}
	mustRefuse(t, "after a crash", n.table(t).Check(alice, 7), security.ErrReplay, 8)
	n.fail = true
	if err := table.Commit(alice, 8); !errors.Is(err, errDisk) {
		t.Errorf("a floor that was not kept: %v", err)
	}
	if got := table.Expected(alice); got != 8 {
		t.Errorf("a floor that was not kept moved to %d", got)
	}
}

// Rule 5: a challenge equal to one's own, a title equal to one's own or another than expected would let the
// authentication be reflected.
func TestRule05AnAuthenticationCannotBeReflected(t *testing.T) {
	none, third := dlms.SystemTitle{}, dlms.SystemTitle{3}
	for name, c := range map[string]struct {
		own, peer                     []byte
		ownTitle, peerTitle, expected dlms.SystemTitle
		want                          error
	}{
		"our own challenge": {ours, ours, alice, bob, none, security.ErrChallenge},
		"a short challenge": {ours, theirs[:7], alice, bob, none, security.ErrChallenge},
		"our own title":     {ours, theirs, alice, alice, none, security.ErrTitle},
		"an unknown title":  {ours, theirs, alice, bob, third, security.ErrTitle},
		"a good peer":       {ours, theirs, alice, bob, bob, nil},
	} {
		if err := security.CheckPeer(c.own, c.peer, c.ownTitle, c.peerTitle, c.expected); !errors.Is(err, c.want) {
			t.Errorf("%s: want %v, got %v", name, c.want, err)
		}
	}
	c := newCipher(t, ek, ak)
	mine, err := security.BuildReply(c, alice, 5, theirs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := security.VerifyReply(c, bob, ours, mine); !errors.Is(err, security.ErrTag) {
		t.Errorf("gmac, one's own reply sent back: %v", err)
	}
	s := hlsSecret(t, "the secret")
	mine, err = security.SHA256Reply(s, alice, bob, theirs, ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := security.VerifySHA256Reply(s, alice, bob, theirs, ours, mine); !errors.Is(err, security.ErrTag) {
		t.Errorf("sha-256, one's own reply sent back: %v", err)
	}
}

// Rule 6: less protection than the policy, another suite, encryption without authentication are refused, and no
// open does without a tag what the policy did not name.
func TestRule06LessProtectionThanThePolicyIsRefused(t *testing.T) {
	strict := security.Acceptance{Policy: security.PolicyAuthenticatedEncrypted}
	c := newCipher(t, ek, ak)
	for ctl, want := range map[security.Control]error{
		0x00: security.ErrPolicy, 0x10: security.ErrPolicy, 0x20: security.ErrEncryptedOnly, 0x31: security.ErrSuite,
		0x32: security.ErrSuite, 0xB0: security.ErrCompressed, 0x70: security.ErrKeySet,
	} {
		if err := strict.Check(ctl); !errors.Is(err, want) {
			t.Errorf("%02X: want %v, got %v", byte(ctl), want, err)
		}
	}
	plain := []byte("a text that nobody authenticated")
	content := encryptOnly(t, ek, alice, 1, plain)
	if got, err := c.Open(nil, security.Encrypted, alice, 1, content); !errors.Is(err, security.ErrEncryptedOnly) || got != nil {
		t.Errorf("open without a tag: got %q, %v", got, err)
	}
	if got, err := c.Seal(nil, security.Encrypted, alice, 1, plain); !errors.Is(err, security.ErrEncryptedOnly) || got != nil {
		t.Errorf("seal without a tag: got %X, %v", got, err)
	}
	sealed, err := c.Seal(nil, security.AuthenticatedEncrypted, alice, 1, plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.OpenUnauthenticated(nil, security.AuthenticatedEncrypted, alice, 1, sealed); !errors.Is(err, security.ErrPolicy) || got != nil {
		t.Errorf("a tag that was to be skipped: got %q, %v", got, err)
	}
}

// Rule 7: each end has its own policy; what the peer sends does not change it.
func TestRule07ThePeerDoesNotChooseThePolicy(t *testing.T) {
	a := security.Acceptance{Policy: security.PolicyAuthenticated}
	for b := range 256 {
		before := a
		if err := a.Check(security.Control(b)); a != before || (err == nil) != (b == 0x10 || b == 0x30) {
			t.Errorf("%02X: %v", b, err)
		}
	}
}
