package dlms

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Values that stand for something else than themselves in dates and times (BB 4.1.6.1).
const (
	// Unspecified is the value of a byte of a date or time that says nothing.
	Unspecified = 0xFF
	// YearUnspecified is the year that says nothing.
	YearUnspecified = 0xFFFF
	// DeviationUnspecified is the deviation that says nothing.
	DeviationUnspecified int16 = -0x8000
	// MonthDaylightEnd and MonthDaylightBegin are the months that stand for a change of daylight saving.
	MonthDaylightEnd   = 0xFD
	MonthDaylightBegin = 0xFE
	// DaySecondLast and DayLast are the days that count from the end of the month.
	DaySecondLast = 0xFD
	DayLast       = 0xFE
)

const (
	dateSize     = 5
	timeSize     = 4
	dateTimeSize = 12

	// maxDeviation is wider than the 720 minutes of BB 4.1.6.1: some zones are 13 and 14 hours ahead of UTC.
	maxDeviation = 14 * 60
)

// Errors of dates and times.
var (
	// ErrDateTime is returned for a date or time with a field outside its range.
	ErrDateTime = errors.New("date-time")
	// ErrNotAMoment is returned by Time for a date-time with a wildcard: it names no single moment.
	ErrNotAMoment = errors.New("date-time: names no single moment")
	// ErrNoDeviation is returned by Time for a date-time that does not say how far it is from UTC.
	ErrNoDeviation = errors.New("date-time: deviation from utc not specified")
)

// ClockStatus is the last byte of a date-time (BB 4.1.6.1). 0xFF says nothing.
type ClockStatus uint8

// Bits of a ClockStatus.
const (
	ClockInvalid        ClockStatus = 0x01 // the value cannot be relied on after an incident
	ClockDoubtful       ClockStatus = 0x02 // recovered after an incident, not guaranteed
	ClockDifferentBase  ClockStatus = 0x04 // another time base than the one in use
	ClockInvalidStatus  ClockStatus = 0x08 // a bit of this status is not to be trusted
	ClockDaylightSaving ClockStatus = 0x80 // the time includes the daylight saving deviation
	ClockUnspecified    ClockStatus = 0xFF
)

// Date is a date in five bytes (BB 4.1.6.1): year (2), month, day of month, day of week (1 is Monday).
type Date [dateSize]byte

// TimeOfDay is a time in four bytes (BB 4.1.6.1): hour, minute, second, hundredths.
type TimeOfDay [timeSize]byte

// DateTime is a date-time in twelve bytes (BB 4.1.6.1): a Date, a TimeOfDay, the deviation (2, signed) and the
// clock status. The deviation is in minutes from local time to UTC: UTC = local time + deviation, so that Paris in
// winter has -60. The daylight saving in force is part of it.
type DateTime [dateTimeSize]byte

// DateTimeOf returns the date-time of t in the zone of t, to a hundredth of a second, with the day of the week. The
// daylight saving bit is added to status when it is in force at t.
func DateTimeOf(t time.Time, status ClockStatus) DateTime {
	var dt DateTime
	binary.BigEndian.PutUint16(dt[0:], uint16(t.Year()))
	dt[2], dt[3], dt[4] = byte(t.Month()), byte(t.Day()), isoWeekday(t.Weekday())
	dt[5], dt[6], dt[7], dt[8] = byte(t.Hour()), byte(t.Minute()), byte(t.Second()), byte(t.Nanosecond()/1e7)
	_, offset := t.Zone()
	binary.BigEndian.PutUint16(dt[9:], uint16(int16(-offset/60)))
	if t.IsDST() && status != ClockUnspecified {
		status |= ClockDaylightSaving
	}
	dt[11] = byte(status)
	return dt
}

// isoWeekday numbers the days of the week from Monday, 1, to Sunday, 7.
func isoWeekday(d time.Weekday) byte { return byte((d+6)%7 + 1) }

// DateTimeUnspecified returns the date-time of which nothing is specified.
func DateTimeUnspecified() DateTime {
	return DateTime{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x80, 0x00, 0xFF}
}

// ParseDateTime takes a date-time out of twelve bytes and checks the range of every field.
func ParseDateTime(b []byte) (DateTime, error) {
	dt, err := DateTimeFromBytes(b)
	if err != nil {
		return dt, err
	}
	return dt, dt.Validate()
}

// DateTimeFromBytes takes a date-time out of twelve bytes as they are; Validate and Time check them.
func DateTimeFromBytes(b []byte) (DateTime, error) {
	var dt DateTime
	if len(b) != len(dt) {
		return dt, fmt.Errorf("%w: want %d bytes, got %d", ErrDateTime, len(dt), len(b))
	}
	copy(dt[:], b)
	return dt, nil
}

// Octets returns the octet-string of twelve bytes, the form in which most attributes carry a date-time.
func (t DateTime) Octets() Data { return OctetString(t[:]) }

// Date returns the date part.
func (t DateTime) Date() Date { return Date(t[:dateSize]) }

// TimeOfDay returns the time part.
func (t DateTime) TimeOfDay() TimeOfDay { return TimeOfDay(t[dateSize : dateSize+timeSize]) }

// Deviation returns the minutes from local time to UTC, or DeviationUnspecified.
func (t DateTime) Deviation() int16 { return int16(binary.BigEndian.Uint16(t[9:])) }

// Status returns the clock status.
func (t DateTime) Status() ClockStatus { return ClockStatus(t[11]) }

// Validate checks the range of every field; wildcards are in range.
func (t DateTime) Validate() error {
	if err := t.Date().Validate(); err != nil {
		return err
	}
	if err := t.TimeOfDay().Validate(); err != nil {
		return err
	}
	if d := t.Deviation(); d != DeviationUnspecified && (d < -maxDeviation || d > maxDeviation) {
		return fmt.Errorf("%w: deviation: want -%d to %d minutes, got %d", ErrDateTime, maxDeviation, maxDeviation, d)
	}
	return nil
}

// Time returns the moment that the date-time names. It fails with ErrNotAMoment when year, month, day, hour or
// minute are wildcards, and with ErrNoDeviation when the deviation is not specified: see TimeIn. Unspecified seconds
// and hundredths count as 0. The day of the week is not looked at.
func (t DateTime) Time() (time.Time, error) {
	if t.Deviation() == DeviationUnspecified {
		return time.Time{}, ErrNoDeviation
	}
	return t.TimeIn(time.UTC)
}

// TimeIn is Time for a date-time whose deviation may be unspecified: it is then taken as local time in loc.
func (t DateTime) TimeIn(loc *time.Location) (time.Time, error) {
	if err := t.Validate(); err != nil {
		return time.Time{}, err
	}
	d, c := t.Date(), t.TimeOfDay()
	if d.Year() == YearUnspecified || d[2] > 12 || d[3] > 31 || c[0] == Unspecified || c[1] == Unspecified {
		return time.Time{}, fmt.Errorf("%w: %s", ErrNotAMoment, t)
	}
	if dev := t.Deviation(); dev != DeviationUnspecified {
		loc = time.FixedZone("", -60*int(dev))
	}
	second, hundredths := zeroIfUnspecified(c[2]), zeroIfUnspecified(c[3])
	m := time.Date(d.Year(), time.Month(d[2]), int(d[3]), int(c[0]), int(c[1]), second, hundredths*1e7, loc)
	if m.Day() != int(d[3]) {
		return time.Time{}, fmt.Errorf("%w: %s is not in the calendar", ErrDateTime, d)
	}
	return m, nil
}

func zeroIfUnspecified(b byte) int {
	if b == Unspecified {
		return 0
	}
	return int(b)
}

// String returns "2021-06-03 Thu 14:09:23.00 -60 status 00": date, time, deviation and clock status, with * for
// what is not specified.
func (t DateTime) String() string {
	deviation := "*"
	if d := t.Deviation(); d != DeviationUnspecified {
		deviation = fmt.Sprintf("%+d", d)
	}
	return fmt.Sprintf("%s %s %s status %02X", t.Date(), t.TimeOfDay(), deviation, t[11])
}

// MarshalText writes the date-time as String does.
func (t DateTime) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
