package store

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// memo is what was read in a writing transaction and is asked for again by its other parts. There is one writer at a time:
// it stays as it is until the transaction itself writes it, which then takes it out of the memo.
type memo struct {
	leases  map[lease.Lease]bool // without their ends: whether they are held
	places  map[string]place     // of nodes in their journals
	exports *bool                // whether any meter was ever given away
	kinds   map[dlms.SystemTitle]string
}

// place is how far a node's journal was taken over.
type place struct {
	at    vault.Position
	known bool
}

// forget empties the memo. What a part has read that is then undone may have been its own.
func (m *memo) forget() { *m = memo{} }

// opening is what the members of a group have to know first: whether the leases that they are under are held, and the
// epoch of the first one's node.
func (m *memo) opening(group []*member, epochs map[string]int64) opening {
	o := opening{
		node:  group[0].s.nodeName(),
		epoch: func(n int64) { epochs[group[0].s.nodeName()] = n },
		held:  func(l lease.Lease) { m.leases[l] = true },
	}
	m.leases = map[lease.Lease]bool{}
	for _, g := range group {
		for _, l := range lease.From(g.ctx) {
			l = endless(l)
			if _, known := m.leases[l]; !known {
				m.leases[l] = false
				o.leases = append(o.leases, l)
			}
		}
	}
	return o
}

// endless is a lease without its end, which says nothing of whether it is held.
func endless(l lease.Lease) lease.Lease {
	return lease.Lease{Name: l.Name, Owner: l.Owner, Token: l.Token}
}

// memo returns the memo of the writing transaction that ctx carries, or one that nobody else sees.
func (s *Store) memo(ctx context.Context) *memo {
	if t := s.tx(ctx); t != nil && t.memo != nil {
		return t.memo
	}
	return &memo{}
}
