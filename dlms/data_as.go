package dlms

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// As returns the value as one of another type, where nothing is lost: an integer as another integer type, enum, bcd
// or float that holds it, a float as a float or integer that holds it, a string of bytes as another kind of string, an
// octet-string of 12, 5 or 4 bytes as date-time, date or time and back, an array of booleans as a bit-string, an array
// of one type as a compact-array and back. It returns ErrDataRange where the value does not fit, and ErrDataType where
// the types have nothing in common.
func (d Data) As(tag Tag) (Data, error) {
	switch {
	case d.tag == tag:
		return d, nil
	case tag.signed() || tag.unsigned() || tag == TagBCD:
		return d.asInteger(tag)
	case tag == TagFloat32 || tag == TagFloat64:
		return d.asFloat(tag)
	case tag.text() || tag == TagDateTime || tag == TagDate || tag == TagTime:
		return d.asString(tag)
	}
	return d.asList(tag)
}

// text reports whether the type is a string of bytes.
func (t Tag) text() bool {
	return t == TagOctetString || t == TagVisibleString || t == TagUTF8String
}

func (d Data) refuseAs(tag Tag) (Data, error) {
	return Data{}, fmt.Errorf("%w: want %s, got %s", ErrDataType, tag, d.tag)
}

func (d Data) tooMuchFor(tag Tag) (Data, error) {
	return Data{}, fmt.Errorf("%w: %s does not fit %s", ErrDataRange, d.tag, tag)
}

func (d Data) asInteger(tag Tag) (Data, error) {
	from := d.integer()
	floating := d.tag == TagFloat32 || d.tag == TagFloat64
	if !from.tag.signed() && !from.tag.unsigned() || floating && tag == TagBCD { // a bcd does not become a float again
		return d.refuseAs(tag)
	}
	n := from.n
	if !tag.holds(n, from.tag.signed() && int64(n) < 0) {
		return d.tooMuchFor(tag)
	}
	if tag == TagBCD {
		return BCD(uint8(n)), nil
	}
	return Data{tag: tag, n: n}, nil
}

// integer returns a bcd as the number that its byte is, a float that is a whole number as that, all else as it is.
func (d Data) integer() Data {
	switch d.tag {
	case TagBCD:
		return Uint8(uint8(d.n))
	case TagFloat32, TagFloat64:
		f, _ := d.Float() // the type was just seen
		switch {
		case f == 0 && math.Signbit(f):
		case f >= -1<<63 && f < 0 && math.Trunc(f) == f:
			return Int64(int64(f))
		case f >= 0 && f < 1<<64 && math.Trunc(f) == f:
			return Uint64(uint64(f))
		}
	}
	return d
}

// holds reports whether an integer type has the number, which is in two's complement where it is negative.
func (t Tag) holds(n uint64, negative bool) bool {
	bits := 8 * t.fixedSize()
	if !t.signed() {
		return !negative && (bits == 64 || n < 1<<bits)
	}
	if negative {
		return int64(n) >= math.MinInt64>>(64-bits)
	}
	return n <= math.MaxInt64>>(64-bits)
}

func (d Data) asFloat(tag Tag) (Data, error) {
	v, err := d.Float()
	if err != nil {
		return d.refuseAs(tag)
	}
	if (d.tag.signed() || d.tag.unsigned()) && !d.exactIn(v) {
		return d.tooMuchFor(tag)
	}
	if tag == TagFloat64 {
		return Float64(v), nil
	}
	if f := float32(v); float64(f) == v || math.IsNaN(v) {
		return Float32(f), nil
	}
	return d.tooMuchFor(tag)
}

// exactIn reports whether v is the integer d and not a rounding of it.
func (d Data) exactIn(v float64) bool {
	if d.tag.signed() {
		return v < 1<<63 && int64(v) == int64(d.n)
	}
	return v < 1<<64 && uint64(v) == d.n
}

func (d Data) asString(tag Tag) (Data, error) {
	if !d.tag.text() && d.tag != TagDateTime && d.tag != TagDate && d.tag != TagTime {
		return d.refuseAs(tag)
	}
	n := tag.fixedSize()
	if (n >= 0 && len(d.b) != n) || (tag == TagVisibleString && !isASCII(d.b)) || (tag == TagUTF8String && !utf8.Valid(d.b)) {
		return d.tooMuchFor(tag)
	}
	return Data{tag: tag, b: d.b}, nil
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (d Data) asList(tag Tag) (Data, error) {
	switch {
	case d.tag == TagCompactArray && tag == TagArray:
		return d.Expand()
	case d.tag == TagArray && tag == TagCompactArray:
		return CompactArray(d.list...)
	case d.tag == TagArray && tag == TagBitString:
		return d.asBits()
	}
	return d.refuseAs(tag)
}

func (d Data) asBits() (Data, error) {
	b := make([]byte, (len(d.list)+7)/8)
	for i := range d.list {
		set, err := d.list[i].Bool()
		if err != nil {
			return Data{}, fmt.Errorf("bit %d: %w", i, err)
		}
		if set {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return BitString(b, len(d.list)), nil
}
