package server_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// state is everything that an APDU which does not verify must leave alone.
type state struct {
	floorLAN, floorIS dlms.InvocationCounter
	open, half        int
	breaker           cosem.ControlState
	shifts            int
	ends              int
}

func (b *bench) state() state {
	s := state{
		floorLAN: b.dev.floor(setupLAN, concTitle), floorIS: b.dev.floor(setupIS, isTitle),
		breaker: b.dev.breaker, shifts: len(b.dev.shifts),
		ends: b.dev.count(server.EventClosed) + b.dev.count(server.EventFailed) + b.dev.count(server.EventOpened),
	}
	s.open, s.half = b.srv.Associations()
	return s
}

// Law 9 over a whole exchange: before each honest APDU every one of its bits is flipped and the result is sent
// first. None may move a counter, a state or a breaker, and the honest one is served after all of them.
func TestLaw9NoFlippedBitOfAWholeAssociationMovesAnything(t *testing.T) {
	b := newBench(t)
	p := b.is()
	attack := func(g []byte) []byte {
		t.Helper()
		before := b.state()
		for bit := range 8 * len(g) {
			forged := bytes.Clone(g)
			forged[bit/8] ^= 0x80 >> (bit % 8)
			if p.harmless(forged) {
				continue
			}
			p.send(forged)
			if after := b.state(); after != before {
				t.Fatalf("bit %d of % x: %+v became %+v", bit, g, before, after)
			}
		}
		return p.send(g)
	}
	p.accept(attack(p.aarq(func(q *apdu.AARQ) { q.Implementation = []byte("grant") })))
	p.pass4(attack(p.pass3()))
	p.openWith(p.ded, attack(p.sealDedicated(p.energyRequest())))
	shut := p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0))
	p.openWith(p.ded, attack(p.sealDedicated(shut)))
	if b.dev.breaker != cosem.Disconnected {
		t.Error("the honest command was not served")
	}
	p.wantReleased(attack(p.release(p.sealGlobal(p.farewell()))), apdu.ReleaseNormal)
}

// harmless reports whether a forged AARQ or RLRQ still carries the honest ciphered InitiateRequest under the honest
// title: what else they say in clear is not authenticated by the standard. The challenge is: a wrong one fails in
// pass 4.
func (p *peer) harmless(forged []byte) bool {
	if q, err := apdu.ParseRLRQ(forged); err == nil {
		return p.verifies(q.UserInformation)
	}
	q, err := apdu.ParseAARQ(forged)
	return err == nil && q.CallingTitle == p.title && q.Mechanism == apdu.MechanismHLSGMAC &&
		q.Context == apdu.ContextLNCiphered && p.verifies(q.UserInformation)
}

func (p *peer) verifies(info []byte) bool {
	g, err := apdu.ParseCiphered(info)
	if err != nil || g.Tag != apdu.TagGloInitiateRequest {
		return false
	}
	_, err = p.glo.Open(nil, security.Control(g.Control), p.title, g.Counter, g.Content)
	return err == nil
}

// A challenge that was altered on the way opens nothing: the client sees it in pass 4, the server in pass 3.
func TestAnAlteredChallengeIsSeenByTheClient(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.accept(p.send(p.aarq(func(q *apdu.AARQ) {
		q.AuthenticationValue = bytes.Clone(q.AuthenticationValue)
		q.AuthenticationValue[0] ^= 1
	})))
	r := p.actionResponse(p.openWith(p.glo, p.send(p.pass3())))
	reply, err := r.Outcome.Return.Data.OctetString()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := security.VerifyReply(p.glo, meterTitle, p.challenge, reply); err == nil {
		t.Error("the altered challenge was answered as if it were the client's")
	}
}

// Everything that an exchange showed on the wire, cut short, sent again and mixed, on every SAP and link.
func TestARecordedExchangePlayedAgainInAnyOrderMovesNothing(t *testing.T) {
	b := newBench(t)
	var recorded [][]byte
	record := func(p *peer, g []byte) []byte {
		answer := p.send(g)
		recorded = append(recorded, bytes.Clone(g), bytes.Clone(answer))
		return answer
	}
	for range 2 {
		for _, p := range []*peer{b.exp(concTitle, lanKey(), sapReadWrite), b.exp(isTitle, isKey(), sapIS)} {
			p.accept(record(p, p.aarq()))
			p.pass4(record(p, p.pass3()))
			p.openWith(p.ded, record(p, p.sealDedicated(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1)))))
			record(p, p.release(p.sealGlobal(p.farewell())))
		}
	}
	rw, is := b.exp(concTitle, lanKey(), sapReadWrite), b.exp(isTitle, isKey(), sapIS)
	rw.open()
	is.open()
	before := b.state()
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		g := recorded[r.IntN(len(recorded))]
		if r.IntN(4) == 0 {
			g = g[:r.IntN(len(g)+1)]
		}
		sap := []dlms.SAP{sapReadWrite, sapIS, sapBroadcast, sapBench, 99}[r.IntN(5)]
		b.handle([]string{lan, local}[r.IntN(2)], sap, g)
		if r.IntN(50) == 0 {
			b.toAll(sap, g)
		}
	}
	if after := b.state(); after != before {
		t.Errorf("%+v became %+v", before, after)
	}
	rw.works()
	is.works()
}

// exp is a peer that goes on where the floor of the meter stands, so that several in a row share one counter.
func (b *bench) exp(title dlms.SystemTitle, k []byte, sap dlms.SAP) *peer {
	p := b.peer(lan, sap, title, k)
	setup := setupLAN
	if sap == sapIS {
		setup = setupIS
	}
	c, err := security.NewBlockCounter(security.BlockConfig{
		Start:   security.Reservation{Ceiling: b.dev.floor(setup, title) + 10},
		Reserve: func(security.Reservation) error { return nil },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	p.gloSend = c
	return p
}
