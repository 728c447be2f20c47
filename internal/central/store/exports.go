package store

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// ExportRows implements vault.Store. Where nothing was ever given away, as in most, that is all that is asked.
func (s *Store) ExportRows(ctx context.Context, meters []dlms.SystemTitle) (map[dlms.SystemTitle]vault.ExportRow, error) {
	if some, err := s.exported(ctx); err != nil || !some {
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

// exported reports whether any meter was ever given away.
func (s *Store) exported(ctx context.Context) (bool, error) {
	known := s.memo(ctx)
	if known.exports != nil {
		return *known.exports, nil
	}
	rows, err := list(ctx, s, scanInt, `SELECT 1 FROM exports LIMIT 1`)
	if err != nil {
		return false, err
	}
	some := len(rows) > 0
	known.exports = &some
	return some, nil
}

// AddExports implements vault.Store. With a meter go its open changes, in the same commit: nobody could bring them further, and
// whoever is just at work on one finds that its row is gone.
func (s *Store) AddExports(ctx context.Context, rows []vault.ExportRow) error {
	s.memo(ctx).exports = nil
	err := s.insertEach(ctx, `INSERT INTO exports (meter, recipient, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, len(rows),
		func(i int) []any { return []any{rows[i].Meter[:], rows[i].To, micros(rows[i].At)} })
	if err != nil {
		return err
	}
	meter := func(i int) []any { return []any{rows[i].Meter[:]} }
	if _, err = s.execEach(ctx, `DELETE FROM changes WHERE meter = ? AND done_at = 0`, len(rows), meter); err != nil {
		return err
	}
	_, err = s.execEach(ctx, `UPDATE meters SET state = 'retired' WHERE title = ?`, len(rows), meter)
	return err
}

// Unproven returns the meters with a change that may have reached them and is not proven.
func (c Changes) Unproven(ctx context.Context, meters []dlms.SystemTitle) ([]dlms.SystemTitle, error) {
	rows, err := each(ctx, c.s, meters, func(t dlms.SystemTitle) []any { return []any{t[:]} }, scanInt,
		`SELECT 1 FROM changes WHERE meter = ? AND step IN ('sent', 'searching') LIMIT 1`)
	var out []dlms.SystemTitle
	for i := range rows {
		if len(rows[i]) > 0 {
			out = append(out, meters[i])
		}
	}
	return out, err
}

// CountServed is how many meters are in service.
func (s *Store) CountServed(ctx context.Context) (int, error) {
	n, err := one(ctx, s, scanInt, `SELECT count(*) FROM meters WHERE state = 'enrolled'`)
	return int(n), err
}

// Served returns the meters of a concentrator that are in service.
func (s *Store) Served(ctx context.Context, d dlms.SystemTitle) ([]dlms.SystemTitle, error) {
	return list(ctx, s, scanTitle, `SELECT title FROM meters WHERE concentrator = ? AND state = 'enrolled' ORDER BY title`, d[:])
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
