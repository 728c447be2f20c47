package dlms

import (
	"bytes"
	"fmt"
	"reflect"
)

// unmarshalValue puts a value into v, which can be set.
func unmarshalValue(d *Data, v reflect.Value) error {
	if v.CanAddr() && v.Addr().CanInterface() {
		if ok, err := unmarshalKnown(d, v.Addr().Interface()); ok {
			return err
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		return unmarshalPointer(d, v)
	case reflect.Interface:
		return unmarshalInterface(d, v)
	case reflect.Slice:
		return unmarshalList(d, v)
	case reflect.Array:
		return unmarshalArray(d, v)
	case reflect.Struct:
		return unmarshalStruct(d, v)
	}
	return unmarshalKind(d, v)
}

// unmarshalKind does named types of basic kinds.
func unmarshalKind(d *Data, v reflect.Value) error {
	var err error
	switch {
	case v.Kind() == reflect.Bool:
		var b bool
		err = boolInto(d, &b)
		v.SetBool(b)
	case v.Kind() == reflect.String:
		var s string
		err = stringInto(d, &s)
		v.SetString(s)
	case v.CanInt():
		err = unmarshalInt(d, v)
	case v.CanUint() && v.Kind() != reflect.Uintptr:
		err = unmarshalUint(d, v)
	case v.CanFloat():
		err = unmarshalFloat(d, v)
	default:
		err = fmt.Errorf("%w: %s has no place in data", ErrDataType, v.Type())
	}
	return err
}

func unmarshalInt(d *Data, v reflect.Value) error {
	var n int64
	if err := intInto(d, &n); err != nil {
		return err
	}
	if v.OverflowInt(n) {
		return fmt.Errorf("%w: %d does not fit %s", ErrDataRange, n, v.Type())
	}
	v.SetInt(n)
	return nil
}

func unmarshalUint(d *Data, v reflect.Value) error {
	var n uint64
	if err := uintInto(d, &n); err != nil {
		return err
	}
	if v.OverflowUint(n) {
		return fmt.Errorf("%w: %d does not fit %s", ErrDataRange, n, v.Type())
	}
	v.SetUint(n)
	return nil
}

func unmarshalFloat(d *Data, v reflect.Value) error {
	tag := TagFloat64
	if v.Kind() == reflect.Float32 {
		tag = TagFloat32
	}
	f, err := d.As(tag)
	if err != nil {
		return err
	}
	n, err := f.Float()
	v.SetFloat(n)
	return err
}

func unmarshalPointer(d *Data, v reflect.Value) error {
	if d.IsNull() {
		v.SetZero()
		return nil
	}
	p := reflect.New(v.Type().Elem())
	if err := unmarshal(d, p.Interface()); err != nil {
		return err
	}
	v.Set(p)
	return nil
}

func unmarshalInterface(d *Data, v reflect.Value) error {
	if v.NumMethod() != 0 {
		return fmt.Errorf("%w: nothing says what to put into a %s", ErrDataType, v.Type())
	}
	n, err := d.natural()
	if err != nil {
		return err
	}
	if n == nil {
		v.SetZero()
		return nil
	}
	v.Set(reflect.ValueOf(n))
	return nil
}

// natural returns the Go value that fits best.
func (d *Data) natural() (any, error) {
	switch d.tag {
	case TagNull, TagDontCare:
		return nil, nil //nolint:nilnil // nil is the value of null-data
	case TagBool:
		return d.n != 0, nil
	case TagVisibleString, TagUTF8String:
		return string(d.b), nil
	case TagOctetString:
		return bytes.Clone(d.b), nil
	case TagFloat32, TagFloat64:
		return d.naturalFloat(), nil
	case TagDateTime:
		return DateTime(d.b), nil
	case TagDate:
		return Date(d.b), nil
	case TagTime:
		return TimeOfDay(d.b), nil
	case TagBitString:
		var bits []bool
		err := boolsInto(d, &bits)
		return bits, err
	case TagArray, TagStructure, TagCompactArray:
		return d.naturalList()
	}
	return d.naturalInteger(), nil
}

func (d *Data) naturalFloat() any {
	f, _ := d.Float() // the type was just seen
	if d.tag == TagFloat32 {
		return float32(f)
	}
	return f
}

func (d *Data) naturalInteger() any {
	switch d.tag {
	case TagInt8:
		return int8(d.n)
	case TagInt16:
		return int16(d.n)
	case TagInt32:
		return int32(d.n)
	case TagInt64:
		return int64(d.n)
	case TagUint16:
		return uint16(d.n)
	case TagUint32:
		return uint32(d.n)
	case TagUint64:
		return d.n
	}
	return uint8(d.n)
}

func (d *Data) naturalList() (any, error) {
	elements := d.list
	if d.tag == TagCompactArray {
		var err error
		if elements, err = d.elements(); err != nil {
			return nil, err
		}
	}
	list := make([]any, len(elements))
	for i := range list {
		var err error
		if list[i], err = elements[i].natural(); err != nil {
			return nil, fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	return list, nil
}

// unmarshalList fills a slice: of bytes from an octet-string too, of booleans from a bit-string.
func unmarshalList(d *Data, v reflect.Value) error {
	switch v.Type().Elem().Kind() {
	case reflect.Uint8:
		var b []byte
		if err := bytesInto(d, &b); err != nil {
			return err
		}
		setBytes(v, b)
		return nil
	case reflect.Bool:
		var bits []bool
		if err := boolsInto(d, &bits); err != nil {
			return err
		}
		list := reflect.MakeSlice(v.Type(), len(bits), len(bits))
		for i, bit := range bits {
			list.Index(i).SetBool(bit)
		}
		v.Set(list)
		return nil
	}
	elements, err := d.elements()
	if err != nil {
		return err
	}
	list := reflect.MakeSlice(v.Type(), len(elements), len(elements))
	if err := unmarshalElements(elements, list); err != nil {
		return err
	}
	v.Set(list)
	return nil
}

func setBytes(v reflect.Value, b []byte) {
	list := reflect.MakeSlice(v.Type(), len(b), len(b))
	for i, x := range b {
		list.Index(i).SetUint(uint64(x))
	}
	v.Set(list)
}

func unmarshalElements(elements []Data, list reflect.Value) error {
	for i := range elements {
		if err := unmarshalValue(&elements[i], list.Index(i)); err != nil {
			return fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	return nil
}

// unmarshalArray fills an array whose length must be that of the value.
func unmarshalArray(d *Data, v reflect.Value) error {
	list := reflect.New(reflect.SliceOf(v.Type().Elem())).Elem()
	if err := unmarshalValue(d, list); err != nil {
		return err
	}
	if list.Len() != v.Len() {
		return fmt.Errorf("%w: want %d elements, got %d", ErrDataRange, v.Len(), list.Len())
	}
	reflect.Copy(v, list)
	return nil
}

func unmarshalStruct(d *Data, v reflect.Value) error {
	p := planOf(v.Type())
	if p.err != nil {
		return p.err
	}
	if err := d.Expect(TagStructure, len(p.fields)); err != nil {
		return err
	}
	for i, f := range p.fields {
		if err := unmarshalValue(&d.list[i], v.Field(f.index)); err != nil {
			return fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return nil
}
