package wire

import "fmt"

// BER universal tags that the association uses (ITU-T X.690).
const (
	TagInteger     byte = 0x02
	TagOctetString byte = 0x04
	TagOID         byte = 0x06
)

// Element reads one BER tag of one octet and its length, and returns a Reader over its content. The content's
// errors reach r only through Join.
func (r *Reader) Element() (tag byte, body Reader) {
	tag = r.ElementInto(&body)
	return tag, body
}

// ElementInto is Element with the Reader in a place of the caller's, for many of them in turn.
func (r *Reader) ElementInto(body *Reader) (tag byte) {
	tag = r.Uint8()
	if r.err == nil && tag&0x1F == 0x1F {
		r.off--
		r.Fail(fmt.Errorf("%w: tag %#02x takes more than one octet", ErrValue, tag))
	}
	n := r.Length()
	base := r.Offset()
	*body = Reader{b: r.take(n), base: base, field: r.field, err: r.err}
	return tag
}

// Expected reads one BER element that must have the tag want.
func (r *Reader) Expected(want byte) Reader {
	if got, ok := r.Peek(); ok && got != want {
		r.Fail(fmt.Errorf("%w: want tag %#02x, got %#02x", ErrValue, want, got))
	}
	_, body := r.Element()
	return body
}

// Join takes over the error of a Reader that Element gave, and the fault of bytes that it left.
func (r *Reader) Join(body *Reader) {
	err := body.Done()
	r.lax = r.lax || body.lax
	if r.err == nil && err != nil {
		r.keep(err)
	}
}

// Explicit reads one BER element with the tag want, which must be all that is left, and returns its content.
func (r *Reader) Explicit(want byte) []byte {
	body := r.Expected(want)
	p := body.Rest()
	r.Join(&body)
	if err := r.Done(); err != nil {
		return nil
	}
	return p
}

// Integer reads the content of a BER INTEGER of at most eight octets that is all that is left.
func (r *Reader) Integer() int64 {
	n := r.Len()
	if n == 0 || n > 8 {
		r.Fail(fmt.Errorf("%w: integer of %d bytes", ErrLength, n))
		return 0
	}
	p := r.Rest()
	v := int64(int8(p[0]))
	for _, b := range p[1:] {
		v = v<<8 | int64(b)
	}
	if n != integerSize(v) {
		r.lax = true
	}
	return v
}

// integerSize returns the number of octets of the shortest two's complement form of v.
func integerSize(v int64) int {
	n := 1
	for v > 127 || v < -128 {
		v >>= 8
		n++
	}
	return n
}

// AppendInteger appends tag, length and the shortest content of a BER INTEGER.
func AppendInteger(dst []byte, tag byte, v int64) []byte {
	n := integerSize(v)
	dst = append(dst, tag, byte(n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

// AppendElement appends tag, length and content.
func AppendElement(dst []byte, tag byte, content []byte) []byte {
	dst = append(dst, tag)
	return AppendOctetString(dst, content)
}

// Begin appends tag and a place for the length of a constructed element whose content is appended next. End with
// the mark that it returns fills it in.
func Begin(dst []byte, tag byte) (out []byte, mark int) {
	dst = append(dst, tag, 0)
	return dst, len(dst)
}

// End writes the length of the content appended since Begin, moving it when the length needs the long form.
func End(dst []byte, mark int) []byte {
	n := len(dst) - mark
	extra := LengthSize(n) - 1
	for range extra {
		dst = append(dst, 0)
	}
	copy(dst[mark+extra:], dst[mark:mark+n])
	AppendLength(dst[:mark-1], n)
	return dst
}
