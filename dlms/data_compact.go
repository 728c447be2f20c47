package dlms

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// A compact-array (GB 9.5) describes the type of its elements once and then carries their contents without tags:
//
//	compact-array [19] SEQUENCE { contents-description TypeDescription, array-contents OCTET STRING }
//
// It is kept as it came, so that it travels unchanged; Expand turns it into a plain array.

// readCompactArray reads a type description and the contents, and keeps both as they came.
func readCompactArray(r *wire.Reader) Data {
	ahead := *r
	skipTypeDescription(&ahead, 0)
	ahead.OctetString()
	if ahead.Err() != nil {
		*r = ahead
		return Data{}
	}
	return Data{tag: TagCompactArray, b: r.Bytes(ahead.Offset() - r.Offset())}
}

// skipTypeDescription walks over one type description.
func skipTypeDescription(r *wire.Reader, depth int) {
	if depth > MaxDataDepth {
		r.Fail(fmt.Errorf("%w: type description of more than %d levels", ErrDataDepth, MaxDataDepth))
	}
	switch tag := Tag(r.Uint8()); tag {
	case TagArray:
		r.Uint16()
		if r.Err() == nil {
			skipTypeDescription(r, depth+1)
		}
	case TagStructure:
		for n := r.Count(1); n > 0 && r.Err() == nil; n-- {
			skipTypeDescription(r, depth+1)
		}
	case TagOctetString, TagVisibleString, TagUTF8String, TagBitString:
	default:
		if tag.fixedSize() < 0 && r.Err() == nil {
			r.Fail(fmt.Errorf("%w: type description with tag %d", ErrDataTag, uint8(tag)))
		}
	}
}

const (
	// maxDescription bounds the type description that Expand follows, ours: 1,024 columns.
	maxDescription = 1024
	// valuesPerByte bounds the values that Expand makes for each byte of a compact-array, ours.
	valuesPerByte = 4
)

// expansion reads the contents of a compact-array along its type description.
type expansion struct {
	contents wire.Reader
	budget   int
}

// Expand returns a compact-array as the plain array that it stands for; every other value as it is.
//
// A type description is smaller than what it describes: an array of null-data says 65,535 elements in four bytes.
// Expand therefore refuses elements that take no byte of the contents, more than four values for each byte of the
// compact-array, and more than MaxDataElements, so that what it allocates is bounded and in proportion to its input.
func (d Data) Expand() (Data, error) {
	if d.tag != TagCompactArray {
		return d, nil
	}
	r := wire.NewReader(d.b)
	description := r
	skipTypeDescription(&r, 0)
	if r.Offset() > maxDescription {
		r.Fail(fmt.Errorf("%w: type description of %d bytes", wire.ErrLength, r.Offset()))
	}
	x := expansion{contents: wire.NewReader(r.OctetString()), budget: min(valuesPerByte*len(d.b), MaxDataElements)}
	if err := r.Done(); err != nil {
		return Data{}, fmt.Errorf("expand compact-array: %w", err)
	}
	var list []Data
	for x.contents.Len() > 0 {
		list = append(list, x.element(description))
	}
	if err := x.contents.Err(); err != nil {
		return Data{}, fmt.Errorf("expand compact-array: %w", err)
	}
	return Data{tag: TagArray, list: list}, nil
}

// element reads one element of an array, which must take at least one byte of the contents.
func (x *expansion) element(description wire.Reader) Data {
	before := x.contents.Offset()
	d := x.value(&description)
	if x.contents.Err() == nil && x.contents.Offset() == before {
		x.contents.Fail(fmt.Errorf("%w: an element takes no bytes", wire.ErrValue))
	}
	return d
}

// value reads one value without a tag, by the description that of stands before.
func (x *expansion) value(of *wire.Reader) Data {
	if x.budget--; x.budget < 0 {
		x.contents.Fail(fmt.Errorf("%w: more values than the contents can bear", wire.ErrLength))
		return Data{}
	}
	switch tag := Tag(of.Uint8()); tag {
	case TagArray:
		return x.array(of)
	case TagStructure:
		d := Data{tag: TagStructure}
		for n := of.Count(1); n > 0 && x.contents.Err() == nil; n-- {
			d.list = append(d.list, x.value(of))
		}
		return d
	default:
		var d Data
		readScalar(&x.contents, tag, &d)
		return d
	}
}

// array reads an array whose number of elements the description gives.
func (x *expansion) array(of *wire.Reader) Data {
	d := Data{tag: TagArray}
	n := int(of.Uint16())
	element := *of
	skipTypeDescription(of, 0)
	for ; n > 0 && x.contents.Err() == nil; n-- {
		d.list = append(d.list, x.element(element))
	}
	return d
}
