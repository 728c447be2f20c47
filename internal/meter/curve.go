package meter

import (
	"math"
	"time"

	"github.com/meterseal/meterseal/internal/meter/loadcurve"
)

// The load curve: how often, and how far back it reaches at least (ours).
const (
	capturePeriod = loadcurve.DefaultStep
	curveReach    = 120 * 24 * time.Hour
	curveCapacity = uint32(curveReach / capturePeriod)
)

// Bits of the status of a row (ours; BB leaves the meaning of a profile status to the maker).
const (
	rowMissing  uint8 = 0x01 // minutes of the interval were not measured and count as 0
	rowAdjusted uint8 = 0x02 // the clock was moved within the interval
	rowShort    uint8 = 0x04 // the interval began with the installation
	rowInvalid  uint8 = 0x08 // the clock meant nothing when the row was captured
)

// capture is the last end of an interval at or before a moment of the meter's clock.
func (m moment) capture() moment { return m - floorMod(m, moment(capturePeriod.Milliseconds())) }

func floorMod(v, unit moment) moment { return (v%unit + unit) % unit }

// curveRow is one row of the load curve.
type curveRow struct {
	at        moment // what the clock showed: the end of the interval
	status    uint8
	wattHours int64
}

// curve computes the rows of a load curve. Nothing is kept for a row: what was captured follows from the load, the
// installation and the moves of the clock.
//
// A row is captured whenever the clock comes to the end of an interval. When the clock is put forward over one or
// more ends, one row is captured at that instant, under the last of them. When it is put back, ends come again and are
// captured again.
type curve struct {
	load      loadcurve.Load
	installed moment // of the world
	history   *clockHistory
	until     moment // of the world
}

// stretch is the rows that one step of the clock brought: one at its beginning where it went over an end, then one at
// each end up to the next step.
type stretch struct {
	step   clockStep
	first  moment // the first end, of the meter's clock; equal to the beginning where a jump was captured
	jump   bool
	rows   int64
	regExp moment // the first regular end
}

// stretches lists them, the oldest first.
func (c curve) stretches() []stretch {
	steps := c.history.steps
	out := make([]stretch, 0, len(steps))
	for i, s := range steps {
		end := c.until
		if i+1 < len(steps) {
			end = min(end, steps[i+1].at)
		}
		begin := max(s.at, c.installed)
		if begin > end {
			continue
		}
		from, to := (begin + moment(s.offset)).capture(), (end + moment(s.offset)).capture()
		st := stretch{step: s, regExp: from + moment(capturePeriod.Milliseconds())}
		st.rows = int64((to - from) / moment(capturePeriod.Milliseconds()))
		if i > 0 && s.at > c.installed {
			before := s.at + moment(steps[i-1].offset)
			st.jump = from > before
		}
		st.first = st.regExp
		if st.jump {
			st.first, st.rows = from, st.rows+1
		}
		out = append(out, st)
	}
	return out
}

// stamp is what the clock showed at row i of the stretch.
func (s stretch) stamp(i int64) moment {
	return s.first + moment(i*capturePeriod.Milliseconds())
}

// instant is when that was, in the world's time.
func (s stretch) instant(i int64) moment {
	if s.jump && i == 0 {
		return s.step.at
	}
	return s.stamp(i) - moment(s.step.offset)
}

// view is the rows of a curve that are in its buffer.
type view struct {
	curve
	list []stretch
	skip int64 // rows that have left the buffer
	len  uint32
}

func (c curve) view() view {
	v := view{curve: c, list: c.stretches()}
	var total int64
	for _, s := range v.list {
		total += s.rows
	}
	if c.history.cut {
		v.skip = min(total, 1) // what came before the first row that is left is not known
	}
	v.skip = max(v.skip, total-int64(curveCapacity))
	v.len = uint32(total - v.skip)
	return v
}

// row returns row i, from 0.
func (v view) row(i uint32) (curveRow, bool) {
	if i >= v.len {
		return curveRow{}, false
	}
	n := int64(i) + v.skip
	k, j := v.locate(n)
	s := v.list[k]
	from, begin, short := v.installed, 0, true
	if n > 0 {
		p, q := v.locate(n - 1)
		from, begin, short = v.list[p].instant(q), p, false
	}
	to := s.instant(j)
	wh, missing := v.load.Interval(from.time(), to.time())
	r := curveRow{at: s.stamp(j), wattHours: wh}
	r.status = bit(missing > 0, rowMissing) | bit(s.step.cold, rowInvalid) |
		bit(k != begin || s.jump && j == 0, rowAdjusted) |
		bit(short && to-from < moment(capturePeriod.Milliseconds()), rowShort)
	return r, true
}

func bit(v bool, b uint8) uint8 {
	if v {
		return b
	}
	return 0
}

// locate finds the stretch of row n, counted from the oldest that ever was, and its number within.
func (v view) locate(n int64) (stretch int, i int64) {
	for k, s := range v.list {
		if n < s.rows {
			return k, n
		}
		n -= s.rows
	}
	return len(v.list) - 1, 0
}

// find returns the number of the first row whose stamp is at or after t, len where there is none.
func (v view) find(t moment) uint32 {
	n := -v.skip
	for _, s := range v.list {
		i := int64(0)
		if s.first < t {
			period := capturePeriod.Milliseconds()
			i = (int64(t-s.first) + period - 1) / period
		}
		if i = max(i, -n); i < s.rows {
			return uint32(n + i)
		}
		n += s.rows
	}
	return v.len
}

// disordered reports whether the clock was put back behind a row that it had brought.
func (v view) disordered() bool {
	latest := moment(math.MinInt64)
	for _, s := range v.list {
		if s.rows == 0 {
			continue
		}
		if s.first < latest {
			return true
		}
		latest = s.stamp(s.rows - 1)
	}
	return false
}
