package dlms

import (
	"encoding/binary"
	"fmt"
	"time"
)

// DaySize is the size in bytes of a [Day].
const DaySize = 4

// Day is one day of the calendar: the first four octets of a [Date] (BB 4.1.6.1: year highbyte and lowbyte, month, day
// of month), with no wildcard in it. Its bytes compare as days do. The zero value is no day.
type Day [DaySize]byte

// DayOf returns the day of t in its own location. Years beyond four digits are no day.
func DayOf(t time.Time) Day {
	y, m, d := t.Date()
	if y < 1 || y > 9999 {
		return Day{}
	}
	var out Day
	binary.BigEndian.PutUint16(out[:], uint16(y))
	out[2], out[3] = byte(m), byte(d)
	return out
}

// ParseDay reads YYYY-MM-DD, a day that exists.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || DayOf(t).IsZero() {
		return Day{}, fmt.Errorf("day: want YYYY-MM-DD, got %d characters that are no day", len(s))
	}
	return DayOf(t), nil
}

// IsZero reports whether it is no day.
func (d Day) IsZero() bool { return d == Day{} }

// Compare returns -1, 0 or 1: whether d is before o, the same day, or after.
func (d Day) Compare(o Day) int {
	a, b := binary.BigEndian.Uint32(d[:]), binary.BigEndian.Uint32(o[:])
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// String returns YYYY-MM-DD.
func (d Day) String() string {
	return fmt.Sprintf("%04d-%02d-%02d", binary.BigEndian.Uint16(d[:]), d[2], d[3])
}

// MarshalText writes what String returns, and nothing for no day.
func (d Day) MarshalText() ([]byte, error) {
	if d.IsZero() {
		return nil, nil
	}
	return []byte(d.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (d *Day) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Day{}
		return nil
	}
	got, err := ParseDay(string(b))
	if err != nil {
		return err
	}
	*d = got
	return nil
}
