package apdu

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

// Access selectors of the buffer of a profile generic (BB 4.3.6).
const (
	SelectorRange uint8 = 1
	SelectorEntry uint8 = 2
)

// Column is a capture object definition (BB 4.3.6): one column of a profile.
//
//	capture_object_definition ::= structure { class_id long-unsigned, logical_name octet-string,
//	  attribute_index integer, data_index long-unsigned }
type Column struct {
	// Class, Instance and Attribute name the attribute that is captured.
	Class     dlms.ClassID
	Instance  dlms.OBIS
	Attribute int8
	// Index is 0 for the whole attribute, else the element of it, from 1.
	Index uint16
}

// Data returns the definition as a value.
func (c Column) Data() dlms.Data {
	return dlms.Structure(dlms.Uint16(uint16(c.Class)), dlms.LogicalNameData(c.Instance), dlms.Int8(c.Attribute),
		dlms.Uint16(c.Index))
}

// ParseColumn takes a definition out of a value.
func ParseColumn(d dlms.Data) (Column, error) {
	if err := expectAll(d, dlms.TagUint16, dlms.TagOctetString, dlms.TagInt8, dlms.TagUint16); err != nil {
		return Column{}, fmt.Errorf("capture object: %w", err)
	}
	name, err := d.At(1).LogicalName()
	if err != nil {
		return Column{}, fmt.Errorf("capture object: %w", err)
	}
	return Column{
		Class: dlms.ClassID(number(d.At(0))), Instance: name, Attribute: int8(number(d.At(2))),
		Index: uint16(number(d.At(3))),
	}, nil
}

// ParseColumns takes an array of definitions out of a value.
func ParseColumns(d dlms.Data) ([]Column, error) {
	if err := d.Expect(dlms.TagArray, -1); err != nil {
		return nil, fmt.Errorf("capture objects: %w", err)
	}
	columns := make([]Column, 0, d.Len())
	for _, e := range d.Elements() {
		c, err := ParseColumn(e)
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	return columns, nil
}

func columnsData(columns []Column) dlms.Data {
	list := make([]dlms.Data, len(columns))
	for i, c := range columns {
		list[i] = c.Data()
	}
	return dlms.Array(list...)
}

// expectAll refuses a value that is not a structure of elements of exactly these types.
func expectAll(d dlms.Data, tags ...dlms.Tag) error {
	if err := d.Expect(dlms.TagStructure, len(tags)); err != nil {
		return err
	}
	for i, tag := range tags {
		if err := d.At(i).Expect(tag, -1); err != nil {
			return fmt.Errorf("element %d: %w", i+1, err)
		}
	}
	return nil
}

// number returns the value of an element whose integer type was just checked.
func number(d dlms.Data) int64 {
	v, _ := d.Int() // expectAll has seen the type
	return v
}

// RangeDescriptor selects the rows of a profile by the value of a column (BB 4.3.6, selective access 1): from From
// to To, both included.
//
//	range_descriptor ::= structure { restricting_object capture_object_definition, from_value, to_value,
//	  selected_values array capture_object_definition }
type RangeDescriptor struct {
	// Column is the one that is compared, in general the time stamp.
	Column Column
	// From and To are values of the type of the column.
	From dlms.Data
	To   dlms.Data
	// Columns are the columns wanted; none means all.
	Columns []Column
}

// Selection returns the descriptor for a request.
func (d RangeDescriptor) Selection() Selection {
	return Selection{
		Selector:   SelectorRange,
		Parameters: dlms.Structure(d.Column.Data(), d.From, d.To, columnsData(d.Columns)),
	}
}

// ParseRangeDescriptor takes the descriptor out of a request's selection. The types of From and To are for the
// profile to check, which knows the column.
func ParseRangeDescriptor(s Selection) (RangeDescriptor, error) {
	d := s.Parameters
	if s.Selector != SelectorRange {
		return RangeDescriptor{}, fmt.Errorf("range descriptor: %w: selector %d", ErrValue, s.Selector)
	}
	if err := d.Expect(dlms.TagStructure, 4); err != nil {
		return RangeDescriptor{}, fmt.Errorf("range descriptor: %w", err)
	}
	column, err := ParseColumn(d.At(0))
	if err != nil {
		return RangeDescriptor{}, fmt.Errorf("range descriptor: %w", err)
	}
	columns, err := ParseColumns(d.At(3))
	if err != nil {
		return RangeDescriptor{}, fmt.Errorf("range descriptor: %w", err)
	}
	return RangeDescriptor{Column: column, From: d.At(1), To: d.At(2), Columns: columns}, nil
}

// EntryDescriptor selects the rows and columns of a profile by their numbers, from 1 (BB 4.3.6, selective access
// 2). ToEntry 0 means the last row, ToColumn 0 the last column.
//
//	entry_descriptor ::= structure { from_entry double-long-unsigned, to_entry double-long-unsigned,
//	  from_selected_value long-unsigned, to_selected_value long-unsigned }
type EntryDescriptor struct {
	// FromEntry and ToEntry are row numbers, 1 for the first.
	FromEntry uint32
	ToEntry   uint32
	// FromColumn and ToColumn are column numbers, 1 for the first.
	FromColumn uint16
	ToColumn   uint16
}

// Selection returns the descriptor for a request.
func (d EntryDescriptor) Selection() Selection {
	return Selection{
		Selector: SelectorEntry,
		Parameters: dlms.Structure(dlms.Uint32(d.FromEntry), dlms.Uint32(d.ToEntry), dlms.Uint16(d.FromColumn),
			dlms.Uint16(d.ToColumn)),
	}
}

// ParseEntryDescriptor takes the descriptor out of a request's selection.
func ParseEntryDescriptor(s Selection) (EntryDescriptor, error) {
	d := s.Parameters
	if s.Selector != SelectorEntry {
		return EntryDescriptor{}, fmt.Errorf("entry descriptor: %w: selector %d", ErrValue, s.Selector)
	}
	if err := expectAll(d, dlms.TagUint32, dlms.TagUint32, dlms.TagUint16, dlms.TagUint16); err != nil {
		return EntryDescriptor{}, fmt.Errorf("entry descriptor: %w", err)
	}
	return EntryDescriptor{
		FromEntry: uint32(number(d.At(0))), ToEntry: uint32(number(d.At(1))),
		FromColumn: uint16(number(d.At(2))), ToColumn: uint16(number(d.At(3))),
	}, nil
}
