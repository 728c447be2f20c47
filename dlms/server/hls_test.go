package server_test

import (
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

func TestAfterPass2OnlyReplyToHLSIsServed(t *testing.T) {
	b := newBench(t)
	p := b.is().halfOpen()
	for _, plain := range [][]byte{
		p.getRequest(dlms.ClassRegister, obisEnergy, 2),
		p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)),
		p.actionRequest(dlms.ClassAssociationLN, current, 2, dlms.OctetString(make([]byte, 17))),
	} {
		wantAnswer(t, notAllowed, p.send(plain))
		wantAnswer(t, notAllowed, p.send(p.sealDedicated(plain)))
		wantAnswer(t, notAllowed, p.send(p.sealGlobal(plain)))
	}
	if b.dev.breaker != 1 {
		t.Fatal("the breaker moved before the client was authenticated")
	}
	p.pass4(p.send(p.pass3()))
	p.works()
}

func TestAWrongAnswerToTheChallengeEndsTheAssociation(t *testing.T) {
	for name, reply := range map[string]func(p *peer) []byte{
		"a flipped bit":        func(p *peer) []byte { r := p.reply(p.server); r[16] ^= 1; return r },
		"another challenge":    func(p *peer) []byte { return p.reply(p.challenge) },
		"encrypted, says SC":   func(p *peer) []byte { r := p.reply(p.server); r[0] = 0x30; return r },
		"seventeen other ones": func(*peer) []byte { return repeat(1, 17) },
		"nothing":              func(*peer) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			p := b.concentrator().halfOpen()
			answer := p.send(p.sealGlobal(p.replyAPDU(reply(p))))
			if r := p.actionResponse(p.openWith(p.glo, answer)); r.Outcome.Result != dlms.ActionOtherReason || r.Outcome.HasReturn {
				t.Errorf("got %+v", r.Outcome)
			}
			wantAnswer(t, notAllowed, p.send(p.pass3()))
			if e := b.dev.events[len(b.dev.events)-1]; e.Kind != server.EventFailed || e.Err == nil {
				t.Errorf("event: %+v", e)
			}
		})
	}
}

func (p *peer) reply(challenge []byte) []byte {
	return p.must(security.BuildReply(p.glo, p.title, p.next(p.gloSend), challenge))
}

// The server's own f(client challenge) of another session is no answer to its own challenge.
func TestAReflectedAnswerIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().halfOpen()
	ic := p.next(p.gloSend)
	asMeter := p.must(security.BuildReply(p.glo, meterTitle, 1<<20, p.server))
	answer := p.send(p.sealWith(p.glo, ic, false, p.replyAPDU(asMeter)))
	if r := p.actionResponse(p.openWith(p.glo, answer)); r.Outcome.Result != dlms.ActionOtherReason {
		t.Errorf("got %s", r.Outcome.Result)
	}
}

func TestPass3CannotBeReplayed(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().halfOpen()
	pass3 := p.pass3()
	p.pass4(p.send(pass3))
	wantAnswer(t, notAllowed, p.send(pass3)) // traffic under an association key
	p.works()

	fresh := b.concentrator()
	fresh.gloSend, fresh.rand = p.gloSend, p.rand
	fresh.halfOpen()
	wantCounter(t, 5, fresh.send(pass3))
	fresh.pass4(fresh.send(fresh.pass3()))
	fresh.works()
}

func TestTheFloorIsBehindBothCountersOfPass3(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	if got := b.dev.floor(setupLAN, concTitle); got != 4 {
		t.Errorf("floor: want 4 after AARQ 1, f() 2 and its APDU 3, got %d", got)
	}
	inner := b.is().halfOpen()
	reply := p.must(security.BuildReply(inner.glo, isTitle, 100, inner.server)) // the inner one is the higher
	inner.pass4(inner.send(inner.sealGlobal(inner.replyAPDU(reply))))
	if got := b.dev.floor(setupIS, isTitle); got != 101 {
		t.Errorf("floor: want 101, got %d", got)
	}
}

func TestAnInnerCounterThatJumpsTooFarAuthenticatesNobody(t *testing.T) {
	b := newBench(t)
	p := b.is().halfOpen()
	reply := p.must(security.BuildReply(p.glo, isTitle, 1<<30, p.server))
	answer := p.send(p.sealGlobal(p.replyAPDU(reply)))
	if r := p.actionResponse(p.openWith(p.glo, answer)); r.Outcome.Result != dlms.ActionOtherReason {
		t.Errorf("got %s", r.Outcome.Result)
	}
	if got := b.dev.floor(setupIS, isTitle); got != 3 {
		t.Errorf("floor: want 3, got %d", got)
	}
}

func TestOneCounterInsideAndAroundIsRefusedButFromForeignClients(t *testing.T) {
	b := newBench(t)
	b.repeats = true
	p := b.concentrator()
	p.sharedIC = true
	p.halfOpen()
	answer := p.send(p.pass3())
	if r := p.actionResponse(p.openWith(p.glo, answer)); r.Outcome.Result != dlms.ActionOtherReason {
		t.Errorf("got %s", r.Outcome.Result)
	}
	if e := b.dev.events[len(b.dev.events)-1]; !errors.Is(e.Err, server.ErrNonceShared) {
		t.Errorf("event: %+v", e)
	}
	foreign := b.tester()
	foreign.sharedIC = true
	foreign.open().works()
}

func TestPass3UnderTheDedicatedKeyIsForForeignClientsOnly(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.hlsDedicated = true
	p.halfOpen()
	wantAnswer(t, notAllowed, p.send(p.pass3()))
	p.hlsDedicated = false
	p.pass4(p.send(p.pass3()))
	foreign := b.tester()
	foreign.hlsDedicated = true
	foreign.open().works()
}

func TestAForgedPass3LeavesTheHalfOpenAssociationAlone(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().halfOpen()
	forged := p.pass3()
	forged[len(forged)-1] ^= 1
	wantAnswer(t, deciphering, p.send(forged))
	p.pass4(p.send(p.pass3()))
	p.works()
}

func TestAHalfOpenAssociationIsForgotten(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().halfOpen()
	b.now = b.now.Add(time.Minute)
	wantAnswer(t, notAllowed, p.send(p.pass3()))
	if n := b.dev.count(server.EventFailed); n != 1 {
		t.Errorf("events: %+v", b.dev.events)
	}
	p.halfOpen()
	b.now = b.now.Add(time.Minute)
	b.srv.Sweep()
	if open, half := b.srv.Associations(); open+half != 0 || b.dev.count(server.EventFailed) != 2 {
		t.Errorf("%d open, %d half-open, events: %+v", open, half, b.dev.events)
	}
}

func TestAHalfOpenFloodFillsOneSlotAndNoMore(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	honest := b.is().open()
	for range 2000 {
		p.halfOpen()
	}
	stranger := b.peer(lan, sapReadWrite, isTitle, otherKey())
	for sap := range dlms.SAP(300) { // and strangers on every SAP
		if sap != sapReadWrite && sap != sapIS {
			b.handle(lan, sap, stranger.aarq(func(q *apdu.AARQ) { q.UserInformation[9] ^= 1 }))
		}
	}
	if open, half := b.srv.Associations(); open != 1 || half != 1 {
		t.Errorf("want 1 open and 1 half-open, got %d and %d", open, half)
	}
	honest.works()
	p.pass4(p.send(p.pass3()))
	p.works()
}

// Law 4: the same dedicated key in another association goes on with the counters that it had.
func TestADedicatedKeyBroughtAgainRepeatsNoNonceAndNoAPDU(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	p.works()
	recorded := p.sealDedicated(p.getRequest(dlms.ClassRegister, obisEnergy, 2))
	p.openWith(p.ded, p.send(recorded))
	for range 3 {
		p.open() // with the same key: the oracle watches what the meter seals
		wantCounter(t, 3, p.send(recorded))
	}
	p.works()
	foreign := b.tester().open()
	foreign.works()
	key := foreign.dedBytes
	foreign.b.repeats = true // it starts again at 1, a fault of its own
	foreign.useKey(key, new(security.MemoryCounter))
	foreign.open().works()
}
