package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// InvokeID is the Invoke-Id-And-Priority byte (GB 9.5): bits 0 to 3 the invoke-id, which the answer repeats; bit 6
// set for a confirmed service; bit 7 set for high priority. Bits 4 and 5 are reserved and kept as they came.
type InvokeID uint8

const (
	invokeConfirmed InvokeID = 0x40
	invokeHigh      InvokeID = 0x80
)

// NewInvokeID returns the byte for an invoke-id, of which the low four bits count.
func NewInvokeID(id uint8, confirmed, high bool) InvokeID {
	v := InvokeID(id & 0x0F)
	if confirmed {
		v |= invokeConfirmed
	}
	if high {
		v |= invokeHigh
	}
	return v
}

// ID returns the invoke-id, 0 to 15.
func (v InvokeID) ID() uint8 { return uint8(v & 0x0F) }

// Confirmed reports whether an answer is asked for.
func (v InvokeID) Confirmed() bool { return v&invokeConfirmed != 0 }

// HighPriority reports whether the priority is high.
func (v InvokeID) HighPriority() bool { return v&invokeHigh != 0 }

// String returns the byte in hexadecimal.
func (v InvokeID) String() string { return fmt.Sprintf("%#02x", uint8(v)) }

// LongInvokeID is the Long-Invoke-Id-And-Priority of a data notification (GB 9.5): bits 0 to 23 the invoke-id, bit
// 28 self-descriptive, bit 29 break on error, bit 30 confirmed, bit 31 high priority.
type LongInvokeID uint32

// ID returns the invoke-id, 0 to 2^24-1.
func (v LongInvokeID) ID() uint32 { return uint32(v & 0xFFFFFF) }

// Confirmed reports whether an answer is asked for.
func (v LongInvokeID) Confirmed() bool { return v&(1<<30) != 0 }

// HighPriority reports whether the priority is high.
func (v LongInvokeID) HighPriority() bool { return v&(1<<31) != 0 }

// Smallest sizes on the wire, by which lists are bounded.
const (
	sizeAttribute  = 10 // descriptor of 9 and the usage flag of the selection
	sizeMethod     = 9
	sizeData       = 1
	sizeResult     = 1
	sizeDataResult = 2
	sizeAction     = 2
)

// Selection is a selective access descriptor (GB 9.5): which part of an attribute is wanted. Selector 0 means none;
// on the wire it is refused, no interface class has one. [RangeDescriptor] and [EntryDescriptor] make the usual two.
type Selection struct {
	// Selector is what is selected by, of the class of the object; 0 is no selection.
	Selector uint8
	// Parameters are those of the selector.
	Parameters dlms.Data
}

// IsZero reports that there is no selection.
func (s Selection) IsZero() bool { return s.Selector == 0 }

// Attribute is one attribute that is asked for: a descriptor with optional selection.
type Attribute struct {
	// Ref names the attribute.
	Ref dlms.AttributeRef
	// Selection is the part of it, zero for all.
	Selection Selection
}

// Block is a block of a long transfer (GB 9.5, DataBlock-G and DataBlock-SA). The raw data of all blocks together
// is the content of the form without blocks.
type Block struct {
	// Last says that no block follows.
	Last bool
	// Number counts the blocks from 1.
	Number uint32
	// Raw aliases the input after parsing.
	Raw []byte
	// Result ends a long get with an error and without data; in set and action it is not used.
	Result dlms.DataAccessResult
}

func readAttributeRef(r *wire.Reader) dlms.AttributeRef {
	class, name, n := readDescriptor(r.In("attribute descriptor"))
	return dlms.AttributeRef{Class: class, Instance: name, Attribute: n}
}

func readMethodRef(r *wire.Reader) dlms.MethodRef {
	class, name, n := readDescriptor(r.In("method descriptor"))
	return dlms.MethodRef{Class: class, Instance: name, Method: n}
}

func readDescriptor(r *wire.Reader) (class dlms.ClassID, name dlms.OBIS, n int8) {
	class = dlms.ClassID(r.Uint16())
	copy(name[:], r.Bytes(len(name)))
	n = int8(r.Uint8())
	return class, name, n
}

func appendDescriptor(dst []byte, class dlms.ClassID, name dlms.OBIS, n int8) []byte {
	dst = append(dst, byte(class>>8), byte(class))
	return append(append(dst, name[:]...), byte(n))
}

func appendAttributeRef(dst []byte, a dlms.AttributeRef) []byte {
	return appendDescriptor(dst, a.Class, a.Instance, a.Attribute)
}

func appendMethodRef(dst []byte, m dlms.MethodRef) []byte {
	return appendDescriptor(dst, m.Class, m.Instance, m.Method)
}

func readAttribute(r *wire.Reader) (a Attribute) {
	a.read(r)
	return a
}

// read reads the attribute into a, which is zero before.
func (a *Attribute) read(r *wire.Reader) {
	a.Ref = readAttributeRef(r)
	if !r.In("access selection").Optional() {
		return
	}
	a.Selection.Selector = r.Uint8()
	if r.Err() == nil && a.Selection.Selector == 0 {
		r.Fail(fmt.Errorf("%w: selector 0", ErrValue))
	}
	dlms.ReadDataInto(r.In("access parameters"), &a.Selection.Parameters)
}

func (a *Attribute) append(dst []byte) ([]byte, error) {
	dst = appendAttributeRef(dst, a.Ref)
	if a.Selection.IsZero() {
		return append(dst, 0), nil
	}
	return a.Selection.Parameters.AppendBinary(append(dst, 1, a.Selection.Selector))
}

// listStart is the room that a list is given before its elements come.
const listStart = 16

// readList reads a SEQUENCE OF whose elements take at least size bytes each. The list grows with what is really
// there, not with what was announced. It reads through a copy of r: a reader that is given to a function value has
// to live on the heap, and those of the forms without a list shall not.
func readList[T any](r *wire.Reader, field string, size int, read func(*wire.Reader) T) []T {
	c := *r
	n := c.In(field).Count(size)
	list := make([]T, 0, min(n, listStart))
	for i := 0; i < n && c.Err() == nil; i++ {
		list = append(list, read(&c))
	}
	*r = c
	return list
}

func readAttributes(r *wire.Reader) []Attribute {
	return readList(r, "attribute descriptor list", sizeAttribute, readAttribute)
}

func appendAttributes(dst []byte, list []Attribute) ([]byte, error) {
	dst = wire.AppendLength(dst, len(list))
	for i := range list {
		var err error
		if dst, err = list[i].append(dst); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// readValues reads a SEQUENCE OF Data.
func readValues(r *wire.Reader, field string) []dlms.Data {
	return readList(r, field, sizeData, dlms.ReadData)
}

func appendValues(dst []byte, list []dlms.Data) ([]byte, error) {
	dst = wire.AppendLength(dst, len(list))
	for i := range list {
		var err error
		if dst, err = list[i].AppendBinary(dst); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// ParseValues parses the raw data of all blocks of a long set or action with list, put together: a SEQUENCE OF Data.
func ParseValues(b []byte) ([]dlms.Data, error) {
	r := wire.NewReader(b)
	list := readValues(&r, "value list")
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("parse values: %w", err)
	}
	return list, nil
}

// AppendValues appends what ParseValues parses, to be cut into blocks.
func AppendValues(dst []byte, list []dlms.Data) ([]byte, error) { return appendValues(dst, list) }

// readBlockSA reads a DataBlock-SA.
func readBlockSA(r *wire.Reader) Block {
	var b Block
	b.Last = r.In("last block").Bool()
	b.Number = r.In("block number").Uint32()
	b.Raw = r.In("raw data").OctetString()
	return b
}

func (b *Block) appendSA(dst []byte) []byte {
	return wire.AppendOctetString(appendNumber(wire.AppendBool(dst, b.Last), b.Number), b.Raw)
}

func appendNumber(dst []byte, n uint32) []byte {
	return append(dst, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// head reads tag, kind and invoke-id of a service.
func head(r *wire.Reader, want Tag) (kind uint8, id InvokeID) {
	if second, third, ok := r.Triple(byte(want)); ok {
		return second, InvokeID(third)
	}
	expectTag(r, want)
	kind = r.In("kind").Uint8()
	return kind, InvokeID(r.In("invoke id").Uint8())
}

// unknownKind refuses a kind that the service does not have.
func unknownKind(r *wire.Reader, kind uint8) {
	r.In("kind").Fail(fmt.Errorf("%w: %d", ErrValue, kind))
}

func appendHead(dst []byte, tag Tag, kind uint8, id InvokeID) []byte {
	return append(dst, byte(tag), kind, byte(id))
}

// badKind is the error of appending a kind that the service does not have.
func badKind(tag Tag, kind uint8) error {
	return fmt.Errorf("append %s: %w: kind %d", tag, ErrValue, kind)
}

// appendError names the APDU in an error of appending.
func appendError(tag Tag, dst []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("append %s: %w", tag, err)
	}
	return dst, nil
}
