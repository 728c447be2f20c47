package dlms

import (
	"fmt"
	"math"
)

// Bool returns the value of a boolean.
func (d Data) Bool() (bool, error) {
	if d.tag != TagBool {
		return false, fmt.Errorf("%w: want boolean, got %s", ErrDataType, d.tag)
	}
	return d.n != 0, nil
}

// signed reports whether the type holds a two's complement number.
func (t Tag) signed() bool {
	return t == TagInt8 || t == TagInt16 || t == TagInt32 || t == TagInt64
}

// unsigned reports whether the type holds a number that cannot be negative.
func (t Tag) unsigned() bool {
	return t == TagUint8 || t == TagUint16 || t == TagUint32 || t == TagUint64 || t == TagEnum
}

// Int returns the value of any integer type, enum included.
func (d Data) Int() (int64, error) {
	switch {
	case d.tag.signed():
		return int64(d.n), nil
	case d.tag.unsigned() && d.n <= math.MaxInt64:
		return int64(d.n), nil
	case d.tag.unsigned():
		return 0, fmt.Errorf("%w: %d does not fit a signed 64-bit number", ErrDataRange, d.n)
	}
	return 0, fmt.Errorf("%w: want an integer, got %s", ErrDataType, d.tag)
}

// Uint returns the value of any integer type, enum included, that is not negative.
func (d Data) Uint() (uint64, error) {
	switch {
	case d.tag.unsigned():
		return d.n, nil
	case d.tag.signed() && int64(d.n) >= 0:
		return d.n, nil
	case d.tag.signed():
		return 0, fmt.Errorf("%w: %d is negative", ErrDataRange, int64(d.n))
	}
	return 0, fmt.Errorf("%w: want an integer, got %s", ErrDataType, d.tag)
}

// Float returns the value of a float or of any integer type.
func (d Data) Float() (float64, error) {
	switch d.tag {
	case TagFloat32:
		return float64(math.Float32frombits(uint32(d.n))), nil
	case TagFloat64:
		return math.Float64frombits(d.n), nil
	case TagUint64:
		return float64(d.n), nil
	}
	v, err := d.Int()
	return float64(v), err
}

// BCD returns the byte of a bcd.
func (d Data) BCD() (uint8, error) {
	if d.tag != TagBCD {
		return 0, fmt.Errorf("%w: want bcd, got %s", ErrDataType, d.tag)
	}
	return uint8(d.n), nil
}

// Text returns the content of a visible, UTF-8 or octet string as text, and "" for all else. It is what a meter
// sent: quote it before showing it.
func (d Data) Text() string {
	switch d.tag {
	case TagVisibleString, TagUTF8String, TagOctetString:
		return string(d.b)
	}
	return ""
}

// Bit reports whether bit i of a bit-string is set, bit 0 being the most significant of the first byte.
func (d Data) Bit(i int) bool {
	if d.tag != TagBitString || i < 0 || uint64(i) >= d.n {
		return false
	}
	return d.b[i/8]&(0x80>>(i%8)) != 0
}

// OctetString returns the content of an octet-string. The slice belongs to the value.
func (d Data) OctetString() ([]byte, error) {
	if err := d.Expect(TagOctetString, -1); err != nil {
		return nil, err
	}
	return d.b, nil
}

// LogicalName returns the OBIS code of an octet-string of six bytes.
func (d Data) LogicalName() (OBIS, error) {
	if err := d.Expect(TagOctetString, -1); err != nil {
		return OBIS{}, err
	}
	return OBISFromBytes(d.b)
}

// DateTime returns the date-time of a date-time, or of an octet-string of twelve bytes.
func (d Data) DateTime() (DateTime, error) {
	if d.tag != TagDateTime && d.tag != TagOctetString {
		return DateTime{}, fmt.Errorf("%w: want date-time or octet-string, got %s", ErrDataType, d.tag)
	}
	return ParseDateTime(d.b)
}

// Date returns the date of a date, or of an octet-string of five bytes.
func (d Data) Date() (Date, error) {
	if d.tag != TagDate && d.tag != TagOctetString {
		return Date{}, fmt.Errorf("%w: want date or octet-string, got %s", ErrDataType, d.tag)
	}
	return ParseDate(d.b)
}

// Time returns the time of a time, or of an octet-string of four bytes.
func (d Data) Time() (TimeOfDay, error) {
	if d.tag != TagTime && d.tag != TagOctetString {
		return TimeOfDay{}, fmt.Errorf("%w: want time or octet-string, got %s", ErrDataType, d.tag)
	}
	return ParseTimeOfDay(d.b)
}
