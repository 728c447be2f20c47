package store

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// ExportRows implements vault.Store. Where nothing was ever given away, as in most, that is all that is asked.
func (s *Store) ExportRows(ctx context.Context, meters []dlms.SystemTitle) (map[dlms.SystemTitle]vault.ExportRow, error) {
	some, err := list(ctx, s, scanInt, `SELECT 1 FROM exports LIMIT 1`)
	if err != nil || len(some) == 0 {
		return nil, err
	}
	rows, err := each(ctx, s, meters, func(t dlms.SystemTitle) []any { return []any{t[:]} }, func(r scanner) (e vault.ExportRow, err error) {
		var at int64
		err = r.Scan(titleOf(&e.Meter), &e.To, &at)
		e.At = fromMicros(at)
		return e, err
	}, `SELECT meter, recipient, at FROM exports WHERE meter = ?`)
	out := map[dlms.SystemTitle]vault.ExportRow{}
	for i, m := range meters {
		if err == nil && len(rows[i]) > 0 {
			out[m] = rows[i][0]
		}
	}
	return out, err
}

// AddExports implements vault.Store.
func (s *Store) AddExports(ctx context.Context, rows []vault.ExportRow) error {
	err := s.insertEach(ctx, `INSERT INTO exports (meter, recipient, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, len(rows),
		func(i int) []any { return []any{rows[i].Meter[:], rows[i].To, micros(rows[i].At)} })
	if err != nil {
		return err
	}
	_, err = s.execEach(ctx, `UPDATE meters SET state = 'retired' WHERE title = ?`, len(rows), func(i int) []any { return []any{rows[i].Meter[:]} })
	return err
}

// CountersOf implements vault.Store.
func (s *Store) CountersOf(ctx context.Context, refs []role.KeyRef) ([][]vault.CounterRow, error) {
	out, err := each(ctx, s, refs, refArgs, func(r scanner) (c vault.CounterRow, err error) {
		return c, r.Scan(titleOf(&c.Title), &c.Ceiling, &c.Raised)
	}, `SELECT title, ceiling, raised FROM send_counters WHERE meter = ? AND role = ? AND version = ?`)
	for i := range out {
		for j := range out[i] {
			out[i][j].Ref = refs[i]
		}
	}
	return out, err
}
