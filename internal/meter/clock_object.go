package meter

import (
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

func readClock(env *cosem.Env) (dlms.DateTime, error) {
	m, err := device(env)
	if err != nil {
		return dlms.DateTime{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state.clock.last()
	shows, _ := m.state.clock.read(m.kind.worldAt(env.Now))
	return dlms.DateTimeOf(m.kind.local(shows), s.status()), nil
}

func setClock(env *cosem.Env, t dlms.DateTime) error {
	m, err := device(env)
	if err != nil {
		return err
	}
	to, err := t.TimeIn(m.kind.options.Zone)
	if err != nil {
		return dlms.DataAccessScopeViolated // wildcards name no moment to set
	}
	return clockResult(m.moveClock(env, func(shows moment) int64 { return int64(momentOf(to) - shows) }))
}

func shiftClock(env *cosem.Env, seconds int16) error {
	m, err := device(env)
	if err != nil {
		return err
	}
	by := (time.Duration(seconds) * time.Second).Milliseconds()
	return clockResult(m.moveClock(env, func(moment) int64 { return by }))
}

// moveClock moves the clock as far as the client may. What it may not is an entry in the main log.
func (m *Meter) moveClock(env *cosem.Env, by func(shows moment) int64) error {
	c, ok := m.kind.profile.client(env.Link, env.Client)
	if !ok {
		return dlms.DataAccessReadWriteDenied
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	world := m.kind.worldAt(env.Now)
	shows, cold := m.state.clock.read(world)
	delta := by(shows)
	if delta == 0 && !cold {
		return nil
	}
	step := clockStep{at: world, offset: m.state.clock.last().offset + delta}
	if c.Clock == ClockCorrect {
		if err := m.state.clock.correct(world, delta); err != nil {
			m.noteLocked(logMain, codeClockRefused)
			return err
		}
		step.counted = int32(delta)
	}
	w := new(frameWriter)
	w.clock(step)
	w.event(logEntry{log: logMain, code: codeClockMoved, at: shows + moment(delta)})
	return m.commitLocked(w, true)
}

// clockResult is what the line is told.
func clockResult(err error) error {
	switch {
	case errors.Is(err, ErrClockCold), errors.Is(err, ErrClockBound), errors.Is(err, ErrClockBack):
		return dlms.DataAccessScopeViolated
	}
	return err
}
