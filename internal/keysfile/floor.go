package keysfile

import (
	"fmt"
	"math"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/security"
)

// Floor is the durable receive floors of one nonce space's owner, one for each peer. It implements
// security.ReceiveFloor.
type Floor struct {
	counters *Counters
	name     Name
	anyFirst bool
}

var _ security.ReceiveFloor = (*Floor)(nil)

// Floor returns the receive floors of n. A jump is bounded by security.MaxJump, from the first APDU of a peer on.
func (c *Counters) Floor(n Name) *Floor { return &Floor{counters: c, name: n} }

// ClientFloor is Floor for a client: the first APDU of a meter that is new to this file may bear any counter, as the
// meter of somebody else may have been counting for years.
func (c *Counters) ClientFloor(n Name) *Floor { return &Floor{counters: c, name: n, anyFirst: true} }

// Check implements security.ReceiveFloor. It asks memory alone: what another process accepted in the meantime shows
// in Commit, which comes before effect.
func (f *Floor) Check(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	f.counters.mu.Lock()
	defer f.counters.mu.Unlock()
	t, err := f.table(&f.counters.seen, title)
	if err != nil {
		return err
	}
	return t.Check(title, ic)
}

// Commit implements security.ReceiveFloor: it checks against the file, and the new floor is on disk before it
// returns nil.
func (f *Floor) Commit(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	return f.counters.update(func(s *state) error {
		t, err := f.table(s, title)
		if err != nil {
			return err
		}
		return t.Commit(title, ic)
	})
}

// Highest returns the lowest counter that is accepted from every peer seen so far, at least 1: what the meter shows
// as its receive floor to a client that has lost count.
func (f *Floor) Highest() dlms.InvocationCounter {
	f.counters.mu.Lock()
	defer f.counters.mu.Unlock()
	next := uint64(1)
	if i := f.counters.seen.index(f.name); i >= 0 {
		for _, r := range f.counters.seen.Rows[i].Floors {
			next = max(next, uint64(r.Last)+1)
		}
	}
	return dlms.InvocationCounter(min(next, uint64(dlms.MaxInvocationCounter)))
}

// table is the rules of security.FloorTable over the rows of s. What it persists goes into s, which the caller
// writes.
func (f *Floor) table(s *state, peer dlms.SystemTitle) (*security.FloorTable, error) {
	cfg := security.FloorConfig{
		MaxJump: security.MaxJump,
		Persist: func(n security.Floor) error {
			s.row(f.name).setFloor(n.Title, n.Last)
			return nil
		},
	}
	known := false
	if i := s.index(f.name); i >= 0 {
		for _, r := range s.Rows[i].Floors {
			cfg.Floors = append(cfg.Floors, security.Floor{Title: r.Title, Last: r.Last})
			known = known || r.Title == peer
		}
	}
	if f.anyFirst && !known {
		cfg.MaxJump = math.MaxUint32
	}
	t, err := security.NewFloorTable(cfg)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", f.name.Key, err)
	}
	return t, nil
}
