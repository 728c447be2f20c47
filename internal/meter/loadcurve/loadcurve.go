// Package loadcurve says what a meter measures: the energy of one household
// as a function of time, replayed from a file or computed from a model.
//
// Everything is integer arithmetic. Power is held in whole watts and energy in
// joules (watt-seconds), so a cumulative register never drifts and two ways of
// adding the same minutes give the same watt-hours.
//
// # Definitions
//
//   - The energy of an interval is floor(cumulative Wh at its end) minus
//     floor(cumulative Wh at its start), counted from the first row.
//   - File time is UTC+1 all year, without summer time ([FileTime]), for every
//     stamp that carries no offset of its own.
//   - A minute without a value (an absent row, an empty field or "?") counts
//     as 0 and is flagged as missing.
//   - Instants are cut down to the whole second.
//
// # Formats
//
// The household format has one row a minute, stamped with the start of its
// minute: Date (d/m/yyyy), Time (HH:MM:SS), Global_active_power (kW, 3 decimals).
// The grid customer's export has columns horodate and valeur (W, average over
// the step), stamped with the end of its step. See [Parse].
package loadcurve

import (
	"sort"
	"time"
)

// DefaultStep is the step of a load curve unless somebody chose another.
const DefaultStep = 30 * time.Minute

const (
	secondsPerMinute = 60
	secondsPerDay    = 86400
	joulesPerWh      = 3600
	fileOffset       = 3600 // file time is UTC+1

	// maxReach bounds how far from the first row an instant is told apart
	// (about 317 years, in seconds). Beyond it the curve stands still. It keeps
	// every product below 2^63: 10^6 W times 10^10 s is 10^16 J.
	maxReach = 10_000_000_000
)

// FileTime is the zone of stamps without an offset: UTC+1, without summer time.
func FileTime() *time.Location { return time.FixedZone("UTC+1", fileOffset) }

// missingPower marks a segment in which nothing was measured.
const missingPower = -1

// segment is a stretch of constant power. It ends where the next one starts.
// Sums are those before its start.
type segment struct {
	start   int64 // seconds after the first row
	joules  int64
	missing int64 // seconds
	watts   int64 // or missingPower
}

// sums are the two running totals of a curve at one instant.
type sums struct {
	joules  int64
	missing int64 // seconds
}

func (s sums) plus(k int64, d sums) sums {
	return sums{joules: s.joules + k*d.joules, missing: s.missing + k*d.missing}
}

func (s sums) minus(d sums) sums { return s.plus(-1, d) }

// Curve is the cumulative energy of one household, in exact arithmetic, as a
// function of time. It is immutable: any number of meters and goroutines may
// share one.
type Curve struct {
	start    int64 // Unix seconds of the first row, a whole minute
	span     int64 // seconds covered, more than 0
	loop     int64 // seconds repeated outside the span, 1..span
	endless  bool  // the curve itself repeats past its span
	segments []segment
	total    sums // at span
	head     sums // over the first loop
	tail     sums // over the last loop
}

// Start is the instant at which the first row begins; the cumulative energy is 0 there.
func (c *Curve) Start() time.Time { return c.instant(c.start) }

// End is the instant at which the last row ends. For the built-in household,
// which has no end, it is the end of its first period.
func (c *Curve) End() time.Time { return c.instant(c.start + c.span) }

// Endless tells whether the curve goes on past End, as the built-in household does.
func (c *Curve) Endless() bool { return c.endless }

// FirstFullDay is the first midnight of file time at or after Start. Where the
// file ends before that day does, a [Load] still measures all of it, by repeating.
func (c *Curve) FirstFullDay() time.Time {
	midnight := -floorTo(-(c.start + fileOffset), secondsPerDay)
	return c.instant(midnight - fileOffset)
}

// Joules is the cumulative energy since the first row, in J (1 Wh is 3600 J).
// It is 0 before Start and constant after End, unless the curve is endless.
func (c *Curve) Joules(t time.Time) int64 { return c.at(c.offset(t)).joules }

// Wh is the cumulative energy since the first row, in whole Wh, rounded down.
func (c *Curve) Wh(t time.Time) int64 { return c.Joules(t) / joulesPerWh }

// Interval is the energy from one instant to another, in Wh, and how many
// minutes of it are missing (a minute in part missing counts as one). What lies
// outside the file is missing. It is 0, 0 unless from comes before to.
func (c *Curve) Interval(from, to time.Time) (wh int64, missing int) {
	if !from.Before(to) {
		return 0, 0
	}
	a, b := c.at(c.offset(from)), c.at(c.offset(to))
	return b.joules/joulesPerWh - a.joules/joulesPerWh, minutes(b.missing - a.missing)
}

// PowerW is the power at an instant, in W; 0 where it is missing.
func (c *Curve) PowerW(t time.Time) int64 {
	off := c.offset(t)
	if off < 0 || (off >= c.span && !c.endless) {
		return 0
	}
	return c.power(off)
}

func (c *Curve) instant(unix int64) time.Time { return time.Unix(unix, 0).In(FileTime()) }

// offset is the time since the first row in seconds, cut to what is told apart.
func (c *Curve) offset(t time.Time) int64 {
	unix := min(max(t.Unix(), c.start-maxReach), c.start+maxReach)
	return unix - c.start
}

// at gives the sums of the curve as it is: silence before it, and after it too
// unless it is endless. Before the first row the missing time is negative, so
// that differences come out right.
func (c *Curve) at(off int64) sums {
	switch {
	case off < 0:
		return sums{missing: off}
	case off > c.span && !c.endless:
		return c.total.plus(1, sums{missing: off - c.span})
	default:
		return c.extended(off)
	}
}

// extended gives the sums of the curve repeated on both sides: past its end the
// last loop comes again and again, before its start the first one. A loop is a
// whole number of weeks or days where the file is long enough, so that a
// repeated night is still a night.
func (c *Curve) extended(off int64) sums {
	inner, turns := c.fold(off)
	if turns < 0 {
		return c.inside(inner).plus(turns, c.head)
	}
	return c.inside(inner).plus(turns, c.tail)
}

// fold maps an offset into the span and says by how many loops it was moved.
func (c *Curve) fold(off int64) (inner, turns int64) {
	switch {
	case off < 0:
		turns = -((-off + c.loop - 1) / c.loop)
	case off >= c.span:
		turns = (off-c.span)/c.loop + 1
	}
	return off - turns*c.loop, turns
}

func (c *Curve) power(off int64) int64 {
	inner, _ := c.fold(off)
	return max(c.segments[c.find(inner)].watts, 0)
}

// inside gives the sums at 0 <= off <= span.
func (c *Curve) inside(off int64) sums {
	s := c.segments[c.find(off)]
	d := off - s.start
	if s.watts == missingPower {
		return sums{joules: s.joules, missing: s.missing + d}
	}
	return sums{joules: s.joules + d*s.watts, missing: s.missing}
}

// find is the index of the last segment that starts at or before off; the first one starts at 0.
func (c *Curve) find(off int64) int {
	return sort.Search(len(c.segments), func(i int) bool { return c.segments[i].start > off }) - 1
}

// floorTo is the last multiple of the unit at or before v.
func floorTo(v, unit int64) int64 { return v - ((v%unit)+unit)%unit }

// minutes counts seconds in minutes, a begun one in full.
func minutes(seconds int64) int {
	return int((seconds + secondsPerMinute - 1) / secondsPerMinute)
}
