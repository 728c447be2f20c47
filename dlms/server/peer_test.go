package server_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// peer is a client made of apdu and security alone, which can be told to misbehave.
type peer struct {
	t     testing.TB
	b     *bench
	link  string
	sap   dlms.SAP
	title dlms.SystemTitle
	rand  io.Reader

	// What it proposes and how it protects; changed by the tests.
	control      security.Control
	general      bool
	noDedicated  bool
	conformance  apdu.Conformance
	maxPDU       uint16
	version      uint8
	context      apdu.ApplicationContext
	mechanism    apdu.Mechanism
	sharedIC     bool // one counter inside f() and around it
	hlsDedicated bool // pass 3 under the dedicated key

	glo       *security.Cipher
	gloSend   security.SendCounter
	dedBytes  []byte
	ded       *security.Cipher
	dedSend   *security.MemoryCounter
	challenge []byte // ours
	server    []byte // the server's
	aare      apdu.AARE
	invoke    uint8
}

func (b *bench) peer(linkName string, sap dlms.SAP, title dlms.SystemTitle, k []byte) *peer {
	return &peer{
		t: b.t, b: b, link: linkName, sap: sap, title: title, rand: b.rand(),
		control: security.AuthenticatedEncrypted, conformance: 0x001E1D, maxPDU: 1024, version: 6,
		context: apdu.ContextLNCiphered, mechanism: apdu.MechanismHLSGMAC,
		glo: b.cipherOf(k), gloSend: security.NewMemoryCounter(),
	}
}

// concentrator, broadcaster, is and tester are honest clients with the right key.
func (b *bench) concentrator() *peer { return b.peer(lan, sapReadWrite, concTitle, lanKey()) }
func (b *bench) is() *peer           { return b.peer(lan, sapIS, isTitle, isKey()) }

func (b *bench) tester() *peer {
	return b.peer(local, sapBench, dlms.SystemTitle{'T', 'S', 'T', 0, 0, 0, 0, 9}, lanKey())
}

// broadcaster shares the key of the concentrator, so it shares its title and counter too.
func (b *bench) broadcaster(with *peer) *peer {
	p := b.peer(lan, sapBroadcast, concTitle, lanKey())
	p.gloSend = with.gloSend
	return p
}

func (p *peer) must(b []byte, err error) []byte {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *peer) next(c security.SendCounter) dlms.InvocationCounter {
	p.t.Helper()
	ic, err := c.Next()
	if err != nil {
		p.t.Fatal(err)
	}
	return ic
}

// freshKey draws a dedicated key.
func (p *peer) freshKey() {
	p.t.Helper()
	b := make([]byte, 16)
	if _, err := io.ReadFull(p.rand, b); err != nil {
		p.t.Fatal(err)
	}
	p.useKey(b, security.NewMemoryCounter())
}

func (p *peer) useKey(b []byte, send *security.MemoryCounter) {
	p.t.Helper()
	k, err := key.NewDedicated(b)
	if err != nil {
		p.t.Fatal(err)
	}
	aead, err := k.AEAD()
	if err != nil {
		p.t.Fatal(err)
	}
	p.dedBytes, p.ded, p.dedSend = b, p.b.watched(aead, k.Fingerprint()), send
}

// initiate is the InitiateRequest in clear.
func (p *peer) initiate() []byte {
	q := apdu.InitiateRequest{ResponseAllowed: true, Version: p.version, Conformance: p.conformance, MaxPDU: p.maxPDU}
	if !p.noDedicated {
		q.DedicatedKey = p.dedBytes
	}
	return p.must(q.AppendBinary(nil))
}

// sealWith protects an APDU with everything given.
func (p *peer) sealWith(c *security.Cipher, ic dlms.InvocationCounter, dedicated bool, plain []byte) []byte {
	p.t.Helper()
	content := p.must(c.Seal(nil, p.control, p.title, ic, plain))
	g := apdu.Ciphered{Control: byte(p.control), Counter: ic, Content: content}
	if p.general {
		g.Tag = apdu.TagGeneralGlo
		if dedicated {
			g.Tag = apdu.TagGeneralDed
		}
		return p.must(apdu.GeneralCiphered{Title: p.title, Ciphered: g}.AppendBinary(nil))
	}
	tag, ok := apdu.CipheredTag(apdu.Tag(plain[0]), dedicated)
	if !ok {
		p.t.Fatalf("no ciphered form of % x", plain[0])
	}
	g.Tag = tag
	return p.must(g.AppendBinary(nil))
}

func (p *peer) sealGlobal(plain []byte) []byte {
	p.t.Helper()
	return p.sealWith(p.glo, p.next(p.gloSend), false, plain)
}

func (p *peer) sealDedicated(plain []byte) []byte {
	p.t.Helper()
	return p.sealWith(p.ded, p.next(p.dedSend), true, plain)
}

// aarq makes an AARQ with a fresh session key and challenge.
func (p *peer) aarq(change ...func(*apdu.AARQ)) []byte {
	p.t.Helper()
	if !p.noDedicated && p.ded == nil {
		p.freshKey()
	}
	p.challenge = make([]byte, 16)
	if _, err := io.ReadFull(p.rand, p.challenge); err != nil {
		p.t.Fatal(err)
	}
	q := apdu.AARQ{
		Context: p.context, CallingTitle: p.title, Authentication: true, Mechanism: p.mechanism,
		AuthenticationValue: p.challenge, UserInformation: p.sealGlobal(p.initiate()),
	}
	for _, f := range change {
		f(&q)
	}
	return p.must(q.AppendBinary(nil))
}

func (p *peer) send(b []byte) []byte { return p.b.handle(p.link, p.sap, b) }

// accept reads an AARE that accepts, and remembers the challenge.
func (p *peer) accept(answer []byte) {
	p.t.Helper()
	e, err := apdu.ParseAARE(answer)
	if err != nil {
		p.t.Fatalf("aare: %v (% x)", err, answer)
	}
	if e.Result != apdu.AssociationAccepted || e.Diagnostic != apdu.DiagnosticAuthenticationRequired {
		p.t.Fatalf("aare: got %s, %s", e.Result, e.Diagnostic)
	}
	p.aare, p.server = e, bytes.Clone(e.AuthenticationValue)
	if plain := p.openWith(p.glo, e.UserInformation); apdu.Tag(plain[0]) != apdu.TagInitiateResponse {
		p.t.Fatalf("aare: user information is % x", plain)
	}
}

// openWith verifies an answer of the meter.
func (p *peer) openWith(c *security.Cipher, b []byte) []byte {
	p.t.Helper()
	var g apdu.GeneralCiphered
	var err error
	if tag, _ := apdu.TagOf(b); tag.IsGeneral() {
		g, err = apdu.ParseGeneralCiphered(b)
	} else {
		g.Ciphered, err = apdu.ParseCiphered(b)
	}
	if err != nil {
		p.t.Fatalf("answer: %v (% x)", err, b)
	}
	plain, err := c.Open(nil, security.Control(g.Control), meterTitle, g.Counter, g.Content)
	if err != nil {
		p.t.Fatalf("answer: %v (% x)", err, b)
	}
	return plain
}

func (p *peer) id() apdu.InvokeID {
	p.invoke = (p.invoke + 1) & 0x0F
	return apdu.NewInvokeID(p.invoke, true, true)
}

// pass3 makes reply_to_HLS_authentication.
func (p *peer) pass3() []byte {
	p.t.Helper()
	ic := p.next(p.gloSend)
	reply := p.must(security.BuildReply(p.glo, p.title, ic, p.server))
	q := p.replyAPDU(reply)
	switch {
	case p.hlsDedicated:
		return p.sealDedicated(q)
	case p.sharedIC:
		return p.sealWith(p.glo, ic, false, q)
	}
	return p.sealGlobal(q)
}

func (p *peer) replyAPDU(reply []byte) []byte {
	p.t.Helper()
	return p.must(apdu.ActionRequest{
		Kind: apdu.ActionRequestNormal, ID: p.id(),
		Method:        dlms.MethodRef{Class: dlms.ClassAssociationLN, Instance: current, Method: cosem.MethodReplyToHLS},
		HasParameters: true, Parameters: dlms.OctetString(reply),
	}.AppendBinary(nil))
}

// pass4 verifies the answer to pass 3.
func (p *peer) pass4(answer []byte) {
	p.t.Helper()
	c := p.glo
	if p.hlsDedicated {
		c = p.ded
	}
	r := p.actionResponse(p.openWith(c, answer))
	if r.Outcome.Result != dlms.ActionSuccess || !r.Outcome.HasReturn {
		p.t.Fatalf("pass 4: got %s", r.Outcome.Result)
	}
	reply, err := r.Outcome.Return.Data.OctetString()
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := security.VerifyReply(p.glo, meterTitle, p.challenge, reply); err != nil {
		p.t.Fatalf("pass 4: %v", err)
	}
}

func (p *peer) actionResponse(plain []byte) apdu.ActionResponse {
	p.t.Helper()
	r, err := apdu.ParseActionResponse(plain)
	if err != nil {
		p.t.Fatalf("action response: %v (% x)", err, plain)
	}
	return r
}

// halfOpen does passes 1 and 2.
func (p *peer) halfOpen() *peer {
	p.t.Helper()
	p.accept(p.send(p.aarq()))
	return p
}

// open does all four passes.
func (p *peer) open() *peer {
	p.t.Helper()
	p.halfOpen()
	p.pass4(p.send(p.pass3()))
	return p
}

func (p *peer) getRequest(class dlms.ClassID, o dlms.OBIS, attribute int8) []byte {
	p.t.Helper()
	return p.must(apdu.GetRequest{
		Kind: apdu.GetRequestNormal, ID: p.id(),
		Attribute: apdu.Attribute{Ref: dlms.AttributeRef{Class: class, Instance: o, Attribute: attribute}},
	}.AppendBinary(nil))
}

func (p *peer) actionRequest(class dlms.ClassID, o dlms.OBIS, method int8, v dlms.Data) []byte {
	p.t.Helper()
	return p.must(apdu.ActionRequest{
		Kind: apdu.ActionRequestNormal, ID: p.id(),
		Method:        dlms.MethodRef{Class: class, Instance: o, Method: method},
		HasParameters: true, Parameters: v,
	}.AppendBinary(nil))
}

// exchange sends a service under the dedicated key, or the global one where there is none, and returns the answer in
// clear.
func (p *peer) exchange(plain []byte) []byte {
	p.t.Helper()
	if p.noDedicated {
		return p.openWith(p.glo, p.send(p.sealGlobal(plain)))
	}
	return p.openWith(p.ded, p.send(p.sealDedicated(plain)))
}

func (p *peer) get(class dlms.ClassID, o dlms.OBIS, attribute int8) apdu.GetResult {
	p.t.Helper()
	return p.getResult(p.exchange(p.getRequest(class, o, attribute)))
}

func (p *peer) getResult(plain []byte) apdu.GetResult {
	p.t.Helper()
	r, err := apdu.ParseGetResponse(plain)
	if err != nil || r.Kind != apdu.GetResponseNormal {
		p.t.Fatalf("get response: %v (% x)", err, plain)
	}
	return r.Result
}

func (p *peer) action(class dlms.ClassID, o dlms.OBIS, method int8, v dlms.Data) dlms.ActionResult {
	p.t.Helper()
	return p.actionResponse(p.exchange(p.actionRequest(class, o, method, v))).Outcome.Result
}

// works fails the test unless the association serves a GET.
func (p *peer) works() {
	p.t.Helper()
	r := p.get(dlms.ClassRegister, obisEnergy, 2)
	if v, err := r.Data.Uint(); r.Result != dlms.DataAccessSuccess || err != nil || v != uint64(p.b.dev.energy) {
		p.t.Fatalf("energy: got %s, %s", r.Result, r.Data)
	}
}

// release makes an RLRQ with user information.
func (p *peer) release(info []byte) []byte {
	p.t.Helper()
	return p.must(apdu.RLRQ{Release: apdu.Release{HasReason: true, UserInformation: info}}.AppendBinary(nil))
}

// Answers in hexadecimal, for comparison.
const (
	notAllowed  = "\xD8\x01\x01"
	otherReason = "\xD8\x01\x03"
	tooLong     = "\xD8\x01\x04"
	deciphering = "\xD8\x01\x05"
	unsupported = "\xD8\x02\x02"
)

func wantAnswer(t testing.TB, want string, got []byte) {
	t.Helper()
	if string(got) != want {
		t.Fatalf("answer: want % x, got % x", want, got)
	}
}

// wantCounter wants an invocation-counter-error with the expected value.
func wantCounter(t testing.TB, want dlms.InvocationCounter, got []byte) {
	t.Helper()
	e, err := apdu.ParseExceptionResponse(got)
	if err != nil || e.ServiceError != apdu.ServiceInvocationCounter || e.InvocationCounter != want {
		t.Fatalf("answer: want a counter error with %d, got % x (%v)", want, got, err)
	}
}

func wantRejected(t testing.TB, got []byte, result apdu.AssociationResult, d apdu.Diagnostic) {
	t.Helper()
	e, err := apdu.ParseAARE(got)
	if err != nil {
		t.Fatalf("aare: %v (% x)", err, got)
	}
	if e.Result != result || e.Diagnostic != d {
		t.Fatalf("aare: want %s, %s, got %s, %s", result, d, e.Result, e.Diagnostic)
	}
}
