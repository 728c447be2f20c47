package server_test

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

const password = "correct horse"

// withMechanism is a bench whose client on the local link authenticates otherwise.
func withMechanism(t testing.TB, m server.Mechanism, policy security.Policy, more ...func(c *server.Client)) (*bench, *peer) {
	t.Helper()
	b := newBenchOf(t, changedModel(t, func(c *server.Client) {
		if c.SAP != sapBench {
			return
		}
		c.Mechanism, c.Policy = m, policy
		for _, f := range more {
			f(c)
		}
	}))
	b.dev.secrets = map[string]string{"bench": password}
	p := b.tester()
	p.mechanism = apdu.Mechanism(m)
	if policy == security.PolicyNone {
		p.context, p.noDedicated = apdu.ContextLN, true
	}
	return b, p
}

// claim makes an AARQ with an authentication value.
func (p *peer) claim(value string) []byte {
	p.t.Helper()
	return p.aarq(func(q *apdu.AARQ) {
		q.AuthenticationValue = []byte(value)
		if p.context == apdu.ContextLN {
			q.CallingTitle, q.UserInformation = dlms.SystemTitle{}, p.initiate()
		}
	})
}

func (p *peer) wantOpened(answer []byte) {
	p.t.Helper()
	e, err := apdu.ParseAARE(answer)
	if err != nil || e.Result != apdu.AssociationAccepted || e.Diagnostic != apdu.DiagnosticNull {
		p.t.Fatalf("aare: %+v, %v", e, err)
	}
	if open, half := p.b.srv.Associations(); open != 1 || half != 0 {
		p.t.Fatalf("%d open, %d half-open", open, half)
	}
}

func TestAPasswordOpensAnAssociationInClear(t *testing.T) {
	b, p := withMechanism(t, server.MechanismLLS, security.PolicyNone)
	p.wantOpened(p.send(p.claim(password)))
	if r := p.plainGet(dlms.ClassRegister, obisEnergy, 2); r.Result != dlms.DataAccessSuccess {
		t.Errorf("energy: %s", r.Result)
	}
	if r := p.plainGet(dlms.ClassAssociationLN, current, 6); !bytes.HasSuffix(r.Data.Bytes(), []byte{1}) {
		t.Errorf("mechanism: %s", r.Data)
	}
	if b.dev.count(server.EventOpened) != 1 || !b.dev.events[0].Peer.IsZero() {
		t.Errorf("events: %+v", b.dev.events)
	}
}

func TestAPasswordOpensAnAssociationWithCiphering(t *testing.T) {
	for _, dedicated := range []bool{true, false} {
		b, p := withMechanism(t, server.MechanismLLS, security.PolicyAuthenticatedEncrypted)
		p.noDedicated = !dedicated
		g := p.claim(password)
		p.wantOpened(p.send(g))
		p.works()
		wantAnswer(t, notAllowed, p.send(p.energyRequest()))
		// The AARQ again, in clear but for the InitiateRequest: its counter is spent.
		wantCounter(t, b.dev.floor(setupLAN, p.title), p.send(g))
		p.works()
	}
}

func TestAWrongPasswordOpensNothing(t *testing.T) {
	for _, policy := range []security.Policy{security.PolicyNone, security.PolicyAuthenticatedEncrypted} {
		b, p := withMechanism(t, server.MechanismLLS, policy)
		p.wantOpened(p.send(p.claim(password)))
		before := b.dev.count(server.EventOpened) + b.dev.count(server.EventClosed)
		for _, wrong := range []string{"", "correct horsf", "correct hors", "correct horse "} {
			wantRejected(t, p.send(p.claim(wrong)), apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure)
		}
		if b.dev.count(server.EventOpened)+b.dev.count(server.EventClosed) != before || b.dev.count(server.EventRefused) != 4 {
			t.Errorf("events: %+v", b.dev.events)
		}
		if !errors.Is(b.dev.events[len(b.dev.events)-1].Err, server.ErrPassword) {
			t.Errorf("event: %v", b.dev.events[len(b.dev.events)-1].Err)
		}
		if open, _ := b.srv.Associations(); open != 1 {
			t.Error("the association was disturbed")
		}
		delete(b.dev.secrets, "bench")
		wantRejected(t, p.send(p.claim(password)), apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
		wantRejected(t, p.send(p.claim("")), apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
	}
}

// A password can be guessed: above the rate no attempt is looked at, not even the right one.
func TestGuessingAPasswordIsBounded(t *testing.T) {
	b, p := withMechanism(t, server.MechanismLLS, security.PolicyNone)
	for range 16 {
		p.send(p.claim("wrong"))
	}
	wantRejected(t, p.send(p.claim(password)), apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
	b.now = b.now.Add(5 * time.Second)
	p.wantOpened(p.send(p.claim(password)))
}

// With ciphering only who holds the key can guess, so that nobody else can keep the client out.
func TestAStrangerCannotSpendTheGuessesOfACipheredClient(t *testing.T) {
	b, p := withMechanism(t, server.MechanismLLS, security.PolicyAuthenticatedEncrypted)
	stranger := b.peer(local, sapBench, p.title, otherKey())
	stranger.mechanism = p.mechanism
	for range 40 {
		stranger.send(stranger.claim("wrong"))
	}
	p.wantOpened(p.send(p.claim(password)))
}

// from sends an APDU from an address.
func (p *peer) from(a net.Addr, b []byte) []byte {
	return p.b.srv.Handle(p.t.Context(), p.link, link.Request{Client: p.sap, Server: 1, APDU: b, Remote: a})
}

// The password opens an association in clear for who gave it, not for whoever comes under the same SAP: on another
// connection, or after the one on which it was given.
func TestAnAssociationInClearServesTheAddressAloneThatItWasOpenedFrom(t *testing.T) {
	here := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1001}
	for _, m := range []server.Mechanism{server.MechanismLLS, server.MechanismSHA256} {
		_, p := withMechanism(t, m, security.PolicyNone)
		if m == server.MechanismLLS {
			p.wantOpened(p.from(here, p.claim(password)))
		} else {
			e, err := apdu.ParseAARE(p.from(here, p.aarq(func(q *apdu.AARQ) { q.UserInformation = p.initiate() })))
			if err != nil {
				t.Fatal(err)
			}
			p.server = bytes.Clone(e.AuthenticationValue)
			reply := p.replyAPDU(p.sha(password))
			wantAnswer(t, notAllowed, p.from(&net.TCPAddr{IP: here.IP, Port: 1002}, reply))
			if r := p.actionResponse(p.from(here, reply)); r.Outcome.Result != dlms.ActionSuccess {
				t.Fatalf("pass 4: %+v", r)
			}
		}
		for name, elsewhere := range map[string]net.Addr{
			"another port": &net.TCPAddr{IP: here.IP, Port: 1002}, "another host": &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1001},
			"another protocol": &net.UDPAddr{IP: here.IP, Port: 1001}, "no address": nil,
		} {
			if got := p.from(elsewhere, p.energyRequest()); string(got) != notAllowed {
				t.Errorf("%d, %s: got % x", m, name, got)
			}
			if got := p.from(elsewhere, p.release(nil)); string(got) != notAllowed {
				t.Errorf("%d, %s: release: got % x", m, name, got)
			}
		}
		link.Disconnected(p.b.srv.Handler(p.link), p.sap) // of another connection, perhaps
		if r := p.getResult(p.from(&net.TCPAddr{IP: here.IP, Port: 1001}, p.energyRequest())); r.Result != dlms.DataAccessSuccess {
			t.Errorf("%d: %s", m, r.Result)
		}
	}
}

func TestAnAssociationInClearEndsWithALineThatKnowsNoAddresses(t *testing.T) {
	b, p := withMechanism(t, server.MechanismLLS, security.PolicyNone)
	p.wantOpened(p.send(p.claim(password)))
	link.Disconnected(b.srv.Handler(p.link), p.sap+1)
	if r := p.plainGet(dlms.ClassRegister, obisEnergy, 2); r.Result != dlms.DataAccessSuccess {
		t.Errorf("energy: %s", r.Result)
	}
	link.Disconnected(b.srv.Handler(p.link), p.sap)
	wantAnswer(t, notAllowed, p.send(p.energyRequest()))
	if e := b.dev.events[len(b.dev.events)-1]; !errors.Is(e.Err, server.ErrLinkEnded) {
		t.Errorf("event: %+v", e)
	}
}

// sha is f(challenge) of the client in HLS with SHA-256.
func (p *peer) sha(secret string) []byte {
	p.t.Helper()
	s, err := key.NewSecret([]byte(secret))
	if err != nil {
		p.t.Fatal(err)
	}
	return p.must(security.SHA256Reply(s, p.title, meterTitle, p.server, p.challenge))
}

// shaPass2 does passes 1 and 2.
func (p *peer) shaPass2() {
	p.t.Helper()
	answer := p.send(p.aarq(func(q *apdu.AARQ) {
		if p.context == apdu.ContextLN {
			q.UserInformation = p.initiate()
		}
	}))
	e, err := apdu.ParseAARE(answer)
	if err != nil || e.Diagnostic != apdu.DiagnosticAuthenticationRequired || e.Mechanism != apdu.MechanismHLSSHA256 ||
		e.RespondingTitle != meterTitle {
		p.t.Fatalf("aare: %+v, %v", e, err)
	}
	p.server = bytes.Clone(e.AuthenticationValue)
}

// shaPass3 sends a reply and returns the outcome of pass 4.
func (p *peer) shaPass3(reply []byte) apdu.ActionOutcome {
	p.t.Helper()
	plain := p.replyAPDU(reply)
	if p.context == apdu.ContextLN {
		return p.actionResponse(p.send(plain)).Outcome
	}
	return p.actionResponse(p.openWith(p.glo, p.send(p.sealGlobal(plain)))).Outcome
}

func TestHLSWithSHA256OpensInFourPasses(t *testing.T) {
	for _, policy := range []security.Policy{security.PolicyNone, security.PolicyAuthenticated, security.PolicyAuthenticatedEncrypted} {
		b, p := withMechanism(t, server.MechanismSHA256, policy)
		p.shaPass2()
		// Half-open: nothing else is served.
		half := p.energyRequest()
		if policy != security.PolicyNone {
			half = p.sealDedicated(half)
		}
		wantAnswer(t, notAllowed, p.send(half))
		r := p.shaPass3(p.sha(password))
		reply, err := r.Return.Data.OctetString()
		if r.Result != dlms.ActionSuccess || err != nil {
			t.Fatalf("%s: pass 4: %+v", policy, r)
		}
		s, _ := key.NewSecret([]byte(password))
		if err := security.VerifySHA256Reply(s, p.title, meterTitle, p.server, p.challenge, reply); err != nil {
			t.Errorf("%s: %v", policy, err)
		}
		if policy == security.PolicyNone {
			if r := p.plainGet(dlms.ClassRegister, obisEnergy, 2); r.Result != dlms.DataAccessSuccess {
				t.Errorf("energy: %s", r.Result)
			}
		} else {
			p.works()
		}
		if b.dev.events[len(b.dev.events)-1].Peer != p.title {
			t.Errorf("%s: event of %s", policy, b.dev.events[len(b.dev.events)-1].Peer)
		}
	}
}

func TestAWrongReplyOfSHA256EndsTheAssociation(t *testing.T) {
	for _, policy := range []security.Policy{security.PolicyNone, security.PolicyAuthenticatedEncrypted} {
		for name, reply := range map[string]func(p *peer) []byte{
			"another secret": func(p *peer) []byte { return p.sha("battery staple") },
			"nothing":        func(*peer) []byte { return nil },
			"cut short":      func(p *peer) []byte { return p.sha(password)[:31] },
			"of the server": func(p *peer) []byte { // what the server itself would say
				s, _ := key.NewSecret([]byte(password))
				return p.must(security.SHA256Reply(s, meterTitle, p.title, p.challenge, p.server))
			},
		} {
			b, p := withMechanism(t, server.MechanismSHA256, policy)
			p.shaPass2()
			if r := p.shaPass3(reply(p)); r.Result == dlms.ActionSuccess || r.HasReturn {
				t.Errorf("%s: %+v", name, r)
			}
			if open, half := b.srv.Associations(); open+half != 0 {
				t.Errorf("%s: %d open, %d half-open", name, open, half)
			}
		}
	}
}

func TestAChallengeThatCouldBeReflectedIsRefusedInSHA256(t *testing.T) {
	_, p := withMechanism(t, server.MechanismSHA256, security.PolicyNone)
	plain := func(change func(q *apdu.AARQ)) []byte {
		return p.aarq(func(q *apdu.AARQ) { q.UserInformation = p.initiate(); change(q) })
	}
	wantRejected(t, p.send(plain(func(q *apdu.AARQ) { q.CallingTitle = meterTitle })),
		apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
	wantRejected(t, p.send(plain(func(q *apdu.AARQ) { q.CallingTitle = dlms.SystemTitle{} })),
		apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
	wantRejected(t, p.send(plain(func(q *apdu.AARQ) { q.AuthenticationValue = []byte("short") })),
		apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure)
}

func TestADeviceWithoutSecretsRefusesWhoNeedsOne(t *testing.T) {
	for _, m := range []server.Mechanism{server.MechanismLLS, server.MechanismSHA256} {
		b, p := withMechanism(t, m, security.PolicyNone)
		b.srv = server.New(changedModel(t, func(c *server.Client) {
			if c.SAP == sapBench {
				c.Mechanism, c.Policy = m, security.PolicyNone
			}
		}), withoutSecrets{b.dev}, nil)
		if m == server.MechanismLLS {
			wantRejected(t, p.send(p.claim(password)), apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
			continue
		}
		p.shaPass2()
		if r := p.shaPass3(p.sha(password)); r.Result == dlms.ActionSuccess {
			t.Error("authenticated without a secret")
		}
	}
}

// withoutSecrets is a device and nothing more.
type withoutSecrets struct{ server.Device }

// A client whose optional fields were left alone gains nothing: no general block transfer, no general form, nothing
// that is encrypted only, no password.
func TestAClientWithDefaultFieldsAcceptsNothingBeyondTheOrdinary(t *testing.T) {
	m, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: []server.Client{{
		Name: "plain", SAP: sapReadWrite, Links: []string{lan}, Mechanism: server.MechanismGMAC, Setup: setupLAN,
		Policy: security.PolicyAuthenticated,
		Rights: []server.Right{{Class: dlms.ClassRegister, Instance: obisEnergy, Read: []int8{2}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOf(t, m)
	b.dev.secrets = map[string]string{"plain": password}
	p := b.concentrator()
	p.conformance = 0xFFFFFF // it proposes everything
	p.open()
	if e, err := apdu.ParseInitiateResponse(p.openWith(p.glo, p.aare.UserInformation)); err != nil ||
		e.Conformance.Has(apdu.ConformanceGeneralBlockTransfer) || e.Conformance.Has(apdu.ConformanceDataNotification) {
		t.Errorf("negotiated: %s, %v", e.Conformance, err)
	}
	g := p.sealDedicated(p.energyRequest())
	block := p.must(apdu.BlockTransfer{Last: true, Window: 1, Number: 1, Data: g}.AppendBinary(nil))
	wantAnswer(t, notAllowed, p.send(block))
	p.general = true
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	p.general = false
	wantAnswer(t, notAllowed, p.send(p.sealCiphering(p.energyRequest(), nil)))
	g = p.sealDedicated(p.energyRequest())
	g[1], g[2] = g[1]-security.TagSize, byte(security.Encrypted)
	wantAnswer(t, notAllowed, p.send(g[:len(g)-security.TagSize]))
	wantAnswer(t, notAllowed, p.send(p.sealGlobal(p.energyRequest())))
	p.mechanism = apdu.MechanismLLS
	wantRejected(t, p.send(p.claim(password)), apdu.AssociationRejectedPermanent, apdu.DiagnosticMechanismUnknown)
	p.mechanism = apdu.MechanismHLSGMAC
	p.works()

	none, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: []server.Client{{SAP: sapReadWrite, Links: []string{lan}}}})
	if err != nil {
		t.Fatal(err)
	}
	b.srv = server.New(none, b.dev, nil)
	p.mechanism, p.context, p.noDedicated = apdu.MechanismLLS, apdu.ContextLN, true
	wantRejected(t, p.send(p.claim("")), apdu.AssociationRejectedPermanent, apdu.DiagnosticMechanismUnknown)
}
