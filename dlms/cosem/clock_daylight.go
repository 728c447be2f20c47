package cosem

import (
	"context"
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// maxZone is wider than the 720 minutes of BB 4.5.1: some zones are 13 and 14 hours ahead of UTC.
const maxZone = 14 * 60

// zoneOf returns a zone from the minutes between local time and UTC, as time_zone counts them.
func zoneOf(minutes int16) *time.Location { return time.FixedZone("", -60*int(minutes)) }

// Daylight is the rule of daylight saving of a clock (BB 4.5.1, attributes 5 to 8).
type Daylight struct {
	// Begin is when local time leaves normal time, read in normal time, and End when it comes back, read in daylight
	// saving time. Wildcards make them yearly: month 3, day FE, day of week 7 is the last Sunday in March.
	Begin, End dlms.DateTime
	// Deviation is by how much, in minutes, -120 to 120.
	Deviation int8
	// Enabled says whether the rule is applied.
	Enabled bool
}

// NoDaylight returns the rule of a clock without daylight saving.
func NoDaylight() Daylight {
	return Daylight{Begin: dlms.DateTimeUnspecified(), End: dlms.DateTimeUnspecified()}
}

// EuropeanDaylight returns the rule of the European Union for a zone (minutes from normal time to UTC): from 01:00
// UTC on the last Sunday in March to 01:00 UTC on the last Sunday in October, 60 minutes.
func EuropeanDaylight(zone int16) Daylight {
	normal := 60 - int(zone)
	return Daylight{
		Begin: lastSunday(3, normal), End: lastSunday(10, normal+60), Deviation: 60, Enabled: true,
	}
}

// lastSunday is a yearly moment at a minute of the day.
func lastSunday(month byte, minute int) dlms.DateTime {
	t := dlms.DateTimeUnspecified()
	t[2], t[3], t[4] = month, dlms.DayLast, 7
	t[5], t[6], t[7], t[8] = byte(minute/60), byte(minute%60), 0, 0
	return t
}

// Validate checks the ranges of the standard.
func (d Daylight) Validate() error {
	return errors.Join(d.Begin.Validate(), d.End.Validate(), outside("daylight saving deviation", int(d.Deviation), -120, 120))
}

// InForce reports whether daylight saving is in force at t, in a zone of minutes from normal time to UTC.
func (d Daylight) InForce(t time.Time, zone int16) bool {
	if !d.Enabled {
		return false
	}
	begin, ok := patternOf(d.Begin, zoneOf(zone)).last(t)
	if !ok {
		return false
	}
	end, ok := patternOf(d.End, zoneOf(zone-int16(d.Deviation))).last(t)
	return !ok || begin.After(end)
}

// DateTime returns what a clock with this rule shows at t: local time, the deviation with daylight saving, and its
// bit in the status.
func (d Daylight) DateTime(t time.Time, zone int16, status dlms.ClockStatus) dlms.DateTime {
	if d.InForce(t, zone) {
		zone -= int16(d.Deviation)
		if status != dlms.ClockUnspecified {
			status |= dlms.ClockDaylightSaving
		}
	}
	return dlms.DateTimeOf(t.In(zoneOf(zone)), status)
}

// daylightFields are attributes 5 to 8.
func daylightFields() []field[Daylight] {
	return []field[Daylight]{
		fieldOf(func(d *Daylight) *dlms.DateTime { return &d.Begin }, dlms.DateTime.Octets, dlms.Data.DateTime),
		fieldOf(func(d *Daylight) *dlms.DateTime { return &d.End }, dlms.DateTime.Octets, dlms.Data.DateTime),
		fieldOf(func(d *Daylight) *int8 { return &d.Deviation }, dlms.Int8, integer[int8](dlms.TagInt8)),
		fieldOf(func(d *Daylight) *bool { return &d.Enabled }, dlms.Bool, dlms.Data.Bool),
	}
}

// PresetTime is the parameter of preset_adjusting_time (BB 4.5.1): a time, and when the clock may jump to it.
type PresetTime struct {
	// Time is what the clock is set to, when it is told to between From and To.
	Time, From, To dlms.DateTime
}

// Data returns the parameter as it travels.
func (p PresetTime) Data() dlms.Data {
	return dlms.Structure(p.Time.Octets(), p.From.Octets(), p.To.Octets())
}

// ParsePresetTime takes the parameter out of a value.
func ParsePresetTime(d dlms.Data) (PresetTime, error) {
	c := structure(d, 3)
	return finish(&c, PresetTime{Time: c.dateTime(), From: c.dateTime(), To: c.dateTime()}, "preset time")
}

// RemoteClock is a Clock of a meter (BB 4.5.1).
type RemoteClock struct{ remote }

// ClockAt returns the Clock under a logical name, 0.0.1.0.0.255 by the standard.
func ClockAt(c Caller, o dlms.OBIS) RemoteClock { return RemoteClock{remote{c, dlms.ClassClock, o}} }

// Time reads the clock.
func (r RemoteClock) Time(ctx context.Context) (dlms.DateTime, error) {
	return readAs(ctx, r.remote, 2, dlms.Data.DateTime)
}

// SetTime sets the clock.
func (r RemoteClock) SetTime(ctx context.Context, t dlms.DateTime) error {
	return r.set(ctx, 2, t.Octets())
}

// Zone reads the minutes from local normal time to UTC.
func (r RemoteClock) Zone(ctx context.Context) (int16, error) {
	return readAs(ctx, r.remote, 3, integer[int16](dlms.TagInt16))
}

// SetZone writes the minutes from local normal time to UTC.
func (r RemoteClock) SetZone(ctx context.Context, minutes int16) error {
	return r.set(ctx, 3, dlms.Int16(minutes))
}

// Status reads the clock status.
func (r RemoteClock) Status(ctx context.Context) (dlms.ClockStatus, error) {
	n, err := readAs(ctx, r.remote, 4, parseUint8)
	return dlms.ClockStatus(n), err
}

// Daylight reads the rule of daylight saving, in four requests.
func (r RemoteClock) Daylight(ctx context.Context) (Daylight, error) {
	var rule Daylight
	for i, f := range daylightFields() {
		d, err := r.get(ctx, int8(5+i))
		if err != nil {
			return rule, err
		}
		if err := f.set(&rule, d); err != nil {
			return rule, err
		}
	}
	return rule, nil
}

// SetDaylight writes the rule of daylight saving, in four requests. It is switched off first and, where the rule says
// so, on last, so that a link that breaks in between leaves no half of a rule in force.
func (r RemoteClock) SetDaylight(ctx context.Context, rule Daylight) error {
	if err := r.set(ctx, 8, dlms.Bool(false)); err != nil {
		return err
	}
	for i, f := range daylightFields()[:3] {
		if err := r.set(ctx, int8(5+i), f.get(rule)); err != nil {
			return err
		}
	}
	if !rule.Enabled {
		return nil
	}
	return r.set(ctx, 8, dlms.Bool(true))
}

// Base reads where the clock takes its time from.
func (r RemoteClock) Base(ctx context.Context) (ClockBase, error) {
	return readAs(ctx, r.remote, 9, parseEnum[ClockBase])
}

// AdjustToQuarter moves the clock to the nearest quarter of an hour.
func (r RemoteClock) AdjustToQuarter(ctx context.Context) error { return r.trigger(ctx, 1) }

// AdjustToMeasuringPeriod moves the clock to the nearest start of a measuring period.
func (r RemoteClock) AdjustToMeasuringPeriod(ctx context.Context) error { return r.trigger(ctx, 2) }

// AdjustToMinute moves the clock to the nearest minute.
func (r RemoteClock) AdjustToMinute(ctx context.Context) error { return r.trigger(ctx, 3) }

// AdjustToPreset moves the clock to the preset time.
func (r RemoteClock) AdjustToPreset(ctx context.Context) error { return r.trigger(ctx, 4) }

// Preset leaves a time for AdjustToPreset.
func (r RemoteClock) Preset(ctx context.Context, p PresetTime) error { return r.do(ctx, 5, p.Data()) }

// Shift moves the clock by -900 to 900 seconds.
func (r RemoteClock) Shift(ctx context.Context, seconds int16) error {
	return r.do(ctx, 6, dlms.Int16(seconds))
}
