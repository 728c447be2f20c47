package dlms

import (
	"fmt"
	"reflect"
	"sync"
)

// field is one field of a struct that is marshalled.
type field struct {
	index int
	name  string
	tag   Tag // TagNull: by the type of the field
}

// plan is what is known of a struct's type once and for all.
type plan struct {
	fields []field
	err    error
}

// plans maps types to plans: a lookup table that fills itself and never changes an entry.
var plans sync.Map

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan) //nolint:errcheck // nothing else is stored
	}
	p, _ := plans.LoadOrStore(t, newPlan(t))
	return p.(*plan) //nolint:errcheck // nothing else is stored
}

func newPlan(t reflect.Type) *plan {
	p := &plan{}
	for i := range t.NumField() {
		f := t.Field(i)
		text := f.Tag.Get("dlms")
		if !f.IsExported() || text == "-" {
			continue
		}
		tag, ok := tagNamed(text)
		if !ok {
			p.err = fmt.Errorf("%w: %s.%s: no type is called %q", ErrDataType, t, f.Name, text)
		}
		p.fields = append(p.fields, field{index: i, name: f.Name, tag: tag})
	}
	return p
}

// goNames are the names of types that a field's tag may have beside those of the standard.
var goNames = map[string]Tag{
	"": TagNull, "bool": TagBool, "int8": TagInt8, "int16": TagInt16, "int32": TagInt32, "int64": TagInt64,
	"uint8": TagUint8, "uint16": TagUint16, "uint32": TagUint32, "uint64": TagUint64,
}

// tagNamed finds the type that the tag of a field names.
func tagNamed(name string) (Tag, bool) {
	if t, ok := goNames[name]; ok {
		return t, true
	}
	for t := TagArray; t <= TagTime; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return TagNull, false
}

// marshalValue does every type, as tag says where it is not TagNull.
func marshalValue(v reflect.Value, tag Tag, depth int) (Data, error) {
	if !v.IsValid() {
		return Data{}, nil
	}
	if depth > MaxDataDepth {
		return Data{}, fmt.Errorf("%w: %s", ErrDataDepth, v.Type())
	}
	d, natural, err := marshalOnce(v, tag, depth)
	if err != nil || !natural || tag == TagNull || d.IsNull() {
		return d, err
	}
	return d.As(tag)
}

// marshalOnce returns a value by its Go type. natural is false where tag was used up by what is inside.
func marshalOnce(v reflect.Value, tag Tag, depth int) (d Data, natural bool, err error) {
	kind := v.Kind()
	if (kind == reflect.Pointer || kind == reflect.Interface) && v.IsNil() {
		return Data{}, true, nil
	}
	known := marshalKnown
	if tag != TagNull && (kind == reflect.Slice || kind == reflect.Array) {
		known = marshalSelf // the tag is that of the elements
	}
	if v.CanInterface() {
		if d, ok, err := known(v.Interface()); ok {
			return d, true, err
		}
	}
	switch kind {
	case reflect.Pointer, reflect.Interface:
		d, err = marshalValue(v.Elem(), tag, depth+1)
		return d, false, err
	case reflect.Slice, reflect.Array:
		return marshalList(v, tag, depth)
	case reflect.Struct:
		d, err = marshalStruct(v, depth)
		return d, true, err
	}
	d, err = marshalKind(v)
	return d, true, err
}

// marshalKind does named types of basic kinds.
func marshalKind(v reflect.Value) (Data, error) {
	switch {
	case v.Kind() == reflect.Bool:
		return Bool(v.Bool()), nil
	case v.Kind() == reflect.String:
		return textData(v.String())
	case v.CanInt():
		return Data{tag: signedOf[v.Kind()], n: uint64(v.Int())}, nil
	case v.CanUint() && v.Kind() != reflect.Uintptr:
		return Data{tag: unsignedOf[v.Kind()], n: v.Uint()}, nil
	case v.Kind() == reflect.Float32:
		return Float32(float32(v.Float())), nil
	case v.CanFloat():
		return Float64(v.Float()), nil
	}
	return Data{}, fmt.Errorf("%w: %s has no place in data", ErrDataType, v.Type())
}

var (
	signedOf = map[reflect.Kind]Tag{
		reflect.Int8: TagInt8, reflect.Int16: TagInt16, reflect.Int32: TagInt32, reflect.Int64: TagInt64, reflect.Int: TagInt64,
	}
	unsignedOf = map[reflect.Kind]Tag{
		reflect.Uint8: TagUint8, reflect.Uint16: TagUint16, reflect.Uint32: TagUint32, reflect.Uint64: TagUint64, reflect.Uint: TagUint64,
	}
)

// marshalList returns an octet-string of bytes, else an array, to whose elements tag belongs unless it is of lists.
func marshalList(v reflect.Value, tag Tag, depth int) (d Data, natural bool, err error) {
	ofList := tag == TagNull || tag == TagBitString || tag == TagCompactArray || tag == TagArray
	if v.Type().Elem().Kind() == reflect.Uint8 && tag != TagArray && tag != TagCompactArray && !tag.number() {
		return OctetString(bytesOf(v)), true, nil
	}
	of := tag
	if ofList {
		of = TagNull
	}
	d = Data{tag: TagArray, list: make([]Data, v.Len())}
	for i := range d.list {
		if d.list[i], err = marshalValue(v.Index(i), of, depth+1); err != nil {
			return Data{}, false, fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	return d, ofList, nil
}

// bytesOf copies a slice or array of bytes, whatever their type is called.
func bytesOf(v reflect.Value) []byte {
	b := make([]byte, v.Len())
	for i := range b {
		b[i] = byte(v.Index(i).Uint())
	}
	return b
}

// number reports whether the type is one that As converts numbers to.
func (t Tag) number() bool {
	return t.signed() || t.unsigned() || t == TagBCD || t == TagFloat32 || t == TagFloat64
}

func marshalStruct(v reflect.Value, depth int) (Data, error) {
	p := planOf(v.Type())
	if p.err != nil {
		return Data{}, p.err
	}
	d := Data{tag: TagStructure, list: make([]Data, len(p.fields))}
	for i, f := range p.fields {
		var err error
		if d.list[i], err = marshalValue(v.Field(f.index), f.tag, depth+1); err != nil {
			return Data{}, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return d, nil
}
