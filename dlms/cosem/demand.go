package cosem

import (
	"fmt"
	"sync"
	"time"
)

// maxDemandPeriods bounds number_of_periods, ours: a day of minutes.
const maxDemandPeriods = 1440

// DemandConfig describes a Demand.
type DemandConfig struct {
	// Period is the interval between two updates of the last average, in whole seconds.
	Period time.Duration
	// Periods is how many periods an average covers: 1 is block demand, more is sliding demand.
	Periods uint16
	// Start is when the first period begins.
	Start time.Time
}

func (c DemandConfig) check() error {
	if c.Period < time.Second || c.Period%time.Second != 0 || c.Period > time.Duration(1<<32-1)*time.Second {
		return fmt.Errorf("demand: %w: period: want whole seconds, got %s", ErrValue, c.Period)
	}
	if c.Periods < 1 || c.Periods > maxDemandPeriods {
		return fmt.Errorf("demand: %w: number of periods: want 1 to %d, got %d", ErrValue, maxDemandPeriods, c.Periods)
	}
	return nil
}

// Demand works out the averages of a Demand register (BB 4.3.4) of what is added to it, on the clock of the caller:
// every method is told what time it is. It is safe for concurrent use.
//
// The current average is what came in since the start of the window, divided by the whole window of Periods times
// Period: it grows from period to period and becomes the last average where a period ends. Amounts are in the unit of
// the register times seconds: joules for a register in watts. Sums stay at the end of the range of an int64.
type Demand struct {
	mu      sync.Mutex
	cfg     DemandConfig
	closed  []demandPeriod // up to Periods-1 periods before the current one, the oldest first
	current demandPeriod
	last    int64
	at      time.Time // when last was worked out
}

type demandPeriod struct {
	start time.Time
	sum   int64
}

// DemandReading is what a Demand shows.
type DemandReading struct {
	// Current and Last are the averages in the unit of the register.
	Current, Last int64
	// Captured is when Last was worked out, Start when the window of Current began.
	Captured, Start time.Time
	// Period is the length of a period, in whole seconds, and Periods how many make the window of Last.
	Period  time.Duration
	Periods uint16
}

// NewDemand returns a Demand whose first period begins at cfg.Start.
func NewDemand(cfg DemandConfig) (*Demand, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	d := &Demand{cfg: cfg}
	d.clear(cfg.Start)
	return d, nil
}

func (d *Demand) clear(now time.Time) {
	d.closed, d.current = nil, demandPeriod{start: now}
	d.last, d.at = 0, now
}

// Add counts an amount that came in up to now.
func (d *Demand) Add(now time.Time, amount int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	d.current.sum = saturatedAdd(d.current.sum, amount)
}

// Read returns the averages at now.
func (d *Demand) Read(now time.Time) DemandReading {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	start := d.current.start
	if len(d.closed) > 0 {
		start = d.closed[0].start
	}
	return DemandReading{
		Current: d.average(), Last: d.last, Captured: d.at, Start: start, Period: d.cfg.Period, Periods: d.cfg.Periods,
	}
}

// NextPeriod ends the current period now, whatever is left of it, and begins the next one (method next_period): an
// external signal may so keep several meters in step.
func (d *Demand) NextPeriod(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	d.end(now)
}

// Reset forgets all periods and begins the first one now (method reset).
func (d *Demand) Reset(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear(now)
}

// Configure changes period and number of periods and resets.
func (d *Demand) Configure(now time.Time, period time.Duration, periods uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	cfg := DemandConfig{Period: period, Periods: periods, Start: now}
	if err := cfg.check(); err != nil {
		return err
	}
	d.cfg = cfg
	d.clear(now)
	return nil
}

// average divides what is in the window by the whole window.
func (d *Demand) average() int64 {
	sum := d.current.sum
	for _, p := range d.closed {
		sum = saturatedAdd(sum, p.sum)
	}
	return sum / (int64(d.cfg.Periods) * int64(d.cfg.Period/time.Second))
}

// end closes the current period at a moment and opens the next one.
func (d *Demand) end(at time.Time) {
	d.last, d.at = d.average(), at
	d.closed = append(d.closed, d.current)
	if n := len(d.closed) - (int(d.cfg.Periods) - 1); n > 0 {
		d.closed = append(d.closed[:0], d.closed[n:]...)
	}
	d.current = demandPeriod{start: at}
}

// roll closes the periods that are over at now. A clock that was set back closes nothing. After a long gap the empty
// periods that no window sees any more are left out, so that a year without power costs no more than a window.
func (d *Demand) roll(now time.Time) {
	over := now.Sub(d.current.start) / d.cfg.Period
	if over <= 0 {
		return
	}
	if skip := over - time.Duration(d.cfg.Periods) - 1; skip > 0 {
		d.end(d.current.start.Add(d.cfg.Period))
		d.current.start = d.current.start.Add(skip * d.cfg.Period)
		over -= skip + 1
	}
	for range over {
		d.end(d.current.start.Add(d.cfg.Period))
	}
}
