package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// ReplayFact implements vault.Store: it applies what the key journal has of the fleet, unless it is there already, or what
// another node has done since.
func (s *Store) ReplayFact(ctx context.Context, b []byte) error {
	var f fleet.Fact
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("%w: %w", vault.ErrFact, err)
	}
	switch {
	case f.Node != nil:
		return s.replayNode(ctx, *f.Node)
	case f.Certificate != nil:
		return s.replayCertificate(ctx, *f.Certificate)
	case f.Revoked != nil:
		return s.replayRevoked(ctx, *f.Revoked)
	case f.Placed != nil:
		return s.replayPlace(ctx, *f.Placed)
	case f.Granted != nil:
		return s.replayGrant(ctx, *f.Granted)
	case f.Ended != nil:
		return s.replayEnd(ctx, *f.Ended)
	}
	return fmt.Errorf("%w: of an unknown kind; it was written by a newer program", vault.ErrFact)
}

func (s *Store) replayNode(ctx context.Context, n fleet.NodeFact) error {
	kinds, err := s.TitleKinds(ctx, []dlms.SystemTitle{n.Title})
	if err != nil {
		return err
	}
	switch kind, taken := kinds[n.Title]; {
	case !taken:
		return s.AddNode(ctx, n.Title, n.At)
	case kind != fleet.KindNode:
		return fmt.Errorf("%w: node %s is a %s here", vault.ErrFact, n.Title, kind)
	}
	return nil
}

// replayCertificate enters a certificate that was issued since, or revokes one that was revoked since.
func (s *Store) replayCertificate(ctx context.Context, c access.Certificate) error {
	have, err := s.Certificate(ctx, c.Fingerprint)
	switch {
	case err != nil:
		return err
	case have == nil:
		return s.AddCertificate(ctx, c)
	case have.RevokedAt.IsZero() && !c.RevokedAt.IsZero():
		_, err = s.RevokeCertificates(ctx, c.Name, c.Fingerprint, c.RevokedAt, c.RevokedBy, c.Why)
	}
	return err
}

func (s *Store) replayRevoked(ctx context.Context, r fleet.RevokedFact) error {
	_, known, err := s.DeviceRow(ctx, r.Title)
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%w: device %s", vault.ErrFact, r.Title)
	}
	_, err = s.SetDeviceState(ctx, r.Title, r.State)
	return err
}

func (s *Store) replayPlace(ctx context.Context, p fleet.PlacedFact) error {
	m, known, err := s.Meter(ctx, p.Meter)
	if err != nil || known && m.Concentrator != p.From {
		return err
	}
	kinds, err := s.TitleKinds(ctx, []dlms.SystemTitle{p.To})
	if err != nil {
		return err
	}
	if !known || kinds[p.To] != fleet.KindConcentrator {
		return fmt.Errorf("%w: meter %s under %s", vault.ErrFact, p.Meter, p.To)
	}
	// The change of CC_LAN that follows a move is asked for again.
	meters := []dlms.SystemTitle{p.Meter}
	if err := s.AddMoves(ctx, p.To, meters, p.At); err != nil {
		return err
	}
	// A revoked concentrator keeps what it was given before.
	if _, err = s.exec(ctx, `UPDATE meters SET concentrator = ? WHERE title = ?`, p.To[:], p.Meter[:]); err != nil {
		return err
	}
	// What was abandoned with the move, the journal says itself.
	_, err = s.Changes().Move(ctx, p.To, meters)
	return err
}

func (s *Store) replayGrant(ctx context.Context, g fleet.GrantedFact) error {
	_, known, err := s.GrantRow(ctx, g.Grant.ID)
	if err != nil || known {
		return err
	}
	kinds, err := s.TitleKinds(ctx, append([]dlms.SystemTitle{g.Grant.Terminal}, g.Grant.Meters...))
	if err != nil {
		return err
	}
	for _, m := range g.Grant.Meters {
		if kinds[m] != fleet.KindMeter || kinds[g.Grant.Terminal] != fleet.KindTerminal {
			return fmt.Errorf("%w: grant %s of meter %s to terminal %s", vault.ErrFact, g.Grant.ID, m, g.Grant.Terminal)
		}
	}
	return s.AddGrant(ctx, g.Grant, g.At)
}

func (s *Store) replayEnd(ctx context.Context, e fleet.EndedFact) error {
	_, known, err := s.GrantRow(ctx, e.ID)
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%w: grant %s", vault.ErrFact, e.ID)
	}
	if e.State == fleet.GrantClosed {
		// It was ended before, which another node's journal may have.
		if _, err := s.SetGrantState(ctx, e.ID, fleet.GrantEnded, e.At); err != nil {
			return err
		}
	}
	_, err = s.SetGrantState(ctx, e.ID, e.State, e.At)
	return err
}

// RestoreHandouts implements vault.Store.
func (s *Store) RestoreHandouts(ctx context.Context, counters []vault.CounterRow, at time.Time) error {
	_, err := s.execEach(ctx, `INSERT INTO handouts (device, meter, role, version, first_counter, last_counter, grant_id, at)
		SELECT c.title, c.meter, c.role, c.version, 1, c.ceiling, '', ?1 FROM send_counters c
		JOIN devices d ON d.title = c.title
		JOIN keys k ON k.meter = c.meter AND k.role = c.role AND k.version = c.version
		WHERE c.meter = ?2 AND c.role = ?3 AND c.version = ?4 AND c.title = ?5 AND NOT EXISTS (
			SELECT 1 FROM handouts h WHERE h.device = c.title AND h.meter = c.meter AND h.role = c.role AND h.version = c.version)`,
		len(counters), func(i int) []any {
			c := counters[i]
			return append([]any{micros(at)}, append(refArgs(c.Ref), c.Title[:])...)
		})
	return err
}
