package dlms

import (
	"errors"
	"fmt"
)

// ErrNull is returned by CompressNulls for a null-data that could not be told from one that stands for a value.
var ErrNull = errors.New("data: null-data is ambiguous")

// NextValue says what null-data in a column stands for, given the value in the row before, columns counted from 0. For
// most columns it is that value; for the clock of a load curve it is that time and a capture period.
type NextValue func(column int, before Data) (Data, error)

func sameAgain(_ int, before Data) (Data, error) { return before, nil }

// ExpandNulls undoes the null-data compression of a profile's buffer (BB 4.3.6, buffer): rows are structures of one
// length, and null-data stands for the value in the row before, as far as there is one. The rows are not changed;
// those that it returns share their values. For a buffer with a clock, whose value goes on by a period, see
// [ExpandNullsFunc].
func ExpandNulls(rows []Data) ([]Data, error) { return ExpandNullsFunc(rows, sameAgain) }

// ExpandNullsFunc is ExpandNulls with what null-data stands for said by next.
func ExpandNullsFunc(rows []Data, next NextValue) ([]Data, error) {
	out, err := eachRow(rows, func(column int, before, v Data) (Data, Data, error) {
		if !v.IsNull() || before.IsNull() {
			return v, v, nil
		}
		full, err := next(column, before)
		return full, full, err
	})
	if err != nil {
		return nil, fmt.Errorf("expand nulls: %w", err)
	}
	return out, nil
}

// CompressNulls puts null-data wherever a row has what null-data there stands for: what the row before has. What it
// returns ExpandNulls gives back. A null-data of the rows' own, below a value, gives ErrNull: it would be read as
// that value.
func CompressNulls(rows []Data) ([]Data, error) { return CompressNullsFunc(rows, sameAgain) }

// CompressNullsFunc is CompressNulls with what null-data stands for said by next.
func CompressNullsFunc(rows []Data, next NextValue) ([]Data, error) {
	out, err := eachRow(rows, func(column int, before, v Data) (Data, Data, error) {
		if before.IsNull() {
			return v, v, nil
		}
		if v.IsNull() {
			return v, v, ErrNull
		}
		expected, err := next(column, before)
		if err == nil && v.Equal(expected) {
			return Null(), v, nil
		}
		return v, v, err
	})
	if err != nil {
		return nil, fmt.Errorf("compress nulls: %w", err)
	}
	return out, nil
}

// eachRow rewrites rows value by value. one is given the full value in the row before and says what to write and
// what the full value is now.
func eachRow(rows []Data, one func(column int, before, v Data) (write, full Data, err error)) ([]Data, error) {
	out := make([]Data, len(rows))
	var full []Data
	for i := range rows {
		if i == 0 {
			full = make([]Data, rows[0].Len())
		}
		if err := rows[i].Expect(TagStructure, len(full)); err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
		list := make([]Data, len(full))
		for c := range list {
			var err error
			if list[c], full[c], err = one(c, full[c], rows[i].list[c]); err != nil {
				return nil, fmt.Errorf("row %d, column %d: %w", i+1, c+1, err)
			}
		}
		out[i] = Structure(list...)
	}
	return out, nil
}
