package cosem

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// cursor takes the elements of a structure one after the other and keeps the first error. What it returns is a copy:
// a value that was parsed does not hold on to the APDU it came in.
type cursor struct {
	d    dlms.Data
	next int
	err  error
}

func structure(d dlms.Data, n int) cursor { return cursor{d: d, err: d.Expect(dlms.TagStructure, n)} }

func (c *cursor) take(tag dlms.Tag) dlms.Data {
	if c.err != nil {
		return dlms.Data{}
	}
	e := c.d.At(c.next)
	c.next++
	if err := e.Expect(tag, -1); err != nil {
		c.err = fmt.Errorf("element %d: %w", c.next, err)
		return dlms.Data{}
	}
	return e
}

// number returns an integer of exactly this type.
func (c *cursor) number(tag dlms.Tag) int64 {
	d := c.take(tag)
	if c.err != nil {
		return 0
	}
	v, err := d.Int()
	if err != nil {
		c.err = fmt.Errorf("element %d: %w", c.next, err)
	}
	return v
}

func (c *cursor) uint8() uint8   { return uint8(c.number(dlms.TagUint8)) }
func (c *cursor) uint16() uint16 { return uint16(c.number(dlms.TagUint16)) }
func (c *cursor) uint32() uint32 { return uint32(c.number(dlms.TagUint32)) }
func (c *cursor) int8() int8     { return int8(c.number(dlms.TagInt8)) }
func (c *cursor) enum() uint8    { return uint8(c.number(dlms.TagEnum)) }
func (c *cursor) octets() []byte { return bytes.Clone(c.take(dlms.TagOctetString).Bytes()) }

func (c *cursor) name() dlms.OBIS         { return each(c, dlms.Data.LogicalName) }
func (c *cursor) dateTime() dlms.DateTime { return each(c, dlms.Data.DateTime) }
func (c *cursor) clock() dlms.TimeOfDay   { return each(c, dlms.Data.Time) }

// each takes one element with a reader of its own.
func each[T any](c *cursor, read func(dlms.Data) (T, error)) T {
	var zero T
	if c.err != nil {
		return zero
	}
	v, err := read(c.d.At(c.next))
	c.next++
	if err != nil {
		c.err = fmt.Errorf("element %d: %w", c.next, err)
		return zero
	}
	return v
}

// done returns the first error, in the name of what was parsed.
func (c *cursor) done(what string) error {
	if c.err != nil {
		return fmt.Errorf("%s: %w", what, c.err)
	}
	return nil
}

// finish is done with the value, which counts only without an error.
func finish[T any](c *cursor, v T, what string) (T, error) {
	if err := c.done(what); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

// dataer is a value type of this package.
type dataer interface{ Data() dlms.Data }

func listData[T dataer](list []T) dlms.Data {
	out := make([]dlms.Data, len(list))
	for i, v := range list {
		out[i] = v.Data()
	}
	return dlms.Array(out...)
}

// parseList takes an array, or the compact-array of one, apart.
func parseList[T any](d dlms.Data, what string, parse func(dlms.Data) (T, error)) ([]T, error) {
	d, err := d.Expand()
	if err == nil {
		err = d.Expect(dlms.TagArray, -1)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	list := make([]T, 0, d.Len())
	for i, e := range d.Elements() {
		v, err := parse(e)
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", what, i+1, err)
		}
		list = append(list, v)
	}
	return list, nil
}

// listOf is parseList for a table of fields.
func listOf[T any](what string, parse func(dlms.Data) (T, error)) func(dlms.Data) ([]T, error) {
	return func(d dlms.Data) ([]T, error) { return parseList(d, what, parse) }
}

// integer reads an integer of exactly one type.
func integer[T ~uint8 | ~uint16 | ~uint32 | ~int8 | ~int16](tag dlms.Tag) func(dlms.Data) (T, error) {
	return func(d dlms.Data) (T, error) {
		if err := d.Expect(tag, -1); err != nil {
			return 0, err
		}
		v, err := d.Int()
		return T(v), err
	}
}

func parseUint8(d dlms.Data) (uint8, error)   { return integer[uint8](dlms.TagUint8)(d) }
func parseUint16(d dlms.Data) (uint16, error) { return integer[uint16](dlms.TagUint16)(d) }
func parseUint32(d dlms.Data) (uint32, error) { return integer[uint32](dlms.TagUint32)(d) }

// parseEnum reads an enum; whether the value means something is for the caller.
func parseEnum[T ~uint8](d dlms.Data) (T, error) { return integer[T](dlms.TagEnum)(d) }

func enumData[T ~uint8](v T) dlms.Data { return dlms.Enum(uint8(v)) }

func parseOctets(d dlms.Data) ([]byte, error) {
	b, err := d.OctetString()
	return bytes.Clone(b), err
}

// parseAny keeps a value of whatever type, as a copy of its own.
func parseAny(d dlms.Data) (dlms.Data, error) { return clone(d) }

// clone copies a value so that it may outlive the APDU it came in.
func clone(d dlms.Data) (dlms.Data, error) {
	b, err := d.AppendBinary(nil)
	if err != nil {
		return dlms.Null(), err
	}
	c, _, err := dlms.ParseData(b)
	return c, err
}

func same(d dlms.Data) dlms.Data { return d }

// Stored is where an object finds and leaves its value in the device of env.
type Stored[T any] struct {
	// Load returns the value as it is now.
	Load func(env *Env) (T, error)
	// Save keeps a changed value, durably where the device promises that; nil refuses every change. The value is
	// complete and was checked, and holds nothing of the APDU.
	Save func(env *Env, v T) error
}

// Fixed is a value that all devices share and nobody changes.
func Fixed[T any](v T) Stored[T] {
	return Stored[T]{Load: func(*Env) (T, error) { return v, nil }}
}

// field is one attribute of a record.
type field[T any] struct {
	get func(T) dlms.Data
	set func(*T, dlms.Data) error
	// readOnly keeps clients from writing it.
	readOnly bool
}

// fieldOf is the attribute that stands at one place of T.
func fieldOf[T, V any](at func(*T) *V, data func(V) dlms.Data, parse func(dlms.Data) (V, error)) field[T] {
	return field[T]{
		get: func(v T) dlms.Data { return data(*at(&v)) },
		set: func(v *T, d dlms.Data) error {
			p, err := parse(d)
			if err == nil {
				*at(v) = p
			}
			return err
		},
	}
}

// fixed makes a field that a client reads and does not write.
func (f field[T]) fixed() field[T] {
	f.readOnly = true
	return f
}

// record is an object whose attributes from 2 on are the fields of one value.
type record[T any] struct {
	base
	store  Stored[T]
	fields []field[T]
	// check refuses a value that no device may hold.
	check   func(T) error
	methods []func(env *Env, parameters dlms.Data) error
}

func (o *record[T]) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	if attribute == 1 {
		return o.name(), nil
	}
	i := int(attribute) - 2
	if i < 0 || i >= len(o.fields) {
		return undefined()
	}
	if o.store.Load == nil {
		return dlms.Null(), dlms.DataAccessReadWriteDenied
	}
	v, err := o.store.Load(env)
	if err != nil {
		return dlms.Null(), err
	}
	return o.fields[i].get(v), nil
}

func (o *record[T]) Set(env *Env, attribute int8, value dlms.Data) error {
	i := int(attribute) - 2
	if i < 0 || i >= len(o.fields) || o.fields[i].readOnly || o.store.Load == nil || o.store.Save == nil {
		return dlms.DataAccessReadWriteDenied
	}
	v, err := o.store.Load(env)
	if err != nil {
		return err
	}
	if err := o.fields[i].set(&v, value); err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	if o.check != nil && o.check(v) != nil {
		return dlms.DataAccessScopeViolated
	}
	return o.store.Save(env, v)
}

func (o *record[T]) Invoke(env *Env, method int8, parameters dlms.Data) (dlms.Data, error) {
	i := int(method) - 1
	if i < 0 || i >= len(o.methods) || o.methods[i] == nil {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	return dlms.Null(), o.methods[i](env, parameters)
}

// readRecord reads all attributes of such an object of a meter.
func readRecord[T any](ctx context.Context, r remote, fields []field[T]) (T, error) {
	var v T
	for i, f := range fields {
		n := int8(i + 2)
		d, err := r.get(ctx, n)
		if err != nil {
			return v, err
		}
		if err := f.set(&v, d); err != nil {
			return v, fmt.Errorf("get %s: %w", r.attribute(n), err)
		}
	}
	return v, nil
}

// write writes one attribute of such an object out of a whole value.
func write[T any](ctx context.Context, r remote, fields []field[T], n int8, v T) error {
	i := int(n) - 2
	if i < 0 || i >= len(fields) || fields[i].readOnly {
		return fmt.Errorf("set %s: %w: no such attribute to write", r.attribute(n), ErrValue)
	}
	return r.set(ctx, n, fields[i].get(v))
}

// ErrValue is returned for a value that has the right types and makes no sense.
var ErrValue = errors.New("cosem: value out of range")

func outside(what string, v, low, high int) error {
	if v < low || v > high {
		return fmt.Errorf("%w: %s: want %d to %d, got %d", ErrValue, what, low, high, v)
	}
	return nil
}
