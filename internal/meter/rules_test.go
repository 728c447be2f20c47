package meter

import (
	"bytes"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/internal/role"
)

// methodShiftTime moves a clock by seconds (BB 4.5.1).
const methodShiftTime = 6

// The rules on what peers get wrong that a meter answers for as a whole. The others are named so in dlms/security,
// dlms/client and dlms/server.

func TestRule09ABlobThatIsPresentedAgainBringsNoKeyBackAndZeroesNoCounter(t *testing.T) {
	for _, profile := range []string{ProfileLinky, ProfileHardened} {
		r := newRig(t, profile)
		r.get(r.open(readWrite), clockObject(), 2)
		session := r.requests // of the first key, as somebody recorded it
		second, blob := r.wrapped()
		if err := r.transfer(role.CCLAN, 0, blob); err != nil {
			t.Fatal(err)
		}
		r.keys[role.CCLAN] = second
		third, next := r.wrapped()
		if err := r.transfer(role.CCLAN, 0, next); err != nil {
			t.Fatal(err)
		}
		r.keys[role.CCLAN] = third
		r.open(readWrite)
		for round, restart := range []bool{false, true} {
			if restart {
				r.restart()
			}
			r.meter.mu.Lock()
			before := r.meter.state.keys
			r.meter.mu.Unlock()
			for _, old := range [][]byte{must(r.birth.Row.CCC.Wrap(r.birth.Row.LAN)), blob, next} {
				wantAction(t, profile, r.transfer(role.CCLAN, 0, old), dlms.ActionOtherReason)
			}
			r.meter.mu.Lock()
			after := r.meter.state.keys
			r.meter.mu.Unlock()
			lan := func(k [roles]heldKey) heldKey { return k[role.CCLAN] }
			if a, b := lan(before), lan(after); profile == ProfileHardened && (len(a.floors) != len(b.floors) || a.floors[0] != b.floors[0]) {
				t.Errorf("%s, round %d: the floors of CC_LAN moved from %v to %v", profile, round, a.floors, b.floors)
			}
			if _, generation := r.meter.Held(role.CCLAN); generation != 3 {
				t.Errorf("%s, round %d: want generation 3, got %d", profile, round, generation)
			}
			for _, b := range session {
				r.hand(readWrite, b)
			}
			if a, err := r.tryOpen(readWrite); err != nil {
				t.Errorf("%s, round %d: the key in force: %v", profile, round, err)
			} else {
				r.get(a, clockObject(), 2)
			}
		}
	}
}

func TestRule12WhoForwardsTheCriticalCommandsCanForgeNoneAndRepeatNone(t *testing.T) {
	r := newRig(t, ProfileHardened)
	own := r.open(readWrite) // what a concentrator holds: a session of its own, and all that it forwards
	is := r.open(central)
	r.requests = nil
	if err := invoke(is, breakerObject(), 1, dlms.Int8(0)); err != nil {
		t.Fatal(err)
	}
	r.wantBreaker("opened by the central system", cosem.Disconnected)
	open := bytes.Clone(r.requests[0])
	if err := invoke(is, breakerObject(), 2, dlms.Int8(0)); err != nil {
		t.Fatal(err)
	}
	r.wantBreaker("armed by the central system", cosem.ReadyForReconnection)

	for _, w := range []who{central, readWrite, terminals} {
		r.hand(w, open) // again, and under other names
		for bit := range 8 * len(open) {
			altered := bytes.Clone(open)
			altered[bit/8] ^= 1 << (bit % 8)
			r.hand(w, altered)
		}
	}
	// The same command under its own session, sent in its own name and in that of the central system.
	plain := must(apdu.ActionRequest{
		Kind: apdu.ActionRequestNormal, ID: apdu.NewInvokeID(1, true, false), Method: method(breakerObject(), 1),
		HasParameters: true, Parameters: dlms.Int8(0),
	}.AppendBinary(nil))
	r.requests = nil
	if err := invoke(own, breakerObject(), 1, dlms.Int8(0)); err == nil {
		t.Error("the concentrator opened the breaker")
	}
	r.hand(central, r.requests[0])
	r.hand(central, plain)
	r.hand(central, r.glo(readWrite, apdu.TagGloActionRequest))
	r.wantBreaker("after all that", cosem.ReadyForReconnection)
	if err := invoke(is, breakerObject(), 1, dlms.Int8(0)); err != nil {
		t.Errorf("the central system's association was disturbed: %v", err)
	}
}

func TestRule14LANAndBroadcastTogetherMoveASetClockBySixtySecondsADay(t *testing.T) {
	r := newRig(t, ProfileHardened)
	reader, b := r.open(readWrite), r.openBroadcast(caster)
	shift := func(by int16) error { return invoke(reader, clockObject(), methodShiftTime, dlms.Int16(by)) }
	cast := func(by int16) {
		r.cast(must(b.AppendAction(nil, method(clockObject(), methodShiftTime), dlms.Int16(by))))
	}
	if err := shift(30); err != nil {
		t.Fatal(err)
	}
	cast(20)
	r.wantClock("30 s by the one and 20 s by the other", 50*time.Second)
	wantAction(t, "11 s more", shift(11), dlms.ActionScopeViolated)
	cast(11)
	cast(-11) // a step back counts as one forward does
	r.wantClock("small steps are a big step", 50*time.Second)
	cast(10)
	r.wantClock("60 s in sum", 60*time.Second)
	for range 3 {
		wantAction(t, "a second more", shift(1), dlms.ActionScopeViolated)
		cast(-1)
		r.pass(7*time.Hour + 59*time.Minute)
		reader, b = r.open(readWrite), r.openBroadcast(caster)
	}
	r.wantClock("within the day", 60*time.Second)
	r.pass(4 * time.Minute)
	if err := shift(-60); err != nil {
		t.Errorf("a day later: %v", err)
	}
	// Any step is for the central system, and it is told.
	if err := r.setClock(r.open(central), r.clock().Add(2*time.Hour)); err != nil {
		t.Errorf("the central system: %v", err)
	}
	r.wantClock("set by the central system", 2*time.Hour)
	if codes := r.codes(logMain); !contains(codes, codeClockMoved) || !contains(codes, codeClockRefused) {
		t.Errorf("the main log tells of no move or of no refusal: %v", codes)
	}
}
