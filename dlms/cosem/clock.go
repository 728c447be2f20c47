package cosem

import (
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// maxShift is the range of the parameter of shift_time, in seconds (BB 4.5.1).
const maxShift = 900

// ClockBase is where a clock takes its time from (BB 4.5.1, clock_base).
type ClockBase uint8

// Clock bases.
const (
	BaseUndefined ClockBase = 0
	BaseCrystal   ClockBase = 1
	BaseMains50   ClockBase = 2
	BaseMains60   ClockBase = 3
	BaseGPS       ClockBase = 4
	BaseRadio     ClockBase = 5
)

// ClockConfig describes a Clock.
type ClockConfig struct {
	// Instance is the logical name, 0.0.1.0.0.255 as a rule.
	Instance dlms.OBIS
	// Time reads the clock.
	Time func(env *Env) (dlms.DateTime, error)
	// SetTime sets it; nil refuses. The value may have wildcards: refuse what cannot be used.
	SetTime func(env *Env, t dlms.DateTime) error
	// Shift moves it by -900 to 900 seconds (method shift_time); nil refuses.
	Shift func(env *Env, seconds int16) error
	// Adjust moves it to the nearest quarter of an hour, measuring period or minute, or to a preset time (methods 1
	// to 4); nil refuses all of them. t has no wildcards.
	Adjust func(env *Env, t dlms.DateTime) error
	// Measuring is the measuring period of method 2; 0 refuses it. It divides a day.
	Measuring time.Duration
	// Preset returns where the device keeps a preset time (methods 4 and 5); nil refuses both.
	Preset func(env *Env) (*ClockPreset, error)
	// Zone is time_zone: minutes from local time to UTC, so -60 in France in winter.
	Zone int16
	// SetZone changes it, with ZoneOf to read it back; nil refuses. Without ZoneOf the zone is Zone.
	ZoneOf  func(env *Env) (int16, error)
	SetZone func(env *Env, minutes int16) error
	// Daylight is the rule of daylight saving. Without Load the clock has none. The clock object does not apply it:
	// Time does, see [Daylight.DateTime].
	Daylight Stored[Daylight]
	// Base is clock_base; BaseUndefined means BaseCrystal here.
	Base ClockBase
}

type clock struct {
	base
	cfg      ClockConfig
	daylight []field[Daylight]
}

// NewClock returns an object of class Clock (BB 4.5.1, class 8 version 0).
func NewClock(cfg ClockConfig) Object {
	if cfg.Base == BaseUndefined {
		cfg.Base = BaseCrystal
	}
	return &clock{base{ID{Class: dlms.ClassClock, Instance: cfg.Instance}}, cfg, daylightFields()}
}

func (o *clock) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		t, err := o.time(env)
		return t.Octets(), err
	case 3:
		z, err := o.zone(env)
		return dlms.Int16(z), err
	case 4:
		t, err := o.time(env)
		return dlms.Uint8(uint8(t.Status())), err
	case 5, 6, 7, 8:
		d, err := o.rule(env)
		return o.daylight[attribute-5].get(d), err
	case 9:
		return dlms.Enum(uint8(o.cfg.Base)), nil
	}
	return undefined()
}

func (o *clock) time(env *Env) (dlms.DateTime, error) {
	if o.cfg.Time == nil {
		return dlms.DateTime{}, dlms.DataAccessReadWriteDenied
	}
	return o.cfg.Time(env)
}

func (o *clock) zone(env *Env) (int16, error) {
	if o.cfg.ZoneOf == nil {
		return o.cfg.Zone, nil
	}
	return o.cfg.ZoneOf(env)
}

func (o *clock) rule(env *Env) (Daylight, error) {
	if o.cfg.Daylight.Load == nil {
		return NoDaylight(), nil
	}
	return o.cfg.Daylight.Load(env)
}

func (o *clock) Set(env *Env, attribute int8, value dlms.Data) error {
	switch {
	case attribute == 2 && o.cfg.SetTime != nil:
		t, err := value.DateTime()
		if err != nil {
			return dlms.DataAccessTypeUnmatched
		}
		return o.cfg.SetTime(env, t)
	case attribute == 3 && o.cfg.SetZone != nil:
		z, err := integer[int16](dlms.TagInt16)(value)
		if err != nil {
			return dlms.DataAccessTypeUnmatched
		}
		if outside("time zone", int(z), -maxZone, maxZone) != nil {
			return dlms.DataAccessScopeViolated
		}
		return o.cfg.SetZone(env, z)
	case attribute >= 5 && attribute <= 8 && o.cfg.Daylight.Load != nil && o.cfg.Daylight.Save != nil:
		return o.setDaylight(env, attribute, value)
	}
	return dlms.DataAccessReadWriteDenied
}

func (o *clock) setDaylight(env *Env, attribute int8, value dlms.Data) error {
	d, err := o.cfg.Daylight.Load(env)
	if err != nil {
		return err
	}
	if err := o.daylight[attribute-5].set(&d, value); err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	if d.Validate() != nil {
		return dlms.DataAccessScopeViolated
	}
	return o.cfg.Daylight.Save(env, d)
}

// Invoke serves adjust_to_quarter (1), adjust_to_measuring_period (2), adjust_to_minute (3), adjust_to_preset_time
// (4), preset_adjusting_time (5) and shift_time (6).
func (o *clock) Invoke(env *Env, method int8, parameters dlms.Data) (dlms.Data, error) {
	switch method {
	case 1:
		return dlms.Null(), o.round(env, 15*time.Minute)
	case 2:
		return dlms.Null(), o.round(env, o.cfg.Measuring)
	case 3:
		return dlms.Null(), o.round(env, time.Minute)
	case 4:
		return dlms.Null(), o.adoptPreset(env)
	case 5:
		return dlms.Null(), o.preset(env, parameters)
	case 6:
		return dlms.Null(), o.shift(env, parameters)
	}
	return dlms.Null(), dlms.ActionReadWriteDenied
}

func (o *clock) shift(env *Env, parameters dlms.Data) error {
	if o.cfg.Shift == nil {
		return dlms.ActionReadWriteDenied
	}
	n, err := integer[int16](dlms.TagInt16)(parameters)
	if err != nil {
		return dlms.ActionTypeUnmatched
	}
	if n < -maxShift || n > maxShift {
		return dlms.ActionScopeViolated
	}
	return o.cfg.Shift(env, n)
}

// now reads the clock as a moment in local time.
func (o *clock) now(env *Env) (time.Time, dlms.ClockStatus, error) {
	t, err := o.time(env)
	if err != nil {
		return time.Time{}, 0, err
	}
	z, err := o.zone(env)
	if err != nil {
		return time.Time{}, 0, err
	}
	m, err := t.TimeIn(zoneOf(z))
	if err != nil {
		return time.Time{}, 0, dlms.ActionTemporaryFailure // the clock does not know the time itself
	}
	return m, t.Status(), nil
}

// round moves the clock to the nearest multiple of a period since local midnight, half a period forward.
func (o *clock) round(env *Env, period time.Duration) error {
	if o.cfg.Adjust == nil || period <= 0 {
		return dlms.ActionReadWriteDenied
	}
	t, status, err := o.now(env)
	if err != nil {
		return err
	}
	return o.cfg.Adjust(env, dlms.DateTimeOf(nearest(t, period), status))
}

func nearest(t time.Time, period time.Duration) time.Time {
	h, m, s := t.Clock()
	in := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second +
		time.Duration(t.Nanosecond())
	return t.Add((in+period/2)/period*period - in)
}

// ClockPreset is a time that waits for adjust_to_preset_time. The zero value waits for nothing. The device keeps it,
// and guards it with its own lock.
type ClockPreset struct {
	time     dlms.DateTime
	from, to time.Time
	set      bool
}

// preset serves preset_adjusting_time.
//
//	data ::= structure { preset_time octet-string, validity_interval_start octet-string,
//	  validity_interval_end octet-string }
func (o *clock) preset(env *Env, parameters dlms.Data) error {
	if o.cfg.Preset == nil || o.cfg.Adjust == nil {
		return dlms.ActionReadWriteDenied
	}
	p, err := ParsePresetTime(parameters)
	if err != nil {
		return dlms.ActionTypeUnmatched
	}
	z, err := o.zone(env)
	if err != nil {
		return err
	}
	kept, err := o.cfg.Preset(env)
	if err != nil {
		return err
	}
	loc := zoneOf(z)
	from, err1 := p.From.TimeIn(loc)
	to, err2 := p.To.TimeIn(loc)
	if _, err := p.Time.TimeIn(loc); err != nil || err1 != nil || err2 != nil || to.Before(from) {
		return dlms.ActionScopeViolated
	}
	*kept = ClockPreset{time: p.Time, from: from, to: to, set: true}
	return nil
}

// adoptPreset serves adjust_to_preset_time: once, and within the interval alone.
func (o *clock) adoptPreset(env *Env) error {
	if o.cfg.Preset == nil || o.cfg.Adjust == nil {
		return dlms.ActionReadWriteDenied
	}
	t, _, err := o.now(env)
	if err != nil {
		return err
	}
	kept, err := o.cfg.Preset(env)
	if err != nil {
		return err
	}
	if !kept.set || t.Before(kept.from) || t.After(kept.to) {
		return dlms.ActionTemporaryFailure
	}
	if err := o.cfg.Adjust(env, kept.time); err != nil {
		return err
	}
	*kept = ClockPreset{}
	return nil
}
