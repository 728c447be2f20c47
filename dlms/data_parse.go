package dlms

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// ParseData reads one value from the front of b and returns what follows it. Strings alias b.
//
// It reads b twice: the first time to see that every length holds and how many elements there are, the second
// time into one slice of exactly that many. What it allocates is in proportion to the bytes that are really there.
func ParseData(b []byte) (d Data, rest []byte, err error) {
	r := wire.NewReader(b)
	d = ReadData(&r)
	rest = r.Rest()
	if err := r.Err(); err != nil {
		return Data{}, nil, fmt.Errorf("parse data: %w", err)
	}
	return d, rest, nil
}

// ReadData reads one value with r; an error stays in r. It serves the packages below this one, the only ones that
// can name the reader's type.
func ReadData(r *wire.Reader) (d Data) {
	ReadDataInto(r, &d)
	return d
}

// ReadDataInto is ReadData into d, which is null-data before and after an error.
func ReadDataInto(r *wire.Reader, d *Data) {
	switch tag, _ := r.Peek(); Tag(tag) {
	case TagArray, TagStructure:
		*d = readLists(r)
		return
	case TagOctetString:
		r.Uint8()
		d.tag, d.b = TagOctetString, r.OctetString()
	default:
		readScalar(r, Tag(r.Uint8()), d)
	}
	if r.Err() != nil {
		*d = Data{}
	}
}

// readLists reads an array or structure with all that is in it.
func readLists(r *wire.Reader) Data {
	ahead := *r
	count := 0
	scanData(&ahead, 0, &count)
	ahead.Spend(count, MaxDataElements)
	if ahead.Err() != nil {
		*r = ahead
		return Data{}
	}
	r.Spend(count, MaxDataElements)
	slab := make([]Data, count)
	var d Data
	readList(r, &slab, &d)
	return d
}

// scanData walks over one value and counts the elements of its lists.
func scanData(r *wire.Reader, depth int, count *int) {
	tag := Tag(r.Uint8())
	if tag != TagArray && tag != TagStructure {
		var d Data
		readScalar(r, tag, &d)
		return
	}
	if depth == MaxDataDepth {
		r.Fail(fmt.Errorf("%w: more than %d levels", ErrDataDepth, MaxDataDepth))
	}
	n := r.Count(1)
	*count += n
	for i := 0; i < n && r.Err() == nil; i++ {
		scanData(r, depth+1, count)
	}
}

// readList reads a value that scanData accepted, taking the place of its elements from slab.
func readList(r *wire.Reader, slab *[]Data, d *Data) {
	tag := Tag(r.Uint8())
	if tag != TagArray && tag != TagStructure {
		readScalar(r, tag, d)
		return
	}
	n := r.Count(1)
	list := (*slab)[:n:n]
	*slab = (*slab)[n:]
	for i := range list {
		readList(r, slab, &list[i])
	}
	d.tag, d.list = tag, list
}

// readScalar reads the content of everything but arrays and structures into d, which is null-data before.
func readScalar(r *wire.Reader, tag Tag, d *Data) {
	d.tag = tag
	switch tag {
	case TagOctetString, TagVisibleString, TagUTF8String:
		d.b = r.OctetString()
	case TagBool, TagUint8, TagEnum:
		d.n = uint64(r.Uint8())
	case TagInt8, TagBCD:
		d.n = uint64(int64(int8(r.Uint8())))
	case TagInt16:
		d.n = uint64(int64(int16(r.Uint16())))
	case TagUint16:
		d.n = uint64(r.Uint16())
	case TagInt32:
		d.n = uint64(int64(int32(r.Uint32())))
	case TagUint32, TagFloat32:
		d.n = uint64(r.Uint32())
	case TagInt64, TagUint64, TagFloat64:
		d.n = r.Uint64()
	default:
		readRare(r, tag, d)
	}
}

// readRare reads the content of the types that are left.
func readRare(r *wire.Reader, tag Tag, d *Data) {
	switch tag {
	case TagNull, TagDontCare:
	case TagDateTime, TagDate, TagTime:
		d.b = r.Bytes(tag.fixedSize())
	case TagBitString:
		*d = readBitString(r)
	case TagCompactArray:
		*d = readCompactArray(r)
	default:
		if r.Err() == nil {
			r.Fail(fmt.Errorf("%w: tag %d", ErrDataTag, uint8(tag)))
		}
	}
}

// readBitString reads a number of bits and as many bytes as hold them. Unused bits of the last byte are kept as
// they came.
func readBitString(r *wire.Reader) Data {
	bits := r.Length()
	return Data{tag: TagBitString, n: uint64(bits), b: r.Bytes(bits/8 + (bits%8+7)/8)}
}

// AppendBinary appends the value in A-XDR. It fails only for a value nested deeper than MaxDataDepth.
func (d Data) AppendBinary(dst []byte) ([]byte, error) { return d.appendTo(dst, 0) }

// AppendData is AppendBinary without a copy of the value.
func AppendData(dst []byte, d *Data) ([]byte, error) { return d.appendTo(dst, 0) }

func (d *Data) appendTo(dst []byte, depth int) ([]byte, error) {
	return d.appendContent(append(dst, byte(d.tag)), depth)
}

// appendContent appends the value without its tag, as a compact-array has it, but for lists.
func (d *Data) appendContent(dst []byte, depth int) ([]byte, error) {
	switch d.tag {
	case TagArray, TagStructure:
		return d.appendList(dst, depth)
	case TagOctetString, TagVisibleString, TagUTF8String:
		return wire.AppendOctetString(dst, d.b), nil
	case TagBitString:
		return append(wire.AppendLength(dst, int(d.n)), d.b...), nil
	case TagDateTime, TagDate, TagTime, TagCompactArray:
		return append(dst, d.b...), nil
	}
	for shift := 8 * (d.tag.fixedSize() - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(d.n>>shift))
	}
	return dst, nil
}

func (d *Data) appendList(dst []byte, depth int) ([]byte, error) {
	if depth == MaxDataDepth {
		return nil, fmt.Errorf("append data: %w: more than %d levels", ErrDataDepth, MaxDataDepth)
	}
	dst = wire.AppendLength(dst, len(d.list))
	for i := range d.list {
		var err error
		if dst, err = d.list[i].appendTo(dst, depth+1); err != nil {
			return nil, err
		}
	}
	return dst, nil
}
