package loadcurve

import (
	"iter"
	"time"
)

const (
	// Unscaled is the scale of a copy that measures what the curve says.
	Unscaled = 1000
	// MaxScalePerMille is the largest scale of a copy: a thousand times the curve.
	MaxScalePerMille = 1_000_000
)

// Load is one meter's own copy of a curve: scaled, shifted, and repeated past
// the end of the file so that a meter that runs for months still measures.
// It is a small value, safe for concurrent use; make it with [Curve.Copy].
type Load struct {
	curve  *Curve
	scale  int64 // per mille, 0..MaxScalePerMille
	shift  int64 // seconds, whole minutes
	origin sums  // of the extended curve where this load starts
}

// Copy makes the load of one meter. The scale is in per mille, cut to
// 0..MaxScalePerMille. The shift delays: the load at t is the curve's at
// t-shift; it is cut to whole minutes and may be negative. A shifted load also
// starts at Start with a register of 0; the hours that the shift brings in from
// before the first row are those of the curve's first loop.
// Copy(Unscaled, 0) measures the file itself, to the Wh.
func (c *Curve) Copy(scalePerMille int, shift time.Duration) Load {
	l := Load{
		curve: c,
		scale: int64(min(max(scalePerMille, 0), MaxScalePerMille)),
		shift: int64(shift/time.Minute) * secondsPerMinute,
	}
	l.origin = c.extended(-l.shift)
	return l
}

// Start is the instant from which the load measures; its register is 0 until then.
func (l Load) Start() time.Time { return l.curve.Start() }

// Wh is the cumulative import register (A+) at an instant, in whole Wh, rounded
// down. It never decreases.
func (l Load) Wh(t time.Time) int64 { return l.scaled(l.at(t).joules, joulesPerWh) }

// PowerW is the power at an instant, in W; 0 where it is missing or before Start.
func (l Load) PowerW(t time.Time) int64 {
	off := l.curve.offset(t)
	if off < 0 {
		return 0
	}
	return l.scaled(l.curve.power(off-l.shift), 1)
}

// Interval is the difference of the register between two instants, in Wh, and
// how many minutes of it are missing (a minute in part missing counts as one).
// It is 0, 0 unless from comes before to.
func (l Load) Interval(from, to time.Time) (wh int64, missing int) {
	if !from.Before(to) {
		return 0, 0
	}
	return l.Wh(to) - l.Wh(from), minutes(l.at(to).missing - l.at(from).missing)
}

// Row is one interval of a load curve.
type Row struct {
	Start, End time.Time
	WattHours  int64 // energy of the interval, Wh
	Register   int64 // cumulative import at End, Wh
	Missing    int   // minutes not measured, which count as 0
}

// Rows gives, in order, every interval of the step that lies within from and
// to. Intervals start at multiples of the step since midnight UTC for any step
// that divides a day. A step below a second gives none.
func (l Load) Rows(from, to time.Time, step time.Duration) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		if step < time.Second {
			return
		}
		for a := ceil(from, step); !a.Add(step).After(to); a = a.Add(step) {
			if !yield(l.row(a, a.Add(step))) {
				return
			}
		}
	}
}

func (l Load) row(from, to time.Time) Row {
	wh, missing := l.Interval(from, to)
	return Row{Start: from, End: to, WattHours: wh, Register: l.Wh(to), Missing: missing}
}

// at gives the sums since Start, unscaled.
func (l Load) at(t time.Time) sums {
	off := l.curve.offset(t)
	if off < 0 {
		return sums{missing: off}
	}
	return l.curve.extended(off - l.shift).minus(l.origin)
}

// scaled is floor(v * scale / (1000 * unit)), taken in two parts so that no
// product leaves 63 bits: with v at most 2*10^16 J the first stays below 10^16,
// the second below 4*10^12.
func (l Load) scaled(v, unit int64) int64 {
	d := Unscaled * unit
	return v/d*l.scale + v%d*l.scale/d
}

// ceil is the first multiple of the step, counted from the epoch of package
// time (a midnight UTC), at or after t.
func ceil(t time.Time, step time.Duration) time.Time {
	down := t.Truncate(step)
	if down.Equal(t) {
		return down
	}
	return down.Add(step)
}
