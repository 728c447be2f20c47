package server_test

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// broadcasting opens a read/write and a broadcast association.
func (b *bench) broadcasting() (rw, bc *peer) {
	b.t.Helper()
	rw = b.concentrator().open()
	return rw, b.broadcaster(rw).open()
}

func TestABroadcastIsTakenOnceAndNeverAnswered(t *testing.T) {
	b := newBench(t)
	_, bc := b.broadcasting()
	g := bc.broadcastShift(7)
	b.toAll(sapBroadcast, g)
	b.toAll(sapBroadcast, g) // a replay
	if len(b.dev.shifts) != 1 || b.dev.shifts[0] != 7 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
}

func TestNothingIsEverSealedUnderABroadcastKey(t *testing.T) {
	b := newBench(t)
	_, bc := b.broadcasting()
	before := b.oracle.Seals()
	for _, plain := range [][]byte{
		bc.getRequest(dlms.ClassClock, obisClock, 2),
		bc.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1)),
		unconfirmed(bc.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1))),
	} {
		wantAnswer(t, notAllowed, bc.send(bc.sealDedicated(plain)))
		wantAnswer(t, notAllowed, bc.send(bc.sealGlobal(plain)))
		b.toAll(sapBroadcast, bc.sealDedicated(plain[:len(plain)-1]))
	}
	if got := b.oracle.Seals() - before; got != 9 { // the peer's own
		t.Errorf("the meter sealed %d times", got-9)
	}
	if len(b.dev.shifts) != 0 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
}

func TestABroadcastIsRefused(t *testing.T) {
	b := newBench(t)
	rw, bc := b.broadcasting()
	shift := func() []byte { return bc.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(9)) }
	forged := bc.broadcastShift(9)
	forged[len(forged)-1] ^= 1
	bc.control = security.Authenticated
	notEncrypted := bc.broadcastShift(9)
	bc.control = security.AuthenticatedEncrypted
	for name, g := range map[string][]byte{
		"in clear":                  unconfirmed(shift()),
		"confirmed":                 bc.sealDedicated(shift()),
		"under the global key":      bc.sealGlobal(unconfirmed(shift())),
		"with a wrong tag":          forged,
		"not encrypted":             notEncrypted,
		"under another session key": rw.sealDedicated(unconfirmed(shift())),
		"a get":                     bc.sealDedicated(bc.getRequest(dlms.ClassClock, obisClock, 2)),
		"breaker":                   bc.sealDedicated(unconfirmed(bc.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)))),
		"keys":                      bc.sealDedicated(unconfirmed(bc.actionRequest(dlms.ClassSecuritySetup, setupLAN, 2, dlms.Array()))),
		"nothing":                   {},
		"a tag":                     {byte(apdu.TagDedActionRequest)},
	} {
		b.toAll(sapBroadcast, g)
		if len(b.dev.shifts) != 0 || b.dev.breaker != 1 {
			t.Fatalf("%s: taken", name)
		}
	}
	b.toAll(sapReadWrite, rw.sealDedicated(unconfirmed(shift()))) // by a client that is no broadcaster
	b.toAll(sapPublic, unconfirmed(shift()))
	b.toAll(99, bc.broadcastShift(9))
	if len(b.dev.shifts) != 0 {
		t.Fatal("taken from a client that may not")
	}
	b.toAll(sapBroadcast, bc.broadcastShift(1))
	if len(b.dev.shifts) != 1 {
		t.Error("the honest broadcast is not taken any more")
	}
}

func TestOldBroadcastsDoNotReplayWhenTheSameKeyIsBroughtAgain(t *testing.T) {
	b := newBench(t)
	_, bc := b.broadcasting()
	g := bc.broadcastShift(7)
	b.toAll(sapBroadcast, g)
	bc.open() // the meter rejoins under the same broadcast key
	b.toAll(sapBroadcast, g)
	if len(b.dev.shifts) != 1 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
	b.toAll(sapBroadcast, bc.broadcastShift(8))
	if len(b.dev.shifts) != 2 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
}

func TestAHalfOpenBroadcastAssociationTakesNoBroadcast(t *testing.T) {
	b := newBench(t)
	rw := b.concentrator().open()
	bc := b.broadcaster(rw).halfOpen()
	b.toAll(sapBroadcast, bc.broadcastShift(7))
	if len(b.dev.shifts) != 0 {
		t.Error("taken before the client was authenticated")
	}
	bc.pass4(bc.send(bc.pass3()))
	b.toAll(sapBroadcast, bc.broadcastShift(8))
	if len(b.dev.shifts) != 1 {
		t.Error("not taken")
	}
}
