package cosem

import (
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// A date-time with wildcards names a series of moments (BB 4.1.6.1): the switch to daylight saving, the start of a
// season, a window for calls. The rules, where something is not specified:
//
//   - year, month, day, day of week, hour, minute: any;
//   - second and hundredths: 0, as elsewhere in this module;
//   - deviation: the zone of the meter.
//
// Day FE is the last of the month, FD the one before; with a day of the week the last, or last but one, such day. A
// day and a day of the week without a year is the first such day of the week on or after the day. The months
// daylight-saving-begin and -end match nothing here.

// searchDays is more than eight years: 29 February is that far away around 2100.
const searchDays = 2930

// pattern is a date-time as a series of moments.
type pattern struct {
	t   dlms.DateTime
	loc *time.Location
}

func patternOf(t dlms.DateTime, loc *time.Location) pattern {
	if d := t.Deviation(); d != dlms.DeviationUnspecified {
		loc = time.FixedZone("", -60*int(d))
	}
	return pattern{t, loc}
}

// single reports whether the pattern says the whole date, so that it names one day at most.
func (p pattern) single() bool {
	d := p.t.Date()
	return d.Year() != dlms.YearUnspecified && d[2] <= 12 && d[3] <= 31
}

// onDay reports whether the series has moments on the day that begins at noon's date.
func (p pattern) onDay(noon time.Time) bool {
	d := p.t.Date()
	day, weekday := d[3], d[4]
	if day <= 31 && weekday >= 1 && weekday <= 7 && d.Year() == dlms.YearUnspecified {
		return p.onOrAfter(noon)
	}
	if !p.inMonth(noon) {
		return false
	}
	// With a whole date the day of the week says nothing new, and many meters fill it wrongly.
	if weekday >= 1 && weekday <= 7 && !p.single() && weekday != isoDay(noon) {
		return false
	}
	step := 1
	if weekday >= 1 && weekday <= 7 {
		step = 7
	}
	switch day {
	case dlms.Unspecified:
		return true
	case dlms.DayLast:
		return noon.AddDate(0, 0, step).Month() != noon.Month()
	case dlms.DaySecondLast:
		return noon.AddDate(0, 0, step).Month() == noon.Month() && noon.AddDate(0, 0, 2*step).Month() != noon.Month()
	}
	return int(day) == noon.Day()
}

// onOrAfter serves "the first Sunday on or after the 8th".
func (p pattern) onOrAfter(noon time.Time) bool {
	d := p.t.Date()
	if d[4] != isoDay(noon) {
		return false
	}
	for back := range 7 {
		if a := noon.AddDate(0, 0, -back); a.Day() == int(d[3]) && p.inMonth(a) {
			return true
		}
	}
	return false
}

func (p pattern) inMonth(t time.Time) bool {
	d := p.t.Date()
	return (d.Year() == dlms.YearUnspecified || d.Year() == t.Year()) &&
		(d[2] == dlms.Unspecified || int(d[2]) == int(t.Month()))
}

func isoDay(t time.Time) byte { return byte((t.Weekday()+6)%7 + 1) }

// times calls f with the moments of one day in order until f returns false.
func (p pattern) times(noon time.Time, f func(time.Time) bool) {
	c := p.t.TimeOfDay()
	second, hundredths := specified(c[2]), specified(c[3])
	fromHour, toHour := span(c[0], 23)
	fromMinute, toMinute := span(c[1], 59)
	y, month, day := noon.Date()
	for h := fromHour; h <= toHour; h++ {
		for m := fromMinute; m <= toMinute; m++ {
			if !f(time.Date(y, month, day, h, m, second, hundredths*1e7, p.loc)) {
				return
			}
		}
	}
}

func specified(b byte) int {
	if b == dlms.Unspecified {
		return 0
	}
	return int(b)
}

func span(b byte, top int) (from, to int) {
	if b == dlms.Unspecified {
		return 0, top
	}
	return int(b), int(b)
}

// next returns the first moment after t.
func (p pattern) next(t time.Time) (time.Time, bool) {
	var found time.Time
	p.search(t, 1, func(m time.Time) bool {
		if found.IsZero() && m.After(t) {
			found = m
		}
		return found.IsZero()
	})
	return found, !found.IsZero()
}

// last returns the last moment at or before t.
func (p pattern) last(t time.Time) (time.Time, bool) {
	var found time.Time
	p.search(t, -1, func(m time.Time) bool {
		if !m.After(t) && m.After(found) {
			found = m
		}
		return true
	})
	return found, !found.IsZero()
}

// search walks over the days from t on, forward or back, and gives f the moments of the first two days that have any.
func (p pattern) search(t time.Time, step int, f func(time.Time) bool) {
	y, m, d := t.In(p.loc).Date()
	noon := time.Date(y, m, d, 12, 0, 0, 0, time.UTC)
	noon = p.jump(noon, step)
	days := 0
	for range searchDays {
		if p.onDay(noon) {
			p.times(noon, f)
			// The first matching day may lie wholly on the wrong side of t; the second cannot.
			if days++; days == 2 {
				return
			}
		}
		noon = noon.AddDate(0, 0, step)
	}
}

// jump moves to the only day that a whole date names, and to the year of one that has a year.
func (p pattern) jump(noon time.Time, step int) time.Time {
	d := p.t.Date()
	switch year := d.Year(); {
	case p.single():
		return time.Date(year, time.Month(d[2]), int(d[3]), 12, 0, 0, 0, time.UTC)
	case year == dlms.YearUnspecified:
	case step > 0 && noon.Year() < year:
		return time.Date(year, time.January, 1, 12, 0, 0, 0, time.UTC)
	case step < 0 && noon.Year() > year:
		return time.Date(year, time.December, 31, 12, 0, 0, 0, time.UTC)
	}
	return noon
}
