package dlms

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// CompactArray makes a compact-array (GB 9.5) of elements that are all of one type: the same fields in the same
// order, arrays inside of the same length. What it makes Expand gives back. It refuses with ErrDataType elements of
// several types, no elements, whose type nobody could say, and elements that take no bytes, of which the contents
// could not tell the number; with ErrDataRange what is beyond the bounds of Expand; a compact-array or dont-care has
// no place inside.
func CompactArray(elements ...Data) (Data, error) {
	d, err := compact(elements)
	if err != nil {
		return Data{}, fmt.Errorf("compact-array: %w", err)
	}
	return d, nil
}

func compact(elements []Data) (Data, error) {
	if len(elements) == 0 {
		return Data{}, fmt.Errorf("%w: no elements", ErrDataType)
	}
	b, err := appendDescription(nil, &elements[0], 0)
	if err != nil {
		return Data{}, err
	}
	if len(b) > maxDescription {
		return Data{}, fmt.Errorf("%w: type description of %d bytes", ErrDataRange, len(b))
	}
	var c compaction
	for i := range elements {
		if err := c.element(&elements[0], &elements[i]); err != nil {
			return Data{}, fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	b = wire.AppendOctetString(b, c.contents)
	if c.values > min(valuesPerByte*len(b), MaxDataElements) {
		return Data{}, fmt.Errorf("%w: %d values in %d bytes are more than anybody expands", ErrDataRange, c.values, len(b))
	}
	return Data{tag: TagCompactArray, b: b}, nil
}

// compaction collects the contents of a compact-array.
type compaction struct {
	contents []byte
	values   int
}

func (c *compaction) element(first, d *Data) error {
	before := len(c.contents)
	if err := c.value(first, d); err != nil {
		return err
	}
	if len(c.contents) == before {
		return fmt.Errorf("%w: %s takes no bytes", ErrDataType, d.tag)
	}
	return nil
}

// value appends the content of d, which must be of the type of first.
func (c *compaction) value(first, d *Data) error {
	c.values++
	if d.tag != first.tag || len(d.list) != len(first.list) {
		return fmt.Errorf("%w: want %s, got %s", ErrDataType, first.shape(), d.shape())
	}
	if d.tag != TagArray && d.tag != TagStructure {
		var err error
		c.contents, err = d.appendContent(c.contents, 0)
		return err
	}
	for i := range d.list {
		if err := c.inside(first, d, i); err != nil {
			return err
		}
	}
	return nil
}

// inside appends element i of a list: one of an array is of the type of the first, one of a structure of its own.
func (c *compaction) inside(first, d *Data, i int) error {
	if d.tag == TagArray {
		return c.element(&first.list[0], &d.list[i])
	}
	return c.value(&first.list[i], &d.list[i])
}

// shape is the type for an error text, with the number of elements of a list.
func (d *Data) shape() string {
	if d.tag == TagArray || d.tag == TagStructure {
		return fmt.Sprintf("%s of %d", d.tag, len(d.list))
	}
	return d.tag.String()
}

// appendDescription appends the type of d. An array without elements is described as one of no null-data.
func appendDescription(dst []byte, d *Data, depth int) ([]byte, error) {
	if depth > MaxDataDepth {
		return nil, fmt.Errorf("%w: more than %d levels", ErrDataDepth, MaxDataDepth)
	}
	dst = append(dst, byte(d.tag))
	switch d.tag {
	case TagArray:
		return appendArrayDescription(dst, d, depth)
	case TagStructure:
		dst = wire.AppendLength(dst, len(d.list))
		for i := range d.list {
			var err error
			if dst, err = appendDescription(dst, &d.list[i], depth+1); err != nil {
				return nil, err
			}
		}
	case TagCompactArray, TagDontCare:
		return nil, fmt.Errorf("%w: %s inside", ErrDataType, d.tag)
	}
	return dst, nil
}

func appendArrayDescription(dst []byte, d *Data, depth int) ([]byte, error) {
	if len(d.list) > 0xFFFF {
		return nil, fmt.Errorf("%w: array of %d elements inside", ErrDataRange, len(d.list))
	}
	dst = append(dst, byte(len(d.list)>>8), byte(len(d.list)))
	if len(d.list) == 0 {
		return append(dst, byte(TagNull)), nil
	}
	return appendDescription(dst, &d.list[0], depth+1)
}
