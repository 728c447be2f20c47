package loadcurve

import (
	"errors"
	"fmt"
	"time"
)

const (
	maxRows = 2_500_000 // 4.7 years of minutes
	maxSpan = 50 * 366 * secondsPerDay
)

// ErrNoRows says that a file holds a header, or nothing, but no measured row.
var ErrNoRows = errors.New("no rows: want at least one measured interval")

// builder lays stretches of constant power one after the other. Its memory is
// bounded by the rows its caller lets through: at most two segments a row.
type builder struct {
	start, end int64 // Unix seconds
	sum        sums
	segments   []segment
}

// add appends a stretch; what lies between it and the stretch before is missing.
func (b *builder) add(from, seconds, watts int64) error {
	if len(b.segments) == 0 {
		b.start, b.end = from, from
	}
	if from < b.end {
		return fmt.Errorf("%s lies inside the row before, which ends at %s", stamp(from), stamp(b.end))
	}
	if from+seconds-b.start > maxSpan {
		return fmt.Errorf("%s is more than 50 years after the first row: want a shorter file or a right date", stamp(from))
	}
	if from > b.end {
		b.lay(from-b.end, missingPower)
	}
	b.lay(seconds, watts)
	return nil
}

// lay joins equal neighbours: a house asleep, or a long gap, costs one segment.
func (b *builder) lay(seconds, watts int64) {
	n := len(b.segments)
	if n == 0 || b.segments[n-1].watts != watts {
		b.segments = append(b.segments, segment{
			joules:  b.sum.joules,
			start:   b.end - b.start,
			missing: b.sum.missing,
			watts:   watts,
		})
	}
	b.end += seconds
	if watts == missingPower {
		b.sum.missing += seconds
		return
	}
	b.sum.joules += seconds * watts
}

func (b *builder) curve() (*Curve, error) {
	if len(b.segments) == 0 {
		return nil, ErrNoRows
	}
	return b.closed(), nil
}

// closed makes the curve of at least one segment. The builder is not used afterwards.
func (b *builder) closed() *Curve {
	c := &Curve{start: b.start, span: b.end - b.start, segments: b.segments, total: b.sum}
	c.loop = loopOf(c.span)
	c.head = c.inside(c.loop)
	c.tail = c.total.minus(c.inside(c.span - c.loop))
	return c
}

// loopOf chooses what is repeated: whole weeks, else whole days, else all.
func loopOf(span int64) int64 {
	for _, unit := range []int64{7 * secondsPerDay, secondsPerDay} {
		if span >= unit {
			return span - span%unit
		}
	}
	return span
}

func stamp(unix int64) string {
	return time.Unix(unix, 0).In(FileTime()).Format("2006-01-02T15:04:05Z07:00")
}
