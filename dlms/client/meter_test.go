package client

import (
	"bytes"
	"context"
	"crypto/cipher"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
)

var (
	ownTitle  = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}
	peerTitle = dlms.SystemTitle{'M', 'T', 'R', 0, 0, 0, 0, 2}
	clockRef  = dlms.AttributeRef{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2}
	breaker   = dlms.MethodRef{Class: dlms.ClassDisconnectControl, Instance: dlms.OBIS{0, 0, 96, 3, 10, 255}, Method: 1}
)

// seeded is a repeatable source of randomness.
func seeded(seed uint64) io.Reader {
	var s [32]byte
	s[0] = byte(seed)
	return rand.NewChaCha8(s)
}

// fakeMeter is the other end, just enough of one, with holes to reach in: it can be made to answer wrongly at every
// step. It keeps what it received.
type fakeMeter struct {
	t    *testing.T
	wrap WrapAEAD

	long     key.Unicast
	ak       key.Authentication
	global   *security.Cipher
	send     security.SendCounter
	session  *security.Cipher
	sessSend security.SendCounter
	sent     key.Dedicated // the dedicated key that came

	title     dlms.SystemTitle
	maxPDU    uint16
	mechanism apdu.Mechanism
	ready     bool // associated: answers may be cut
	ciphered  bool
	theirs    []byte // the client's challenge
	ours      []byte

	// serve answers a plain service APDU.
	serve func(plain []byte) []byte

	// The holes. Each may change what goes out at its step.
	onInitiate func(plain []byte) []byte
	onInfo     func(sealed []byte) []byte
	onAARE     func(*apdu.AARE)
	onReply    func(inner dlms.InvocationCounter, reply []byte) []byte
	onPass4    func(plain []byte) []byte
	onControl  func(security.Control) security.Control
	onAnswer   func(sealed []byte) [][]byte // nothing is silence
	outerIC    func(inner dlms.InvocationCounter) dlms.InvocationCounter

	received [][]byte
	replies  [][]byte
	counters map[string][]dlms.InvocationCounter // by tag, of what came in
	plains   [][]byte
}

func newMeter(t *testing.T) *fakeMeter {
	t.Helper()
	return newMeterUnder(t, dlmstest.NewOracle(t).Wrap)
}

// newMeterUnder is a meter whose AEADs wrap watches.
func newMeterUnder(t *testing.T, wrap WrapAEAD) *fakeMeter {
	t.Helper()
	m := &fakeMeter{
		t: t, title: peerTitle, maxPDU: 1024, counters: map[string][]dlms.InvocationCounter{},
		send: security.NewMemoryCounter(), wrap: wrap,
	}
	m.long = must(key.GenerateUnicast(seeded(1)))
	m.serve = func(plain []byte) []byte { return m.echo(plain) }
	m.rekey(key.Authentication{})
	return m
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (m *fakeMeter) rekey(ak key.Authentication) {
	m.ak = ak
	m.global = must(security.NewCipher(m.wrapped(must(m.long.AEAD()), m.long), ak))
}

func (m *fakeMeter) wrapped(a cipher.AEAD, k key.Key) cipher.AEAD { return m.wrap(a, k.Fingerprint()) }

// longTerm is the client's half of the long-term key.
func (m *fakeMeter) longTerm() security.LongTerm {
	c := must(security.NewCipher(m.wrapped(must(m.long.AEAD()), m.long), m.ak))
	return security.LongTerm{Cipher: c, Send: security.NewMemoryCounter(), Floor: security.NewMemoryFloor(m.title, security.MaxJump)}
}

func (m *fakeMeter) linky() Config {
	c := Linky(ownTitle, peerTitle, m.longTerm(), seeded(2))
	c.WrapAEAD = m.wrap
	return c
}

// handle answers an APDU as a meter does. It fails the test when the client breaks a rule.
func (m *fakeMeter) handle(b []byte) [][]byte {
	b = bytes.Clone(b)
	m.received = append(m.received, b)
	var out []byte
	switch tag := apdu.Tag(b[0]); tag {
	case apdu.TagAARQ:
		out = m.associate(b)
	case apdu.TagRLRQ:
		out = m.release(b)
	default:
		out = m.service(b)
	}
	answers := [][]byte{out}
	if m.onAnswer != nil {
		answers = m.onAnswer(out)
	}
	m.replies = append(m.replies, answers...)
	return answers
}

func (m *fakeMeter) associate(b []byte) []byte {
	q := must(apdu.ParseAARQ(b))
	m.mechanism, m.theirs = q.Mechanism, bytes.Clone(q.AuthenticationValue)
	m.ciphered = q.Context == apdu.ContextLNCiphered
	plain, f := m.open(q.UserInformation, q.CallingTitle)
	init := must(apdu.ParseInitiateRequest(plain))
	if init.DedicatedKey != nil {
		if !f.control.Has(security.AuthenticatedEncrypted) {
			m.t.Error("a session key came without encryption")
		}
		m.sent = must(key.NewDedicated(init.DedicatedKey))
		m.session = must(m.global.Session(m.wrapped(must(m.sent.AEAD()), m.sent)))
		m.sessSend = security.NewMemoryCounter()
	}
	info := must(apdu.InitiateResponse{
		Version: 6, Conformance: init.Conformance, MaxPDU: m.maxPDU, VAAName: apdu.VAANameLN,
	}.AppendBinary(nil))
	if m.onInitiate != nil {
		info = m.onInitiate(info)
	}
	info = m.seal(info, f)
	if m.onInfo != nil {
		info = m.onInfo(info)
	}
	e := apdu.AARE{Context: q.Context, UserInformation: info, RespondingTitle: m.title}
	if q.Mechanism.HLS() {
		m.ours = []byte("the meter's own.")
		e.Diagnostic, e.Authentication, e.Mechanism, e.AuthenticationValue = apdu.DiagnosticAuthenticationRequired, true, q.Mechanism, m.ours
	}
	if m.onAARE != nil {
		m.onAARE(&e)
		m.ours = e.AuthenticationValue
	}
	return must(e.AppendBinary(nil))
}

func (m *fakeMeter) release(b []byte) []byte {
	q := must(apdu.ParseRLRQ(b))
	var info []byte
	if m.ciphered {
		_, f := m.open(q.UserInformation, ownTitle)
		info = m.seal(must(apdu.InitiateResponse{Version: 6, MaxPDU: m.maxPDU, VAAName: 7}.AppendBinary(nil)), f)
	}
	if m.onInfo != nil {
		info = m.onInfo(info)
	}
	return must(apdu.RLRE{Release: apdu.Release{HasReason: true, UserInformation: info}}.AppendBinary(nil))
}

func (m *fakeMeter) service(b []byte) []byte {
	plain, f := m.open(b, ownTitle)
	m.plains = append(m.plains, plain)
	if q, err := apdu.ParseActionRequest(plain); err == nil && q.Method == replyToHLS() {
		return m.pass4(q, f)
	}
	return m.seal(m.serve(plain), f)
}

func (m *fakeMeter) pass4(q apdu.ActionRequest, f sealing) []byte {
	if _, err := security.VerifyReply(m.global, ownTitle, m.ours, q.Parameters.Bytes()); err != nil {
		m.t.Errorf("pass 3: %v", err)
	}
	inner := must(m.send.Next())
	c := m.global
	if m.outerIC != nil {
		c = must(security.NewCipher(must(m.long.AEAD()), m.ak)) // out of the oracle's sight: the meter is at fault
	}
	reply := must(security.BuildReply(c, m.title, inner, m.theirs))
	if m.onReply != nil {
		reply = m.onReply(inner, reply)
	}
	plain := must(apdu.ActionResponse{
		Kind: apdu.ActionResponseNormal, ID: q.ID,
		Outcome: apdu.ActionOutcome{HasReturn: true, Return: apdu.GetResult{Data: dlms.OctetString(reply)}},
	}.AppendBinary(nil))
	if m.onPass4 != nil {
		plain = m.onPass4(plain)
	}
	if m.outerIC != nil {
		return m.sealWith(c, m.outerIC(inner), plain, f)
	}
	return m.seal(plain, f)
}

// sealing is how a request was protected; an answer is protected alike.
type sealing struct {
	form
	control security.Control
}

func (m *fakeMeter) open(b []byte, from dlms.SystemTitle) ([]byte, sealing) {
	tag := apdu.Tag(b[0])
	_, dedicated, ok := apdu.PlainTag(tag)
	general := tag == apdu.TagGeneralGlo || tag == apdu.TagGeneralDed
	if !ok && !general {
		if m.ciphered {
			m.t.Errorf("in clear on a ciphered association: %s", tag)
		}
		return b, sealing{}
	}
	f := form{ciphered: true, dedicated: dedicated || tag == apdu.TagGeneralDed, general: general}
	c, title, err := parse(b, f)
	if err != nil {
		m.t.Fatalf("open %s: %v", tag, err)
	}
	if general && title != from {
		m.t.Errorf("general form: title %s", title)
	}
	m.counters[tag.String()] = append(m.counters[tag.String()], c.Counter)
	ciph := m.global
	if f.dedicated {
		ciph = m.session
	}
	plain, err := ciph.Open(nil, security.Control(c.Control), from, c.Counter, c.Content)
	if err != nil {
		m.t.Fatalf("open %s: %v", tag, err)
	}
	return plain, sealing{f, security.Control(c.Control)}
}

func (m *fakeMeter) seal(plain []byte, f sealing) []byte {
	if !f.ciphered || plain[0] == byte(apdu.TagExceptionResponse) {
		return plain
	}
	if f.dedicated {
		return m.sealWith(m.session, must(m.sessSend.Next()), plain, f)
	}
	return m.sealWith(m.global, must(m.send.Next()), plain, f)
}

func (m *fakeMeter) sealWith(c *security.Cipher, ic dlms.InvocationCounter, plain []byte, f sealing) []byte {
	ctl := f.control
	if m.onControl != nil {
		ctl = m.onControl(ctl)
	}
	content := must(c.Seal(nil, ctl, m.title, ic, plain))
	out := apdu.Ciphered{Tag: must(outerTag(apdu.Tag(plain[0]), f.form)), Control: byte(ctl), Counter: ic, Content: content}
	if f.general {
		return must(apdu.GeneralCiphered{Title: m.title, Ciphered: out}.AppendBinary(nil))
	}
	return must(out.AppendBinary(nil))
}

// echo serves a little: a get returns the text of what was asked, everything else succeeds.
func (m *fakeMeter) echo(plain []byte) []byte {
	switch apdu.Tag(plain[0]) {
	case apdu.TagGetRequest:
		q := must(apdu.ParseGetRequest(plain))
		if q.Kind == apdu.GetRequestWithList {
			list := make([]apdu.GetResult, len(q.List))
			for i, a := range q.List {
				list[i].Data = dlms.VisibleString(a.Ref.String())
			}
			return must(apdu.GetResponse{Kind: apdu.GetResponseWithList, ID: q.ID, List: list}.AppendBinary(nil))
		}
		return getResponse(q.ID, dlms.VisibleString(q.Attribute.Ref.String()))
	case apdu.TagSetRequest:
		q := must(apdu.ParseSetRequest(plain))
		return must(apdu.SetResponse{Kind: apdu.SetResponseNormal, ID: q.ID}.AppendBinary(nil))
	case apdu.TagActionRequest:
		q := must(apdu.ParseActionRequest(plain))
		out := apdu.ActionOutcome{HasReturn: q.HasParameters, Return: apdu.GetResult{Data: q.Parameters}}
		return must(apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: q.ID, Outcome: out}.AppendBinary(nil))
	}
	panic(fmt.Sprintf("what to answer to % x", plain))
}

func getResponse(id apdu.InvokeID, d dlms.Data) []byte {
	return must(apdu.GetResponse{Kind: apdu.GetResponseNormal, ID: id, Result: apdu.GetResult{Data: d}}.AppendBinary(nil))
}

func getID(plain []byte) apdu.InvokeID { return must(apdu.ParseGetRequest(plain)).ID }

// wire is a link.Conn to a fake meter: what it answers is received at once, and silence waits for the context.
type wire struct {
	meter *fakeMeter
	queue [][]byte
	sent  [][]byte
}

var _ link.Conn = (*wire)(nil)

func (w *wire) Send(_ context.Context, b []byte) error {
	w.sent = append(w.sent, bytes.Clone(b))
	w.queue = append(w.queue, w.meter.handle(b)...)
	return nil
}

func (w *wire) Receive(ctx context.Context) ([]byte, error) {
	if len(w.queue) > 0 {
		b := w.queue[0]
		w.queue = w.queue[1:]
		return b, nil
	}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (w *wire) Close() error { return nil }

// associated opens an association or fails the test.
func (m *fakeMeter) associated(cfg Config) (*Association, *wire) {
	m.t.Helper()
	w := &wire{meter: m}
	a, err := Open(context.Background(), w, cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	return a, w
}

// refusedOpen tries to open an association that must not come to be.
func (m *fakeMeter) refusedOpen(cfg Config) error {
	m.t.Helper()
	w := &wire{meter: m}
	a, err := Open(context.Background(), w, cfg)
	if err == nil {
		m.t.Fatal("the association was opened")
	}
	if a != nil {
		m.t.Error("an association came with an error")
	}
	return err
}

func nopWrap(a cipher.AEAD, _ key.Fingerprint) cipher.AEAD { return a }
