package meter

import (
	"context"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

func TestEveryClientOfAProfileAssociatesAndReadsItsMeter(t *testing.T) {
	for profile, clients := range map[string][]who{
		ProfileLinky:    {readWrite, terminals},
		ProfileHardened: {readWrite, central, terminals},
	} {
		r := newRig(t, profile)
		for _, w := range clients {
			a := r.open(w)
			shows, err := r.get(a, clockObject(), 2).DateTime()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := shows.Time(); err != nil || !got.Equal(noon()) {
				t.Errorf("%s as %d: want the clock at %s, got %s, %v", profile, w.sap, noon(), got, err)
			}
			want := uint64(r.meter.Load().Wh(noon()))
			if got, err := r.get(a, importObject(1), 2).Uint(); err != nil || got != want {
				t.Errorf("%s as %d: want %d Wh, got %d, %v", profile, w.sap, want, got, err)
			}
			if err := a.Release(context.Background()); err != nil {
				t.Errorf("%s as %d: release: %v", profile, w.sap, err)
			}
		}
	}
}

func TestADayOfTheLoadCurveIsThatOfTheLoad(t *testing.T) {
	r := newRig(t, ProfileHardened)
	got, err := r.open(readWrite).GetSelected(context.Background(), ref(curveObject(1), 2), day(installed()))
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for want := range r.meter.Load().Rows(installed(), installed().Add(24*time.Hour), capturePeriod) {
		checkRow(t, got.At(i), want.End, want.WattHours, 0)
		i++
	}
	if i != 48 || got.Len() != i {
		t.Errorf("want 48 rows, got %d of the load and %d of the meter", i, got.Len())
	}
}

func TestADayOfTheLoadCurveIsThatDayAloneThoughTheClockWasSetBack(t *testing.T) {
	r := newRig(t, ProfileHardened)
	from := installed().Add(r.clock().Sub(installed()).Truncate(24 * time.Hour))
	r.pass(from.Add(29 * time.Hour).Sub(r.clock()))
	from = from.Add(24 * time.Hour)
	must(true, r.setClock(r.open(central), r.clock().Add(48*time.Hour))) // wrong for an hour
	r.pass(time.Hour)
	must(true, r.setClock(r.open(central), r.clock()))
	r.pass(20 * time.Hour)
	got, err := r.open(readWrite).GetSelected(context.Background(), ref(curveObject(1), 2), day(from))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[time.Time]bool{}
	for _, row := range got.Elements() {
		at := must(must(row.At(0).DateTime()).Time())
		if into := at.Sub(from); into <= 0 || into > 24*time.Hour {
			t.Errorf("a row of %s, which is not of that day", at)
		}
		seen[at.UTC()] = true
	}
	if last := from.Add(24 * time.Hour); !seen[last.UTC()] {
		t.Errorf("no row of %s in %d rows", last, got.Len())
	}
}

func checkRow(t *testing.T, row dlms.Data, at time.Time, wh int64, status uint64) {
	t.Helper()
	stamp, err := row.At(0).DateTime()
	if err != nil {
		t.Fatalf("row %s: %v", row, err)
	}
	end, err := stamp.Time()
	gotStatus, _ := row.At(1).Uint()
	energy, errE := row.At(2).Int()
	if err != nil || errE != nil || !end.Equal(at) || energy != wh || gotStatus != status {
		t.Errorf("row: want %s %d Wh status %02X, got %s %d Wh status %02X (%v, %v)", at, wh, status, end, energy, gotStatus, err, errE)
	}
}
