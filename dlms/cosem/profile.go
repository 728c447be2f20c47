package cosem

import (
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Rows is the buffer of a profile: rows numbered from 0 in the order of its sort method, which is the oldest first for
// first in first out. They may be computed when they are asked for.
type Rows interface {
	// Len returns the number of rows in use.
	Len(env *Env) (uint32, error)
	// Row returns row i, one value for each column.
	Row(env *Env, i uint32) ([]dlms.Data, error)
	// Find returns the number of the first row that was captured at or after t, Len where there is none. Profiles that
	// are not first in first out do without.
	Find(env *Env, t time.Time) (uint32, error)
}

// DisorderedRows are [Rows] first in first out whose clock may have been set back while rows were captured. Find has
// then no one place to point at, and the rows of a range of time are looked for one by one.
type DisorderedRows interface {
	Rows
	// Disordered reports whether a row stands behind one that has a later time.
	Disordered(env *Env) (bool, error)
}

// ProfileConfig describes a Profile generic.
type ProfileConfig struct {
	// Instance is the logical name.
	Instance dlms.OBIS
	// Columns, Period, Sort, SortObject and Capacity are the shape of a profile that never changes it: see
	// [ProfileShape]. Rows stand in the order that Sort says; it does not sort them.
	Columns    []apdu.Column
	Period     time.Duration
	Sort       SortMethod
	SortObject apdu.Column
	Capacity   uint32
	// Shape reads the shape of a device that can change it, and replaces the five above; Save changes it, which empties
	// the buffer.
	Shape Stored[ProfileShape]
	// Rows gives the rows of the device.
	Rows Rows
	// Local returns the meter's zone, in which a range without deviation is read; nil is UTC.
	Local func(env *Env) *time.Location
	// Reset empties the buffer; nil refuses.
	Reset func(env *Env) error
	// Capture adds a row of what the capture objects say now; nil refuses.
	Capture func(env *Env) error
}

type profile struct {
	base
	cfg    ProfileConfig
	fields []field[ProfileShape] // from attribute 3
}

// NewProfileGeneric returns an object of class Profile generic (BB 4.3.6, class 7 version 1). Its buffer takes
// selective access by range and by entry. A range restricts by the clock column, or by a column of numbers.
func NewProfileGeneric(cfg ProfileConfig) Object {
	if cfg.Shape.Load == nil {
		cfg.Shape = Fixed(ProfileShape{
			Columns: cfg.Columns, Period: cfg.Period, Sort: cfg.Sort, SortObject: cfg.SortObject, Capacity: cfg.Capacity,
		})
	}
	if cfg.Rows == nil {
		cfg.Rows = noRows{}
	}
	id := ID{Class: dlms.ClassProfileGeneric, Version: 1, Instance: cfg.Instance}
	return &profile{base{id}, cfg, profileFields()}
}

// Selectors implements Selective.
func (o *profile) Selectors(attribute int8) []int8 {
	if attribute != 2 {
		return nil
	}
	return []int8{int8(apdu.SelectorRange), int8(apdu.SelectorEntry)}
}

func (o *profile) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if attribute == 2 {
		return o.buffer(env, sel)
	}
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 7:
		n, err := o.cfg.Rows.Len(env)
		return dlms.Uint32(n), err
	case 3, 4, 5, 6, 8:
		s, err := o.cfg.Shape.Load(env)
		return o.fields[attribute-3].get(s), err
	}
	return undefined()
}

// Set changes the shape of a profile that allows it.
func (o *profile) Set(env *Env, attribute int8, value dlms.Data) error {
	if attribute < 3 || attribute == 7 || attribute > 8 || o.cfg.Shape.Save == nil {
		return dlms.DataAccessReadWriteDenied
	}
	s, err := o.cfg.Shape.Load(env)
	if err != nil {
		return err
	}
	if err := o.fields[attribute-3].set(&s, value); err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	if s.Validate() != nil {
		return dlms.DataAccessScopeViolated
	}
	return o.cfg.Shape.Save(env, s)
}

// Invoke serves reset (1) and capture (2).
func (o *profile) Invoke(env *Env, method int8, _ dlms.Data) (dlms.Data, error) {
	switch method {
	case 1:
		return call(env, o.cfg.Reset)
	case 2:
		return call(env, o.cfg.Capture)
	}
	return dlms.Null(), dlms.ActionReadWriteDenied
}

// picture is which rows and which columns are wanted: rows from first to before end, columns by index, nil for all.
type picture struct {
	first, end uint32
	columns    []int
	keep       func(row []dlms.Data) bool // nil keeps every row
}

func (o *profile) buffer(env *Env, sel apdu.Selection) (dlms.Data, error) {
	shape, err := o.cfg.Shape.Load(env)
	if err != nil {
		return dlms.Null(), err
	}
	n, err := o.cfg.Rows.Len(env)
	if err != nil {
		return dlms.Null(), err
	}
	p, err := o.picture(env, &shape, sel, n)
	if err != nil {
		return dlms.Null(), err
	}
	p.end = min(p.end, n)
	if p.first >= p.end {
		return dlms.Array(), nil
	}
	rows := make([]dlms.Data, 0, p.end-p.first)
	for i := p.first; i < p.end; i++ {
		row, err := o.cfg.Rows.Row(env, i)
		if err != nil {
			return dlms.Null(), err
		}
		if len(row) != len(shape.Columns) {
			return dlms.Null(), dlms.DataAccessHardwareFault
		}
		if p.keep == nil || p.keep(row) {
			rows = append(rows, dlms.Structure(p.cut(row)...))
		}
	}
	return dlms.Array(rows...), nil
}

func (p picture) cut(row []dlms.Data) []dlms.Data {
	if p.columns == nil {
		return row
	}
	out := make([]dlms.Data, len(p.columns))
	for i, c := range p.columns {
		out[i] = row[c]
	}
	return out
}

func (o *profile) picture(env *Env, shape *ProfileShape, sel apdu.Selection, n uint32) (picture, error) {
	switch sel.Selector {
	case 0:
		return picture{end: n}, nil
	case apdu.SelectorRange:
		d, err := apdu.ParseRangeDescriptor(sel)
		if err != nil {
			return picture{}, dlms.DataAccessTypeUnmatched
		}
		return o.byRange(env, shape, d, n)
	case apdu.SelectorEntry:
		d, err := apdu.ParseEntryDescriptor(sel)
		if err != nil {
			return picture{}, dlms.DataAccessTypeUnmatched
		}
		return byEntry(shape, d, n)
	}
	return picture{}, dlms.DataAccessScopeViolated
}

// byEntry reads an entry descriptor: from 1, 0 for the last, both ends included (BB 4.3.6).
func byEntry(shape *ProfileShape, d apdu.EntryDescriptor, n uint32) (picture, error) {
	columns := uint16(len(shape.Columns))
	if d.ToEntry == 0 {
		d.ToEntry = n
	}
	if d.ToColumn == 0 {
		d.ToColumn = columns
	}
	if d.FromEntry == 0 || d.FromColumn == 0 || d.FromColumn > d.ToColumn || d.ToColumn > columns {
		return picture{}, dlms.DataAccessScopeViolated
	}
	p := picture{first: d.FromEntry - 1, end: d.ToEntry}
	for c := d.FromColumn; c <= d.ToColumn; c++ {
		p.columns = append(p.columns, int(c)-1)
	}
	return p, nil
}

func (o *profile) byRange(env *Env, shape *ProfileShape, d apdu.RangeDescriptor, n uint32) (picture, error) {
	at := shape.column(d.Column)
	if at < 0 {
		return picture{}, dlms.DataAccessScopeViolated
	}
	p, err := o.restrict(env, shape, d, at, n)
	if err != nil {
		return picture{}, err
	}
	if len(d.Columns) > len(shape.Columns) {
		return picture{}, dlms.DataAccessScopeViolated
	}
	for _, c := range d.Columns {
		i := shape.column(c)
		if i < 0 {
			return picture{}, dlms.DataAccessScopeViolated
		}
		p.columns = append(p.columns, i)
	}
	return p, nil
}

// restrict reads the range of a range descriptor. The rows of a profile that stands by time are found; those of any
// other are looked at one by one.
func (o *profile) restrict(env *Env, shape *ProfileShape, d apdu.RangeDescriptor, at int, n uint32) (picture, error) {
	if d.Column.Class == dlms.ClassClock && d.Column.Attribute == 2 {
		return o.byTime(env, shape, d, at, n)
	}
	for _, end := range []dlms.Data{d.From, d.To} {
		if _, err := end.Float(); err != nil {
			return picture{}, dlms.DataAccessTypeUnmatched
		}
	}
	return picture{end: n, keep: func(row []dlms.Data) bool {
		low, err := compareNumbers(row[at], d.From)
		if err != nil || low < 0 {
			return false
		}
		high, err := compareNumbers(row[at], d.To)
		return err == nil && high <= 0
	}}, nil
}

func (o *profile) byTime(env *Env, shape *ProfileShape, d apdu.RangeDescriptor, at int, n uint32) (picture, error) {
	first, err := o.moment(env, d.From)
	if err != nil {
		return picture{}, err
	}
	last, err := o.moment(env, d.To)
	if err != nil {
		return picture{}, err
	}
	ordered, err := o.ordered(env, shape)
	if err != nil {
		return picture{}, err
	}
	if !ordered {
		return picture{end: n, keep: func(row []dlms.Data) bool {
			t, err := o.moment(env, row[at])
			return err == nil && !t.Before(first) && !t.After(last)
		}}, nil
	}
	var p picture
	if p.first, err = o.cfg.Rows.Find(env, first); err != nil {
		return picture{}, err
	}
	// Both ends are included, and a date-time ends at hundredths of a second.
	p.end, err = o.cfg.Rows.Find(env, last.Add(time.Nanosecond))
	return p, err
}

// ordered reports whether the rows stand by time, so that Find finds the ends of a range.
func (o *profile) ordered(env *Env, shape *ProfileShape) (bool, error) {
	if shape.Sort > SortFIFO {
		return false, nil
	}
	rows, ok := o.cfg.Rows.(DisorderedRows)
	if !ok {
		return true, nil
	}
	disordered, err := rows.Disordered(env)
	return !disordered, err
}

func (o *profile) moment(env *Env, d dlms.Data) (time.Time, error) {
	t, err := d.DateTime()
	if err != nil {
		return time.Time{}, dlms.DataAccessTypeUnmatched
	}
	m, err := t.Time()
	if errors.Is(err, dlms.ErrNoDeviation) {
		m, err = t.TimeIn(o.local(env))
	}
	if err != nil {
		return time.Time{}, dlms.DataAccessScopeViolated
	}
	return m, nil
}

func (o *profile) local(env *Env) *time.Location {
	if o.cfg.Local == nil {
		return time.UTC
	}
	return o.cfg.Local(env)
}

// noRows is the buffer of a profile that was given none.
type noRows struct{}

func (noRows) Len(*Env) (uint32, error) { return 0, dlms.DataAccessReadWriteDenied }

func (noRows) Row(*Env, uint32) ([]dlms.Data, error) { return nil, dlms.DataAccessReadWriteDenied }

func (noRows) Find(*Env, time.Time) (uint32, error) { return 0, dlms.DataAccessReadWriteDenied }
