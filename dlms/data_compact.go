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

// description is a type description taken apart, so that no element has to find its way through it again: what a
// description of 1,024 bytes costs is not to be paid for every byte of the contents.
type description struct {
	tag    Tag
	count  int // of the elements of an array
	inside []description
}

// readDescription reads a type description that skipTypeDescription accepted.
func readDescription(r *wire.Reader) description {
	d := description{tag: Tag(r.Uint8())}
	n := 0
	switch d.tag {
	case TagArray:
		d.count, n = int(r.Uint16()), 1
	case TagStructure:
		n = r.Count(1)
	}
	for range n {
		d.inside = append(d.inside, readDescription(r))
	}
	return d
}

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
	ahead := r
	skipTypeDescription(&r, 0)
	if r.Offset() > maxDescription {
		r.Fail(fmt.Errorf("%w: type description of %d bytes", wire.ErrLength, r.Offset()))
	}
	x := expansion{contents: wire.NewReader(r.OctetString()), budget: min(valuesPerByte*len(d.b), MaxDataElements)}
	if err := r.Done(); err != nil {
		return Data{}, fmt.Errorf("expand compact-array: %w", err)
	}
	of := readDescription(&ahead)
	var list []Data
	for x.contents.Len() > 0 {
		list = append(list, x.element(&of))
	}
	if err := x.contents.Err(); err != nil {
		return Data{}, fmt.Errorf("expand compact-array: %w", err)
	}
	return Data{tag: TagArray, list: list}, nil
}

// element reads one element of an array, which must take at least one byte of the contents.
func (x *expansion) element(of *description) Data {
	before := x.contents.Offset()
	d := x.value(of)
	if x.contents.Err() == nil && x.contents.Offset() == before {
		x.contents.Fail(fmt.Errorf("%w: an element takes no bytes", wire.ErrValue))
	}
	return d
}

// value reads one value without a tag.
func (x *expansion) value(of *description) Data {
	if x.budget--; x.budget < 0 {
		x.contents.Fail(fmt.Errorf("%w: more values than the contents can bear", wire.ErrLength))
		return Data{}
	}
	d := Data{tag: of.tag}
	switch of.tag {
	case TagArray:
		for n := of.count; n > 0 && x.contents.Err() == nil; n-- {
			d.list = append(d.list, x.element(&of.inside[0]))
		}
	case TagStructure:
		for i := 0; i < len(of.inside) && x.contents.Err() == nil; i++ {
			d.list = append(d.list, x.value(&of.inside[i]))
		}
	default:
		d = Data{}
		readScalar(&x.contents, of.tag, &d)
	}
	return d
}
