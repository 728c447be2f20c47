package server

import (
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// protected is a ciphered APDU taken apart. Nothing in it is authentic yet.
type protected struct {
	plain     apdu.Tag // of the APDU inside; 0 where the form does not say
	dedicated bool
	general   bool
	title     dlms.SystemTitle // of a general form
	control   security.Control
	counter   dlms.InvocationCounter
	content   []byte
	ciphering *apdu.GeneralCiphering // of general-ciphering
}

// form is how an APDU is protected: an answer takes the form of its request.
type form struct {
	dedicated, general bool
	control            security.Control
	ciphering          *apdu.GeneralCiphering
}

func (p *protected) form() form { return form{p.dedicated, p.general, p.control, p.ciphering} }

func (p *protected) overhead() int { return p.form().overhead() }

// carries reports whether the plaintext is the APDU that the tag outside promised, which must be want unless want
// is 0.
func (p *protected) carries(plain []byte, want apdu.Tag) bool {
	if len(plain) == 0 {
		return false
	}
	tag := apdu.Tag(plain[0])
	return (p.plain == 0 || p.plain == tag) && (want == 0 || want == tag)
}

// parseProtected takes a ciphered APDU apart (GB 9.5). An APDU in another form is ErrForm.
func (c *call) parseProtected(b []byte) (protected, error) {
	tag, err := apdu.TagOf(b)
	if err != nil {
		return protected{}, err
	}
	p := protected{general: tag.IsGeneral()}
	var g apdu.GeneralCiphered
	switch {
	case p.general:
		p.dedicated = tag == apdu.TagGeneralDed
		g, err = apdu.ParseGeneralCiphered(b)
	case tag == apdu.TagGeneralCiphering && c.client.GeneralCiphering:
		p.ciphering, err = parseCiphering(b)
		if err == nil {
			g = apdu.GeneralCiphered{Title: p.ciphering.Originator, Ciphered: p.ciphering.Ciphered}
		}
	case tag.IsCiphered():
		p.plain, p.dedicated, _ = apdu.PlainTag(tag)
		g.Ciphered, err = apdu.ParseCiphered(b)
	default:
		err = fmt.Errorf("%w: %s", ErrForm, tag)
	}
	if err != nil {
		return protected{}, err
	}
	p.title, p.control, p.counter, p.content = g.Title, security.Control(g.Control), g.Counter, g.Content
	return p, nil
}

func parseCiphering(b []byte) (*apdu.GeneralCiphering, error) {
	g, err := apdu.ParseGeneralCiphering(b)
	if err != nil {
		return nil, err
	}
	return &g, nil
}

// open checks the form and the protection against what this client must use, and verifies the tag. It changes
// nothing: the caller commits the counter and only then looks at the plaintext, which lies in a buffer of the call.
func (c *call) open(p protected, ciph *security.Cipher, peer dlms.SystemTitle) ([]byte, error) {
	if err := c.checkForm(&p, peer); err != nil {
		return nil, err
	}
	accepts := security.Acceptance{Policy: c.client.Policy, Broadcast: c.env.Broadcast && c.client.GlobalBroadcast}
	if err := accepts.Check(p.control); err != nil {
		return nil, err
	}
	var extra []byte
	if p.ciphering != nil {
		extra = p.ciphering.AAD()
	}
	plain, err := ciph.OpenWith(c.plain[:0], p.control, peer, p.counter, extra, p.content)
	if err == nil {
		c.plain = plain
	}
	return plain, err
}

// maxExtra bounds what general-ciphering adds to the additional authenticated data, since an answer repeats it.
const maxExtra = 64

func (c *call) checkForm(p *protected, peer dlms.SystemTitle) error {
	switch {
	case p.general && !c.client.GeneralForms && !c.env.Broadcast:
		return fmt.Errorf("%w: general form", ErrForm)
	case !p.title.IsZero() && p.title != peer: // it may be left out where the association knows it
		return fmt.Errorf("%w: want %s, got %s", security.ErrTitle, peer, p.title)
	case p.ciphering == nil:
		return nil
	case c.env.Broadcast:
		return fmt.Errorf("%w: general-ciphering", ErrForm)
	}
	g := p.ciphering
	switch {
	case !g.Recipient.IsZero() && g.Recipient != c.server.device.SystemTitle():
		return fmt.Errorf("%w: for %s", security.ErrTitle, g.Recipient)
	case g.Key.Kind == apdu.KeyInfoIdentified && g.Key.KeyID == apdu.KeyIDGlobalBroadcast:
		return security.ErrKeySet
	case g.Key.Kind > apdu.KeyInfoIdentified || g.Key.KeyID != apdu.KeyIDGlobalUnicast:
		return fmt.Errorf("%w: general-ciphering by %s", ErrForm, g.Key.Kind)
	case len(g.AAD()) > maxExtra:
		return fmt.Errorf("%w: general-ciphering with too much in it", ErrForm)
	}
	return nil
}

// keys is a cipher with the counters of one key.
type keys struct {
	cipher *security.Cipher
	send   security.SendCounter
	floor  security.ReceiveFloor
}

func global(lt *security.LongTerm) keys { return keys{lt.Cipher, lt.Send, lt.Floor} }

// sessionKeys are those of a dedicated key.
func (c *call) sessionKeys(s *session) (keys, error) {
	if err := c.settle(s); err != nil {
		return keys{}, fmt.Errorf("dedicated key: %w", err)
	}
	return keys{s.cipher, s.send, s.floor}, nil
}

// keys returns the key that p claims to be under. A global key that is no longer the one which opened the
// association ends it, should the device have forgotten to.
func (c *call) keys(dedicated bool) (keys, error) {
	a := c.slot.assoc
	if dedicated {
		if a.session == nil {
			return keys{}, fmt.Errorf("%w: no dedicated key", ErrForm)
		}
		return c.sessionKeys(a.session)
	}
	lt, err := c.longTerm(a.key.setup, a.peer, a.info)
	if err != nil {
		return keys{}, err
	}
	if lt.Generation != a.key.number {
		c.server.end(c.index, ErrKeyReplaced)
		return keys{}, fmt.Errorf("%w: %w", ErrForm, ErrKeyReplaced)
	}
	return global(lt), nil
}

// longTerm asks the device for the key in force of a security setup, for the peer where keys differ by peer.
func (c *call) longTerm(setup dlms.OBIS, peer dlms.SystemTitle, info []byte) (*security.LongTerm, error) {
	lt, err := c.deviceKey(setup, peer, info)
	switch {
	case err != nil:
	case lt == nil:
		err = ErrNoKey
	default:
		err = lt.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("security setup %s: %w", setup, err)
	}
	return lt, nil
}

func (c *call) deviceKey(setup dlms.OBIS, peer dlms.SystemTitle, info []byte) (*security.LongTerm, error) {
	if !c.client.PerPeer {
		return c.server.device.LongTerm(setup)
	}
	h, ok := c.server.device.(PeerKeys)
	if !ok {
		return nil, ErrNoKey
	}
	return h.PeerLongTerm(setup, peer, info)
}

// seal appends an answer to dst, protected in the form f, and spends a counter.
func (c *call) seal(dst []byte, f form, k keys, plain []byte) ([]byte, error) {
	title := c.server.device.SystemTitle()
	tag, err := f.tag(apdu.Tag(plain[0]))
	if err != nil {
		return nil, err
	}
	ic, err := k.send.Next()
	if err != nil {
		return nil, err
	}
	dst = slices.Grow(dst, len(plain)+f.overhead())
	ciphered := apdu.Ciphered{Tag: tag, Control: byte(f.control), Counter: ic}
	var extra []byte
	switch n := len(plain) + security.TagSize; {
	case f.ciphering != nil:
		g := f.answer(title, ciphered)
		extra = g.AAD()
		dst, err = g.AppendHeader(dst, n)
	case f.general:
		dst, err = apdu.GeneralCiphered{Title: title, Ciphered: ciphered}.AppendHeader(dst, n)
	default:
		dst, err = ciphered.AppendHeader(dst, n)
	}
	if err != nil {
		return nil, err
	}
	return k.cipher.SealWith(dst, f.control, title, ic, extra, plain)
}

// sealAnswer is seal of an answer in the buffer of answers, behind it in the same buffer.
func (c *call) sealAnswer(f form, k keys, plain []byte) ([]byte, error) {
	b, err := c.keep(c.seal(plain, f, k, plain))
	if err != nil {
		return nil, err
	}
	return b[len(plain):], nil
}

// answer is the general-ciphering that answers another one: from the one it was for, to the one it came from.
func (f form) answer(own dlms.SystemTitle, c apdu.Ciphered) apdu.GeneralCiphering {
	return apdu.GeneralCiphering{
		TransactionID: f.ciphering.TransactionID, Originator: own, Recipient: f.ciphering.Originator,
		Key: f.ciphering.Key, Ciphered: c,
	}
}

// tag is the tag of an APDU in the form f.
func (f form) tag(plain apdu.Tag) (apdu.Tag, error) {
	switch {
	case f.ciphering != nil:
		return apdu.TagGeneralCiphering, nil
	case f.general && f.dedicated:
		return apdu.TagGeneralDed, nil
	case f.general:
		return apdu.TagGeneralGlo, nil
	}
	tag, ok := apdu.CipheredTag(plain, f.dedicated)
	if !ok {
		return 0, fmt.Errorf("%w: %s has no ciphered form", ErrForm, plain)
	}
	return tag, nil
}

// overhead is what seal adds at most to an APDU in form f, in bytes.
func (f form) overhead() int {
	n := 1 + 3 + 1 + 4 + security.TagSize // tag, length, SC, IC, authentication tag
	switch {
	case f.ciphering != nil:
		n += len(f.ciphering.TransactionID) + 3 + 2*(1+dlms.SystemTitleSize) + 2 + 3 // titles, times, key info
	case f.general:
		n += 1 + dlms.SystemTitleSize
	}
	return n
}

// refuse answers an APDU that open or the floor did not take. Nothing has changed but what the rate counts.
func (c *call) refuse(err error) []byte {
	expected, counter := counterError(err)
	switch {
	case errors.Is(err, security.ErrTag):
		if c.fail("apdu", err) {
			return exception(apdu.StateServiceNotAllowed, apdu.ServiceDecipheringError)
		}
		return nil
	case counter:
		if c.fail("apdu", err) {
			return counterException(expected)
		}
		return nil
	case errors.Is(err, ErrForm), errors.Is(err, security.ErrPolicy), errors.Is(err, security.ErrSuite),
		errors.Is(err, security.ErrCompressed), errors.Is(err, security.ErrEncryptedOnly), errors.Is(err, security.ErrKeySet), errors.Is(err, security.ErrTitle):
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible)
	}
	c.fail("apdu not served", err)
	return exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason)
}
