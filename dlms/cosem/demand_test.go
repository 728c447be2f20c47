package cosem_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

const minute = time.Minute

func newDemand(t testing.TB, period time.Duration, periods uint16) *cosem.Demand {
	t.Helper()
	d, err := cosem.NewDemand(cosem.DemandConfig{Period: period, Periods: periods, Start: noon})
	must(t, err)
	return d
}

func TestBlockDemandIsTheAverageOfEachPeriod(t *testing.T) {
	d := newDemand(t, 15*minute, 1)
	for i := range 15 { // 600 W for a quarter of an hour
		d.Add(noon.Add(time.Duration(i)*minute), 600*60)
		if v := d.Read(noon.Add(time.Duration(i) * minute)); v.Current != int64(i+1)*40 || v.Last != 0 || !v.Start.Equal(noon) {
			t.Errorf("minute %d: %+v", i, v)
		}
	}
	v := d.Read(noon.Add(15 * minute))
	if v.Current != 0 || v.Last != 600 || !v.Captured.Equal(noon.Add(15*minute)) || !v.Start.Equal(noon.Add(15*minute)) {
		t.Errorf("at the end: %+v", v)
	}
	d.Add(noon.Add(20*minute), 900*300)
	if v := d.Read(noon.Add(29 * minute)); v.Current != 300 || v.Last != 600 {
		t.Errorf("in the second period: %+v", v)
	}
	if v := d.Read(noon.Add(31 * minute)); v.Current != 0 || v.Last != 300 {
		t.Errorf("in the third period: %+v", v)
	}
}

func TestSlidingDemandCoversSeveralPeriods(t *testing.T) {
	d := newDemand(t, 5*minute, 3)
	// 900 W in the first period, 300 W in the second, nothing, 600 W.
	for i, watts := range []int64{900, 300, 0, 600} {
		d.Add(noon.Add(time.Duration(i)*5*minute), watts*300)
	}
	for _, c := range []struct {
		at            time.Duration
		current, last int64
		start         time.Duration
	}{
		{19, 300, 400, 5}, // (300 + 0 + 600) / 3 in the window from minute 5
		{20, 200, 300, 10},
		{25, 200, 200, 15},
		{30, 0, 200, 20},
		{35, 0, 0, 25},
	} {
		v := d.Read(noon.Add(c.at * minute))
		if v.Current != c.current || v.Last != c.last || !v.Start.Equal(noon.Add(c.start*minute)) {
			t.Errorf("minute %d: %+v", c.at, v)
		}
	}
}

func TestAPeriodEndsEarlyOnASignal(t *testing.T) {
	d := newDemand(t, 15*minute, 1)
	d.Add(noon, 900*900)
	d.NextPeriod(noon.Add(10 * minute))
	v := d.Read(noon.Add(10 * minute))
	if v.Last != 900 || v.Current != 0 || !v.Start.Equal(noon.Add(10*minute)) || !v.Captured.Equal(v.Start) {
		t.Errorf("got %+v", v)
	}
	if v := d.Read(noon.Add(24 * minute)); v.Last != 900 {
		t.Errorf("the next period was cut: %+v", v)
	}
	d.Reset(noon.Add(24 * minute))
	if v := d.Read(noon.Add(24 * minute)); v.Last != 0 || v.Current != 0 || !v.Captured.Equal(noon.Add(24*minute)) {
		t.Errorf("after a reset: %+v", v)
	}
}

func TestALongGapCostsNoMoreThanAWindow(t *testing.T) {
	d := newDemand(t, time.Second, 1440)
	d.Add(noon, 1e9)
	begin := time.Now()
	v := d.Read(noon.AddDate(100, 0, 0))
	if v.Last != 0 || v.Current != 0 || !v.Captured.Equal(noon.AddDate(100, 0, 0)) {
		t.Errorf("got %+v", v)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("took %s", took)
	}
	// A clock that is set back changes nothing.
	d.Add(noon, 1440)
	if v := d.Read(noon); v.Current != 1 || !v.Captured.Equal(noon.AddDate(100, 0, 0)) {
		t.Errorf("set back: %+v", v)
	}
}

// Whatever comes in, and whenever it is read: the last average is what came in during the last window, divided by it.
func TestTheLastAverageIsWhatCameInDuringTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		period := time.Duration(rapid.IntRange(1, 100).Draw(t, "period")) * time.Second
		n := rapid.IntRange(1, 5).Draw(t, "periods")
		d, err := cosem.NewDemand(cosem.DemandConfig{Period: period, Periods: uint16(n), Start: noon})
		if err != nil {
			t.Fatal(err)
		}
		sums := map[int]int64{} // by number of the period
		now := noon
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 4e11).Draw(t, "wait")))
			amount := rapid.Int64Range(-1e6, 1e9).Draw(t, "amount")
			d.Add(now, amount)
			sums[int(now.Sub(noon)/period)] += amount
			if rapid.Bool().Draw(t, "read") {
				d.Read(now)
			}
		}
		at := int(now.Sub(noon) / period)
		var last, current int64
		for i := at - n; i < at; i++ {
			last += sums[i]
			current += sums[i+1]
		}
		window := int64(n) * int64(period/time.Second)
		if v := d.Read(now); v.Last != last/window || v.Current != current/window {
			t.Fatalf("want %d and %d, got %+v", current/window, last/window, v)
		}
	})
}

func TestADemandRegisterIsWorkedFromAfar(t *testing.T) {
	d := newDemand(t, 15*minute, 1)
	o := dlms.OBIS{1, 0, 1, 4, 0, 255}
	line := reach(t, cosem.NewDemandRegister(cosem.DemandRegisterConfig{
		Instance: o, ScalerUnit: cosem.ScalerUnit{Scaler: 0, Unit: cosem.UnitWatt}, Configurable: true,
		Demand: func(*cosem.Env) (*cosem.Demand, error) { return d, nil },
		Status: cosem.Constant(dlms.Uint8(1)),
	}))
	d.Add(noon, 600*900)
	line.env.Now = noon.Add(14 * minute)
	r := cosem.DemandRegisterAt(line, o)
	v := got(r.Read(ctx))(t)
	if v.Current.String() != "600 W" || v.Last.String() != "0 W" || !v.Status.Equal(dlms.Uint8(1)) ||
		v.Period != 15*minute || v.Periods != 1 || v.Start != dlms.DateTimeOf(noon, 0) {
		t.Errorf("got %+v", v)
	}
	must(t, r.NextPeriod(ctx))
	if v := got(r.Read(ctx))(t); v.Last.String() != "600 W" || v.Captured != dlms.DateTimeOf(noon.Add(14*minute), 0) {
		t.Errorf("next period: %+v", v)
	}
	must(t, r.Reset(ctx))
	must(t, r.SetPeriod(ctx, 5*minute))
	must(t, r.SetPeriods(ctx, 3))
	if v := got(r.Read(ctx))(t); v.Last.String() != "0 W" || v.Period != 5*minute || v.Periods != 3 {
		t.Errorf("configured: %+v", v)
	}
	refused(t, r.SetPeriods(ctx, 0), dlms.DataAccessScopeViolated)
	refused(t, r.SetPeriods(ctx, 1441), dlms.DataAccessScopeViolated)
	refused(t, r.SetPeriod(ctx, 0), dlms.DataAccessScopeViolated)
	rigid := cosem.NewDemandRegister(cosem.DemandRegisterConfig{Demand: func(*cosem.Env) (*cosem.Demand, error) { return d, nil }})
	refused(t, rigid.Set(&cosem.Env{}, 9, dlms.Uint16(1)), dlms.DataAccessReadWriteDenied)
	_, err := cosem.NewDemand(cosem.DemandConfig{Period: time.Millisecond, Periods: 1})
	refused(t, err, cosem.ErrValue)
}
