package cosem_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"pgregory.net/rapid"
)

// timepiece is a device with a clock that the host's clock drives.
type timepiece struct {
	offset time.Duration
	zone   int16
	rule   cosem.Daylight
	preset cosem.ClockPreset
}

func (p *timepiece) object(o dlms.OBIS) cosem.Object {
	set := func(env *cosem.Env, t dlms.DateTime) error {
		m, err := t.Time()
		if err != nil {
			return dlms.DataAccessScopeViolated
		}
		p.offset = m.Sub(env.Now)
		return nil
	}
	return cosem.NewClock(cosem.ClockConfig{
		Instance: o, Measuring: 30 * time.Minute, SetTime: set, Adjust: set,
		Time: func(env *cosem.Env) (dlms.DateTime, error) {
			return p.rule.DateTime(env.Now.Add(p.offset), p.zone, 0), nil
		},
		Shift: func(_ *cosem.Env, s int16) error { p.offset += time.Duration(s) * time.Second; return nil },
		Preset: func(*cosem.Env) (*cosem.ClockPreset, error) {
			return &p.preset, nil
		},
		ZoneOf:  func(*cosem.Env) (int16, error) { return p.zone, nil },
		SetZone: func(_ *cosem.Env, z int16) error { p.zone = z; return nil },
		Daylight: cosem.Stored[cosem.Daylight]{
			Load: func(*cosem.Env) (cosem.Daylight, error) { return p.rule, nil },
			Save: func(_ *cosem.Env, d cosem.Daylight) error { p.rule = d; return nil },
		},
		Base: cosem.BaseGPS,
	})
}

func newTimepiece(t testing.TB) (*timepiece, *near, cosem.RemoteClock) {
	p := &timepiece{zone: -60, rule: cosem.EuropeanDaylight(-60)}
	o := dlms.OBIS{0, 0, 1, 0, 0, 255}
	line := reach(t, p.object(o))
	line.env.Now = time.Date(2026, 7, 1, 10, 7, 31, 0, time.UTC)
	return p, line, cosem.ClockAt(line, o)
}

func TestAClockIsWorkedFromAfar(t *testing.T) {
	_, _, r := newTimepiece(t)
	for _, c := range []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "2026-07-01 Wed 12:07:31.00 -120 status 80"},
		{func() error { return r.AdjustToMinute(ctx) }, "2026-07-01 Wed 12:08:00.00 -120 status 80"},
		{func() error { return r.AdjustToQuarter(ctx) }, "2026-07-01 Wed 12:15:00.00 -120 status 80"},
		{func() error { return r.AdjustToMeasuringPeriod(ctx) }, "2026-07-01 Wed 12:30:00.00 -120 status 80"},
		{func() error { return r.Shift(ctx, -900) }, "2026-07-01 Wed 12:15:00.00 -120 status 80"},
		{func() error { return r.Shift(ctx, 29) }, "2026-07-01 Wed 12:15:29.00 -120 status 80"},
		{func() error { return r.AdjustToMinute(ctx) }, "2026-07-01 Wed 12:15:00.00 -120 status 80"},
		{
			func() error {
				return r.SetTime(ctx, dlms.DateTimeOf(time.Date(2026, 1, 1, 23, 59, 30, 0, time.UTC), 0))
			},
			"2026-01-02 Fri 00:59:30.00 -60 status 00",
		},
		{func() error { return r.SetZone(ctx, 0) }, "2026-01-01 Thu 23:59:30.00 +0 status 00"},
		{func() error { return r.AdjustToMinute(ctx) }, "2026-01-02 Fri 00:00:00.00 +0 status 00"},
	} {
		must(t, c.do())
		if v := got(r.Time(ctx))(t); v.String() != c.want {
			t.Errorf("want %s, got %s", c.want, v)
		}
	}
	if z := got(r.Zone(ctx))(t); z != 0 {
		t.Errorf("zone: %d", z)
	}
	if b := got(r.Base(ctx))(t); b != cosem.BaseGPS {
		t.Errorf("base: %d", b)
	}
	if s := got(r.Status(ctx))(t); s != 0 {
		t.Errorf("status: %02X", s)
	}
	refused(t, r.SetZone(ctx, 841), dlms.DataAccessScopeViolated)
	refused(t, r.Shift(ctx, 901), dlms.ActionScopeViolated)
}

func TestAPresetTimeIsTakenOnceAndInItsIntervalAlone(t *testing.T) {
	p, line, r := newTimepiece(t)
	at := func(h, m int) dlms.DateTime { return dlms.DateTimeOf(time.Date(2026, 7, 1, h, m, 0, 0, time.UTC), 0) }
	refused(t, r.AdjustToPreset(ctx), dlms.ActionTemporaryFailure)
	must(t, r.Preset(ctx, cosem.PresetTime{Time: at(10, 10), From: at(10, 30), To: at(10, 40)}))
	refused(t, r.AdjustToPreset(ctx), dlms.ActionTemporaryFailure)
	line.env.Now = line.env.Now.Add(25 * time.Minute)
	must(t, r.AdjustToPreset(ctx))
	if v := got(r.Time(ctx))(t); v.String() != "2026-07-01 Wed 12:10:00.00 -120 status 80" {
		t.Errorf("got %s", v)
	}
	p.offset = 0
	refused(t, r.AdjustToPreset(ctx), dlms.ActionTemporaryFailure)
	for _, bad := range []cosem.PresetTime{
		{Time: dlms.DateTimeUnspecified(), From: at(1, 0), To: at(2, 0)},
		{Time: at(1, 0), From: dlms.DateTimeUnspecified(), To: at(2, 0)},
		{Time: at(1, 0), From: at(2, 0), To: at(1, 0)},
	} {
		refused(t, r.Preset(ctx, bad), dlms.ActionScopeViolated)
	}
}

func TestDaylightSavingIsInForceBetweenItsSwitches(t *testing.T) {
	rule := cosem.EuropeanDaylight(-60)
	must(t, rule.Validate())
	for _, c := range []struct {
		at   time.Time
		want bool
	}{
		{time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC), false},
		{time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), true},
		{time.Date(2026, 10, 25, 0, 59, 59, 0, time.UTC), true},
		{time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC), false},
		{time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC), false},
		{time.Date(2027, 7, 1, 0, 0, 0, 0, time.UTC), true},
	} {
		if got := rule.InForce(c.at, -60); got != c.want {
			t.Errorf("%s: want %t", c.at, c.want)
		}
		off := rule
		off.Enabled = false
		if off.InForce(c.at, -60) {
			t.Errorf("%s: in force though switched off", c.at)
		}
	}
	// South of the equator the rule spans the turn of the year.
	south := cosem.Daylight{Begin: rule.End, End: rule.Begin, Deviation: 60, Enabled: true}
	if !south.InForce(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), -600) || south.InForce(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), -600) {
		t.Error("south of the equator")
	}
}

// The rule agrees with the time zone database of the Go distribution.
func TestDaylightSavingAgreesWithTheTimeZoneDatabase(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	must(t, err)
	rule := cosem.EuropeanDaylight(-60)
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(1e9, 2.1e9).Draw(t, "at"), 0).In(paris)
		if got, want := rule.DateTime(at, -60, 0), dlms.DateTimeOf(at, 0); got != want {
			t.Fatalf("%s: want %s, got %s", at, want, got)
		}
	})
}

func TestTheRuleOfDaylightSavingIsReadAndWritten(t *testing.T) {
	p, line, r := newTimepiece(t)
	if v := got(r.Daylight(ctx))(t); v != cosem.EuropeanDaylight(-60) {
		t.Errorf("got %+v", v)
	}
	next := cosem.EuropeanDaylight(0)
	next.Deviation = 30
	must(t, r.SetDaylight(ctx, next))
	if p.rule != next {
		t.Errorf("want %+v, got %+v", next, p.rule)
	}
	// A line that breaks leaves the rule off, not half of the old and half of the new one in force.
	for cut := range 4 {
		p.rule = cosem.EuropeanDaylight(-60)
		line.calls, line.cut = 0, cut+2
		refused(t, r.SetDaylight(ctx, next), errLine)
		if p.rule.Enabled {
			t.Errorf("cut before request %d: the rule is on", line.cut)
		}
	}
	line.cut = 0
	wrong := next
	wrong.Deviation = 121
	refused(t, r.SetDaylight(ctx, wrong), dlms.DataAccessScopeViolated)
	must(t, r.SetDaylight(ctx, cosem.NoDaylight()))
	if p.rule != cosem.NoDaylight() {
		t.Errorf("got %+v", p.rule)
	}
}

func TestAClockThatIsNotAdjustedRefuses(t *testing.T) {
	o := dlms.OBIS{0, 0, 1, 0, 0, 255}
	line := reach(t, cosem.NewClock(cosem.ClockConfig{Instance: o, Time: func(*cosem.Env) (dlms.DateTime, error) {
		return dlms.DateTimeUnspecified(), nil
	}}))
	r := cosem.ClockAt(line, o)
	for _, err := range []error{
		r.AdjustToMinute(ctx), r.AdjustToPreset(ctx), r.AdjustToQuarter(ctx), r.AdjustToMeasuringPeriod(ctx), r.Shift(ctx, 1),
		r.Preset(ctx, cosem.PresetTime{}),
	} {
		refused(t, err, dlms.ActionReadWriteDenied)
	}
	refused(t, r.SetZone(ctx, 0), dlms.DataAccessReadWriteDenied)
	refused(t, r.SetDaylight(ctx, cosem.NoDaylight()), dlms.DataAccessReadWriteDenied)
	if b := got(r.Base(ctx))(t); b != cosem.BaseCrystal {
		t.Errorf("base: %d", b)
	}
	if v := got(r.Daylight(ctx))(t); v != cosem.NoDaylight() {
		t.Errorf("rule: %+v", v)
	}
}

func TestAPresetTimeReadsBackAsWritten(t *testing.T) {
	travels(t, rapid.Custom(func(t *rapid.T) cosem.PresetTime {
		return cosem.PresetTime{Time: anyTime.Draw(t, "time"), From: anyTime.Draw(t, "from"), To: anyTime.Draw(t, "to")}
	}), cosem.ParsePresetTime)
}

func FuzzClock(f *testing.F) {
	at := dlms.DateTimeOf(noon, 0)
	fuzz(f, []value{cosem.PresetTime{Time: at, From: at, To: at}}, parses(cosem.ParsePresetTime))
}
