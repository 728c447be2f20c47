package client

import (
	"bytes"
	"errors"
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
		{0xC5, 5, 0xC2, 2, 0, 0},
		{0xC7, 3, 0xC2, 2, 0, 0, 1, 0},
		{0xE0, 0x81, 0, 1, 0, 0, 2, 0xC4, 1},
		{0xE0, 0x01, 0, 1, 0, 1, 0},
		{0xC2, 0, 0, 8, 0, 0, 1, 0, 0, 255, 2, 0x11, 1},
		{0x0F, 0, 0, 0, 1, 0, 0x11, 1},
		{0xDB, 8, 'M', 'T', 'R', 0, 0, 0, 0, 2, 5, 0x30, 0, 0, 0, 1},
	} {
		for op := range uint16(64) {
			f.Add(op<<1|op>>5, append([]byte{byte(len(seed))}, seed...))
		}
	}
	f.Fuzz(func(t *testing.T, op uint16, script []byte) {
		fuzzOne(t, op, script)
	})
}

// fuzzOne takes from op: 1 general forms, 2 the association itself is under fire, 4 frames are sealed by the meter, 8
// frames come in general blocks, 16 long requests go in general blocks, and the service from the bits above.
func fuzzOne(t *testing.T, op uint16, script []byte) {
	z := newFuzzed(t, op)
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
		func() ([]byte, error) {
			return z.m.SetList(make([]apdu.Attribute, 2), []dlms.Data{dlms.OctetString(make([]byte, 700)), dlms.Null()})
		},
		func() ([]byte, error) {
			return z.m.ActionList(make([]dlms.MethodRef, 2), []dlms.Data{dlms.OctetString(make([]byte, 700)), dlms.Null()})
		},
		z.m.Release,
	}[int(op>>5)%7]
	z.feed(start, script, op&4 != 0)
}

// fuzzed is a client and the keys that a meter would have.
type fuzzed struct {
	t       *testing.T
	m       *Machine
	meter   *fakeMeter
	last    map[bool]dlms.InvocationCounter // by dedicated: the counter sent last
	general bool
	cut     bool
	part    uint16
	sealed  bool
}

func newFuzzed(t *testing.T, op uint16) *fuzzed {
	general := op&1 != 0
	meter := &fakeMeter{
		t: t, title: peerTitle, maxPDU: 256, counters: map[string][]dlms.InvocationCounter{},
		send: security.NewMemoryCounter(), wrap: nopWrap, long: must(key.GenerateUnicast(seeded(1))),
	}
	meter.serve = meter.echo
	meter.rekey(key.Authentication{})
	cfg := meter.linky()
	cfg.General, cfg.Strict, cfg.MaxData = general, !general, 4096
	cfg.Conformance = FullConformance
	if op&16 != 0 {
		cfg.Conformance &^= apdu.ConformanceBlockTransferSet | apdu.ConformanceBlockTransferAction
	}
	z := &fuzzed{t: t, meter: meter, last: map[bool]dlms.InvocationCounter{}, general: general, cut: op&8 != 0}
	cfg.Notify = func(n Notification) {
		if !z.sealed || !n.Authenticated || (n.Event == nil) == (n.Data == nil) {
			t.Fatalf("told of %+v", n)
		}
	}
	z.m = must(NewMachine(cfg))
	return z
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
	z.sealed = sealed
	for len(script) > 0 {
		n := min(int(script[0]), len(script)-1)
		frame := bytes.Clone(script[1 : 1+n])
		script = script[1+n:]
		if sealed && n > 0 && frame[0] != byte(apdu.TagGeneralBlockTransfer) {
			frame = z.seal(frame)
		}
		if z.cut && n > 0 && frame[0] != byte(apdu.TagGeneralBlockTransfer) {
			frame = z.block(frame)
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
		if kept := max(len(z.m.op.download), len(z.m.op.transfer.download)); kept > z.m.cfg.MaxData {
			z.t.Fatalf("%d bytes kept", kept)
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

// block puts a frame into one general block that fits where the transfer stands.
func (z *fuzzed) block(frame []byte) []byte {
	g := z.m.op.transfer
	return must(apdu.BlockTransfer{Last: true, Window: 1, Number: g.got + 1, Ack: g.sent, Data: frame}.AppendBinary(nil))
}

// sent checks that what the client sends is sealed under a counter above the last. General blocks carry parts of it.
func (z *fuzzed) sent(b []byte) {
	switch apdu.Tag(b[0]) {
	case apdu.TagGeneralBlockTransfer:
		t := must(apdu.ParseBlockTransfer(b))
		if t.Number <= z.part && t.Number != 1 || t.Streaming || t.Window != 1 {
			z.t.Fatalf("block %+v after %d", t, z.part)
		}
		z.part = t.Number
		return
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

// FuzzReceiver pushes arbitrary bytes, as they are and sealed as a meter would in each form. Nothing may come out
// that was not verified, and nothing twice.
func FuzzReceiver(f *testing.F) {
	for _, seed := range [][]byte{anEvent(1), aPush("x"), getResponse(1, dlms.Uint8(1)), {0xDD, 0, 0, 0, 0, 0, 0, 5, 0x30, 0, 0, 0, 1}, {0xDB, 0, 5, 0x20, 0, 0, 0, 1}} {
		for form := range byte(6) {
			f.Add(form, seed)
		}
	}
	f.Fuzz(func(t *testing.T, form byte, b []byte) {
		p := newPusher(t, security.Acceptance{Policy: security.PolicyAuthenticated})
		tags := [...]apdu.Tag{apdu.TagGeneralGlo, apdu.TagGeneralDed, apdu.TagGeneralCiphering, apdu.TagGloEventNotification, apdu.TagDedEventNotification}
		sealed := int(form) < len(tags)
		if sealed {
			b = p.seal(tags[form], security.AuthenticatedEncrypted, b)
		}
		n, err := p.receiver.Receive(b, peerTitle)
		if err == nil && (!sealed || !n.Authenticated || (n.Event == nil) == (n.Data == nil)) {
			t.Fatalf("got %+v", n)
		}
		if _, again := p.receiver.Receive(b, peerTitle); again == nil {
			t.Fatal("taken twice")
		}
		if err != nil && !errors.Is(err, ErrAnswer) && sealed {
			t.Fatalf("sealed as it should be: %v", err)
		}
	})
}
