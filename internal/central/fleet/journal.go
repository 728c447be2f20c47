package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/access"
)

// Fact is one change of the fleet as the key journal keeps it: exactly one field is set. A database that is brought back
// from a backup learns from it what it must not forget: that a device was revoked, which concentrator a meter is under,
// which grants there were, and which titles are taken.
type Fact struct {
	Node    *NodeFact    `json:"node,omitempty"`
	Revoked *RevokedFact `json:"revoked,omitempty"`
	Placed  *PlacedFact  `json:"placed,omitempty"`
	Granted *GrantedFact `json:"granted,omitempty"`
	Ended   *EndedFact   `json:"ended,omitempty"`
	// Certificate is one of a person that was issued, or revoked.
	Certificate *access.Certificate `json:"certificate,omitempty"`
}

// NodeFact is a node of the central system that was registered.
type NodeFact struct {
	Title dlms.SystemTitle `json:"title"`
	At    time.Time        `json:"at"`
}

// RevokedFact is a device that came into another state than enrolled.
type RevokedFact struct {
	Title dlms.SystemTitle `json:"title"`
	State string           `json:"state"`
}

// PlacedFact is a meter that came under a concentrator, from another one or (zero) from none. It counts where the meter
// is still where it came from: another node may have moved it since.
type PlacedFact struct {
	Meter dlms.SystemTitle `json:"meter"`
	From  dlms.SystemTitle `json:"from,omitzero"`
	To    dlms.SystemTitle `json:"to"`
	At    time.Time        `json:"at"`
}

// GrantedFact is a grant that was made.
type GrantedFact struct {
	Grant Grant     `json:"grant"`
	At    time.Time `json:"at"`
}

// EndedFact is a grant that was ended or closed.
type EndedFact struct {
	ID    string    `json:"id"`
	State string    `json:"state"`
	At    time.Time `json:"at"`
}

// Journal is a second durable target: what is noted in an Update is on it before the Update is committed.
type Journal interface {
	Note(ctx context.Context, fact []byte) error
}

// Journalled returns the store with a journal that learns of every change which a restore of the store must not forget.
// Whatever the fleet does goes through it, so that nothing new can be left out.
func Journalled(s Store, j Journal, now func() time.Time) Store { return journalled{s, j, now} }

type journalled struct {
	Store
	journal Journal
	now     func() time.Time
}

func (s journalled) note(ctx context.Context, f Fact) error {
	b, err := json.Marshal(f)
	if err == nil {
		err = s.journal.Note(ctx, b)
	}
	if err != nil {
		return fmt.Errorf("journal of the fleet: %w", err)
	}
	return nil
}

// AddNode implements Store.
func (s journalled) AddNode(ctx context.Context, title dlms.SystemTitle, at time.Time) error {
	return s.Update(ctx, func(ctx context.Context) error {
		if err := s.Store.AddNode(ctx, title, at); err != nil {
			return err
		}
		return s.note(ctx, Fact{Node: &NodeFact{title, at}})
	})
}

// SetDeviceState implements Store.
func (s journalled) SetDeviceState(ctx context.Context, title dlms.SystemTitle, state string) (changed bool, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		if changed, err = s.Store.SetDeviceState(ctx, title, state); err != nil || !changed {
			return err
		}
		return s.note(ctx, Fact{Revoked: &RevokedFact{title, state}})
	})
	return changed, err
}

// AssignMeters implements Store.
func (s journalled) AssignMeters(ctx context.Context, dc dlms.SystemTitle, meters []dlms.SystemTitle) (n int, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		for _, t := range meters {
			m, known, err := s.Meter(ctx, t)
			if err != nil {
				return err
			}
			if !known || m.Concentrator == dc {
				continue
			}
			if err := s.note(ctx, Fact{Placed: &PlacedFact{t, m.Concentrator, dc, s.now().UTC()}}); err != nil {
				return err
			}
		}
		n, err = s.Store.AssignMeters(ctx, dc, meters)
		return err
	})
	return n, err
}

// AddGrant implements Store.
func (s journalled) AddGrant(ctx context.Context, g Grant, at time.Time) error {
	return s.Update(ctx, func(ctx context.Context) error {
		if err := s.Store.AddGrant(ctx, g, at); err != nil {
			return err
		}
		return s.note(ctx, Fact{Granted: &GrantedFact{g, at}})
	})
}

// SetGrantState implements Store.
func (s journalled) SetGrantState(ctx context.Context, id, state string, at time.Time) (changed bool, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		if changed, err = s.Store.SetGrantState(ctx, id, state, at); err != nil || !changed {
			return err
		}
		return s.note(ctx, Fact{Ended: &EndedFact{id, state, at}})
	})
	return changed, err
}
