package dlms

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func mustDateTime(t testing.TB, s string) DateTime {
	t.Helper()
	dt, err := ParseDateTime(unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return dt
}

// The vectors are those of the public test suite of dlms-cosem (github.com/u9n/dlms-cosem, tests/test_time.py and
// tests/test_xdlms/test_get.py), by which UTC+01:00 has a deviation of -60.
func TestDateTimeNamesAMoment(t *testing.T) {
	for in, want := range map[string]string{
		"07E4 01 01 FF 00 03 00 00 FF88 00": "2020-01-01T00:03:00+02:00",
		"07E4 01 06 FF 00 03 00 00 FFC4 00": "2020-01-06T00:03:00+01:00",
		"07E5 06 03 04 0E 09 17 00 FFC4 00": "2021-06-03T14:09:23+01:00",
		"07E5 06 03 04 0E 09 FF FF 003C 80": "2021-06-03T14:09:00-01:00", // seconds not specified
	} {
		moment, err := time.Parse(time.RFC3339, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := mustDateTime(t, in).Time(); err != nil || !got.Equal(moment) {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestDateTimeOfGoesThereAndBack(t *testing.T) {
	for _, c := range []struct {
		moment time.Time
		want   string
	}{
		{time.Date(2021, 6, 3, 14, 9, 23, 450e6, time.FixedZone("", 3600)), "07E5 06 03 04 0E 09 17 2D FFC4 00"},
		{time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), "07E8 02 1D 04 00 00 00 00 0000 00"},
		{time.Date(2024, 3, 3, 0, 0, 0, 0, time.FixedZone("", -9*3600-1800)), "07E8 03 03 07 00 00 00 00 023A 00"},
	} {
		got := DateTimeOf(c.moment, 0)
		if !bytes.Equal(got[:], unhex(t, c.want)) {
			t.Errorf("%s: got % X, want %s", c.moment, got, c.want)
		}
		if back, err := got.Time(); err != nil || !back.Equal(c.moment) {
			t.Errorf("%s: came back as %s, %v", c.moment, back, err)
		}
	}
}

func TestDateTimeOfMarksDaylightSaving(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	summer := DateTimeOf(time.Date(2024, 7, 1, 12, 0, 0, 0, paris), ClockDoubtful)
	if summer.Deviation() != -120 || summer.Status() != ClockDaylightSaving|ClockDoubtful {
		t.Errorf("summer: %s", summer)
	}
	winter := DateTimeOf(time.Date(2024, 1, 1, 12, 0, 0, 0, paris), 0)
	if winter.Deviation() != -60 || winter.Status() != 0 {
		t.Errorf("winter: %s", winter)
	}
	if s := DateTimeOf(time.Date(2024, 7, 1, 12, 0, 0, 0, paris), ClockUnspecified).Status(); s != ClockUnspecified {
		t.Errorf("an unspecified status became %02X", s)
	}
}

func TestTimeRefusesADateTimeWithoutDeviation(t *testing.T) {
	// From the same suite: 2018-02-12 without a zone.
	dt := mustDateTime(t, "07E2 02 0C FF 00 00 00 00 8000 00")
	if _, err := dt.Time(); !errors.Is(err, ErrNoDeviation) {
		t.Errorf("want ErrNoDeviation, got %v", err)
	}
	paris := time.FixedZone("", 3600)
	if got, err := dt.TimeIn(paris); err != nil || !got.Equal(time.Date(2018, 2, 12, 0, 0, 0, 0, paris)) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestTimeRefusesWildcards(t *testing.T) {
	for _, in := range []string{
		"FFFF 01 06 FF 00 03 00 00 FFC4 00",
		"07E4 FF 06 FF 00 03 00 00 FFC4 00",
		"07E4 FE 06 FF 00 03 00 00 FFC4 00",
		"07E4 01 FE FF 00 03 00 00 FFC4 00",
		"07E4 01 FF FF 00 03 00 00 FFC4 00",
		"07E4 01 06 FF FF 03 00 00 FFC4 00",
		"07E4 01 06 FF 00 FF 00 00 FFC4 00",
	} {
		if got, err := mustDateTime(t, in).Time(); !errors.Is(err, ErrNotAMoment) {
			t.Errorf("%s: want ErrNotAMoment, got %s, %v", in, got, err)
		}
	}
}

func TestParseDateTimeRefusesWhatIsOutOfRange(t *testing.T) {
	for _, in := range []string{
		"", "07E4", "07E4 01 06 FF 00 03 00 00 FFC4 00 00",
		"07E4 00 06 FF 00 03 00 00 FFC4 00", // month 0
		"07E4 0D 06 FF 00 03 00 00 FFC4 00", // month 13
		"07E4 01 00 FF 00 03 00 00 FFC4 00", // day 0
		"07E4 01 20 FF 00 03 00 00 FFC4 00", // day 32
		"07E4 01 06 08 00 03 00 00 FFC4 00", // day of week 8
		"07E4 01 06 FF 18 03 00 00 FFC4 00", // hour 24
		"07E4 01 06 FF 00 3C 00 00 FFC4 00", // minute 60
		"07E4 01 06 FF 00 03 3C 00 FFC4 00", // second 60
		"07E4 01 06 FF 00 03 00 64 FFC4 00", // hundredths 100
		"07E4 01 06 FF 00 03 00 00 0349 00", // deviation 841
		"07E4 01 06 FF 00 03 00 00 FCB7 00", // deviation -841
	} {
		if dt, err := ParseDateTime(unhex(t, in)); !errors.Is(err, ErrDateTime) {
			t.Errorf("%s: want ErrDateTime, got %s, %v", in, dt, err)
		}
	}
	if _, err := mustDateTime(t, "07E7 02 1D FF 00 03 00 00 FFC4 00").Time(); !errors.Is(err, ErrDateTime) {
		t.Errorf("29 February 2023: want ErrDateTime, got %v", err)
	}
}

func TestDateTimeReadsWell(t *testing.T) {
	for in, want := range map[string]string{
		"07E5 06 03 04 0E 09 17 00 FFC4 80": "2021-06-03 Thu 14:09:23.00 -60 status 80",
		"07E5 06 03 07 0E 09 17 00 003C 00": "2021-06-03 Sun 14:09:23.00 +60 status 00",
		"FFFF FE FE FF FF FF FF FF 8000 FF": "*-dst-begin-last * *:*:*.* * status FF",
		"FFFF FD FD FF 00 00 00 00 8000 00": "*-dst-end-second-last * 00:00:00.00 * status 00",
	} {
		dt := mustDateTime(t, in)
		if text, err := dt.MarshalText(); err != nil || string(text) != want || dt.String() != want {
			t.Errorf("got %s, %v, want %s", dt, err, want)
		}
	}
}

func TestDateTimeUnspecifiedIsValidAndNoMoment(t *testing.T) {
	dt := DateTimeUnspecified()
	if dt.Validate() != nil || dt.Deviation() != DeviationUnspecified || dt.Status() != ClockUnspecified {
		t.Errorf("%s, %v", dt, dt.Validate())
	}
	if _, err := dt.TimeIn(time.UTC); !errors.Is(err, ErrNotAMoment) {
		t.Errorf("want ErrNotAMoment, got %v", err)
	}
}

func TestDataCarriesDatesInBothForms(t *testing.T) {
	dt := mustDateTime(t, "07E5 06 03 04 0E 09 17 00 FFC4 80")
	for _, d := range []Data{DateTimeData(dt), dt.Octets()} {
		if got, err := d.DateTime(); err != nil || got != dt {
			t.Errorf("%s: %s, %v", d, got, err)
		}
	}
	date, clock := dt.Date(), dt.TimeOfDay()
	for _, d := range []Data{DateData(date), OctetString(date[:])} {
		if got, err := d.Date(); err != nil || got != date {
			t.Errorf("%s: %s, %v", d, got, err)
		}
	}
	for _, d := range []Data{TimeData(clock), OctetString(clock[:])} {
		if got, err := d.Time(); err != nil || got != clock {
			t.Errorf("%s: %s, %v", d, got, err)
		}
	}
	if _, err := OctetString(nil).DateTime(); !errors.Is(err, ErrDateTime) {
		t.Errorf("want ErrDateTime, got %v", err)
	}
}

func FuzzParseDateTime(f *testing.F) {
	f.Add(unhex(f, "07E5060304 0E091700 FFC4 80"))
	f.Add(unhex(f, "FFFFFFFFFF FFFFFFFF 8000 FF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := ParseDate(b); err == nil && (!bytes.Equal(d[:], b) || d.String() == "") {
			t.Errorf("% X became date %s", b, d)
		}
		if c, err := ParseTimeOfDay(b); err == nil && (!bytes.Equal(c[:], b) || c.String() == "") {
			t.Errorf("% X became time %s", b, c)
		}
		dt, err := ParseDateTime(b)
		if err != nil {
			return
		}
		if !bytes.Equal(dt[:], b) || dt.String() == "" {
			t.Errorf("% X became % X", b, dt)
		}
		moment, err := dt.Time()
		if err != nil {
			return
		}
		// The way back agrees but for what Time does not look at: wildcards below a minute, weekday, status.
		if back, err := DateTimeOf(moment, 0).Time(); err != nil || !back.Equal(moment) {
			t.Errorf("%s is %s and comes back as %s, %v", dt, moment, back, err)
		}
	})
}
