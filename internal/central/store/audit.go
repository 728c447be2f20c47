package store

import (
	"context"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
)

var _ audit.Store = (*Store)(nil)

// AppendAudit implements audit.Store.
func (s *Store) AppendAudit(ctx context.Context, rows []audit.Row) error {
	return s.insertEach(ctx, `INSERT INTO audit_entries (at, actor, action, meter, body) VALUES (?, ?, ?, ?, ?)`,
		len(rows), func(i int) []any {
			r := rows[i]
			return []any{micros(r.At), string(r.Actor), string(r.Action), nullTitle(r.Meter), r.Body}
		})
}

// nullTitle stores no title as NULL.
func nullTitle(t dlms.SystemTitle) any {
	if t.IsZero() {
		return nil
	}
	return t[:]
}

const auditColumns = `id, at, actor, action, meter, body`

func scanAuditRow(r scanner) (a audit.Row, err error) {
	var at int64
	err = r.Scan(&a.ID, &at, &a.Actor, &a.Action, titleOf(&a.Meter), &a.Body)
	a.At = fromMicros(at)
	return a, err
}

// ListAudit implements audit.Store.
func (s *Store) ListAudit(ctx context.Context, f audit.Filter) ([]audit.Row, error) {
	query := `SELECT ` + auditColumns + ` FROM audit_entries WHERE 1 = 1`
	var args []any
	if !f.Meter.IsZero() {
		query, args = query+` AND meter = ?`, append(args, f.Meter[:])
	}
	if f.Action != "" {
		query, args = query+` AND action = ?`, append(args, string(f.Action))
	}
	if f.After > 0 && f.Newest {
		query, args = query+` AND id < ?`, append(args, f.After)
	} else if f.After > 0 {
		query, args = query+` AND id > ?`, append(args, f.After)
	}
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	order := ` ORDER BY id LIMIT ?`
	if f.Newest {
		order = ` ORDER BY id DESC LIMIT ?`
	}
	return list(ctx, s, scanAuditRow, query+order, append(args, f.Limit)...)
}

// UnnumberedAudit implements audit.Store. Entries are numbered in the order of their ids, so all those without a leaf
// come after the last one that has one.
func (s *Store) UnnumberedAudit(ctx context.Context, limit int) ([]audit.Row, error) {
	return list(ctx, s, scanAuditRow, `SELECT `+auditColumns+` FROM audit_entries
		WHERE id > coalesce((SELECT entry FROM audit_leaves ORDER BY n DESC LIMIT 1), 0) ORDER BY id LIMIT ?`, limit)
}

// AuditSize implements audit.Store.
func (s *Store) AuditSize(ctx context.Context) (int64, error) {
	return one(ctx, s, scanInt, `SELECT coalesce(max(n) + 1, 0) FROM audit_leaves`)
}

// SaveAuditLeaves implements audit.Store.
func (s *Store) SaveAuditLeaves(ctx context.Context, leaves []audit.Leaf, first int64, hashes []audit.Hash) error {
	err := s.insertEach(ctx, `INSERT INTO audit_leaves (n, entry) VALUES (?, ?)`, len(leaves),
		func(i int) []any { return []any{leaves[i].N, leaves[i].ID} })
	if err != nil {
		return err
	}
	return s.insertEach(ctx, `INSERT INTO audit_hashes (idx, hash) VALUES (?, ?)`, len(hashes),
		func(i int) []any { return []any{first + int64(i), hashes[i][:]} })
}

// AuditHashes implements audit.Store.
func (s *Store) AuditHashes(ctx context.Context, indexes []int64) ([]audit.Hash, error) {
	rows, err := each(ctx, s, indexes, func(i int64) []any { return []any{i} },
		func(r scanner) (h audit.Hash, err error) { return h, r.Scan(bytesOf(h[:])) },
		`SELECT hash FROM audit_hashes WHERE idx = ?`)
	if err != nil {
		return nil, err
	}
	out := make([]audit.Hash, len(indexes))
	for i := range indexes {
		if len(rows[i]) == 0 {
			return nil, fmt.Errorf("store: audit hash %d is missing", indexes[i])
		}
		out[i] = rows[i][0]
	}
	return out, nil
}

// AuditLeaves implements audit.Store.
func (s *Store) AuditLeaves(ctx context.Context, first int64, limit int) ([]audit.Leaf, error) {
	return list(ctx, s, func(r scanner) (l audit.Leaf, err error) { return l, r.Scan(&l.N, &l.ID, &l.Body) },
		`SELECT l.n, l.entry, e.body FROM audit_leaves l JOIN audit_entries e ON e.id = l.entry
		WHERE l.n >= ? ORDER BY l.n LIMIT ?`, first, limit)
}
