package client

import (
	"bytes"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// FuzzAssociation drives a client by a meter that says anything: frames of arbitrary bytes, and arbitrary plaintext
// that is sealed as it should be, in every state. The client must come to an end, keep within its bounds, never seal
// twice under one counter, and hand nothing out that was not verified.
func FuzzAssociation(f *testing.F) {
	aare := must(apdu.AARE{
		Context: apdu.ContextLNCiphered, RespondingTitle: peerTitle, Diagnostic: apdu.DiagnosticAuthenticationRequired,
		Authentication: true, Mechanism: apdu.MechanismHLSGMAC, AuthenticationValue: []byte("the meter's own."),
		UserInformation: []byte{0x28, 6, 0x30, 0, 0, 0, 1, 0},
	}.AppendBinary(nil))
	get := getResponse(0xC2, dlms.OctetString([]byte("value")))
	block := must(apdu.GetResponse{Kind: apdu.GetResponseBlock, ID: 0xC2, Block: apdu.Block{Number: 1, Raw: []byte{9, 3}}}.AppendBinary(nil))
	for _, seed := range [][]byte{
		aare,
		{0xD8, 1, 6, 0, 0, 0, 9},
		{0x0E, 1, 6, 1},
		{0x63, 3, 0x80, 1, 0},
		get, block,
		{0xD4, 0x12, 0x30, 0, 0, 0, 1},
		{0xC7, 1, 0xC2, 0, 1, 0, 9, 1, 1},
		{0xC5, 2, 0xC2, 0, 0, 0, 1},
	} {
		for op := range byte(40) {
			f.Add(op, append([]byte{byte(len(seed))}, seed...))
		}
	}
	f.Fuzz(func(t *testing.T, op byte, script []byte) {
		fuzzOne(t, op, script)
	})
}

func fuzzOne(t *testing.T, op byte, script []byte) {
	z := newFuzzed(t, op&1 != 0)
	if op&2 != 0 {
		z.feed(z.m.Open, script, false) // in the middle of associating
		return
	}
	z.open()
	start := []func() ([]byte, error){
		func() ([]byte, error) { return z.m.Get(apdu.Attribute{Ref: clockRef}) },
		func() ([]byte, error) {
			return z.m.Set(apdu.Attribute{Ref: clockRef}, dlms.OctetString(make([]byte, 2000)))
		},
		func() ([]byte, error) { return z.m.Action(breaker, dlms.OctetString(make([]byte, 2000))) },
		func() ([]byte, error) { return z.m.GetList(make([]apdu.Attribute, 2)) },
		z.m.Release,
	}[int(op>>3)%5]
	z.feed(start, script, op&4 != 0)
}

// fuzzed is a client and the keys that a meter would have.
type fuzzed struct {
	t       *testing.T
	m       *Machine
	meter   *fakeMeter
	last    map[bool]dlms.InvocationCounter // by dedicated: the counter sent last
	general bool
}

func newFuzzed(t *testing.T, general bool) *fuzzed {
	meter := &fakeMeter{
		t: t, title: peerTitle, maxPDU: 256, counters: map[string][]dlms.InvocationCounter{},
		send: security.NewMemoryCounter(), wrap: nopWrap, long: must(key.GenerateUnicast(seeded(1))),
	}
	meter.serve = meter.echo
	meter.rekey(key.Authentication{})
	cfg := meter.linky()
	cfg.General, cfg.Strict, cfg.MaxData = general, !general, 4096
	cfg.Conformance = DefaultConformance | apdu.ConformanceBlockTransferAction
	return &fuzzed{t: t, m: must(NewMachine(cfg)), meter: meter, last: map[bool]dlms.InvocationCounter{}, general: general}
}

func (z *fuzzed) open() {
	next := must(z.m.Open())
	for done := false; !done; {
		z.sent(next)
		var err error
		if next, done, err = z.m.Receive(z.meter.handle(next)[0]); err != nil {
			z.t.Fatal(err)
		}
	}
}

// feed starts an operation and answers with the frames of script, each behind its length, sealed by the meter's
// session if sealed is set.
func (z *fuzzed) feed(start func() ([]byte, error), script []byte, sealed bool) {
	q, err := start()
	if err != nil {
		z.t.Fatal(err)
	}
	z.sent(q)
	for len(script) > 0 {
		n := min(int(script[0]), len(script)-1)
		frame := bytes.Clone(script[1 : 1+n])
		script = script[1+n:]
		if sealed && n > 0 {
			frame = z.seal(frame)
		}
		next, done, err := z.m.Receive(frame)
		if next != nil {
			if done || err != nil {
				z.t.Fatal("something to send, and done")
			}
			z.sent(next)
		}
		if done {
			z.finished(sealed, err)
			return
		}
		if len(z.m.op.download) > z.m.cfg.MaxData {
			z.t.Fatalf("%d bytes kept", len(z.m.op.download))
		}
	}
}

// finished checks that without the key nothing succeeds and no value comes out.
func (z *fuzzed) finished(sealed bool, err error) {
	if z.m.state == stateClosed && z.general && err == nil {
		return // a foreign meter may answer to a release in clear
	}
	if !sealed && (err == nil || !z.m.Value().IsNull() || z.m.Values() != nil) {
		z.t.Fatalf("forged bytes were taken for an answer: %v", err)
	}
	if z.m.op.running() {
		z.t.Fatal("done and running")
	}
}

func (z *fuzzed) seal(plain []byte) []byte {
	f := sealing{form{ciphered: true, dedicated: true, general: z.general}, security.AuthenticatedEncrypted}
	if _, err := outerTag(apdu.Tag(plain[0]), f.form); err != nil {
		return plain
	}
	return z.meter.seal(plain, f)
}

// sent checks that what the client sends is sealed under a counter above the last.
func (z *fuzzed) sent(b []byte) {
	switch apdu.Tag(b[0]) {
	case apdu.TagAARQ:
		b = must(apdu.ParseAARQ(b)).UserInformation
	case apdu.TagRLRQ:
		b = must(apdu.ParseRLRQ(b)).UserInformation
	}
	tag := apdu.Tag(b[0])
	_, dedicated, _ := apdu.PlainTag(tag)
	dedicated = dedicated || tag == apdu.TagGeneralDed
	c, _, err := parse(b, form{ciphered: true, dedicated: dedicated, general: tag.IsGeneral()})
	if err != nil {
		z.t.Fatalf("in clear: %x", b)
	}
	if c.Counter <= z.last[dedicated] {
		z.t.Fatalf("counter %d after %d", c.Counter, z.last[dedicated])
	}
	z.last[dedicated] = c.Counter
}
