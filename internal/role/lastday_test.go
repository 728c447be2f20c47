package role

import (
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

func TestTheLastDayGoesThereAndBack(t *testing.T) {
	d := dlms.DayOf(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC))
	if got := string(LastDayInfo(d)); got != "last day 2026-11-30" {
		t.Errorf("got %q", got)
	}
	if got, err := ParseLastDay(LastDayInfo(d)); err != nil || got != d {
		t.Errorf("got %s, %v", got, err)
	}
	for _, s := range []string{"", "2026-11-30", "last day ", "last day 2026-11-31", "last day 2026-11-30 ", "last day 2026-11-3\x00"} {
		if got, err := ParseLastDay([]byte(s)); !errors.Is(err, ErrLastDay) {
			t.Errorf("%q: got %s, %v", s, got, err)
		}
	}
}

func TestAMidnightIsTheEndOfTheDayBefore(t *testing.T) {
	midnight := time.Date(2026, 12, 1, 0, 0, 0, 0, MetersZone())
	for at, want := range map[time.Time]string{
		midnight: "2026-11-30", midnight.Add(time.Microsecond): "2026-12-01", midnight.Add(-time.Hour): "2026-11-30",
		time.Date(2026, 6, 30, 23, 30, 0, 0, time.UTC): "2026-07-01",
	} {
		if got := LastDayOf(at, MetersZone()); got.String() != want {
			t.Errorf("%s: want %s, got %s", at, want, got)
		}
	}
}

func TestTheSameMomentEndsAnotherDayInAnotherZone(t *testing.T) {
	at := time.Date(2026, 6, 30, 22, 0, 0, 0, time.UTC)
	for hours, want := range map[int]string{0: "2026-06-30", 2: "2026-06-30", 3: "2026-07-01", -12: "2026-06-30", 14: "2026-07-01"} {
		if got := LastDayOf(at, time.FixedZone("", hours*3600)); got.String() != want {
			t.Errorf("UTC%+d: want %s, got %s", hours, want, got)
		}
	}
}

func FuzzParseLastDay(f *testing.F) {
	f.Add([]byte("last day 2026-11-30"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := ParseLastDay(b); err == nil && string(LastDayInfo(d)) != string(b) {
			t.Errorf("%q became %s", b, d)
		}
	})
}
