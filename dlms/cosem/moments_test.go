package cosem

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
)

// moment writes a date-time with wildcards: year, month, day, day of week, hour, minute.
func moment(year int, rest ...byte) dlms.DateTime {
	t := dlms.DateTimeUnspecified()
	t[0], t[1] = byte(year>>8), byte(year)
	copy(t[2:], rest)
	t[7], t[8] = 0, 0
	return t
}

const (
	wild    = dlms.Unspecified
	anyYear = dlms.YearUnspecified
)

func TestAMomentWithWildcardsComesWhenTheStandardSaysSo(t *testing.T) {
	paris := time.FixedZone("", 3600)
	for name, c := range map[string]struct {
		at         dlms.DateTime
		now        string
		last, next string // "" for none
	}{
		"every day at six":           {moment(anyYear, wild, wild, wild, 6, 0), "2026-03-01 12:00", "2026-03-01 06:00", "2026-03-02 06:00"},
		"every day, at that minute":  {moment(anyYear, wild, wild, wild, 6, 0), "2026-03-01 06:00", "2026-03-01 06:00", "2026-03-02 06:00"},
		"every hour at a quarter":    {moment(anyYear, wild, wild, wild, wild, 15), "2026-03-01 12:10", "2026-03-01 11:15", "2026-03-01 12:15"},
		"over midnight":              {moment(anyYear, wild, wild, wild, wild, 15), "2026-03-01 00:10", "2026-02-28 23:15", "2026-03-01 00:15"},
		"every Monday":               {moment(anyYear, wild, wild, 1, 8, 30), "2026-03-01 12:00", "2026-02-23 08:30", "2026-03-02 08:30"},
		"the first of the month":     {moment(anyYear, wild, 1, wild, 0, 0), "2026-03-01 12:00", "2026-03-01 00:00", "2026-04-01 00:00"},
		"the last of the month":      {moment(anyYear, wild, dlms.DayLast, wild, 0, 0), "2024-02-10 12:00", "2024-01-31 00:00", "2024-02-29 00:00"},
		"the last but one":           {moment(anyYear, wild, dlms.DaySecondLast, wild, 0, 0), "2024-02-10 12:00", "2024-01-30 00:00", "2024-02-28 00:00"},
		"last Sunday in March":       {moment(anyYear, 3, dlms.DayLast, 7, 2, 0), "2026-03-29 01:59", "2025-03-30 02:00", "2026-03-29 02:00"},
		"last but one Friday":        {moment(anyYear, 5, dlms.DaySecondLast, 5, 0, 0), "2026-01-01 00:00", "2025-05-23 00:00", "2026-05-22 00:00"},
		"first Sunday from the 8th":  {moment(anyYear, 3, 8, 7, 2, 0), "2026-01-01 00:00", "2025-03-09 02:00", "2026-03-08 02:00"},
		"first Sunday from the 31st": {moment(anyYear, 1, 31, 7, 0, 0), "2026-01-01 00:00", "2025-02-02 00:00", "2026-02-01 00:00"},
		"a leap day":                 {moment(anyYear, 2, 29, wild, 0, 0), "2097-01-01 00:00", "2096-02-29 00:00", "2104-02-29 00:00"},
		"a day of one year":          {moment(2030, 6, 15, wild, 12, 0), "2026-01-01 00:00", "", "2030-06-15 12:00"},
		"a day that is over":         {moment(2020, 6, 15, wild, 12, 0), "2026-01-01 00:00", "2020-06-15 12:00", ""},
		"a wrong day of the week":    {moment(2020, 6, 15, 7, 12, 0), "2026-01-01 00:00", "2020-06-15 12:00", ""},
		"a month of a far year":      {moment(2090, 6, wild, wild, 12, 0), "2026-01-01 00:00", "", "2090-06-01 12:00"},
		"a month of a past year":     {moment(1990, 6, wild, wild, 12, 0), "2026-01-01 00:00", "1990-06-30 12:00", ""},
		"the thirtieth of February":  {moment(anyYear, 2, 30, wild, 0, 0), "2026-01-01 00:00", "", ""},
		"daylight saving as a month": {moment(anyYear, dlms.MonthDaylightBegin, 1, wild, 0, 0), "2026-01-01 00:00", "", ""},
	} {
		now, err := time.ParseInLocation("2006-01-02 15:04", c.now, paris)
		if err != nil {
			t.Fatal(err)
		}
		p := patternOf(c.at, paris)
		for which, f := range map[string]func(time.Time) (time.Time, bool){c.last: p.last, c.next: p.next} {
			got, ok := f(now)
			if text := got.In(paris).Format("2006-01-02 15:04"); ok != (which != "") || ok && text != which {
				t.Errorf("%s, at %s: want %q, got %q (%t)", name, c.now, which, text, ok)
			}
		}
	}
}

func TestADeviationGoesBeforeTheZoneOfTheMeter(t *testing.T) {
	at := moment(anyYear, wild, wild, wild, 6, 0)
	at[9], at[10] = 0, 0 // UTC
	got, ok := patternOf(at, time.FixedZone("", 3600)).next(time.Date(2026, 3, 1, 5, 30, 0, 0, time.UTC))
	if want := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC); !ok || !got.Equal(want) {
		t.Errorf("want %s, got %s", want, got)
	}
}

// next and last find the same moments: what next finds is what last finds at that moment, and nothing lies between.
func TestLastAndNextFindTheSameMoments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(name string, values ...byte) byte { return rapid.SampledFrom(values).Draw(t, name) }
		at := moment(anyYear, pick("month", wild, 2, 3, 10, 12), pick("day", wild, 1, 15, 28, dlms.DayLast, dlms.DaySecondLast),
			pick("weekday", wild, 1, 5, 7), pick("hour", wild, 0, 2, 23), pick("minute", wild, 0, 59))
		now := time.Unix(rapid.Int64Range(1.5e9, 2e9).Draw(t, "now"), 0).UTC()
		p := patternOf(at, time.UTC)
		next, ok := p.next(now)
		if !ok {
			t.Fatalf("%s: nothing after %s", at, now)
		}
		if !next.After(now) {
			t.Fatalf("%s: %s is not after %s", at, next, now)
		}
		if last, ok := p.last(next); !ok || !last.Equal(next) {
			t.Fatalf("%s: last at %s is %s", at, next, last)
		}
		if last, ok := p.last(next.Add(-1)); ok && last.After(now) {
			t.Fatalf("%s: %s lies between %s and %s", at, last, now, next)
		}
	})
}
