package store

import (
	"context"

	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
)

// halfSpent is the counter from which on a key is to be changed.
const halfSpent = 1 << 31

// noteSpent remembers keys with a counter past half of its range. They are few in a lifetime: a table of their own costs
// the counters nothing.
func (s *Store) noteSpent(ctx context.Context, refs []role.KeyRef) error {
	return s.insertEach(ctx, `INSERT INTO spent_keys (meter, role, version) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, len(refs),
		func(i int) []any { return refArgs(refs[i]) })
}

// Spent lists keys in force under which some counter has passed half of its range, of a sender or of a meter, and which
// are not being changed, at most limit. CROSS JOIN has SQLite begin with the few that are spent.
func (s *Store) Spent(ctx context.Context, limit int) ([]rotation.MeterRole, error) {
	return list(ctx, s, func(r scanner) (k rotation.MeterRole, err error) {
		return k, r.Scan(titleOf(&k.Meter), &k.Role)
	}, `SELECT x.meter, x.role FROM spent_keys x CROSS JOIN keys k CROSS JOIN meters m
		WHERE k.meter = x.meter AND k.role = x.role AND k.version = x.version AND k.state = 'active' AND x.role > 1
		AND m.title = x.meter AND m.concentrator IS NOT NULL AND m.state = 'enrolled'
		AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.meter = x.meter AND c.role = x.role AND c.done_at = 0)
		ORDER BY x.meter, x.role LIMIT ?`, limit)
}
