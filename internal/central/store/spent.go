package store

import (
	"context"

	"github.com/meterseal/meterseal/internal/central/rotation"
)

// Spent lists keys in force under which some counter has passed half of its range, of a sender or of a meter, and which
// are not being changed, at most limit. The number is the one of the indexes.
func (s *Store) Spent(ctx context.Context, limit int) ([]rotation.MeterRole, error) {
	return list(ctx, s, func(r scanner) (k rotation.MeterRole, err error) {
		return k, r.Scan(titleOf(&k.Meter), &k.Role)
	}, `SELECT k.meter, k.role FROM (SELECT meter, role, version FROM send_counters WHERE ceiling >= 2147483648
			UNION SELECT meter, role, version FROM receive_floors WHERE last >= 2147483648) x
		JOIN keys k ON k.meter = x.meter AND k.role = x.role AND k.version = x.version AND k.state = 'active' AND k.role > 1
		JOIN meters m ON m.title = k.meter AND m.concentrator IS NOT NULL AND m.state = 'enrolled'
		WHERE NOT EXISTS (SELECT 1 FROM changes c WHERE c.meter = k.meter AND c.role = k.role AND c.step <> 'done')
		ORDER BY k.meter, k.role LIMIT ?`, limit)
}
