package store

import (
	"context"
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// VaultState implements vault.Store.
func (s *Store) VaultState(ctx context.Context, name string) ([]byte, error) {
	b, err := one(ctx, s, func(r scanner) (b []byte, err error) { return b, r.Scan(&b) },
		`SELECT value FROM vault_state WHERE name = ?`, name)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return b, err
}

// SetVaultState implements vault.Store.
func (s *Store) SetVaultState(ctx context.Context, name string, value []byte) error {
	if value == nil {
		_, err := s.exec(ctx, `DELETE FROM vault_state WHERE name = ?`, name)
		return err
	}
	_, err := s.exec(ctx, `INSERT INTO vault_state (name, value) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

// JournalPlaces implements vault.Store.
func (s *Store) JournalPlaces(ctx context.Context) (map[string]vault.Position, error) {
	type place struct {
		node string
		p    vault.Position
	}
	rows, err := list(ctx, s, func(r scanner) (p place, err error) {
		return p, r.Scan(&p.node, &p.p.Vault, &p.p.Bytes, &p.p.Hash)
	}, `SELECT node, vault, bytes, hash FROM journal_position`)
	out := make(map[string]vault.Position, len(rows))
	for _, r := range rows {
		out[r.node] = r.p
	}
	return out, err
}

// SetJournalPlace implements vault.Store.
func (s *Store) SetJournalPlace(ctx context.Context, node string, p vault.Position) error {
	s.memo(ctx).places = nil
	_, err := s.exec(ctx, `INSERT INTO journal_position (node, vault, bytes, hash) VALUES (?, ?, ?, ?)
		ON CONFLICT (node) DO UPDATE SET vault = excluded.vault, bytes = excluded.bytes, hash = excluded.hash`,
		node, p.Vault, p.Bytes, p.Hash)
	return err
}

// CountKeys is how many key versions there are.
func (s *Store) CountKeys(ctx context.Context) (int, error) {
	n, err := one(ctx, s, scanInt, `SELECT count(*) FROM keys`)
	return int(n), err
}

// CountMeters is how many meters there are.
func (s *Store) CountMeters(ctx context.Context) (int, error) {
	n, err := one(ctx, s, scanInt, `SELECT count(*) FROM meters`)
	return int(n), err
}

// KeyRowsAfter lists key versions by meter, role and version, from behind after on, at most limit.
func (s *Store) KeyRowsAfter(ctx context.Context, after role.KeyRef, limit int) ([]vault.KeyRow, error) {
	return list(ctx, s, scanKeyRow, `SELECT `+keyColumns+` FROM keys
		WHERE meter > ?1 OR (meter = ?1 AND (role > ?2 OR (role = ?2 AND version > ?3)))
		ORDER BY meter, role, version LIMIT ?4`, after.Meter[:], after.Role, after.Version, limit)
}

// NodeTitles implements vault.Store.
func (s *Store) NodeTitles(ctx context.Context) ([]dlms.SystemTitle, error) {
	return list(ctx, s, scanTitle, `SELECT title FROM titles WHERE kind = 'is-node' ORDER BY title`)
}

// AbandonPending implements vault.Store.
func (s *Store) AbandonPending(ctx context.Context, at time.Time) (int, error) {
	n, err := s.exec(ctx, `UPDATE keys SET state = 'abandoned', ended_at = ? WHERE state = 'pending'`, micros(at))
	return int(n), err
}

// LoseCounters implements vault.Store.
func (s *Store) LoseCounters(ctx context.Context, refs []role.KeyRef) error {
	if refs == nil {
		_, err := s.exec(ctx, `UPDATE keys SET counters_lost = 1`)
		return err
	}
	return s.insertEach(ctx, `UPDATE keys SET counters_lost = 1 WHERE meter = ? AND role = ? AND version = ?`,
		len(refs), func(i int) []any { return refArgs(refs[i]) })
}

// CountersLost implements vault.Store.
func (s *Store) CountersLost(ctx context.Context, refs []role.KeyRef) (map[role.KeyRef]bool, error) {
	rows, err := each(ctx, s, refs, refArgs, scanInt,
		`SELECT 1 FROM keys WHERE meter = ? AND role = ? AND version = ? AND counters_lost = 1`)
	if err != nil {
		return nil, err
	}
	out := map[role.KeyRef]bool{}
	for i, ref := range refs {
		if len(rows[i]) > 0 {
			out[ref] = true
		}
	}
	return out, nil
}

// LostKey is a version in force that cannot be handed out any more, and where its meter is.
type LostKey struct {
	Ref          role.KeyRef
	Concentrator dlms.SystemTitle // zero: under none
}

// InForceWithLostCounters lists the versions in force whose handed-out counters nobody knows: they are from before the
// vault was opened without its key journal.
func (s *Store) InForceWithLostCounters(ctx context.Context) ([]LostKey, error) {
	return list(ctx, s, func(r scanner) (k LostKey, err error) {
		return k, r.Scan(titleOf(&k.Ref.Meter), &k.Ref.Role, &k.Ref.Version, titleOf(&k.Concentrator))
	}, `SELECT k.meter, k.role, k.version, m.concentrator FROM keys k JOIN meters m ON m.title = k.meter
		WHERE k.counters_lost = 1 AND k.state = 'active' AND k.role <> ? ORDER BY k.meter, k.role`, role.CCC)
}
