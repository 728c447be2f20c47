package lease

import (
	"context"
	"sync"
)

// Standing is a lease that a process takes when it can and keeps for as long as it lives, such as that of the one who
// numbers the audit log.
type Standing struct {
	m    *Manager
	name Name

	mu   sync.Mutex
	held Lease // the zero Lease: not held
}

// Standing returns a standing lease, not taken yet.
func (m *Manager) Standing(name Name) *Standing { return &Standing{m: m, name: name} }

// Turn takes the lease, or renews it when half of its time is over. It returns the context to write with; false: somebody
// else has it.
func (s *Standing) Turn(ctx context.Context) (context.Context, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.held.Until.Sub(s.m.o.Now())
	if s.held.Owner != "" && left > s.m.o.TTL/2 && left <= s.m.o.TTL {
		return With(ctx, s.held), true, nil
	}
	got, err := s.renewLocked(ctx)
	if err == nil && len(got) == 0 {
		got, err = s.m.Acquire(ctx, s.name)
	}
	if err != nil {
		return nil, false, err
	}
	s.held = Lease{}
	if len(got) == 0 {
		return nil, false, nil
	}
	s.held = got[0]
	return With(ctx, s.held), true, nil
}

func (s *Standing) renewLocked(ctx context.Context) ([]Lease, error) {
	if s.held.Owner == "" {
		return nil, nil
	}
	return s.m.Renew(ctx, s.held)
}

// Release gives the lease up.
func (s *Standing) Release(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held.Owner == "" {
		return nil
	}
	l := s.held
	s.held = Lease{}
	return s.m.Release(ctx, l)
}
