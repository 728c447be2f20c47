package dlms

import (
	"testing"
	"time"
)

func TestADayIsItsDateAndComparesAsDaysDo(t *testing.T) {
	at := time.Date(2026, 11, 30, 23, 59, 59, 0, time.FixedZone("", 3600))
	d := DayOf(at)
	if d != (Day{0x07, 0xEA, 11, 30}) || d.String() != "2026-11-30" {
		t.Fatalf("got % x, %s", d[:], d)
	}
	if date := DateTimeOf(at, 0).Date(); Day(date[:DaySize]) != d {
		t.Errorf("want the first four octets of the date %s, got % x", date, d[:])
	}
	for _, c := range []struct {
		o    time.Time
		want int
	}{{at.AddDate(0, 0, 1), -1}, {at, 0}, {at.AddDate(0, 0, -1), 1}, {at.AddDate(1, -10, 0), -1}} {
		if got := d.Compare(DayOf(c.o)); got != c.want {
			t.Errorf("%s against %s: want %d, got %d", d, DayOf(c.o), c.want, got)
		}
	}
	if !DayOf(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		t.Error("a year of five digits is a day")
	}
}

func TestParseDayRefusesWhatIsNoDay(t *testing.T) {
	for _, s := range []string{"", "2026-02-29", "2026-13-01", "2026-1-1", "2026-11-30 ", "26-11-30", "0000-01-01", "2026-11-30T00:00:00Z"} {
		if d, err := ParseDay(s); err == nil || !d.IsZero() {
			t.Errorf("%q: got %s, %v", s, d, err)
		}
	}
	var d Day
	if err := d.UnmarshalText([]byte("2024-02-29")); err != nil || d.String() != "2024-02-29" {
		t.Errorf("got %s, %v", d, err)
	}
	if err := d.UnmarshalText(nil); err != nil || !d.IsZero() {
		t.Errorf("no day: got %s, %v", d, err)
	}
	if b, err := d.MarshalText(); err != nil || len(b) != 0 {
		t.Errorf("no day: got %q, %v", b, err)
	}
}

func FuzzParseDay(f *testing.F) {
	f.Add("2026-11-30")
	f.Add("2026-02-29")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDay(s)
		if err == nil && d.String() != s {
			t.Errorf("%q became %q", s, d)
		}
	})
}
