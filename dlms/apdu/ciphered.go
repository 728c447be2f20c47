package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// headerSize is the size of the security header: security control and invocation counter (GB 9.2.7.2.4).
const headerSize = 5

// Ciphered is a protected APDU (GB 9.2.7.2.4): of a service of its own (glo- and ded-), or general-glo-ciphering
// and general-ded-ciphering, which name the originator and can carry any APDU.
//
//	glo-get-request [200] IMPLICIT OCTET STRING                and so on: tag, length, SC, IC, content
//	General-Glo-Ciphering ::= SEQUENCE { system-title OCTET STRING, ciphered-content OCTET STRING }
type Ciphered struct {
	Tag Tag
	// Title is the originator's system title: general forms only, zero when it was left out.
	Title dlms.SystemTitle
	// Control is the security control byte, not looked at here.
	Control byte
	Counter dlms.InvocationCounter
	// Content is ciphertext or plaintext, and the authentication tag where there is one. It aliases the input after
	// parsing.
	Content []byte
}

// General reports whether the tag is that of a general form, which has a title.
func (c Ciphered) General() bool { return c.Tag.general() }

func (t Tag) general() bool { return t == TagGeneralGlo || t == TagGeneralDed }

// IsCiphered reports whether ParseCiphered knows the tag.
func (t Tag) IsCiphered() bool {
	_, _, ok := PlainTag(t)
	return ok || t.general()
}

// ParseCiphered parses a protected APDU of any tag for which IsCiphered is true.
func ParseCiphered(b []byte) (Ciphered, error) {
	r := wire.NewReader(b)
	c := readCiphered(&r)
	if err := r.Done(); err != nil {
		return Ciphered{}, fmt.Errorf("parse %s: %w", ciphered(b), err)
	}
	return c, nil
}

// ciphered names the APDU in an error.
func ciphered(b []byte) string {
	if len(b) == 0 {
		return "ciphered apdu"
	}
	return Tag(b[0]).String()
}

func readCiphered(r *wire.Reader) Ciphered {
	tag, ok := r.Peek()
	if ok && !Tag(tag).IsCiphered() {
		r.Fail(cipheredRefusal(Tag(tag)))
	}
	c := Ciphered{Tag: Tag(r.Uint8())}
	if c.General() {
		c.Title = readOptionalTitle(r)
	}
	n := r.In("ciphered content").Length()
	if r.Err() == nil && n < headerSize {
		r.Fail(fmt.Errorf("%w: want at least the %d bytes of the security header, got %d", ErrLength, headerSize, n))
	}
	body := wire.NewReader(r.Bytes(n))
	c.Control = body.Uint8()
	c.Counter = dlms.InvocationCounter(body.Uint32())
	c.Content = body.Rest()
	return c
}

// cipheredRefusal tells what is not ciphered from what is and is not served.
func cipheredRefusal(tag Tag) error {
	if tag == TagGeneralCiphering || tag == TagGeneralSigning {
		return fmt.Errorf("%w: %s", ErrUnsupported, tag)
	}
	return fmt.Errorf("%w: want a ciphered apdu, got %s", ErrTag, tag)
}

// readOptionalTitle reads a system title of eight bytes or, where the peer knows it from the association, of none.
func readOptionalTitle(r *wire.Reader) dlms.SystemTitle {
	p := r.In("system title").OctetString()
	if r.Err() != nil || len(p) == 0 {
		return dlms.SystemTitle{}
	}
	t, err := dlms.SystemTitleFromBytes(p)
	if err == nil && t.IsZero() {
		err = fmt.Errorf("%w: all zero", ErrValue)
	}
	if err != nil {
		r.In("").Fail(err)
	}
	return t
}

// AppendHeader appends everything before the content, for a content of n bytes that the caller appends, so that it
// can be sealed in place.
func (c Ciphered) AppendHeader(dst []byte, n int) ([]byte, error) {
	if !c.Tag.IsCiphered() {
		return nil, fmt.Errorf("append ciphered apdu: %w", cipheredRefusal(c.Tag))
	}
	dst = append(dst, byte(c.Tag))
	switch {
	case !c.General() && !c.Title.IsZero():
		return nil, fmt.Errorf("append %s: %w: it has no system title", c.Tag, ErrValue)
	case c.General() && c.Title.IsZero():
		dst = append(dst, 0)
	case c.General():
		dst = append(append(dst, dlms.SystemTitleSize), c.Title[:]...)
	}
	dst = wire.AppendLength(dst, headerSize+n)
	return appendNumber(append(dst, c.Control), uint32(c.Counter)), nil
}

// AppendBinary appends the APDU.
func (c Ciphered) AppendBinary(dst []byte) ([]byte, error) {
	dst, err := c.AppendHeader(dst, len(c.Content))
	if err != nil {
		return nil, err
	}
	return append(dst, c.Content...), nil
}
