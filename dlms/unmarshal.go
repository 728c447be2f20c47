package dlms

import (
	"bytes"
	"fmt"
	"reflect"
	"time"
)

// Unmarshal puts a value into what v points to, which may be of any type that [Marshal] takes: what that made of a Go
// value this gives back. It is as strict as can be without being told the type: whole numbers go into any integer
// that holds them, numbers into floats that hold them, strings of every kind into strings and byte slices, bit-strings into
// []bool, octet-strings into OBIS, times and arrays of bytes of their length, structures into structs of as many
// fields, arrays and compact-arrays into slices. null-data goes into pointers and interfaces alone. An any takes what
// fits best: sized numbers, string, []byte, DateTime, Date, TimeOfDay, []any, nil.
//
// Bytes are copied; a Data is not, and aliases what was received. Date-times are not checked; into a time.Time only
// one goes that names a moment. Errors are ErrDataType, ErrDataRange, and those of the types.
func Unmarshal(d Data, v any) error {
	err := unmarshal(&d, v)
	if err != nil {
		return fmt.Errorf("unmarshal data: %w", err)
	}
	return nil
}

func unmarshal(d *Data, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("%w: want a pointer to put the value into, got %T", ErrDataType, v)
	}
	if ok, err := unmarshalKnown(d, v); ok {
		return err
	}
	return unmarshalValue(d, rv.Elem())
}

// unmarshalKnown does the types that need no reflection; ok is false for others. v is no nil pointer.
func unmarshalKnown(d *Data, v any) (ok bool, err error) {
	switch p := v.(type) {
	case *Data:
		*p = *d
		return true, nil
	case DataUnmarshaler:
		return true, p.UnmarshalData(*d)
	}
	if ok, err := unmarshalInteger(d, v); ok {
		return true, err
	}
	if ok, err := unmarshalText(d, v); ok {
		return true, err
	}
	return unmarshalSlice(d, v)
}

func unmarshalInteger(d *Data, v any) (bool, error) {
	switch p := v.(type) {
	case *int8:
		return true, intInto(d, p)
	case *int16:
		return true, intInto(d, p)
	case *int32:
		return true, intInto(d, p)
	case *int64:
		return true, intInto(d, p)
	case *int:
		return true, intInto(d, p)
	case *uint8:
		return true, uintInto(d, p)
	case *uint16:
		return true, uintInto(d, p)
	case *uint32:
		return true, uintInto(d, p)
	case *uint64:
		return true, uintInto(d, p)
	case *uint:
		return true, uintInto(d, p)
	}
	return false, nil
}

func unmarshalText(d *Data, v any) (bool, error) {
	switch p := v.(type) {
	case *bool:
		return true, boolInto(d, p)
	case *float32:
		return true, float32Into(d, p)
	case *float64:
		return true, float64Into(d, p)
	case *string:
		return true, stringInto(d, p)
	case *[]byte:
		return true, bytesInto(d, p)
	case *OBIS:
		return true, fixedInto(d, p[:])
	case *SystemTitle:
		return true, fixedInto(d, p[:])
	case *DateTime:
		return true, fixedInto(d, p[:])
	case *Date:
		return true, fixedInto(d, p[:])
	case *TimeOfDay:
		return true, fixedInto(d, p[:])
	case *time.Time:
		return true, timeInto(d, p)
	}
	return false, nil
}

func unmarshalSlice(d *Data, v any) (bool, error) {
	switch p := v.(type) {
	case *[]Data:
		return true, sliceInto(d, p, func(d *Data, p *Data) error { *p = *d; return nil })
	case *[]bool:
		return true, boolsInto(d, p)
	case *[]int16:
		return true, sliceInto(d, p, intInto[int16])
	case *[]int32:
		return true, sliceInto(d, p, intInto[int32])
	case *[]int64:
		return true, sliceInto(d, p, intInto[int64])
	case *[]int:
		return true, sliceInto(d, p, intInto[int])
	case *[]uint16:
		return true, sliceInto(d, p, uintInto[uint16])
	case *[]uint32:
		return true, sliceInto(d, p, uintInto[uint32])
	case *[]uint64:
		return true, sliceInto(d, p, uintInto[uint64])
	case *[]float64:
		return true, sliceInto(d, p, float64Into)
	case *[]string:
		return true, sliceInto(d, p, stringInto)
	case *[][]byte:
		return true, sliceInto(d, p, bytesInto)
	case *[]OBIS:
		return true, sliceInto(d, p, func(d *Data, p *OBIS) error { return fixedInto(d, p[:]) })
	case *[]DateTime:
		return true, sliceInto(d, p, func(d *Data, p *DateTime) error { return fixedInto(d, p[:]) })
	case *[]time.Time:
		return true, sliceInto(d, p, timeInto)
	}
	return false, nil
}

func intInto[T ~int8 | ~int16 | ~int32 | ~int64 | ~int](d *Data, p *T) error {
	n, err := d.integer().Int()
	if err != nil {
		return err
	}
	if int64(T(n)) != n {
		return fmt.Errorf("%w: %d does not fit %T", ErrDataRange, n, *p)
	}
	*p = T(n)
	return nil
}

func uintInto[T ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uint](d *Data, p *T) error {
	n, err := d.integer().Uint()
	if err != nil {
		return err
	}
	if uint64(T(n)) != n {
		return fmt.Errorf("%w: %d does not fit %T", ErrDataRange, n, *p)
	}
	*p = T(n)
	return nil
}

func boolInto(d *Data, p *bool) (err error) {
	v, err := d.Bool()
	if err == nil {
		*p = v
	}
	return err
}

func float64Into(d *Data, p *float64) error {
	v, err := d.As(TagFloat64)
	if err != nil {
		return err
	}
	*p, err = v.Float()
	return err
}

func float32Into(d *Data, p *float32) error {
	v, err := d.As(TagFloat32)
	if err != nil {
		return err
	}
	f, err := v.Float()
	*p = float32(f)
	return err
}

func stringInto(d *Data, p *string) error {
	if !d.tag.text() {
		return fmt.Errorf("%w: want a string, got %s", ErrDataType, d.tag)
	}
	*p = string(d.b)
	return nil
}

func bytesInto(d *Data, p *[]byte) error {
	if d.tag == TagArray || d.tag == TagCompactArray {
		return sliceInto(d, p, uintInto[byte])
	}
	b, err := d.octets()
	if err == nil {
		*p = bytes.Clone(b)
	}
	return err
}

// octets returns the bytes of strings, dates and times.
func (d *Data) octets() ([]byte, error) {
	if v, err := d.asString(TagOctetString); err == nil {
		return v.b, nil
	}
	return nil, fmt.Errorf("%w: want octet-string, got %s", ErrDataType, d.tag)
}

// fixedInto fills dst, which has the size of its type.
func fixedInto(d *Data, dst []byte) error {
	b, err := d.octets()
	if err != nil {
		return err
	}
	if len(b) != len(dst) {
		return fmt.Errorf("%w: want %d bytes, got %d", ErrDataRange, len(dst), len(b))
	}
	copy(dst, b)
	return nil
}

func timeInto(d *Data, p *time.Time) error {
	dt, err := d.DateTime()
	if err != nil {
		return err
	}
	t, err := dt.Time()
	if err == nil {
		*p = t
	}
	return err
}

func boolsInto(d *Data, p *[]bool) error {
	if d.tag != TagBitString {
		return sliceInto(d, p, boolInto)
	}
	list := make([]bool, d.Len())
	for i := range list {
		list[i] = d.Bit(i)
	}
	*p = list
	return nil
}

// elements returns the elements of an array, expanding a compact-array.
func (d *Data) elements() ([]Data, error) {
	v, err := d.As(TagArray)
	return v.list, err
}

func sliceInto[T any](d *Data, p *[]T, one func(*Data, *T) error) error {
	elements, err := d.elements()
	if err != nil {
		return err
	}
	list := make([]T, len(elements))
	for i := range list {
		if err := one(&elements[i], &list[i]); err != nil {
			return fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	*p = list
	return nil
}
