package dlms

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// ParseDate takes a date out of five bytes and checks the range of every field.
func ParseDate(b []byte) (Date, error) {
	var d Date
	if len(b) != len(d) {
		return d, fmt.Errorf("%w: date: want %d bytes, got %d", ErrDateTime, len(d), len(b))
	}
	copy(d[:], b)
	return d, d.Validate()
}

// Year returns the year, or YearUnspecified.
func (d Date) Year() int { return int(binary.BigEndian.Uint16(d[:])) }

// Validate checks the range of every field; wildcards are in range. A day of the week of 0, which the standard does
// not have, is let pass: many meters send it for unspecified, and nothing here relies on it.
func (d Date) Validate() error {
	month, day, weekday := d[2], d[3], d[4]
	switch {
	case (month < 1 || month > 12) && month < MonthDaylightEnd:
		return fmt.Errorf("%w: month: want 1 to 12 or a wildcard, got %d", ErrDateTime, month)
	case (day < 1 || day > 31) && day < DaySecondLast:
		return fmt.Errorf("%w: day: want 1 to 31 or a wildcard, got %d", ErrDateTime, day)
	case weekday > 7 && weekday != Unspecified:
		return fmt.Errorf("%w: day of week: want 1 to 7 or a wildcard, got %d", ErrDateTime, weekday)
	}
	return nil
}

// String returns "2021-06-03 Thu", with * for what is not specified.
func (d Date) String() string {
	year := "*"
	if d.Year() != YearUnspecified {
		year = fmt.Sprintf("%04d", d.Year())
	}
	return year + "-" + monthText(d[2]) + "-" + dayText(d[3]) + " " + weekdayText(d[4])
}

func monthText(b byte) string {
	switch b {
	case MonthDaylightBegin:
		return "dst-begin"
	case MonthDaylightEnd:
		return "dst-end"
	}
	return twoDigits(b)
}

func dayText(b byte) string {
	switch b {
	case DayLast:
		return "last"
	case DaySecondLast:
		return "second-last"
	}
	return twoDigits(b)
}

func weekdayText(b byte) string {
	if b < 1 || b > 7 {
		return "*"
	}
	return "MonTueWedThuFriSatSun"[3*(b-1):][:3]
}

// twoDigits returns the number in at least two digits, * where it is not specified.
func twoDigits(b byte) string {
	if b == Unspecified {
		return "*"
	}
	if b < 10 {
		return "0" + strconv.Itoa(int(b))
	}
	return strconv.Itoa(int(b))
}

// ParseTimeOfDay takes a time out of four bytes and checks the range of every field.
func ParseTimeOfDay(b []byte) (TimeOfDay, error) {
	var t TimeOfDay
	if len(b) != len(t) {
		return t, fmt.Errorf("%w: time: want %d bytes, got %d", ErrDateTime, len(t), len(b))
	}
	copy(t[:], b)
	return t, t.Validate()
}

// Validate checks the range of every field; wildcards are in range.
func (t TimeOfDay) Validate() error {
	limits := [timeSize]byte{23, 59, 59, 99}
	names := [timeSize]string{"hour", "minute", "second", "hundredths"}
	for i, limit := range limits {
		if t[i] > limit && t[i] != Unspecified {
			return fmt.Errorf("%w: %s: want 0 to %d or a wildcard, got %d", ErrDateTime, names[i], limit, t[i])
		}
	}
	return nil
}

// String returns "14:09:23.00", with * for what is not specified.
func (t TimeOfDay) String() string {
	return twoDigits(t[0]) + ":" + twoDigits(t[1]) + ":" + twoDigits(t[2]) + "." + twoDigits(t[3])
}
