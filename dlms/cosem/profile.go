package cosem

import (
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// Rows is the buffer of a profile: rows numbered from 0, the oldest first, in the order of their capture time. They
// may be computed when they are asked for.
type Rows interface {
	// Len returns the number of rows in use.
	Len(env *Env) (uint32, error)
	// Row returns row i, one value for each column.
	Row(env *Env, i uint32) ([]dlms.Data, error)
	// Find returns the number of the first row that was captured at or after t, Len where there is none.
	Find(env *Env, t time.Time) (uint32, error)
}

// ProfileConfig describes a Profile generic.
type ProfileConfig struct {
	Instance dlms.OBIS
	// Columns are the capture objects.
	Columns []apdu.Column
	// Period is capture_period, 0 for a profile that is written on events.
	Period time.Duration
	// Capacity is profile_entries.
	Capacity uint32
	Rows     Rows
	// Local returns the meter's zone, in which a range without deviation is read; nil is UTC.
	Local func(env *Env) *time.Location
	// Reset empties the buffer; nil refuses.
	Reset func(env *Env) error
}

type profile struct {
	base
	cfg ProfileConfig
}

// NewProfileGeneric returns an object of class Profile generic (BB 4.3.6, class 7 version 1), sorted first in first
// out. Its buffer takes selective access by range and by entry. A range restricts by the clock column, or by a
// column of integers.
func NewProfileGeneric(cfg ProfileConfig) Object {
	return &profile{base{ID{Class: dlms.ClassProfileGeneric, Version: 1, Instance: cfg.Instance}}, cfg}
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
	case 3:
		return o.captureObjects(), nil
	case 4:
		return dlms.Uint32(uint32(o.cfg.Period / time.Second)), nil
	case 5: // sort_method: fifo
		return dlms.Enum(1), nil
	case 6: // sort_object: none
		return apdu.Column{}.Data(), nil
	case 7:
		n, err := o.cfg.Rows.Len(env)
		return dlms.Uint32(n), err
	case 8:
		return dlms.Uint32(o.cfg.Capacity), nil
	}
	return undefined()
}

func (o *profile) captureObjects() dlms.Data {
	list := make([]dlms.Data, len(o.cfg.Columns))
	for i, c := range o.cfg.Columns {
		list[i] = c.Data()
	}
	return dlms.Array(list...)
}

// Invoke serves reset (1).
func (o *profile) Invoke(env *Env, method int8, _ dlms.Data) (dlms.Data, error) {
	if method != 1 {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	return call(env, o.cfg.Reset)
}

// picture is which rows and which columns are wanted: rows from first to before end, columns by index, nil for all.
type picture struct {
	first, end uint32
	columns    []int
	keep       func(row []dlms.Data) bool // nil keeps every row
}

func (o *profile) buffer(env *Env, sel apdu.Selection) (dlms.Data, error) {
	n, err := o.cfg.Rows.Len(env)
	if err != nil {
		return dlms.Null(), err
	}
	p, err := o.picture(env, sel, n)
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
		if len(row) != len(o.cfg.Columns) {
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

func (o *profile) picture(env *Env, sel apdu.Selection, n uint32) (picture, error) {
	switch sel.Selector {
	case 0:
		return picture{end: n}, nil
	case apdu.SelectorRange:
		d, err := apdu.ParseRangeDescriptor(sel)
		if err != nil {
			return picture{}, dlms.DataAccessTypeUnmatched
		}
		return o.byRange(env, d, n)
	case apdu.SelectorEntry:
		d, err := apdu.ParseEntryDescriptor(sel)
		if err != nil {
			return picture{}, dlms.DataAccessTypeUnmatched
		}
		return o.byEntry(d, n)
	}
	return picture{}, dlms.DataAccessScopeViolated
}

// byEntry reads an entry descriptor: from 1, 0 for the last, both ends included (BB 4.3.6).
func (o *profile) byEntry(d apdu.EntryDescriptor, n uint32) (picture, error) {
	columns := uint16(len(o.cfg.Columns))
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

func (o *profile) byRange(env *Env, d apdu.RangeDescriptor, n uint32) (picture, error) {
	at := o.column(d.Column)
	if at < 0 {
		return picture{}, dlms.DataAccessScopeViolated
	}
	p, err := o.restrict(env, d, at, n)
	if err != nil {
		return picture{}, err
	}
	if len(d.Columns) > len(o.cfg.Columns) {
		return picture{}, dlms.DataAccessScopeViolated
	}
	for _, c := range d.Columns {
		i := o.column(c)
		if i < 0 {
			return picture{}, dlms.DataAccessScopeViolated
		}
		p.columns = append(p.columns, i)
	}
	return p, nil
}

func (o *profile) restrict(env *Env, d apdu.RangeDescriptor, at int, n uint32) (picture, error) {
	if d.Column.Class == dlms.ClassClock && d.Column.Attribute == 2 {
		return o.byTime(env, d.From, d.To)
	}
	from, err := d.From.Int()
	if err != nil {
		return picture{}, dlms.DataAccessTypeUnmatched
	}
	to, err := d.To.Int()
	if err != nil {
		return picture{}, dlms.DataAccessTypeUnmatched
	}
	return picture{end: n, keep: func(row []dlms.Data) bool {
		v, err := row[at].Int()
		return err == nil && v >= from && v <= to
	}}, nil
}

func (o *profile) byTime(env *Env, from, to dlms.Data) (picture, error) {
	first, err := o.moment(env, from)
	if err != nil {
		return picture{}, err
	}
	last, err := o.moment(env, to)
	if err != nil {
		return picture{}, err
	}
	var p picture
	if p.first, err = o.cfg.Rows.Find(env, first); err != nil {
		return picture{}, err
	}
	// Both ends are included, and a date-time ends at hundredths of a second.
	p.end, err = o.cfg.Rows.Find(env, last.Add(time.Nanosecond))
	return p, err
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

// column returns the index of a capture object, or -1.
func (o *profile) column(c apdu.Column) int {
	for i := range o.cfg.Columns {
		if o.cfg.Columns[i] == c {
			return i
		}
	}
	return -1
}
