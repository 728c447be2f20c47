package dlms

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// MaxDataDepth bounds the nesting of arrays and structures, ours: the deepest object of the Blue Book nests five.
const MaxDataDepth = 16

// MaxDataElements bounds the elements of all arrays and structures of one APDU, or of what its blocks make together,
// ours: null-data is one byte on the wire and 64 in memory. A year of a load curve in ten columns, a row every ten
// minutes, is half of it.
const MaxDataElements = 1 << 20

// Errors of Data.
var (
	// ErrDataType is returned when a value is not of the type that was asked for.
	ErrDataType = errors.New("data: wrong type")
	// ErrDataRange is returned when a value does not fit the type that was asked for.
	ErrDataRange = errors.New("data: out of range")
	// ErrDataDepth is returned for arrays and structures nested deeper than MaxDataDepth.
	ErrDataDepth = errors.New("data: nested too deep")
	// ErrDataTag is returned for a tag that Data does not have.
	ErrDataTag = errors.New("data: unknown type")
)

// Data is one value of the Data type of xDLMS (GB 9.5; BB 4.1.5), encoded in A-XDR. The zero value is null-data.
//
// Data is not to be compared with ==; use Equal. A parsed Data may alias its input: strings of every kind do.
type Data struct {
	tag  Tag
	n    uint64 // numbers, sign-extended; booleans as they came; float bits; the number of bits of a bit-string
	b    []byte // strings, dates, and a compact-array as it came
	list []Data // arrays and structures
}

// Null returns null-data.
func Null() Data { return Data{} }

// DontCare returns dont-care, which stands for any value in a filter.
func DontCare() Data { return Data{tag: TagDontCare} }

// Bool returns a boolean.
func Bool(v bool) Data {
	if v {
		return Data{tag: TagBool, n: 1}
	}
	return Data{tag: TagBool}
}

// Int8 returns an integer.
func Int8(v int8) Data { return Data{tag: TagInt8, n: uint64(int64(v))} }

// Int16 returns a long.
func Int16(v int16) Data { return Data{tag: TagInt16, n: uint64(int64(v))} }

// Int32 returns a double-long.
func Int32(v int32) Data { return Data{tag: TagInt32, n: uint64(int64(v))} }

// Int64 returns a long64.
func Int64(v int64) Data { return Data{tag: TagInt64, n: uint64(v)} }

// Uint8 returns an unsigned.
func Uint8(v uint8) Data { return Data{tag: TagUint8, n: uint64(v)} }

// Uint16 returns a long-unsigned.
func Uint16(v uint16) Data { return Data{tag: TagUint16, n: uint64(v)} }

// Uint32 returns a double-long-unsigned.
func Uint32(v uint32) Data { return Data{tag: TagUint32, n: uint64(v)} }

// Uint64 returns a long64-unsigned.
func Uint64(v uint64) Data { return Data{tag: TagUint64, n: v} }

// Enum returns an enum.
func Enum(v uint8) Data { return Data{tag: TagEnum, n: uint64(v)} }

// BCD returns a bcd: two decimal digits in one byte, not checked.
func BCD(v uint8) Data { return Data{tag: TagBCD, n: uint64(int64(int8(v)))} }

// Float32 returns a float32.
func Float32(v float32) Data { return Data{tag: TagFloat32, n: uint64(math.Float32bits(v))} }

// Float64 returns a float64.
func Float64(v float64) Data { return Data{tag: TagFloat64, n: math.Float64bits(v)} }

// OctetString returns an octet-string over b, which is not copied.
func OctetString(b []byte) Data { return Data{tag: TagOctetString, b: b} }

// VisibleString returns a visible-string. The caller answers for its being ASCII.
func VisibleString(s string) Data { return Data{tag: TagVisibleString, b: []byte(s)} }

// UTF8String returns a utf8-string.
func UTF8String(s string) Data { return Data{tag: TagUTF8String, b: []byte(s)} }

// BitString returns a bit-string of the first bits bits of b, the most significant bit of b[0] first. It uses b
// without copying it. Bits beyond b are not sent: bits is lowered to what b holds.
func BitString(b []byte, bits int) Data {
	bits = max(0, min(bits, 8*len(b)))
	return Data{tag: TagBitString, n: uint64(bits), b: b[:(bits+7)/8]}
}

// Array returns an array. The elements are to be of one type; this is not checked.
func Array(elements ...Data) Data { return Data{tag: TagArray, list: elements} }

// Structure returns a structure.
func Structure(elements ...Data) Data { return Data{tag: TagStructure, list: elements} }

// DateTimeData returns a date-time (type 25). Most attributes carry one as octet-string instead: DateTime.Octets.
func DateTimeData(t DateTime) Data { return Data{tag: TagDateTime, b: t[:]} }

// DateData returns a date (type 26).
func DateData(d Date) Data { return Data{tag: TagDate, b: d[:]} }

// TimeData returns a time (type 27).
func TimeData(t TimeOfDay) Data { return Data{tag: TagTime, b: t[:]} }

// LogicalNameData returns the octet-string of six bytes that names an object.
func LogicalNameData(o OBIS) Data { return OctetString(o[:]) }

// Tag returns the type.
func (d Data) Tag() Tag { return d.tag }

// IsNull reports whether the value is null-data.
func (d Data) IsNull() bool { return d.tag == TagNull }

// Len returns the number of elements of an array or structure, of bits of a bit-string, of bytes of other strings,
// and 0 for all else.
func (d Data) Len() int {
	switch d.tag {
	case TagArray, TagStructure:
		return len(d.list)
	case TagBitString:
		return int(d.n)
	}
	return len(d.b)
}

// At returns element i of an array or structure, and null-data where there is none, so that a decoder may ask for
// every field and see the fault in the type.
func (d Data) At(i int) Data {
	if i < 0 || i >= len(d.list) {
		return Data{}
	}
	return d.list[i]
}

// Elements returns the elements of an array or structure. The slice belongs to the value.
func (d Data) Elements() []Data { return d.list }

// Bytes returns the bytes of a string, date or time, nil for all else. The slice belongs to the value.
func (d Data) Bytes() []byte { return d.b }

// Equal reports whether both values have the same type and content.
func (d Data) Equal(o Data) bool {
	if d.tag != o.tag || len(d.list) != len(o.list) || !bytes.Equal(d.b, o.b) {
		return false
	}
	if d.tag == TagBool {
		return (d.n != 0) == (o.n != 0)
	}
	if d.n != o.n {
		return false
	}
	for i := range d.list {
		if !d.list[i].Equal(o.list[i]) {
			return false
		}
	}
	return true
}

// Expect returns an error unless the value has the type and, for an array, structure or string of bytes, the
// length; n < 0 takes any length.
func (d Data) Expect(tag Tag, n int) error {
	if d.tag != tag {
		return fmt.Errorf("%w: want %s, got %s", ErrDataType, tag, d.tag)
	}
	if n >= 0 && d.Len() != n {
		return fmt.Errorf("%w: want %s of %d, got %d", ErrDataRange, tag, n, d.Len())
	}
	return nil
}
