package role

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// ErrLastDay is returned for an AARQ that says no last day.
var ErrLastDay = errors.New("implementation information: want \"last day YYYY-MM-DD\"")

// MostLent is how many keys derived from one CC_LOCALE a meter tells apart, and under how many terminals it knows one
// that was given itself: it has a receive floor for each. One more is refused, by the meter and, before, by the central system.
const MostLent = 8

const lastDayText = "last day "

// LastDayInfo is what the implementation-information of an AARQ says (GB 9.4.2; a GraphicString) under a key that was
// derived for one terminal until one day: "last day 2026-11-30". It is in clear and proves nothing: it says which key
// the rest is under.
func LastDayInfo(last dlms.Day) []byte { return []byte(lastDayText + last.String()) }

// ParseLastDay reads what LastDayInfo wrote.
func ParseLastDay(info []byte) (dlms.Day, error) {
	text, ok := strings.CutPrefix(string(info), lastDayText)
	if !ok {
		return dlms.Day{}, fmt.Errorf("%w, got %d bytes of something else", ErrLastDay, len(info))
	}
	d, err := dlms.ParseDay(text)
	if err != nil {
		return dlms.Day{}, fmt.Errorf("%w: %w", ErrLastDay, err)
	}
	return d, nil
}

// MetersZone is the zone in which meters count days where nothing else is said: UTC+1 all year.
func MetersZone() *time.Location { return time.FixedZone("UTC+1", 60*60) }

// LastDayOf is the day in which something ends that ends at t, in the zone of the meters' clocks. What ends at midnight ends
// with the day before.
func LastDayOf(t time.Time, zone *time.Location) dlms.Day {
	return dlms.DayOf(t.Add(-time.Nanosecond).In(zone))
}
