package concentrator

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/internal/bus"
)

// session is an association of this concentrator's own.
type session struct {
	line    Line
	assoc   *client.Association
	version uint32
	since   time.Time
	// broadcast is the key that the association delivered; nil for read/write.
	broadcast *client.Broadcast
}

// meter is what this process knows of one meter: its own associations with it, and whether the IS has claimed the
// read/write SAP.
type meter struct {
	title dlms.SystemTitle

	// turn holds a token while somebody works with the own associations, or claims them.
	turn chan struct{}

	mu        sync.Mutex
	readWrite *session
	broadcast *session
	period    uint32 // capture period of the load curve in seconds, 0 when not read yet
	claimed   time.Time
	freed     chan struct{} // closed when a claim ends
}

func newMeter(t dlms.SystemTitle) *meter {
	return &meter{title: t, turn: make(chan struct{}, 1), freed: make(chan struct{})}
}

// errClaimed is the answer while the IS has the read/write SAP.
func errClaimed(t dlms.SystemTitle) error {
	return &bus.Fault{Code: bus.FaultRefused, Text: fmt.Sprintf("meter %s is claimed by the central system", t)}
}

func errBusy(t dlms.SystemTitle) error {
	return &bus.Fault{Code: bus.FaultRefused, Text: fmt.Sprintf("meter %s is busy", t)}
}

// own waits until this concentrator may use its own associations, and takes the turn.
func (m *meter) own(ctx context.Context, now func() time.Time) (release func(), err error) {
	for {
		if err := m.take(ctx); err != nil {
			return nil, err
		}
		m.mu.Lock()
		left, freed := m.claimed.Sub(now()), m.freed
		m.mu.Unlock()
		if left <= 0 {
			return m.give, nil
		}
		m.give()
		t := time.NewTimer(left)
		select {
		case <-freed:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, errClaimed(m.title)
		}
		t.Stop()
	}
}

// ownNow is own for who does not wait: nil where somebody has the meter.
func (m *meter) ownNow(now func() time.Time) (release func()) {
	select {
	case m.turn <- struct{}{}:
	default:
		return nil
	}
	m.mu.Lock()
	free := !m.claimed.After(now())
	m.mu.Unlock()
	if !free {
		m.give()
		return nil
	}
	return m.give
}

func (m *meter) take(ctx context.Context) error {
	if ctx.Err() != nil { // whoever asks is gone: that decides, and not which of two is looked at first
		return errBusy(m.title)
	}
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errBusy(m.title)
	}
}

func (m *meter) give() { <-m.turn }

// claim keeps this concentrator off its read/write SAP until then, and forgets the session there: whoever claims it is
// about to replace it.
func (m *meter) claim(ctx context.Context, until time.Time) error {
	if err := m.take(ctx); err != nil {
		return err
	}
	defer m.give()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claimed = until
	m.dropLocked(&m.readWrite)
	return nil
}

// release ends a claim.
func (m *meter) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claimed = time.Time{}
	close(m.freed)
	m.freed = make(chan struct{})
}

func (m *meter) isClaimed(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Before(m.claimed)
}

// forget drops both sessions: their keys are gone from memory.
func (m *meter) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(&m.readWrite)
	m.dropLocked(&m.broadcast)
}

func (m *meter) dropLocked(s **session) {
	if *s != nil {
		(*s).assoc.Abandon()
		*s = nil
	}
}

// sessions returns both sessions, nil where there is none.
func (m *meter) sessions() (readWrite, broadcast *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readWrite, m.broadcast
}

// setReadWrite replaces the read/write session, nil for none. With it the broadcast session is in doubt: what ended
// the one (a new key, a meter that lost power) mostly ended the other, and nothing answers on that one.
func (m *meter) setReadWrite(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(&m.readWrite)
	m.dropLocked(&m.broadcast)
	m.readWrite = s
}

func (m *meter) setBroadcast(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropLocked(&m.broadcast)
	m.broadcast = s
}
