package store

import (
	"context"

	"github.com/meterseal/meterseal/internal/central/rotation"
)

// Orphans implements rotation.Store. Versions in state sent are few: those on their way.
func (c Changes) Orphans(ctx context.Context, limit int) ([]rotation.Change, error) {
	return list(ctx, c.s, func(r scanner) (ch rotation.Change, err error) {
		return ch, r.Scan(titleOf(&ch.Meter), titleOf(&ch.Concentrator), &ch.Role, &ch.From, &ch.To)
	}, `SELECT k.meter, m.concentrator, k.role, COALESCE(MAX(a.version), 0), MAX(k.version) FROM keys k
		JOIN meters m ON m.title = k.meter
		LEFT JOIN keys a ON a.meter = k.meter AND a.role = k.role AND a.state = 'active'
		WHERE k.state = 'sent' AND m.concentrator IS NOT NULL AND m.state = 'enrolled' AND NOT EXISTS (
			SELECT 1 FROM changes c WHERE c.meter = k.meter AND c.role = k.role AND c.done_at = 0)
		GROUP BY k.meter, m.concentrator, k.role ORDER BY k.meter, k.role LIMIT ?`, limit)
}

// Follow implements rotation.Store. A database that was taken back has the changes of that time; where the meters are
// comes from the key journal.
func (c Changes) Follow(ctx context.Context) error {
	return c.s.Update(ctx, func(ctx context.Context) error {
		_, err := c.s.exec(ctx, `UPDATE changes SET concentrator = (SELECT m.concentrator FROM meters m WHERE m.title = changes.meter)
			WHERE done_at = 0 AND EXISTS (SELECT 1 FROM meters m WHERE m.title = changes.meter
				AND m.concentrator IS NOT NULL AND m.concentrator <> changes.concentrator)`)
		return err
	})
}
