package loadcurve

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHouseholdTakes6To15KilowattHoursOnAnyDay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := local("2026-11-02 00:00:00").AddDate(0, 0, rapid.IntRange(-30000, 3000).Draw(t, "day"))
		c := Household(start, rapid.Uint64().Draw(t, "seed"))
		for d := range 40 {
			from := start.AddDate(0, 0, d)
			wh, missing := c.Interval(from, from.AddDate(0, 0, 1))
			if wh < 6000 || wh > 15000 || missing != 0 {
				t.Errorf("%v: %d Wh, %d missing", from, wh, missing)
			}
		}
	})
}

func TestHouseholdIsTheSameForTheSameSeedOnly(t *testing.T) {
	start := local("2026-11-02 10:07:00")
	day := func(start time.Time, seed uint64) (rows [48]int64) {
		c := Household(start, seed)
		i := 0
		for r := range c.Copy(Unscaled, 0).Rows(local("2026-11-03 00:00:00"), local("2026-11-04 00:00:00"), DefaultStep) {
			rows[i] = r.WattHours
			i++
		}
		return rows
	}
	first := day(start, 1)
	if again := day(start, 1); again != first {
		t.Error("the same seed gives another day")
	}
	if day(start, 2) == first {
		t.Error("another seed gives the same day")
	}
}

func TestHouseholdLivesLikeOne(t *testing.T) {
	start := local("2026-11-02 00:00:00") // a Monday
	c := Household(start, 7)
	hours := func(day, from, to int) (wh int64) {
		midnight := start.AddDate(0, 0, day)
		wh, _ = c.Interval(midnight.Add(time.Duration(from)*time.Hour), midnight.Add(time.Duration(to)*time.Hour))
		return wh
	}
	var night, work, evening, heater, weekend int64
	for d := range 5 {
		night += hours(d, 2, 5)
		work += hours(d, 10, 13)
		evening += hours(d, 19, 22)
		heater += hours(d, 22, 25)
	}
	for d := 5; d < 7; d++ {
		weekend += hours(d, 11, 14)
	}
	if night*2 > evening || work*2 > evening || heater < 5*2200 || weekend*5 < work*2*2 {
		t.Errorf("night %d, working hours %d, evening %d, heater %d, week-end %d Wh", night, work, evening, heater, weekend)
	}
}

func TestHouseholdStartsAtTheMinuteAndHasNoEnd(t *testing.T) {
	start := time.Date(2026, 11, 23, 9, 6, 31, 5, time.UTC)
	c := Household(start, 3)
	if !c.Start().Equal(start.Truncate(time.Minute)) || !c.Endless() || c.Wh(c.Start()) != 0 {
		t.Errorf("starts at %v with %d Wh, endless %t", c.Start(), c.Wh(c.Start()), c.Endless())
	}
	later := start.AddDate(20, 0, 0)
	wh, missing := c.Interval(later, later.AddDate(0, 0, 28))
	first, _ := c.Interval(c.Start(), c.End())
	if missing != 0 || wh < first-1 || wh > first+1 || c.PowerW(later) == 0 {
		t.Errorf("twenty years later: %d Wh, %d missing, %d W, first %d Wh", wh, missing, c.PowerW(later), first)
	}
	if a, b := c.End().Add(-time.Minute), c.End().AddDate(0, 0, 28).Add(-time.Minute); c.PowerW(a) != c.PowerW(b) {
		t.Errorf("four weeks later: %d W, %d W", c.PowerW(a), c.PowerW(b))
	}
}

func TestManyMetersShareOneCurve(t *testing.T) {
	c := Household(local("2026-11-02 00:00:00"), 1)
	at := c.Start().AddDate(0, 3, 0)
	var wg sync.WaitGroup
	got := make([][2]int64, 8)
	for i := range got {
		wg.Go(func() {
			l := c.Copy(Unscaled, time.Duration(i%2)*DefaultStep)
			for d := range 1000 {
				got[i][0] += l.Wh(at.Add(time.Duration(d) * DefaultStep))
				got[i][1] += l.PowerW(at.Add(time.Duration(d) * DefaultStep))
			}
		})
	}
	wg.Wait()
	for i := range got {
		if got[i] != got[i%2] {
			t.Errorf("meter %d: %v, want %v", i, got[i], got[i%2])
		}
	}
}
