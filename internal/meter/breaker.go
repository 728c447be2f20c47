package meter

import (
	"github.com/meterseal/meterseal/dlms/cosem"
)

// breakerPosition is a control state of class 70: 0 open, 1 closed, 2 armed, when the customer's press closes it.
type breakerPosition = cosem.ControlState

// breakerState is the position and since when, in the world's time.
type breakerState struct {
	position breakerPosition
	since    moment
}

// open opens the breaker at once. To open it again changes nothing: the command may be repeated when its answer is
// lost.
func (m *Meter) open() error {
	return m.move(cosem.Disconnected, codeBreakerOpened, cosem.Connected, cosem.ReadyForReconnection)
}

// arm lets the customer close the breaker. Nothing closes it from afar.
func (m *Meter) arm() error {
	return m.move(cosem.ReadyForReconnection, codeBreakerClosedRemotely, cosem.Disconnected)
}

// Press is the customer's press of the button of the breaker: it closes one that is armed, and reports whether it did.
func (m *Meter) Press() (closed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.breaker.position != cosem.ReadyForReconnection {
		return false, nil
	}
	return true, m.moveLocked(cosem.Connected, codeBreakerClosedByHand)
}

// Breaker returns the state of the breaker.
func (m *Meter) Breaker() (cosem.ControlState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.settleLocked()
	return m.state.breaker.position, err
}

// move goes to a position from the ones given, and from others stays.
func (m *Meter) move(to breakerPosition, code Code, from ...breakerPosition) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.settleLocked(); err != nil {
		return err
	}
	for _, p := range from {
		if m.state.breaker.position == p {
			return m.moveLocked(to, code)
		}
	}
	return nil
}

func (m *Meter) moveLocked(to breakerPosition, code Code) error {
	w := new(frameWriter)
	world := m.kind.world()
	w.breaker(breakerState{position: to, since: world})
	w.event(m.entryLocked(logBreaker, code, world))
	return m.commitLocked(w, true)
}

// settleLocked lets a customer press who does so some time after the breaker was armed (Options.PressAfter).
func (m *Meter) settleLocked() error {
	b := m.state.breaker
	after := m.kind.options.PressAfter
	if after <= 0 || b.position != cosem.ReadyForReconnection || m.kind.world() < b.since.add(after) {
		return nil
	}
	return m.moveLocked(cosem.Connected, codeBreakerClosedByHand)
}
