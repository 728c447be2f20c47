package client

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// pusher is a meter that pushes, and the receiver of its pushes.
type pusher struct {
	t        testing.TB
	cipher   *security.Cipher
	receiver *Receiver
	floor    *security.FloorTable
	asked    []Push
	next     dlms.InvocationCounter
}

func newPusher(t testing.TB, accept security.Acceptance) *pusher {
	t.Helper()
	k := must(key.GenerateUnicast(seeded(9)))
	p := &pusher{t: t, cipher: must(security.NewCipher(must(k.AEAD()), key.Authentication{}))}
	p.floor = must(security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }}))
	theirs := must(security.NewCipher(must(k.AEAD()), key.Authentication{}))
	p.receiver = must(NewReceiver(ReceiverConfig{Title: ownTitle, Acceptance: accept, Lookup: func(q Push) (PushKey, error) {
		p.asked = append(p.asked, q)
		if q.Title != peerTitle {
			return PushKey{}, ErrNoKey
		}
		return PushKey{Cipher: theirs, Floor: p.floor}, nil
	}}))
	return p
}

// seal protects plain in the form of tag.
func (p *pusher) seal(tag apdu.Tag, ctl security.Control, plain []byte) []byte {
	p.t.Helper()
	p.next++
	c := apdu.Ciphered{Tag: tag, Control: byte(ctl), Counter: p.next}
	switch {
	case tag == apdu.TagGeneralCiphering:
		g := apdu.GeneralCiphering{
			TransactionID: []byte{1, 2}, Originator: peerTitle, Recipient: ownTitle, Other: []byte("other"),
			Key: apdu.KeyInfo{Kind: apdu.KeyInfoIdentified}, Ciphered: c,
		}
		g.Content = must(p.cipher.SealWith(nil, ctl, peerTitle, c.Counter, g.AAD(), plain))
		return must(g.AppendBinary(nil))
	case tag.IsGeneral():
		c.Content = must(p.cipher.Seal(nil, ctl, peerTitle, c.Counter, plain))
		return must(apdu.GeneralCiphered{Title: peerTitle, Ciphered: c}.AppendBinary(nil))
	}
	c.Content = must(p.cipher.Seal(nil, ctl, peerTitle, c.Counter, plain))
	return must(c.AppendBinary(nil))
}

var encrypted = security.Acceptance{Policy: security.PolicyAuthenticatedEncrypted}

func TestAPushIsTakenInEveryForm(t *testing.T) {
	for _, tag := range []apdu.Tag{apdu.TagGeneralGlo, apdu.TagGeneralDed, apdu.TagGeneralCiphering} {
		p := newPusher(t, encrypted)
		n, err := p.receiver.Receive(p.seal(tag, security.AuthenticatedEncrypted, aPush("reading")), dlms.SystemTitle{})
		if err != nil || !n.Authenticated || n.Title != peerTitle || n.Counter != 1 || n.Data == nil || string(n.Data.Body.Bytes()) != "reading" {
			t.Errorf("%s: got %+v, %v", tag, n, err)
		}
		if q := p.asked[0]; q.Form != tag || q.Control != security.AuthenticatedEncrypted ||
			(tag == apdu.TagGeneralCiphering) != (q.Recipient == ownTitle && q.Key.Kind == apdu.KeyInfoIdentified) {
			t.Errorf("%s: asked for %+v", tag, q)
		}
	}
	for _, tag := range []apdu.Tag{apdu.TagGloEventNotification, apdu.TagDedEventNotification} {
		p := newPusher(t, encrypted)
		n, err := p.receiver.Receive(p.seal(tag, security.AuthenticatedEncrypted, anEvent(7)), peerTitle)
		if err != nil || !n.Authenticated || n.Event == nil || n.Event.Ref != clockRef {
			t.Errorf("%s: got %+v, %v", tag, n, err)
		}
	}
}

func TestAPushInClearIsTakenWhereThePolicyIsNoneAndIsNotAuthentic(t *testing.T) {
	open := must(NewReceiver(ReceiverConfig{}))
	n, err := open.Receive(aPush("clear"), peerTitle)
	if err != nil || n.Authenticated || n.Title != peerTitle || n.Data == nil {
		t.Errorf("got %+v, %v", n, err)
	}
	if n, err = open.Receive(anEvent(1), dlms.SystemTitle{}); err != nil || n.Authenticated || n.Event == nil {
		t.Errorf("got %+v, %v", n, err)
	}
	closed := newPusher(t, security.Acceptance{Policy: security.PolicyAuthenticated})
	if _, err := closed.receiver.Receive(aPush("clear"), peerTitle); !errors.Is(err, security.ErrPolicy) {
		t.Errorf("got %v", err)
	}
}

func TestAnEncryptedOnlyPushIsTakenWhereTheAcceptanceNamesItAndIsMarked(t *testing.T) {
	cut := func(p *pusher) []byte {
		b := p.seal(apdu.TagGeneralGlo, security.AuthenticatedEncrypted, aPush("open"))
		g := must(apdu.ParseGeneralCiphered(b))
		g.Control, g.Content = byte(security.Encrypted), g.Content[:len(g.Content)-security.TagSize]
		return must(g.AppendBinary(nil))
	}
	p := newPusher(t, encrypted)
	if _, err := p.receiver.Receive(cut(p), dlms.SystemTitle{}); !errors.Is(err, security.ErrEncryptedOnly) {
		t.Errorf("not named: %v", err)
	}
	p = newPusher(t, security.Acceptance{Policy: security.PolicyAuthenticatedEncrypted, EncryptedOnly: true})
	n, err := p.receiver.Receive(cut(p), dlms.SystemTitle{})
	if err != nil || n.Authenticated || n.Data == nil || string(n.Data.Body.Bytes()) != "open" {
		t.Errorf("named: %+v, %v", n, err)
	}
	if p.floor.Expected(peerTitle) != 0 {
		t.Error("what is not authentic moved the floor")
	}
}

func TestAReceiverRefusesAPushThat(t *testing.T) {
	ae := security.AuthenticatedEncrypted
	stranger := dlms.SystemTitle{'X', 'X', 'X', 1}
	for name, c := range map[string]struct {
		push func(p *pusher) []byte
		from dlms.SystemTitle
		want error
	}{
		"is altered": {func(p *pusher) []byte {
			b := p.seal(apdu.TagGeneralGlo, ae, aPush("x"))
			b[len(b)-1] ^= 1
			return b
		}, peerTitle, security.ErrTag},
		"has an altered transaction id": {func(p *pusher) []byte {
			b := p.seal(apdu.TagGeneralCiphering, ae, aPush("x"))
			b[2] ^= 1
			return b
		}, peerTitle, security.ErrTag},
		"is authenticated only":      {func(p *pusher) []byte { return p.seal(apdu.TagGeneralGlo, security.Authenticated, aPush("x")) }, peerTitle, security.ErrPolicy},
		"comes from somebody else":   {func(p *pusher) []byte { return p.seal(apdu.TagGeneralGlo, ae, aPush("x")) }, stranger, security.ErrTitle},
		"comes from nobody":          {func(p *pusher) []byte { return p.seal(apdu.TagGloEventNotification, ae, anEvent(1)) }, dlms.SystemTitle{}, security.ErrTitle},
		"claims our own title":       {func(p *pusher) []byte { return p.seal(apdu.TagGloEventNotification, ae, anEvent(1)) }, ownTitle, security.ErrTitle},
		"is under an unknown key":    {func(p *pusher) []byte { return p.seal(apdu.TagGloEventNotification, ae, anEvent(1)) }, stranger, ErrNoKey},
		"carries something else":     {func(p *pusher) []byte { return p.seal(apdu.TagGeneralGlo, ae, getResponse(1, dlms.Uint8(1))) }, peerTitle, ErrAnswer},
		"is a push in an event tag":  {func(p *pusher) []byte { return p.seal(apdu.TagGloEventNotification, ae, aPush("x")) }, peerTitle, ErrAnswer},
		"is an answer":               {func(p *pusher) []byte { return p.seal(apdu.TagDedGetResponse, ae, getResponse(1, dlms.Uint8(1))) }, peerTitle, ErrAnswer},
		"is an answer in clear":      {func(*pusher) []byte { return getResponse(1, dlms.Uint8(1)) }, peerTitle, ErrAnswer},
		"is cut":                     {func(p *pusher) []byte { b := p.seal(apdu.TagGeneralGlo, ae, aPush("x")); return b[:len(b)-1] }, peerTitle, ErrAnswer},
		"has no bytes":               {func(*pusher) []byte { return nil }, peerTitle, ErrAnswer},
		"is compressed":              {func(p *pusher) []byte { return p.withControl(0xB0) }, peerTitle, security.ErrCompressed},
		"is of suite 1":              {func(p *pusher) []byte { return p.withControl(0x31) }, peerTitle, security.ErrSuite},
		"is under the broadcast key": {func(p *pusher) []byte { return p.withControl(0x70) }, peerTitle, security.ErrKeySet},
		"has no protection at all":   {func(p *pusher) []byte { return p.withControl(0) }, peerTitle, security.ErrPolicy},
		"is for somebody else": {func(p *pusher) []byte {
			g := must(apdu.ParseGeneralCiphering(p.seal(apdu.TagGeneralCiphering, ae, aPush("x"))))
			g.Recipient = stranger
			return must(g.AppendBinary(nil))
		}, peerTitle, security.ErrTitle},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPusher(t, encrypted)
			b := c.push(p)
			n, err := p.receiver.Receive(b, c.from)
			if !errors.Is(err, c.want) || n.Event != nil || n.Data != nil {
				t.Errorf("want %v, got %+v, %v", c.want, n, err)
			}
			authentic := errors.Is(err, ErrAnswer) && p.floor.Expected(peerTitle) > 0
			if !authentic && p.floor.Expected(peerTitle) != 0 {
				t.Error("the floor moved")
			}
			p.next = max(p.next, 5)
			if _, err := p.receiver.Receive(p.seal(apdu.TagGeneralGlo, ae, aPush("honest")), peerTitle); err != nil {
				t.Errorf("the honest push after it: %v", err)
			}
		})
	}
}

func (p *pusher) withControl(c byte) []byte {
	g := must(apdu.ParseGeneralCiphered(p.seal(apdu.TagGeneralGlo, security.AuthenticatedEncrypted, aPush("x"))))
	g.Control = c
	return must(g.AppendBinary(nil))
}

func TestAPushIsTakenOnceWhateverTheOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPusher(t, encrypted)
		var sent [][]byte
		for range 6 {
			sent = append(sent, p.seal(apdu.TagGeneralGlo, security.AuthenticatedEncrypted, aPush("x")))
		}
		highest := dlms.InvocationCounter(0)
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(sent)-1), 1, 20).Draw(rt, "order") {
			ic := dlms.InvocationCounter(i + 1)
			_, err := p.receiver.Receive(bytes.Clone(sent[i]), peerTitle)
			if (err == nil) != (ic > highest) {
				rt.Fatalf("counter %d after %d: %v", ic, highest, err)
			}
			if err != nil && !errors.Is(err, security.ErrReplay) {
				rt.Fatalf("got %v", err)
			}
			highest = max(highest, ic)
		}
	})
}

func TestAReceiverThatCannotKeepItsFloorTakesNothing(t *testing.T) {
	broken := errors.New("disk full")
	p := newPusher(t, encrypted)
	floor := must(security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return broken }}))
	r := must(NewReceiver(ReceiverConfig{Acceptance: encrypted, Lookup: func(Push) (PushKey, error) {
		return PushKey{Cipher: p.cipher, Floor: floor}, nil
	}}))
	if n, err := r.Receive(p.seal(apdu.TagGeneralGlo, security.AuthenticatedEncrypted, aPush("x")), peerTitle); !errors.Is(err, broken) || n.Data != nil {
		t.Errorf("got %+v, %v", n, err)
	}
	bare := must(NewReceiver(ReceiverConfig{Acceptance: encrypted, Lookup: func(Push) (PushKey, error) { return PushKey{}, nil }}))
	if _, err := bare.Receive(p.seal(apdu.TagGeneralGlo, security.AuthenticatedEncrypted, aPush("x")), peerTitle); !errors.Is(err, ErrConfig) {
		t.Errorf("a key without a floor: %v", err)
	}
	for _, accept := range []security.Acceptance{encrypted, {EncryptedOnly: true}, {Policy: 9}} {
		if _, err := NewReceiver(ReceiverConfig{Acceptance: accept}); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v without a lookup: %v", accept, err)
		}
	}
}
