package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

var (
	dedicated  = sealing{form{ciphered: true, dedicated: true}, security.AuthenticatedEncrypted}
	generalDed = sealing{form{ciphered: true, dedicated: true, general: true}, security.AuthenticatedEncrypted}
	global     = sealing{form{ciphered: true}, security.AuthenticatedEncrypted}
	generalGlo = sealing{form{ciphered: true, general: true}, security.AuthenticatedEncrypted}
)

func anEvent(v uint8) []byte {
	return must(apdu.EventNotification{Ref: clockRef, Value: dlms.Uint8(v)}.AppendBinary(nil))
}

func aPush(text string) []byte {
	return must(apdu.DataNotification{ID: 5, Body: dlms.OctetString([]byte(text))}.AppendBinary(nil))
}

// heard keeps what Notify is handed, in words.
type heard struct{ lines []string }

func (h *heard) notify(n Notification) {
	switch {
	case n.Event != nil:
		h.lines = append(h.lines, fmt.Sprintf("event %s %t", n.Event.Value, n.Authenticated))
	case n.Data != nil:
		h.lines = append(h.lines, fmt.Sprintf("push %s %t", n.Data.Body.Bytes(), n.Authenticated))
	}
}

func TestNotificationsBetweenRequestAndAnswerAreHandedOut(t *testing.T) {
	m := newMeter(t)
	h := &heard{}
	cfg := m.linky()
	cfg.Notify, cfg.Conformance = h.notify, FullConformance
	a, _ := m.associated(cfg)
	m.onAnswer = func(b []byte) [][]byte {
		return [][]byte{m.seal(anEvent(1), dedicated), m.seal(aPush("one"), generalDed), m.again(b), m.seal(aPush("two"), generalDed)}
	}
	for range 2 {
		if d, err := a.Get(context.Background(), clockRef); err != nil || d.Text() != clockRef.String() {
			t.Fatalf("%s, %v", d, err)
		}
	}
	event := fmt.Sprintf("event %s true", dlms.Uint8(1))
	want := []string{event, "push one true", "push two true", event, "push one true"}
	if !slices.Equal(h.lines, want) {
		t.Errorf("want %q, heard %q", want, h.lines)
	}
}

// again seals an answer once more, behind what was sealed since: a meter counts in the order in which it sends.
func (m *fakeMeter) again(answer []byte) []byte {
	m.t.Helper()
	general := apdu.Tag(answer[0]).IsGeneral()
	f := sealing{form{ciphered: true, dedicated: true, general: general}, security.AuthenticatedEncrypted}
	c, _, err := parse(answer, f.form)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.seal(must(m.session.Open(nil, security.Control(c.Control), m.title, c.Counter, c.Content)), f)
}

// encryptedOnly is an APDU of the session that is encrypted and has no tag, as no end of this module makes one. A
// tag is as long as it is, so the key stream is that of a longer text. The oracle must not watch: to decipher without a
// tag is to make the sender's key stream again.
func (m *fakeMeter) encryptedOnly(plain []byte) []byte {
	ic := must(m.sessSend.Next())
	content := must(m.session.Seal(nil, security.AuthenticatedEncrypted, m.title, ic, plain))[:len(plain)]
	return must(apdu.GeneralCiphered{Title: m.title, Ciphered: apdu.Ciphered{
		Tag: apdu.TagGeneralDed, Control: byte(security.Encrypted), Counter: ic, Content: content,
	}}.AppendBinary(nil))
}

func TestANotificationThatDoesNotVerifyIsDroppedAndDisturbsNothing(t *testing.T) {
	clear := anEvent(9)
	for name, c := range map[string]struct {
		strict bool
		bad    func(m *fakeMeter) []byte
	}{
		"in clear":                       {false, func(*fakeMeter) []byte { return clear }},
		"a push in clear":                {false, func(*fakeMeter) []byte { return aPush("forged") }},
		"altered":                        {false, func(m *fakeMeter) []byte { b := m.seal(clear, dedicated); b[len(b)-1] ^= 1; return b }},
		"cut":                            {false, func(m *fakeMeter) []byte { b := m.seal(clear, dedicated); return b[:len(b)-3] }},
		"authenticated only":             {false, func(m *fakeMeter) []byte { return m.seal(clear, sealing{dedicated.form, security.Authenticated}) }},
		"under the long-term key":        {true, func(m *fakeMeter) []byte { return m.seal(clear, global) }},
		"a push under the long-term key": {true, func(m *fakeMeter) []byte { return m.seal(aPush("x"), generalGlo) }},
		"an answer in its tag": {false, func(m *fakeMeter) []byte {
			b := m.seal(getResponse(1, dlms.Uint8(1)), dedicated)
			b[0] = byte(apdu.TagDedEventNotification)
			return b
		}},
		"broken inside": {false, func(m *fakeMeter) []byte { return m.seal(clear[:5], dedicated) }},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			h := &heard{}
			cfg := m.linky()
			cfg.Notify, cfg.Strict = h.notify, c.strict
			a, _ := m.associated(cfg)
			m.onAnswer = func(b []byte) [][]byte { return [][]byte{c.bad(m), m.again(b)} }
			if d, err := a.Get(context.Background(), clockRef); err != nil || d.Text() != clockRef.String() {
				t.Errorf("%s, %v", d, err)
			}
			if len(h.lines) != 0 {
				t.Errorf("heard %q", h.lines)
			}
		})
	}
}

func TestANotificationIsTakenOnce(t *testing.T) {
	m := newMeter(t)
	h := &heard{}
	cfg := m.linky()
	cfg.Notify = h.notify
	mc, _ := m.machineWithRequest(cfg)
	b := m.seal(anEvent(1), dedicated)
	for range 3 {
		if next, done, err := mc.Receive(bytes.Clone(b)); next != nil || done || err != nil {
			t.Fatalf("%x, %t, %v", next, done, err)
		}
	}
	if len(h.lines) != 1 {
		t.Errorf("heard %q", h.lines)
	}
}

func TestAForeignMetersNotificationsComeUnderItsGlobalKeyAndInGeneralForms(t *testing.T) {
	m := newMeter(t)
	h := &heard{}
	cfg := m.linky()
	cfg.Notify, cfg.Strict, cfg.General = h.notify, false, true
	a, _ := m.associated(cfg)
	m.onAnswer = func(b []byte) [][]byte {
		return [][]byte{m.seal(anEvent(1), global), m.seal(aPush("glo"), generalGlo), m.seal(aPush("ded"), generalDed), m.again(b)}
	}
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Fatal(err)
	}
	if len(h.lines) != 3 || h.lines[1] != "push glo true" || h.lines[2] != "push ded true" {
		t.Errorf("heard %q", h.lines)
	}
}

func TestAnEncryptedOnlyNotificationIsTakenWhereTheConfigurationSaysSoAndIsMarked(t *testing.T) {
	for _, named := range []bool{false, true} {
		m := newMeterUnder(t, nopWrap)
		h := &heard{}
		cfg := m.linky()
		cfg.Strict, cfg.EncryptedOnly = false, named
		var counter, sent dlms.InvocationCounter
		cfg.Notify = func(n Notification) {
			h.notify(n)
			counter = n.Counter
		}
		a, _ := m.associated(cfg)
		m.onAnswer = func(b []byte) [][]byte {
			push := m.encryptedOnly(aPush("open"))
			sent = must(apdu.ParseGeneralCiphered(push)).Counter
			return [][]byte{push, b}
		}
		if _, err := a.Get(context.Background(), clockRef); err != nil || !a.Authenticated() {
			t.Fatalf("%v, authenticated %t", err, a.Authenticated())
		}
		if want := fmt.Sprint(named); fmt.Sprint(len(h.lines) == 1 && h.lines[0] == "push open false") != want {
			t.Errorf("named %t: heard %q", named, h.lines)
		}
		if named && counter != sent {
			t.Errorf("it says counter %d, and was sent with %d", counter, sent)
		}
	}
}

func TestAnEncryptedOnlyAnswerIsTakenWhereTheConfigurationSaysSoAndIsMarked(t *testing.T) {
	for _, named := range []bool{false, true} {
		m := newMeterUnder(t, nopWrap)
		cfg := m.linky()
		cfg.Strict, cfg.EncryptedOnly, cfg.General = false, named, true
		a, _ := m.associated(cfg)
		if err := a.machine.settle(); err != nil {
			t.Fatal(err)
		}
		floor := a.machine.session.floor.(*security.MemoryFloor)
		before := floor.Expected(peerTitle)
		m.onAnswer = func([]byte) [][]byte { return [][]byte{m.encryptedOnly(m.echo(m.plains[len(m.plains)-1]))} }
		d, err := a.Get(context.Background(), clockRef)
		switch {
		case !named && !errors.Is(err, security.ErrEncryptedOnly):
			t.Errorf("not named: %v", err)
		case named && (err != nil || d.Text() != clockRef.String() || a.Authenticated()):
			t.Errorf("named: %s, %v, authenticated %t", d, err, a.Authenticated())
		case floor.Expected(peerTitle) != before:
			t.Error("what is not authentic moved the floor")
		}
	}
}

func TestListenHandsOutWhatComesUntilItsContextEnds(t *testing.T) {
	m := newMeter(t)
	h := &heard{}
	cfg := m.linky()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cfg.Notify = func(n Notification) {
		h.notify(n)
		if len(h.lines) == 2 {
			cancel()
		}
	}
	a, w := m.associated(cfg)
	w.queue = [][]byte{m.seal(anEvent(1), dedicated), {0xD8, 1, 1}, nil, m.seal(aPush("two"), generalDed)}
	if err := a.Listen(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(h.lines) != 2 || h.lines[1] != "push two true" {
		t.Errorf("heard %q", h.lines)
	}
	if d, err := a.Get(context.Background(), clockRef); err != nil || d.IsNull() {
		t.Errorf("afterwards: %v", err)
	}
	other := newMeter(t)
	deaf, _ := other.associated(other.linky())
	if err := deaf.Listen(context.Background()); !errors.Is(err, ErrConfig) {
		t.Errorf("without anybody to tell: %v", err)
	}
}
