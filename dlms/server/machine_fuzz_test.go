package server_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// everyModel has a client for every mechanism and form, all of which may use general block transfer.
func everyModel(t testing.TB) *server.Model {
	t.Helper()
	return changedModel(t, func(c *server.Client) {
		c.Conformance = 0x001E1D | apdu.ConformanceGeneralBlockTransfer | notifications
		switch c.SAP {
		case sapBench:
			c.GeneralCiphering, c.GlobalBroadcast = true, true
		case sapReadWrite:
			c.Mechanism, c.Policy = server.MechanismLLS, security.PolicyNone
		case sapIS:
			c.Mechanism, c.Traffic, c.GeneralForms = server.MechanismSHA256, server.DedicatedOrGlobal, true
		}
	})
}

// script turns bytes into steps of the state machine.
type script struct {
	b     *bench
	peers []*peer
	sent  [][]byte
	in    []byte
}

func (s *script) byte() byte {
	if len(s.in) == 0 {
		return 0
	}
	v := s.in[0]
	s.in = s.in[1:]
	return v
}

// bytes takes what a length byte announces.
func (s *script) bytes() []byte {
	n := min(int(s.byte()), len(s.in))
	v := s.in[:n]
	s.in = s.in[n:]
	return v
}

func newScript(b *bench, in []byte) *script {
	b.dev.secrets = map[string]string{"read/write": password, "is": password}
	b.dev.everybody = b.cipherOf([]byte("a key for all..."))
	b.dev.everybodyFloor, _ = security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})
	public := b.peer(lan, sapPublic, dlms.SystemTitle{}, otherKey())
	rw, is, tester := b.concentrator(), b.is(), b.tester()
	bc := b.broadcaster(rw)
	public.noDedicated, rw.noDedicated = true, true
	for _, p := range []*peer{public, rw, is, tester, bc} {
		p.conformance |= apdu.ConformanceGeneralBlockTransfer | notifications
		p.maxPDU = 200
	}
	return &script{b: b, peers: []*peer{public, rw, is, tester, bc}, in: in}
}

// send gives the server an APDU and holds the answer against the client's PDU.
func (s *script) send(p *peer, g []byte) []byte {
	s.sent = append(s.sent, bytes.Clone(g))
	answer := p.send(g)
	if tag, err := apdu.TagOf(answer); err == nil && tag != apdu.TagAARE && len(answer) > int(p.maxPDU) {
		s.b.t.Fatalf("an answer of %d bytes, and the client takes %d: % x", len(answer), p.maxPDU, answer)
	}
	return answer
}

// seal protects a request as the peer would, under one of its keys.
func (s *script) seal(p *peer, dedicated bool, plain []byte) []byte {
	if p.sap == sapPublic || p.sap == sapReadWrite || len(plain) == 0 {
		return plain
	}
	if _, ok := apdu.CipheredTag(apdu.Tag(plain[0]), dedicated); !ok && !p.general {
		return plain
	}
	if p.ded == nil {
		p.freshKey()
	}
	if dedicated {
		return p.sealDedicated(plain)
	}
	return p.sealGlobal(plain)
}

// request is one of the well-formed requests, or bytes of the script.
func (s *script) request(p *peer) []byte {
	switch s.byte() % 10 {
	case 0:
		return p.energyRequest()
	case 1:
		return p.curveRequest()
	case 2:
		return p.listRequest(int(s.byte()) % 64)
	case 3:
		return p.nextBlock(uint32(s.byte()))
	case 4:
		return p.actionRequest(dlms.ClassData, obisEcho, 1, dlms.OctetString(make([]byte, 3*int(s.byte()))))
	case 5:
		q := apdu.ActionRequest{Kind: apdu.ActionRequestNext, ID: p.id(), Number: uint32(s.byte())}
		return p.must(q.AppendBinary(nil))
	case 6:
		kind := apdu.SetRequestKind(2 + s.byte()%4)
		block := apdu.Block{Last: s.byte()&1 == 1, Number: uint32(s.byte()), Raw: s.bytes()}
		q := apdu.SetRequest{Kind: kind, ID: p.id(), Attribute: noteRef(), List: []apdu.Attribute{noteRef(), noteRef()}, Block: block}
		return p.must(q.AppendBinary(nil))
	case 7:
		kind := apdu.ActionRequestKind(4 + s.byte()%3)
		block := apdu.Block{Last: s.byte()&1 == 1, Number: uint32(s.byte()), Raw: s.bytes()}
		q := apdu.ActionRequest{Kind: kind, ID: p.id(), Method: echoMethod(1), Methods: []dlms.MethodRef{echoMethod(1)}, Block: block}
		return p.must(q.AppendBinary(nil))
	case 8:
		return unconfirmed(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1)))
	}
	return s.bytes()
}

// associate does as much of an association as the script says.
func (s *script) associate(p *peer) {
	p.ded = nil
	g := p.aarq(func(q *apdu.AARQ) {
		switch p.sap {
		case sapPublic:
			*q = apdu.AARQ{Context: apdu.ContextLN, UserInformation: p.initiate()}
		case sapReadWrite:
			q.Context, q.Mechanism, q.AuthenticationValue = apdu.ContextLN, apdu.MechanismLLS, []byte(password)
			q.UserInformation = p.initiate()
		case sapIS:
			q.Mechanism = apdu.MechanismHLSSHA256
		}
	})
	e, err := apdu.ParseAARE(s.send(p, g))
	if err != nil || e.Diagnostic != apdu.DiagnosticAuthenticationRequired || s.byte()&3 == 0 {
		return
	}
	p.server = bytes.Clone(e.AuthenticationValue)
	if p.sap == sapIS {
		s.send(p, p.sealGlobal(p.replyAPDU(p.sha(password))))
		return
	}
	s.send(p, p.pass3())
}

// step does one thing.
func (s *script) step() {
	p := s.peers[int(s.byte())%len(s.peers)]
	p.general = s.byte()&7 == 0 && p.sap != sapPublic && p.sap != sapReadWrite
	switch s.byte() % 12 {
	case 0, 1:
		p.general = false
		s.associate(p)
	case 2, 3:
		s.send(p, s.seal(p, s.byte()&1 == 0, s.request(p)))
	case 4:
		block := apdu.BlockTransfer{
			Last: s.byte()&1 == 1, Streaming: s.byte()&7 == 0, Window: s.byte() & 63, Number: uint16(s.byte()), Ack: uint16(s.byte()),
			Data: s.bytes(),
		}
		s.send(p, p.must(block.AppendBinary(nil)))
	case 5:
		g := s.seal(p, s.byte()&1 == 0, s.request(p))
		for number := uint16(1); len(g) > 0 && number < 50; number++ {
			n := min(len(g), 1+int(s.byte()))
			block := apdu.BlockTransfer{Last: n == len(g), Window: 1, Number: number, Data: g[:n]}
			g = g[n:]
			s.send(p, p.must(block.AppendBinary(nil)))
		}
	case 6:
		s.send(p, s.bytes())
	case 7:
		if len(s.sent) > 0 { // a replay, perhaps altered, on any SAP
			g := bytes.Clone(s.sent[int(s.byte())%len(s.sent)])
			if len(g) > 0 && s.byte()&1 == 0 {
				g[int(s.byte())%len(g)] ^= s.byte()
			}
			s.send(p, g)
		}
	case 8:
		s.b.toAll(p.sap, s.seal(p, s.byte()&1 == 0, s.request(p)))
	case 9:
		_, _ = s.b.srv.EventNotification(p.link, p.sap, event())
		_, _ = s.b.srv.DataNotification(p.link, p.sap, push())
	case 10:
		s.b.now = s.b.now.Add(time.Duration(s.byte()) * time.Minute)
		s.b.srv.Sweep()
	case 11:
		s.send(p, p.release(s.seal(p, false, p.initiate())))
	}
}

// FuzzStateMachine drives clients of every mechanism through associations, services in every form and block, and their
// lies, as arbitrary bytes say. Nothing panics, no answer is longer than its client takes, no nonce comes twice, and
// an honest client is served at the end.
func FuzzStateMachine(f *testing.F) {
	f.Add([]byte{})
	for p := range byte(5) {
		f.Add([]byte{p, 1, 0, 1, p, 1, 2, 0, 1, p, 1, 5, 0, 1, 20, 20, 20, 20, p, 1, 4, 1, 1, 1, 2, 1, 0, p, 1, 4, 1, 1, 1, 3, 2, 0, p, 1, 11})
		f.Add([]byte{p, 1, 0, 1, p, 1, 2, 0, 4, 200, p, 1, 2, 0, 5, 1, p, 1, 2, 0, 6, 0, 0, 1, 2, 9, 1, p, 1, 7, 1, 0, 3, 4, p, 1, 9, p, 1, 8, 0, 8})
		f.Add([]byte{p, 1, 0, 1, p, 1, 2, 0, 7, 0, 0, 1, 3, 9, 4, 1, p, 1, 2, 0, 7, 2, 1, 2, 3, 2, 3, 4, p, 1, 10, 200, p, 0, 0, 1, p, 0, 2, 0, 1})
	}
	model := everyModel(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		b := newBenchOf(t, model)
		s := newScript(b, in)
		for steps := 0; len(s.in) > 0 && steps < 200; steps++ {
			s.step()
		}
		tester := s.peers[3]
		tester.general, tester.ded = false, nil
		tester.open().works()
	})
}
