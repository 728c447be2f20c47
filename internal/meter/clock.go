package meter

import (
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
)

// Bounds on moving a set clock for clients that may only correct it (domain rule 14; the count is ours).
const (
	shiftWindow    = 24 * time.Hour
	shiftSum       = 60 * time.Second
	shiftsInWindow = 64
)

// maxClockSteps bounds the history of the clock. The load curve of times before the oldest step is given up.
const maxClockSteps = 1024

// Reasons to refuse to move a clock. On the line they are result codes.
var (
	// ErrClockCold: the clock was never set or was lost, and this client may only correct it.
	ErrClockCold = errors.New("clock: not set; only a client that may set it freely can")
	// ErrClockBound: more than 60 s in 24 h, or too many steps.
	ErrClockBound = errors.New("clock: beyond what may be corrected in 24 hours")
	// ErrClockBack: back over the end of an interval of the load curve that was captured.
	ErrClockBack = errors.New("clock: back over a captured interval")
)

// moment is a time in milliseconds since 1970 UTC: of the world or of a meter's clock, as the name says.
type moment int64

func momentOf(t time.Time) moment { return moment(t.UnixMilli()) }

func (m moment) time() time.Time { return time.UnixMilli(int64(m)).In(loadcurve.FileTime()) }

func (m moment) add(d time.Duration) moment { return m + moment(d.Milliseconds()) }

// coldStart is what a clock shows when its power comes back and it knows nothing (ours).
func coldStart() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, loadcurve.FileTime()) }

// clockStep says that from a moment of the world on, the meter's clock shows the world's time plus offset.
type clockStep struct {
	at      moment // of the world
	offset  int64  // milliseconds
	counted int32  // milliseconds, by how much a client moved it that is bound in sum; else 0
	cold    bool   // what it shows means nothing
}

// clockHistory is every move of the clock that the load curve still reaches back to, the oldest first. There is always
// one step.
type clockHistory struct {
	steps []clockStep
	cut   bool // older steps were given up
}

func (h *clockHistory) add(s clockStep) {
	if n := len(h.steps); n > 0 {
		s.at = max(s.at, h.steps[n-1].at) // the host's clock may go back, the history does not
	}
	h.steps = append(h.steps, s)
	for len(h.steps) > maxClockSteps || len(h.steps) > 1 && h.steps[1].at < s.at.add(-curveReach) {
		h.steps = h.steps[1:]
		h.cut = true
	}
}

func (h *clockHistory) last() clockStep {
	if len(h.steps) == 0 {
		return clockStep{cold: true}
	}
	return h.steps[len(h.steps)-1]
}

// read returns what the clock shows.
func (h *clockHistory) read(world moment) (shows moment, cold bool) {
	s := h.last()
	return world + moment(s.offset), s.cold
}

// status is the status byte of what the clock shows.
func (s clockStep) status() dlms.ClockStatus {
	if s.cold {
		return dlms.ClockInvalid
	}
	return 0
}

// correct judges a move by a client that is bound. by is in milliseconds and not 0.
func (h *clockHistory) correct(world moment, by int64) error {
	shows, cold := h.read(world)
	if cold {
		return ErrClockCold
	}
	sum, count := by, 0
	if by < 0 {
		sum = -by
	}
	for i := len(h.steps) - 1; i >= 0; i-- {
		s := h.steps[i]
		if s.at <= world.add(-shiftWindow) {
			break
		}
		if s.counted != 0 {
			sum, count = sum+abs(int64(s.counted)), count+1
		}
	}
	switch {
	case by > shiftSum.Milliseconds() || sum > shiftSum.Milliseconds() || sum < 0 || count >= shiftsInWindow:
		return ErrClockBound
	case shows+moment(by) < shows.capture():
		return ErrClockBack
	}
	return nil
}

func abs(v int64) int64 { return max(v, -v) }
