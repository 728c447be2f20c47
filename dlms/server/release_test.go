package server_test

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/server"
)

func (p *peer) wantReleased(answer []byte, reason apdu.ReleaseReason) apdu.RLRE {
	p.t.Helper()
	e, err := apdu.ParseRLRE(answer)
	if err != nil || !e.HasReason || e.Reason != reason {
		p.t.Fatalf("rlre: got % x, %v", answer, err)
	}
	return e
}

// farewell is the InitiateRequest of a release: without a dedicated key.
func (p *peer) farewell() []byte {
	p.t.Helper()
	q := apdu.InitiateRequest{ResponseAllowed: true, Version: 6, Conformance: p.conformance, MaxPDU: p.maxPDU}
	return p.must(q.AppendBinary(nil))
}

func TestAnAARQThatWasHeldBackCannotBeMadeIntoARelease(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	held := p.aarq()
	q, err := apdu.ParseAARQ(held)
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, notAllowed, p.send(p.release(q.UserInformation)))
	p.works()
	p.accept(p.send(held)) // and its counter was not spent
}

func TestAProtectedReleaseEndsTheAssociation(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	e := p.wantReleased(p.send(p.release(p.sealGlobal(p.farewell()))), apdu.ReleaseNormal)
	if plain := p.openWith(p.glo, e.UserInformation); apdu.Tag(plain[0]) != apdu.TagInitiateResponse {
		t.Errorf("rlre: user information % x", plain)
	}
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	if e := b.dev.events[1]; e.Kind != server.EventClosed || e.Err != nil || e.Peer != concTitle {
		t.Errorf("event: %+v", e)
	}
}

func TestAReleaseThatAnybodyCanWriteEndsNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	p.wantReleased(p.send([]byte{0x62, 0x00}), apdu.ReleaseNotFinished)
	p.wantReleased(p.send(p.release(nil)), apdu.ReleaseNotFinished)
	p.wantReleased(p.send(p.release(p.farewell())), apdu.ReleaseNotFinished)
	wantAnswer(t, otherReason, p.send([]byte{0x62, 0x05, 0x80}))
	p.works()
}

func TestAStrangersReleaseEndsNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	stranger := b.peer(lan, sapReadWrite, isTitle, otherKey())
	stranger.freshKey()
	info := stranger.sealGlobal(stranger.farewell())
	wantAnswer(t, deciphering, stranger.send(stranger.release(info)))
	p.works()
}

func TestAReplayedReleaseEndsNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	recorded := p.release(p.sealGlobal(p.farewell()))
	p.wantReleased(p.send(recorded), apdu.ReleaseNormal)
	wantAnswer(t, notAllowed, p.send(recorded))
	p.ded = nil
	p.open()
	wantCounter(t, 8, p.send(recorded))
	p.works()
}

// The ciphered InitiateRequest of the AARQ is on record too, and serves for no release.
func TestTheInitiateRequestOfTheAARQDoesNotRelease(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	info := p.sealGlobal(p.initiateWithKey())
	p.accept(p.send(p.aarq(func(q *apdu.AARQ) { q.UserInformation = info })))
	p.pass4(p.send(p.pass3()))
	wantAnswer(t, notAllowed, p.send(p.release(info)))
	p.works()
	foreign := b.tester() // whose release may bring the key again, and is held by its counter
	info = foreign.sealGlobal(foreign.initiateWithKey())
	foreign.accept(foreign.send(foreign.aarq(func(q *apdu.AARQ) { q.UserInformation = info })))
	foreign.pass4(foreign.send(foreign.pass3()))
	wantCounter(t, b.dev.floor(setupLAN, foreign.title), foreign.send(foreign.release(info)))
	foreign.works()
}

func (p *peer) initiateWithKey() []byte {
	p.t.Helper()
	p.freshKey()
	return p.initiate()
}

func TestAReleaseUnderTheDedicatedKeyOrWithAnotherAPDUInsideEndsNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	get := p.sealDedicated(p.energyRequest())
	p.wantReleased(p.send(p.release(get)), apdu.ReleaseNotFinished)
	wantAnswer(t, notAllowed, p.send(p.release(p.sealGlobal(p.energyRequest()))))
	p.openWith(p.ded, p.send(get)) // its counter was not spent by the release
	p.works()
}

func TestAReleaseWithoutAnAssociationIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.freshKey()
	wantAnswer(t, notAllowed, p.send(p.release(p.sealGlobal(p.farewell()))))
	if got := b.dev.floor(setupLAN, concTitle); got != 0 {
		t.Errorf("floor moved to %d", got)
	}
}

func TestAHalfOpenAssociationCanBeReleased(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().halfOpen()
	p.wantReleased(p.send(p.release(p.sealGlobal(p.farewell()))), apdu.ReleaseNormal)
	wantAnswer(t, notAllowed, p.send(p.pass3()))
}

func TestAStrangersAARQOrReleaseForABroadcastAssociationChangesNothing(t *testing.T) {
	b := newBench(t)
	rw := b.concentrator().open()
	bc := b.broadcaster(rw).open()
	stranger := b.peer(lan, sapBroadcast, dlms.SystemTitle{1}, otherKey())
	stranger.send(stranger.aarq())
	stranger.send(stranger.release(nil))
	b.toAll(sapBroadcast, bc.broadcastShift(3))
	if len(b.dev.shifts) != 1 {
		t.Error("the broadcast association is gone")
	}
}
