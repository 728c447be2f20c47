package sim

import (
	"bytes"
	"errors"

	"github.com/meterseal/meterseal/internal/meter/nvm"
)

// errPower is what a write gets in which the power fails.
var errPower = errors.New("sim: the power failed")

// memory is a meter's non-volatile memory whose power can fail at any write. A write that was not asked to be durable is
// lost with the power.
type memory struct {
	frames  [][]byte
	durable int // how many of them a power cut leaves
	cutIn   int // the power fails at this write from now, 0 never
	after   bool
	off     bool
}

var _ nvm.Memory = (*memory)(nil)

// Load implements nvm.Memory.
func (m *memory) Load(take func([]byte) error) error {
	for _, f := range m.frames {
		if err := take(f); err != nil {
			return err
		}
	}
	return nil
}

// cut counts down to the power cut. It reports whether the write still gets through.
func (m *memory) cut() (written bool, err error) {
	if m.off {
		return false, errPower
	}
	if m.cutIn == 0 {
		return true, nil
	}
	if m.cutIn--; m.cutIn > 0 {
		return true, nil
	}
	m.off = true
	return m.after, errPower
}

// Append implements nvm.Memory.
func (m *memory) Append(frame []byte, durable bool) error {
	if len(frame) == 0 || len(frame) > nvm.MaxFrame {
		return nvm.ErrFrame
	}
	written, err := m.cut()
	if written {
		m.frames = append(m.frames, bytes.Clone(frame))
		if durable {
			m.durable = len(m.frames)
		}
	}
	return err
}

// Replace implements nvm.Memory.
func (m *memory) Replace(frames [][]byte) error {
	written, err := m.cut()
	if written {
		next := make([][]byte, len(frames))
		for i, f := range frames {
			next[i] = bytes.Clone(f)
		}
		m.frames, m.durable = next, len(next)
	}
	return err
}

// Size implements nvm.Memory.
func (m *memory) Size() int {
	n := 0
	for _, f := range m.frames {
		n += len(f)
	}
	return n
}

// Close implements nvm.Memory.
func (*memory) Close() error { return nil }

// restart brings the power back: what was not durable is gone.
func (m *memory) restart() {
	m.frames, m.off, m.cutIn = m.frames[:m.durable], false, 0
}
