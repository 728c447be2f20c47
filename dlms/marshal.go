package dlms

import (
	"fmt"
	"reflect"
	"time"
	"unicode/utf8"
)

// DataMarshaler is a type that says itself what its value is as Data.
type DataMarshaler interface {
	// MarshalData returns the value.
	MarshalData() (Data, error)
}

// DataUnmarshaler is a type that takes its value out of Data itself. What it keeps of d it copies: d aliases what was
// received.
type DataUnmarshaler interface {
	// UnmarshalData takes the value, or returns an error, one that matches ErrDataType for another
	// shape.
	UnmarshalData(d Data) error
}

// Marshal returns a Go value as Data:
//
//	bool                         boolean
//	int8 int16 int32 int64 int   integer, long, double-long, long64, long64
//	uint8 ... uint64, uint       unsigned, long-unsigned, double-long-unsigned, long64-unsigned, long64-unsigned
//	float32 float64              float32, float64
//	string                       visible-string, utf8-string unless all of it is ASCII
//	[]byte, [n]byte              octet-string, not copied where it is a slice
//	OBIS, SystemTitle            octet-string of 6, of 8 bytes
//	DateTime, Date, TimeOfDay    octet-string of 12, 5, 4 bytes, as most attributes have them
//	time.Time                    octet-string of 12 bytes: a DateTime to a hundredth of a second
//	Data                         itself
//	a slice or an array          array
//	a struct                     structure of its exported fields, in their order
//	a pointer or an interface    what it points to, null-data for nil
//
// The tag of a field names another type, as [Data.As] converts to it, by the standard's name or by Go's: of a slice
// that of its elements, unless it is bit-string or compact-array. A field with the tag "-" is left out.
//
//	type Reading struct {
//		Value  int    `dlms:"double-long-unsigned"`
//		Status uint8  `dlms:"enum"`
//		Time   time.Time
//	}
//
// It returns ErrDataRange for a value that does not fit its type, ErrDataType for a type that has no place in Data,
// and ErrDataDepth for one nested deeper than MaxDataDepth. Scalars, strings, times and slices of them, and types
// with a MarshalData, are done without reflection.
func Marshal(v any) (Data, error) {
	d, ok, err := marshalKnown(v)
	if !ok {
		d, err = marshalValue(reflect.ValueOf(v), TagNull, 0)
	}
	if err != nil {
		return Data{}, fmt.Errorf("marshal data: %w", err)
	}
	return d, nil
}

// marshalKnown does the types that need no reflection; ok is false for others.
func marshalKnown(v any) (d Data, ok bool, err error) {
	if d, ok, err := marshalSelf(v); ok {
		return d, true, err
	}
	if d, ok := marshalNumber(v); ok {
		return d, true, nil
	}
	if d, ok, err := marshalText(v); ok {
		return d, true, err
	}
	if d, ok := marshalNumbers(v); ok {
		return d, true, nil
	}
	return marshalTexts(v)
}

// marshalSelf does the types that say themselves what they are. A nil pointer is null-data.
func marshalSelf(v any) (d Data, ok bool, err error) {
	m, ok := v.(DataMarshaler)
	if !ok {
		return Data{}, false, nil
	}
	if rv := reflect.ValueOf(v); rv.Kind() != reflect.Pointer || !rv.IsNil() {
		d, err = m.MarshalData()
	}
	return d, true, err
}

func marshalNumber(v any) (Data, bool) {
	switch v := v.(type) {
	case bool:
		return Bool(v), true
	case int8:
		return Int8(v), true
	case int16:
		return Int16(v), true
	case int32:
		return Int32(v), true
	case int64:
		return Int64(v), true
	case int:
		return Int64(int64(v)), true
	case uint8:
		return Uint8(v), true
	case uint16:
		return Uint16(v), true
	case uint32:
		return Uint32(v), true
	case uint64:
		return Uint64(v), true
	case uint:
		return Uint64(uint64(v)), true
	case float32:
		return Float32(v), true
	case float64:
		return Float64(v), true
	}
	return Data{}, false
}

func marshalText(v any) (d Data, ok bool, err error) {
	switch v := v.(type) {
	case nil:
	case Data:
		d = v
	case string:
		d, err = textData(v)
	case []byte:
		d = OctetString(v)
	case OBIS:
		d = LogicalNameData(v)
	case SystemTitle:
		d = OctetString(v[:])
	case DateTime:
		d = v.Octets()
	case Date:
		d = OctetString(v[:])
	case TimeOfDay:
		d = OctetString(v[:])
	case time.Time:
		d, err = timeData(v)
	default:
		return Data{}, false, nil
	}
	return d, true, err
}

func marshalNumbers(v any) (Data, bool) {
	switch v := v.(type) {
	case []Data:
		return Array(v...), true
	case []bool:
		return arrayOf(v, Bool), true
	case []int8:
		return arrayOf(v, Int8), true
	case []int16:
		return arrayOf(v, Int16), true
	case []int32:
		return arrayOf(v, Int32), true
	case []int64:
		return arrayOf(v, Int64), true
	case []int:
		return arrayOf(v, func(n int) Data { return Int64(int64(n)) }), true
	case []uint16:
		return arrayOf(v, Uint16), true
	case []uint32:
		return arrayOf(v, Uint32), true
	case []uint64:
		return arrayOf(v, Uint64), true
	case []uint:
		return arrayOf(v, func(n uint) Data { return Uint64(uint64(n)) }), true
	case []float32:
		return arrayOf(v, Float32), true
	case []float64:
		return arrayOf(v, Float64), true
	}
	return Data{}, false
}

func marshalTexts(v any) (d Data, ok bool, err error) {
	switch v := v.(type) {
	case [][]byte:
		d = arrayOf(v, OctetString)
	case []OBIS:
		d = arrayOf(v, LogicalNameData)
	case []SystemTitle:
		d = arrayOf(v, func(t SystemTitle) Data { return OctetString(t[:]) })
	case []DateTime:
		d = arrayOf(v, DateTime.Octets)
	case []string:
		d, err = tryArrayOf(v, textData)
	case []time.Time:
		d, err = tryArrayOf(v, timeData)
	default:
		return Data{}, false, nil
	}
	return d, true, err
}

func arrayOf[T any](list []T, one func(T) Data) Data {
	d := Data{tag: TagArray, list: make([]Data, len(list))}
	for i, v := range list {
		d.list[i] = one(v)
	}
	return d
}

func tryArrayOf[T any](list []T, one func(T) (Data, error)) (Data, error) {
	d := Data{tag: TagArray, list: make([]Data, len(list))}
	for i, v := range list {
		var err error
		if d.list[i], err = one(v); err != nil {
			return Data{}, fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	return d, nil
}

// textData returns a visible-string where that can be, else a utf8-string.
func textData(s string) (Data, error) {
	if isASCII(s) {
		return VisibleString(s), nil
	}
	if !utf8.ValidString(s) {
		return Data{}, fmt.Errorf("%w: text is not utf-8", ErrDataRange)
	}
	return UTF8String(s), nil
}

// timeData returns the date-time of a moment. A zone whose offset is no number of minutes, or wider than any that a
// date-time may say, gives way to UTC: the moment counts.
func timeData(t time.Time) (Data, error) {
	if _, offset := t.Zone(); offset%60 != 0 || offset > 60*maxDeviation || offset < -60*maxDeviation {
		t = t.UTC()
	}
	if y := t.Year(); y < 0 || y >= YearUnspecified {
		return Data{}, fmt.Errorf("%w: year %d", ErrDataRange, y)
	}
	return DateTimeOf(t, 0).Octets(), nil
}
