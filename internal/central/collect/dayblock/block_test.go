package dayblock

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestADayIsReadBackAsItWasPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 96).Draw(t, "n")
		d := Day{
			Start:  time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "start"), 0).UTC(),
			Period: time.Duration(rapid.IntRange(60, 3600).Draw(t, "period")) * time.Second,
			Values: rapid.SliceOfN(rapid.Int64Range(0, 10_000_000), n, n).Draw(t, "values"),
			Status: rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "status"),
		}
		block, err := d.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var got Day
		if err := got.Unpack(block); err != nil {
			t.Fatal(err)
		}
		if !got.Start.Equal(d.Start) || got.Period != d.Period || !slices.Equal(got.Values, d.Values) || !bytes.Equal(got.Status, d.Status) {
			t.Fatalf("want %+v, got %+v", d, got)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	block, err := Day{Period: 30 * time.Minute, Values: []int64{1, 2}, Status: []byte{0, 1}}.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(block)
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Day
		if err := d.Unpack(b); err != nil {
			return
		}
		if len(d.Values) != len(d.Status) || len(d.Values) > MaxValues {
			t.Fatalf("accepted %d values with %d status bytes", len(d.Values), len(d.Status))
		}
	})
}
