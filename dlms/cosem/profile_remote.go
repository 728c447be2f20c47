package cosem

import (
	"context"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// RemoteProfile is a Profile generic of a meter (BB 4.3.6).
type RemoteProfile struct{ remote }

// ProfileAt returns the Profile generic under a logical name.
func ProfileAt(c Caller, o dlms.OBIS) RemoteProfile {
	return RemoteProfile{remote{c, dlms.ClassProfileGeneric, o}}
}

// Shape reads columns, period, sort method, sort object and capacity, in five requests.
func (r RemoteProfile) Shape(ctx context.Context) (ProfileShape, error) {
	var s ProfileShape
	for i, f := range profileFields() {
		if f.set == nil {
			continue
		}
		d, err := r.get(ctx, int8(i+3))
		if err != nil {
			return s, err
		}
		if err := f.set(&s, d); err != nil {
			return s, fmt.Errorf("get %s: %w", r.attribute(int8(i+3)), err)
		}
	}
	return s, nil
}

// Columns reads the capture objects.
func (r RemoteProfile) Columns(ctx context.Context) ([]apdu.Column, error) {
	return readAs(ctx, r.remote, 3, listOf("capture object", apdu.ParseColumn))
}

// Period reads the capture period.
func (r RemoteProfile) Period(ctx context.Context) (time.Duration, error) {
	return readAs(ctx, r.remote, 4, parseSeconds)
}

// Entries reads how many rows there are, and how many there may be.
func (r RemoteProfile) Entries(ctx context.Context) (used, capacity uint32, err error) {
	if used, err = readAs(ctx, r.remote, 7, parseUint32); err != nil {
		return 0, 0, err
	}
	capacity, err = readAs(ctx, r.remote, 8, parseUint32)
	return used, capacity, err
}

// SetColumns writes the capture objects, which empties the buffer.
func (r RemoteProfile) SetColumns(ctx context.Context, columns []apdu.Column) error {
	return r.set(ctx, 3, listData(columns))
}

// SetPeriod writes the capture period, in whole seconds.
func (r RemoteProfile) SetPeriod(ctx context.Context, d time.Duration) error {
	return r.set(ctx, 4, secondsData(d))
}

// SetSort writes sort method and sort object; the zero column for the methods that have none. A method by value needs
// its object at every moment, so the object goes first where there will be one, and last where there was one.
func (r RemoteProfile) SetSort(ctx context.Context, m SortMethod, by apdu.Column) error {
	if !m.byValue() {
		if err := r.set(ctx, 5, sortData(m)); err != nil {
			return err
		}
		return r.set(ctx, 6, by.Data())
	}
	if err := r.set(ctx, 6, by.Data()); err != nil {
		return err
	}
	return r.set(ctx, 5, sortData(m))
}

// SetCapacity writes how many rows there may be.
func (r RemoteProfile) SetCapacity(ctx context.Context, rows uint32) error {
	return r.set(ctx, 8, dlms.Uint32(rows))
}

// Rows reads the whole buffer: a row for each entry, a value for each column.
func (r RemoteProfile) Rows(ctx context.Context) ([][]dlms.Data, error) {
	return r.rows(ctx, apdu.Selection{})
}

// RowsByEntry reads rows and columns by their numbers, from 1; 0 for the last (BB 4.3.6, entry descriptor).
func (r RemoteProfile) RowsByEntry(ctx context.Context, d apdu.EntryDescriptor) ([][]dlms.Data, error) {
	return r.rows(ctx, d.Selection())
}

// RowsBetween reads the rows that were captured from one moment to another, both included. clock is the clock column of
// the profile, columns the ones wanted, none for all.
func (r RemoteProfile) RowsBetween(
	ctx context.Context, clock apdu.Column, from, to time.Time, columns ...apdu.Column,
) ([][]dlms.Data, error) {
	return r.RowsByRange(ctx, apdu.RangeDescriptor{
		Column: clock, From: dlms.DateTimeOf(from, 0).Octets(), To: dlms.DateTimeOf(to, 0).Octets(), Columns: columns,
	})
}

// RowsByRange reads the rows in which a column lies within a range (BB 4.3.6, range descriptor).
func (r RemoteProfile) RowsByRange(ctx context.Context, d apdu.RangeDescriptor) ([][]dlms.Data, error) {
	return r.rows(ctx, d.Selection())
}

func (r RemoteProfile) rows(ctx context.Context, s apdu.Selection) ([][]dlms.Data, error) {
	d, err := r.caller.GetSelected(ctx, r.attribute(2), s)
	if err != nil {
		return nil, err
	}
	rows, err := ParseProfileRows(d)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", r.attribute(2), err)
	}
	return rows, nil
}

// ParseProfileRows takes a buffer apart: an array or compact-array of structures. Values of rows keep the memory of d.
// A null-data in a row stands for the value of the row before, or for the next clock: see [ExpandProfileRows].
func ParseProfileRows(d dlms.Data) ([][]dlms.Data, error) {
	return parseList(d, "row", func(row dlms.Data) ([]dlms.Data, error) {
		if err := row.Expect(dlms.TagStructure, -1); err != nil {
			return nil, err
		}
		return row.Elements(), nil
	})
}

// ExpandProfileRows is ParseProfileRows with the null-data filled in with which meters shorten rows (BB 4.3.6): in the
// clock column, counted from 0, or -1 for none, it stands for the clock of the row before and one period; in any other
// column for the value of the row before. A null-data with nothing before it stays.
func ExpandProfileRows(d dlms.Data, clock int, period time.Duration) ([][]dlms.Data, error) {
	d, err := d.Expand()
	if err == nil {
		err = d.Expect(dlms.TagArray, -1)
	}
	if err != nil {
		return nil, fmt.Errorf("rows: %w", err)
	}
	full, err := dlms.ExpandNullsFunc(d.Elements(), NextClock(clock, period))
	if err != nil {
		return nil, err
	}
	return ParseProfileRows(dlms.Array(full...))
}

// NextClock says what null-data stands for in a buffer with a clock in one column, as [dlms.ExpandNullsFunc] and
// [dlms.CompressNullsFunc] want it.
func NextClock(clock int, period time.Duration) dlms.NextValue {
	return func(column int, before dlms.Data) (dlms.Data, error) {
		if column != clock {
			return before, nil
		}
		return advance(before, period)
	}
}

// advance moves a clock on, with its own deviation and status.
func advance(d dlms.Data, period time.Duration) (dlms.Data, error) {
	t, err := d.DateTime()
	if err != nil {
		return dlms.Null(), err
	}
	m, err := t.TimeIn(time.UTC)
	if err != nil {
		return dlms.Null(), err
	}
	next := dlms.DateTimeOf(m.Add(period), t.Status())
	copy(next[9:], t[9:]) // the deviation as it was, unspecified too
	if d.Tag() == dlms.TagDateTime {
		return dlms.DateTimeData(next), nil
	}
	return next.Octets(), nil
}

// Reset empties the buffer.
func (r RemoteProfile) Reset(ctx context.Context) error { return r.trigger(ctx, 1) }

// Capture adds a row of what the capture objects say now.
func (r RemoteProfile) Capture(ctx context.Context) error { return r.trigger(ctx, 2) }
