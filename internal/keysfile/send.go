package keysfile

import (
	"fmt"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/security"
)

// Sizes of the blocks that are reserved at a time. A command that sends four APDUs skips few values; a meter that
// answers thousands writes the file seldom.
const (
	firstBlock = 16
	lastBlock  = 1024
)

// SendCounter is the durable sending counter of one nonce space. It implements security.SendCounter.
type SendCounter struct {
	counters *Counters
	name     Name

	mu    sync.Mutex
	last  dlms.InvocationCounter // handed out or skipped
	end   dlms.InvocationCounter // reserved for this SendCounter alone
	block uint64
}

var _ security.SendCounter = (*SendCounter)(nil)

// Send returns the sending counter of n. It reserves nothing before the first Next.
func (c *Counters) Send(n Name) *SendCounter {
	return &SendCounter{counters: c, name: n, block: firstBlock}
}

// Sent reports whether anything may have been sent in a nonce space by this file's users: whether its counter has
// left its beginning. A client that has not may ask the meter where to begin.
func (c *Counters) Sent(n Name) (sent bool, err error) {
	err = c.update(func(st *state) error {
		i := st.index(n)
		sent = i >= 0 && st.Rows[i].Ceiling > 0
		return nil
	})
	return sent, err
}

// Next returns a value that nobody else gets, reserved on disk.
func (s *SendCounter) Next() (dlms.InvocationCounter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == s.end {
		if err := s.reserveLocked(); err != nil {
			return 0, err
		}
	}
	s.last++
	return s.last, nil
}

func (s *SendCounter) reserveLocked() error {
	err := s.counters.update(func(st *state) error {
		r := st.row(s.name)
		if r.Ceiling == dlms.MaxInvocationCounter {
			return fmt.Errorf("key %s: %w", s.name.Key, dlms.ErrCounterExhausted)
		}
		s.last = r.Ceiling
		s.end = dlms.InvocationCounter(min(uint64(r.Ceiling)+s.block, uint64(dlms.MaxInvocationCounter)))
		r.Ceiling = s.end
		return nil
	})
	if err != nil {
		s.last = s.end // whatever was reserved is skipped: the write may or may not have reached the disk
		return err
	}
	s.block = min(2*s.block, lastBlock)
	return nil
}

// RaiseTo makes v the lowest value that Next may return, for a peer that says it accepts nothing below. The word of
// a peer, unauthenticated as it may be, never lowers the counter, and lifts it by at most security.MaxRaise at a time
// and security.MaxRaisePerKey in sum; beyond that it returns security.ErrRaise.
func (s *SendCounter) RaiseTo(v dlms.InvocationCounter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v == 0 || v-1 <= s.last {
		return nil
	}
	err := s.counters.update(func(st *state) error {
		r, from := st.row(s.name), s.last
		if v-1 > s.end { // beyond our block, the next value would be that after everybody's
			from = max(s.end, r.Ceiling)
		}
		if v-1 <= from {
			return nil
		}
		by := uint32(v - 1 - from)
		if err := checkRaise(by, r.Raised); err != nil {
			return fmt.Errorf("key %s: %w", s.name.Key, err)
		}
		r.Raised += by
		r.Ceiling = max(r.Ceiling, v-1)
		return nil
	})
	if err != nil {
		return err
	}
	s.last = min(v-1, s.end) // at the end of the block, Next reserves another, above v-1
	return nil
}

// SetNext makes v the lowest value that Next may return because the person at the keyboard says so, within no bound
// but the end of the counter. It does not lower it either.
func (s *SendCounter) SetNext(v dlms.InvocationCounter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v == 0 || v-1 <= s.last {
		return nil
	}
	err := s.counters.update(func(st *state) error {
		r := st.row(s.name)
		r.Ceiling = max(r.Ceiling, v-1)
		return nil
	})
	if err != nil {
		return err
	}
	s.last = min(v-1, s.end)
	return nil
}

func checkRaise(by, before uint32) error {
	switch {
	case by > security.MaxRaise:
		return fmt.Errorf("%w: by %d, want at most %d at a time", security.ErrRaise, by, security.MaxRaise)
	case uint64(before)+uint64(by) > security.MaxRaisePerKey:
		return fmt.Errorf("%w: by %d after %d, want at most %d per key; change the key",
			security.ErrRaise, by, before, security.MaxRaisePerKey)
	}
	return nil
}
