package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// headerSize is the size of the security header: security control and invocation counter (GB 9.2.7.2.4).
const headerSize = 5

// MaxHeader is the longest that stands before the content of a Ciphered or GeneralCiphered: tag, system title with
// its length, length, security header.
const MaxHeader = 1 + 1 + dlms.SystemTitleSize + 5 + headerSize

// Ciphered is the protected form of one service's APDU (GB 9.2.7.2.4).
//
//	glo-get-request [200] IMPLICIT OCTET STRING, and so on: tag, length, SC, IC, content
type Ciphered struct {
	// Tag is the tag outside: glo-, ded- or a general form. It is not authenticated.
	Tag Tag
	// Control is the security control byte, not looked at here.
	Control byte
	// Counter is the sender's invocation counter.
	Counter dlms.InvocationCounter
	// Content is ciphertext or plaintext, and the authentication tag where there is one. It aliases the input after
	// parsing.
	Content []byte
}

// GeneralCiphered is general-glo-ciphering or general-ded-ciphering (GB 9.2.7.2.4), which names the originator and
// can carry any APDU.
//
//	General-Glo-Ciphering ::= SEQUENCE { system-title OCTET STRING, ciphered-content OCTET STRING }
type GeneralCiphered struct {
	// Title is the originator's system title, zero where it was left out because the peer knows it.
	Title dlms.SystemTitle
	// Ciphered has the tag TagGeneralGlo or TagGeneralDed.
	Ciphered
}

// IsGeneral reports whether the tag is one that ParseGeneralCiphered takes.
func (t Tag) IsGeneral() bool { return t == TagGeneralGlo || t == TagGeneralDed }

// IsCiphered reports whether the tag is one that ParseCiphered takes.
func (t Tag) IsCiphered() bool {
	_, _, ok := PlainTag(t)
	return ok
}

// ParseCiphered parses a protected APDU with a tag of its own service.
func ParseCiphered(b []byte) (Ciphered, error) {
	if tag, protected, ok := wire.Split(b); ok && Tag(tag).IsCiphered() {
		if control, counter, content, ok := wire.Header(protected); ok {
			return Ciphered{Tag: Tag(tag), Control: control, Counter: dlms.InvocationCounter(counter), Content: content}, nil
		}
	}
	return parseCiphered(b)
}

// parseCiphered is ParseCiphered for every form and every fault.
func parseCiphered(b []byte) (c Ciphered, err error) {
	r := wire.NewReader(b)
	c.read(&r)
	if err := r.Done(); err != nil {
		return Ciphered{}, fmt.Errorf("parse ciphered apdu: %w", err)
	}
	return c, nil
}

// read reads the APDU into c, which is zero before.
func (c *Ciphered) read(r *wire.Reader) {
	b, more := r.Peek()
	if c.Tag = Tag(b); more && !c.Tag.IsCiphered() {
		notCiphered(r, c.Tag)
	}
	r.Uint8()
	readProtected(r, c)
}

// ParseGeneralCiphered parses general-glo-ciphering and general-ded-ciphering.
func ParseGeneralCiphered(b []byte) (GeneralCiphered, error) {
	r := wire.NewReader(b)
	g := readGeneralCiphered(&r)
	if err := r.Done(); err != nil {
		return GeneralCiphered{}, fmt.Errorf("parse general-ciphered apdu: %w", err)
	}
	return g, nil
}

func readGeneralCiphered(r *wire.Reader) GeneralCiphered {
	var g GeneralCiphered
	b, more := r.Peek()
	if g.Tag = Tag(b); more && !g.Tag.IsGeneral() {
		notCiphered(r, g.Tag)
	}
	r.Uint8()
	g.Title = readOptionalTitle(r.In("system title"))
	readProtected(r, &g.Ciphered)
	return g
}

// notCiphered says of a tag that is not one of those wanted what it is.
func notCiphered(r *wire.Reader, tag Tag) {
	if tag == TagGeneralSigning {
		r.Fail(fmt.Errorf("%w: %s, which needs security suite 1 or 2", ErrUnsupported, tag))
	}
	r.Fail(fmt.Errorf("%w: got %s", ErrTag, tag))
}

// readProtected reads length, security header and content.
func readProtected(r *wire.Reader, c *Ciphered) {
	n := r.In("ciphered content").Length()
	if n < headerSize {
		noHeader(r, n)
		return
	}
	if n > r.Len() { // before anything of the header is read
		r.Bytes(n)
		return
	}
	c.Control = r.Uint8()
	c.Counter = dlms.InvocationCounter(r.Uint32())
	c.Content = r.Bytes(n - headerSize)
}

func noHeader(r *wire.Reader, n int) {
	r.Fail(fmt.Errorf("%w: want at least the %d bytes of the security header, got %d", ErrLength, headerSize, n))
}

// readOptionalTitle reads a system title of eight bytes, or of none.
func readOptionalTitle(r *wire.Reader) dlms.SystemTitle {
	p := r.OctetString()
	if r.Err() != nil || len(p) == 0 {
		return dlms.SystemTitle{}
	}
	t, err := systemTitle(p)
	if err != nil {
		r.Fail(err)
	}
	return t
}

// AppendHeader appends everything before the content, for a content of n bytes that the caller appends, so that it
// can be sealed in place.
func (c Ciphered) AppendHeader(dst []byte, n int) ([]byte, error) {
	if !c.Tag.IsCiphered() {
		return nil, fmt.Errorf("append ciphered apdu: %w: %s", ErrTag, c.Tag)
	}
	return c.appendProtected(append(dst, byte(c.Tag)), n), nil
}

// AppendHeader appends everything before the content, for a content of n bytes that the caller appends, so that it
// can be sealed in place.
func (g GeneralCiphered) AppendHeader(dst []byte, n int) ([]byte, error) {
	if !g.Tag.IsGeneral() {
		return nil, fmt.Errorf("append general-ciphered apdu: %w: %s", ErrTag, g.Tag)
	}
	return g.appendProtected(appendOptionalTitle(append(dst, byte(g.Tag)), g.Title), n), nil
}

// appendOptionalTitle appends a system title as an octet string; the zero title is an empty one.
func appendOptionalTitle(dst []byte, t dlms.SystemTitle) []byte {
	if t.IsZero() {
		return append(dst, 0)
	}
	return append(append(dst, dlms.SystemTitleSize), t[:]...)
}

// PutHeader writes everything before the content of n bytes at the end of room, which has MaxHeader bytes or more,
// and returns where it begins: the content follows room in memory. tag is one that a Ciphered or a GeneralCiphered
// may have; only the general forms carry title, and a zero title is left out.
func PutHeader(room []byte, tag Tag, title dlms.SystemTitle, control byte, ic dlms.InvocationCounter, n int) (start int, err error) {
	start = len(room) - headerLen(tag, title, n)
	if start < 0 || n < 0 {
		return 0, fmt.Errorf("put header: %w: room of %d bytes for a content of %d", ErrLength, len(room), n)
	}
	dst := room[start:start]
	dst = append(dst, byte(tag))
	switch {
	case tag.IsCiphered():
	case tag.IsGeneral():
		dst = appendOptionalTitle(dst, title)
	default:
		return 0, fmt.Errorf("put header: %w: %s", ErrTag, tag)
	}
	dst = wire.AppendLength(dst, headerSize+n)
	appendNumber(append(dst, control), uint32(ic))
	return start, nil
}

func headerLen(tag Tag, title dlms.SystemTitle, n int) int {
	size := 1 + wire.LengthSize(headerSize+n) + headerSize
	switch {
	case !tag.IsGeneral():
		return size
	case title.IsZero():
		return size + 1
	}
	return size + 1 + dlms.SystemTitleSize
}

func (c *Ciphered) appendProtected(dst []byte, n int) []byte {
	dst = wire.AppendLength(dst, headerSize+n)
	return appendNumber(append(dst, c.Control), uint32(c.Counter))
}

// AppendBinary appends the APDU.
func (c Ciphered) AppendBinary(dst []byte) ([]byte, error) {
	dst, err := c.AppendHeader(dst, len(c.Content))
	if err != nil {
		return nil, err
	}
	return append(dst, c.Content...), nil
}

// AppendBinary appends the APDU.
func (g GeneralCiphered) AppendBinary(dst []byte) ([]byte, error) {
	dst, err := g.AppendHeader(dst, len(g.Content))
	if err != nil {
		return nil, err
	}
	return append(dst, g.Content...), nil
}
