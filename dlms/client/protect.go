package client

import (
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// form is how an APDU is protected; the zero value is not at all.
type form struct {
	ciphered, dedicated, general bool
}

// overhead is what protection adds at most, in bytes.
func (f form) overhead() int {
	switch {
	case !f.ciphered:
		return 0
	case f.general:
		return 1 + dlms.SystemTitleSize + ciphering
	}
	return ciphering
}

const ciphering = 1 + 5 + 1 + 4 + security.TagSize // tag, length, SC, IC, authentication tag

// channel is one key in use between the two ends, with its counters in both directions.
type channel struct {
	cipher *security.Cipher
	send   security.SendCounter
	floor  security.ReceiveFloor
}

// refusal is an answer that does not verify. Nothing has moved: the answer that is waited for may still come.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

func isRefusal(err error) bool { return errors.As(err, new(refusal)) }

// firstRoom is the size that the buffer for what is sent begins with, in bytes.
const firstRoom = 192

// room returns where an APDU to be sent is appended: behind the place for the header of its protection.
func (m *Machine) room() []byte {
	if cap(m.out) < security.Reserve {
		m.out = make([]byte, security.Reserve, firstRoom)
	}
	return m.out[:security.Reserve]
}

// seal returns the APDU that was appended to room in the form f, in the same memory, spending one counter.
func (m *Machine) seal(b []byte, f form) ([]byte, error) { return m.sealWith(b, f, m.cfg.control()) }

func (m *Machine) sealWith(b []byte, f form, ctl security.Control) ([]byte, error) {
	m.out = b
	plain := b[security.Reserve:]
	if !f.ciphered {
		return plain, nil
	}
	tag, err := outerTag(apdu.Tag(plain[0]), f)
	if err != nil {
		return nil, err
	}
	ch, err := m.channel(f)
	if err != nil {
		return nil, err
	}
	ic, err := ch.send.Next()
	if err != nil {
		return nil, err
	}
	m.out = slices.Grow(b, security.TagSize)
	return ch.cipher.SealInPlace(m.out, security.Envelope{Tag: tag, Control: ctl, Title: m.cfg.Title, Counter: ic})
}

// sealAs appends plain in the form f to dst, spending one counter.
func sealAs(dst, plain []byte, f form, ch channel, ctl security.Control, title dlms.SystemTitle) ([]byte, error) {
	tag, err := outerTag(apdu.Tag(plain[0]), f)
	if err != nil {
		return nil, err
	}
	ic, err := ch.send.Next()
	if err != nil {
		return nil, err
	}
	c := apdu.Ciphered{Tag: tag, Control: byte(ctl), Counter: ic}
	n := len(plain) + security.TagSize
	if f.general {
		dst, err = apdu.GeneralCiphered{Title: title, Ciphered: c}.AppendHeader(dst, n)
	} else {
		dst, err = c.AppendHeader(dst, n)
	}
	if err != nil {
		return nil, err
	}
	return ch.cipher.Seal(dst, ctl, title, ic, plain)
}

// outerTag is the tag of the form f of a plain APDU.
func outerTag(plain apdu.Tag, f form) (apdu.Tag, error) {
	tag, ok := formTag(plain, f)
	if !ok {
		return 0, fmt.Errorf("%w: %s has no ciphered form", ErrState, plain)
	}
	return tag, nil
}

func formTag(plain apdu.Tag, f form) (tag apdu.Tag, ok bool) {
	switch {
	case !f.ciphered:
		return plain, true
	case f.general && f.dedicated:
		return apdu.TagGeneralDed, true
	case f.general:
		return apdu.TagGeneralGlo, true
	}
	return apdu.CipheredTag(plain, f.dedicated)
}

// minBuffer is enough for what the answers of an association carry, in bytes.
const minBuffer = 64

// buffer returns room for n bytes that have come, in clear. It is used again for the next APDU, unless keep is
// called.
func (m *Machine) buffer(n int) []byte {
	if cap(m.in) < n {
		m.in = make([]byte, 0, max(n, minBuffer))
	}
	return m.in[:0]
}

// keep gives the buffer away to a value that lies in it.
func (m *Machine) keep() { m.in = nil }

// open verifies b, which must be an APDU with one of the tags in want in the form f, and returns that APDU in the
// machine's buffer. What does not verify is a refusal. Only after that do counters move, and only then is the content
// looked at.
func (m *Machine) open(b []byte, f form, accept security.Acceptance, want ...apdu.Tag) ([]byte, error) {
	if !f.ciphered {
		if !tagIn(b, want) {
			return nil, fmt.Errorf("%w: %s", ErrAnswer, describe(b))
		}
		m.in = append(m.buffer(len(b)), b...)
		return m.in, nil
	}
	c, err := m.takeApart(b, f, want)
	if err != nil {
		return nil, err
	}
	ch, err := m.channel(f)
	if err != nil {
		return nil, err
	}
	plain, err := m.verify(c, ch, accept)
	if err != nil {
		return nil, err
	}
	// The tag outside promises one APDU; a general form promises none.
	if !tagIn(plain, want) || !f.general && !matches(c.Tag, plain[0], f) {
		return nil, fmt.Errorf("%w: %s inside %s", ErrAnswer, describe(plain), c.Tag)
	}
	return plain, nil
}

// verify checks protection, counter and tag, and then moves the floor.
func (m *Machine) verify(c apdu.Ciphered, ch channel, accept security.Acceptance) ([]byte, error) {
	ctl := security.Control(c.Control)
	if err := accept.Check(ctl); err != nil {
		return nil, refuse("%s: %w", c.Tag, err)
	}
	if ctl.EncryptedOnly() {
		return m.decipher(c, ch)
	}
	if err := ch.floor.Check(m.peer, c.Counter); err != nil {
		return nil, refuse("%s: %w", c.Tag, err)
	}
	plain, err := ch.cipher.Open(m.buffer(len(c.Content)), ctl, m.peer, c.Counter, c.Content)
	if err != nil {
		return nil, refuse("%s: %w", c.Tag, err)
	}
	if err := ch.floor.Commit(m.peer, c.Counter); err != nil {
		return nil, fmt.Errorf("client: %s: %w", c.Tag, err)
	}
	m.received = c.Counter
	return plain, nil
}

// decipher takes what is encrypted and not authenticated. Its counter may be anybody's: the floor stays.
func (m *Machine) decipher(c apdu.Ciphered, ch channel) ([]byte, error) {
	plain, err := ch.cipher.OpenUnauthenticated(m.buffer(len(c.Content)), security.Control(c.Control), m.peer, c.Counter, c.Content)
	if err != nil || len(plain) == 0 {
		return nil, refuse("%s: %w: nothing inside", c.Tag, ErrAnswer)
	}
	m.forgeable, m.received = true, c.Counter
	return plain, nil
}

// takeApart parses a ciphered APDU, which must be the form f of one of the tags in want.
func (m *Machine) takeApart(b []byte, f form, want []apdu.Tag) (apdu.Ciphered, error) {
	got, err := apdu.TagOf(b)
	if err != nil {
		return apdu.Ciphered{}, refuse("%w: %w", ErrAnswer, err)
	}
	if !slices.ContainsFunc(want, func(w apdu.Tag) bool { return matches(got, byte(w), f) }) {
		return apdu.Ciphered{}, refuse("%w: got %s", ErrUnprotected, got)
	}
	c, title, err := parse(b, f)
	if err != nil {
		return apdu.Ciphered{}, refuse("%w: %w", ErrAnswer, err)
	}
	// A general form may leave out a title that is known from the association.
	if !title.IsZero() && title != m.peer {
		return apdu.Ciphered{}, refuse("%w: want %s, got %s", security.ErrTitle, m.peer, title)
	}
	return c, nil
}

func parse(b []byte, f form) (apdu.Ciphered, dlms.SystemTitle, error) {
	if f.general {
		g, err := apdu.ParseGeneralCiphered(b)
		return g.Ciphered, g.Title, err
	}
	c, err := apdu.ParseCiphered(b)
	return c, dlms.SystemTitle{}, err
}

// matches reports whether outer is the tag of the form f of plain.
func matches(outer apdu.Tag, plain byte, f form) bool {
	tag, ok := formTag(apdu.Tag(plain), f)
	return ok && tag == outer
}

func tagIn(b []byte, want []apdu.Tag) bool {
	return len(b) > 0 && slices.Contains(want, apdu.Tag(b[0]))
}

// describe names an APDU by its tag.
func describe(b []byte) string {
	got, err := apdu.TagOf(b)
	if err != nil {
		return "no bytes"
	}
	return got.String()
}

// channel is the key that the form f is under.
func (m *Machine) channel(f form) (channel, error) {
	if !f.dedicated {
		return m.global, nil
	}
	err := m.settle()
	return m.session, err
}

// hasSession reports whether there is a session key.
func (m *Machine) hasSession() bool { return m.session.cipher != nil || !m.fresh.IsZero() }
