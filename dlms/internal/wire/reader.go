// Package wire is the only place that indexes raw bytes: a reader that keeps its first error and knows its offset,
// and append helpers, for A-XDR (IEC 61334-6) and the little of BER (ITU-T X.690) that the association needs.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of a Reader, always wrapped with the field's name and its offset.
var (
	ErrTruncated = errors.New("truncated")
	ErrLength    = errors.New("bad length")
	ErrTrailing  = errors.New("trailing bytes")
	ErrValue     = errors.New("bad value")
)

// maxLengthOctets bounds the long form of a length: no APDU needs more than 4 octets.
const maxLengthOctets = 4

// Reader reads a byte slice from the front. The first error sticks: every later read returns zero values, so a
// decoder reads all its fields and asks Err or Done once. Byte slices that it returns alias the input.
type Reader struct {
	b     []byte
	off   int
	base  int
	field string
	lax   bool
	spent int
	err   error
}

// NewReader returns a Reader at the front of b.
func NewReader(b []byte) Reader { return Reader{b: b} }

// In names the field that is read next, for error texts.
func (r *Reader) In(field string) *Reader {
	r.field = field
	return r
}

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Len returns the number of bytes not yet read; 0 after an error.
func (r *Reader) Len() int { return len(r.b) - r.off }

// Offset returns the offset of the next byte in the outermost input.
func (r *Reader) Offset() int { return r.base + r.off }

// Lax reports whether something was accepted that is valid but not the form that this module writes: a length in
// a longer form than needed, a BOOLEAN TRUE other than 1, or what a decoder marked by MarkLax.
func (r *Reader) Lax() bool { return r.lax }

// MarkLax records that a non-canonical form was accepted.
func (r *Reader) MarkLax() { r.lax = true }

// Fail keeps err, with the field's name and offset, unless an earlier one is kept. Nothing is left to read after it,
// so that the readers below need to look at what is left and not at the error.
func (r *Reader) Fail(err error) {
	if r.err != nil {
		return
	}
	if r.field == "" {
		r.keep(fmt.Errorf("byte %d: %w", r.Offset(), err))
		return
	}
	r.keep(fmt.Errorf("%s: byte %d: %w", r.field, r.Offset(), err))
}

// keep makes err the first error.
func (r *Reader) keep(err error) {
	r.err = err
	r.b = r.b[:r.off]
}

// take returns the next n bytes without copying them. The length is checked before anything is made of it.
func (r *Reader) take(n int) []byte {
	from := r.off
	if uint(n) > uint(len(r.b)-from) {
		r.short(n)
		return nil
	}
	r.off += n
	return r.b[from:r.off:r.off]
}

// short refuses a read of n bytes of which some are missing. It returns 0 for a reader to return.
//
//go:noinline
func (r *Reader) short(n int) uint8 {
	r.Fail(fmt.Errorf("%w: want %d bytes, got %d", ErrTruncated, n, len(r.b)-r.off))
	return 0
}

// Uint8 reads one byte.
func (r *Reader) Uint8() uint8 {
	if r.off < len(r.b) {
		r.off++
		return r.b[r.off-1]
	}
	return r.short(1)
}

// Uint16 reads two bytes, most significant first.
func (r *Reader) Uint16() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

// Uint32 reads four bytes, most significant first.
func (r *Reader) Uint32() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// Uint64 reads eight bytes, most significant first.
func (r *Reader) Uint64() uint64 {
	if p := r.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// Bytes reads n bytes; they alias the input. After an error it returns nil.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	return r.take(n)
}

// Rest reads all that is left; it aliases the input and is never nil without an error.
func (r *Reader) Rest() []byte {
	if r.err != nil {
		return nil
	}
	return r.take(len(r.b) - r.off)
}

// Peek returns the next byte without reading it; ok is false at the end and after an error.
func (r *Reader) Peek() (b byte, ok bool) {
	if r.Len() == 0 {
		return 0, false
	}
	return r.b[r.off], true
}

// Bool reads an A-XDR BOOLEAN: 0 is FALSE, everything else TRUE.
func (r *Reader) Bool() bool {
	v := r.Uint8()
	if v > 1 {
		r.lax = true
	}
	return v != 0
}

// Length reads a length of A-XDR or BER in the definite form: one byte below 0x80, or 0x81 to 0x84 and as many
// bytes. It says nothing about the bytes that follow: the caller bounds it.
func (r *Reader) Length() int {
	first := r.Uint8()
	if first >= 0x80 {
		return r.longLength(first)
	}
	return int(first)
}

// longLength reads the rest of a length in the long form.
func (r *Reader) longLength(first uint8) int {
	octets := int(first & 0x7F)
	if octets == 0 || octets > maxLengthOctets {
		r.Fail(fmt.Errorf("%w: length octet %#02x", ErrLength, first))
		return 0
	}
	var n uint64
	for _, b := range r.take(octets) {
		n = n<<8 | uint64(b)
	}
	if n > 1<<31-1 {
		r.Fail(fmt.Errorf("%w: %d is more than any apdu holds", ErrLength, n))
		return 0
	}
	if r.err == nil && octets != LengthSize(int(n))-1 {
		r.lax = true
	}
	return int(n)
}

// OctetString reads a length and as many bytes; they alias the input.
func (r *Reader) OctetString() []byte {
	if r.off < len(r.b) {
		n, from := int(r.b[r.off]), r.off+1
		if n < 0x80 && n <= len(r.b)-from { // the short form, and all of it there
			r.off = from + n
			return r.b[from:r.off:r.off]
		}
	}
	return r.Bytes(r.Length())
}

// Triple reads three bytes at once when the first is want; else, and where there are not three, it reads nothing.
func (r *Reader) Triple(want byte) (second, third byte, ok bool) {
	if r.off+3 > len(r.b) || r.b[r.off] != want {
		return 0, 0, false
	}
	p := r.b[r.off : r.off+3]
	r.off += 3
	return p[1], p[2], true
}

// Count reads the number of elements of a list whose elements take at least size bytes each. More elements than
// the rest of the input can hold are refused here, before anything is allocated.
func (r *Reader) Count(size int) int {
	n := r.Length()
	if r.err != nil {
		return 0
	}
	if left := len(r.b) - r.off; n > left/size {
		r.Fail(fmt.Errorf("%w: %d elements cannot be in %d bytes", ErrLength, n, left))
		return 0
	}
	return n
}

// Spend counts n elements that a decoder is about to make room for, and fails when there were more than most in all:
// an element may be one byte on the wire and many in memory.
func (r *Reader) Spend(n, most int) {
	if r.spent += n; r.spent > most {
		r.Fail(fmt.Errorf("%w: more than %d elements", ErrLength, most))
	}
}

// Expect reads one byte that must be want.
func (r *Reader) Expect(want byte) {
	if got := r.Uint8(); r.err == nil && got != want {
		r.off--
		r.Fail(fmt.Errorf("%w: want %#02x, got %#02x", ErrValue, want, got))
	}
}

// Optional reads the usage flag of an OPTIONAL component: 0 absent, everything else present (IEC 61334-6).
func (r *Reader) Optional() bool { return r.Bool() }

// Exact reports that there is no error and that nothing is left: that Done returns nil.
func (r *Reader) Exact() bool { return r.err == nil && r.off == len(r.b) }

// Done returns the first error, or ErrTrailing when bytes are left.
func (r *Reader) Done() error {
	if r.err == nil && r.off != len(r.b) {
		r.field = ""
		r.Fail(fmt.Errorf("%w: %d", ErrTrailing, len(r.b)-r.off))
	}
	return r.err
}
