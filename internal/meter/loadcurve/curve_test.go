package loadcurve

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyCurve draws a curve minute by minute, with runs of equal and of missing
// minutes; it is shorter or longer than a day and a week.
func anyCurve(t *rapid.T) (*Curve, []int64) {
	first := rapid.Int64Range(-1_000_000, 30_000_000).Draw(t, "first") * secondsPerMinute
	b := builder{start: first, end: first}
	var watts []int64
	longest := rapid.SampledFrom([]int{2, 90, 900}).Draw(t, "longest")
	for range rapid.IntRange(1, 30).Draw(t, "runs") {
		w := rapid.Int64Range(missingPower, 9000).Draw(t, "watts")
		for range rapid.IntRange(1, longest).Draw(t, "minutes") {
			watts = append(watts, w)
			b.lay(secondsPerMinute, w)
		}
	}
	return b.closed(), watts
}

// within draws an instant of the curve, to the second.
func within(t *rapid.T, c *Curve, name string) time.Time {
	return c.Start().Add(time.Duration(rapid.Int64Range(0, c.span).Draw(t, name)) * time.Second)
}

// near draws an instant from well before the curve to well after it.
func near(t *rapid.T, c *Curve, name string) time.Time {
	return c.Start().Add(time.Duration(rapid.Int64Range(-c.span, 10*c.span).Draw(t, name)) * time.Second)
}

func someLoad(t *rapid.T, c *Curve) Load {
	scale := rapid.IntRange(0, 5000).Draw(t, "scale")
	return c.Copy(scale, time.Duration(rapid.IntRange(-5000, 5000).Draw(t, "shift"))*time.Minute)
}

func TestRegisterIsTheFloorOfAllSecondsBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, watts := anyCurve(t)
		at := within(t, c, "at")
		var joules, missing int64
		for s := range at.Unix() - c.start {
			if w := watts[s/60]; w == missingPower {
				missing++
			} else {
				joules += w
			}
		}
		if got := c.Joules(at); got != joules {
			t.Errorf("joules: got %d, want %d", got, joules)
		}
		wh, gap := c.Interval(c.Start(), at)
		if wh != joules/3600 || gap != int((missing+59)/60) {
			t.Errorf("interval: got %d Wh, %d missing, want %d, %d s", wh, gap, joules/3600, missing)
		}
	})
}

func TestIntervalsAddUpToTheDifferenceOfFloors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := anyCurve(t)
		l := someLoad(t, c)
		from, to := near(t, c, "from"), near(t, c, "to")
		step := time.Duration(rapid.IntRange(1, 60).Draw(t, "step")) * time.Minute
		var sum, missing int64
		last := ceil(from, step)
		first := last
		for r := range l.Rows(from, to, step) {
			if !r.Start.Equal(last) || r.End.Sub(r.Start) != step || r.WattHours < 0 || r.Register != l.Wh(r.End) {
				t.Fatalf("row %+v after %v", r, last)
			}
			sum, missing, last = sum+r.WattHours, missing+int64(r.Missing), r.End
		}
		if to.Sub(last) >= step {
			t.Errorf("rows stop at %v, before %v", last, to)
		}
		wh, gap := l.Interval(first, last)
		if sum != wh || sum != l.Wh(last)-l.Wh(first) || missing != int64(gap) {
			t.Errorf("rows: %d Wh, %d missing; whole: %d, %d", sum, missing, wh, gap)
		}
	})
}

func TestRegisterNeverDecreases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := anyCurve(t)
		l := someLoad(t, c)
		a, b := near(t, c, "a"), near(t, c, "b")
		if b.Before(a) {
			a, b = b, a
		}
		if l.Wh(a) < 0 || l.Wh(a) > l.Wh(b) || c.Wh(a) > c.Wh(b) {
			t.Errorf("register: %d, then %d; curve %d, then %d", l.Wh(a), l.Wh(b), c.Wh(a), c.Wh(b))
		}
	})
}

func TestScaleMultipliesExactlyAndIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := anyCurve(t)
		at, scale := within(t, c, "at"), rapid.IntRange(0, MaxScalePerMille).Draw(t, "scale")
		want := new(big.Int).Mul(big.NewInt(c.Joules(at)), big.NewInt(int64(scale)))
		want.Div(want, big.NewInt(3_600_000))
		got := c.Copy(scale, 0).Wh(at)
		if got != want.Int64() {
			t.Errorf("got %d, want %v", got, want)
		}
		if more := c.Copy(scale+1, 0).Wh(at); more < got {
			t.Errorf("a larger scale measures less: %d, then %d", got, more)
		}
	})
}

func TestUnscaledAndUnshiftedIsTheFileItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := anyCurve(t)
		l := c.Copy(Unscaled, 0)
		a, b := within(t, c, "a"), within(t, c, "b")
		wh, missing := l.Interval(a, b)
		if w, m := c.Interval(a, b); w != wh || m != missing {
			t.Errorf("load %d, %d; curve %d, %d", wh, missing, w, m)
		}
		if l.PowerW(a) != c.PowerW(a) && a.Before(c.End()) || l.Wh(a) != c.Wh(a) {
			t.Errorf("load %d W, %d Wh; curve %d W, %d Wh", l.PowerW(a), l.Wh(a), c.PowerW(a), c.Wh(a))
		}
	})
}

func TestShiftDelaysTheLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := anyCurve(t)
		shift := time.Duration(rapid.IntRange(-3000, 3000).Draw(t, "shift")) * time.Minute
		l := c.Copy(Unscaled, shift)
		at := within(t, c, "at")
		seen := at.Add(shift)
		if seen.Before(c.Start()) || !at.Before(c.End()) {
			return
		}
		if got, want := l.PowerW(seen), c.PowerW(at); got != want {
			t.Errorf("shifted by %v: got %d W, want %d", shift, got, want)
		}
		if l.Wh(c.Start()) != 0 {
			t.Errorf("the register starts at %d", l.Wh(c.Start()))
		}
	})
}

// TestLoadIsTheRegisterOfItsPower adds up the power minute by minute, on both
// sides of the file, and so holds register and power to one another where the
// file is repeated.
func TestLoadIsTheRegisterOfItsPower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := anyCurve(t)
		l := c.Copy(Unscaled, time.Duration(rapid.IntRange(-30000, 30000).Draw(t, "shift"))*time.Minute)
		var joules int64
		for m := range int64(500) {
			at := c.Start().Add(time.Duration(m*c.span/200/60) * time.Minute)
			next := c.Start().Add(time.Duration((m+1)*c.span/200/60) * time.Minute)
			for ; at.Before(next); at = at.Add(time.Minute) {
				joules += l.PowerW(at) * 60
			}
			if got := l.Wh(at); got != joules/3600 {
				t.Fatalf("at %v: got %d Wh, want %d", at, got, joules/3600)
			}
		}
	})
}

func TestEqualMinutesAndLongGapsCostOneSegment(t *testing.T) {
	b := builder{}
	for m := range int64(100_000) {
		if err := b.add(m*60+m/50_000*1_000_000*60, 60, 90); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.segments) != 3 {
		t.Errorf("got %d segments, want 3", len(b.segments))
	}
}

func TestLoadRepeatsItsLastLoopForEver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _ := anyCurve(t)
		l := someLoad(t, c)
		loop := time.Duration(c.loop) * time.Second
		// Where a shift looks past the end, the loop has begun already.
		at := c.End().Add(time.Duration(max(l.shift, 0)) * time.Second).Add(near(t, c, "at").Sub(c.Start()).Abs())
		turns := rapid.IntRange(1, 1000).Draw(t, "turns")
		later := at.Add(time.Duration(turns) * loop)
		if l.PowerW(at) != l.PowerW(later) {
			t.Errorf("%d W, %d loops later %d W", l.PowerW(at), turns, l.PowerW(later))
		}
		one, all := l.at(at.Add(loop)).minus(l.at(at)), l.at(later).minus(l.at(at))
		if all != (sums{}).plus(int64(turns), one) {
			t.Errorf("one loop %+v, %d loops %+v", one, turns, all)
		}
	})
}

func TestLoopIsWholeWeeksOrDaysWhereTheFileIsLongEnough(t *testing.T) {
	const day = secondsPerDay
	for span, want := range map[int64]int64{
		60: 60, day - 60: day - 60, day: day, day + 60: day, 6*day + 60: 6 * day,
		7 * day: 7 * day, 13 * day: 7 * day, 26 * day: 21 * day, 28 * day: 28 * day,
	} {
		if got := loopOf(span); got != want {
			t.Errorf("span %d: got %d, want %d", span, got, want)
		}
	}
}

func TestOutsideTheFileTheCurveIsMissingAndTheLoadIsNot(t *testing.T) {
	c := mustParse(t, uciHeader+"1/1/2023;00:00:00;6.000;1\n1/1/2023;00:01:00;12.000;1\n")
	before, after := c.Start().Add(-time.Hour), c.End().Add(time.Hour)
	if wh, missing := c.Interval(before, after); wh != 300 || missing != 120 {
		t.Errorf("curve: %d Wh, %d missing", wh, missing)
	}
	if c.PowerW(before) != 0 || c.PowerW(c.End()) != 0 || c.PowerW(c.Start()) != 6000 {
		t.Errorf("curve: %d W, %d W, %d W", c.PowerW(before), c.PowerW(c.End()), c.PowerW(c.Start()))
	}
	l := c.Copy(Unscaled, 0)
	if wh, missing := l.Interval(before, after); wh != 300*31 || missing != 60 {
		t.Errorf("load: %d Wh, %d missing", wh, missing)
	}
	if l.PowerW(before) != 0 || l.PowerW(c.End()) != 6000 || l.Wh(before) != 0 {
		t.Errorf("load: %d W, %d W, %d Wh", l.PowerW(before), l.PowerW(c.End()), l.Wh(before))
	}
}

func TestAnEmptyOrBackwardIntervalIsNothing(t *testing.T) {
	c := mustRead(t, "testdata/household.csv.gz")
	l := c.Copy(Unscaled, 0)
	for _, to := range []time.Time{c.End(), c.Start()} {
		wh, missing := c.Interval(c.End(), to)
		lw, lm := l.Interval(c.End(), to)
		if wh != 0 || missing != 0 || lw != 0 || lm != 0 {
			t.Errorf("to %v: %d, %d, %d, %d", to, wh, missing, lw, lm)
		}
	}
	for range l.Rows(c.Start(), c.End(), 0) {
		t.Fatal("a row of no length")
	}
	for range l.Rows(c.End(), c.Start(), DefaultStep) {
		t.Fatal("a row backwards")
	}
}

func TestRowsStopWhenTheReaderStops(t *testing.T) {
	c := mustRead(t, "testdata/household.csv.gz")
	n := 0
	for range c.Copy(Unscaled, 0).Rows(c.Start(), c.Start().AddDate(1000, 0, 0), DefaultStep) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("got %d rows", n)
	}
}

func TestExtremesStayInRange(t *testing.T) {
	c := mustParse(t, uciHeader+"1/1/2023;00:00:00;1000.000;1\n")
	l := c.Copy(1<<40, 1<<62)
	if l.scale != MaxScalePerMille {
		t.Errorf("scale %d", l.scale)
	}
	far := []time.Time{{}, time.Unix(-1<<62, 0), time.Unix(1<<62, 0), c.Start().AddDate(300, 0, 0)}
	for _, a := range far {
		for _, l := range []Load{l, c.Copy(MaxScalePerMille, -1<<63), c.Copy(-5, time.Hour)} {
			if l.Wh(a) < 0 || l.PowerW(a) < 0 || l.PowerW(a) > 1_000_000_000 {
				t.Errorf("%v: %d Wh, %d W", a, l.Wh(a), l.PowerW(a))
			}
		}
	}
	// 1 MW a thousand times over, for 300 years, and the register still counts by the hour.
	at := far[3]
	if wh, missing := l.Interval(at, at.Add(time.Hour)); wh != 1_000_000_000 || missing != 0 {
		t.Errorf("an hour in 300 years: %d Wh, %d missing", wh, missing)
	}
}

func TestFirstFullDayIsTheNextMidnightOfFileTime(t *testing.T) {
	for start, want := range map[string]string{
		"2023-01-01 00:00:00": "2023-01-01 00:00:00",
		"2023-01-01 00:01:00": "2023-01-02 00:00:00",
		"2023-07-01 23:59:00": "2023-07-02 00:00:00",
		"1960-02-28 12:00:00": "1960-02-29 00:00:00",
	} {
		at := local(start)
		c := mustParse(t, uciHeader+at.Format("2/1/2006;15:04:05")+";1.000;1\n")
		if got := c.FirstFullDay(); !got.Equal(local(want)) {
			t.Errorf("%s: got %v", start, got)
		}
	}
}
