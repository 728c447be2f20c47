package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
)

var _ audit.Store = (*Store)(nil)

// auditRows is the group of what AppendAudit leaves for the end of the transaction.
type auditRows struct{}

// AppendAudit implements audit.Store. The rows of all parts of a transaction are written together, as its last act; what
// could be refused then, and would take the others with it, is refused here.
func (s *Store) AppendAudit(ctx context.Context, rows []audit.Row) error {
	for _, r := range rows {
		if a, b := string(r.Actor), string(r.Action); a != text(a) || b != text(b) {
			return fmt.Errorf("audit: actor %q, action %q: want text", a, b)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return s.BeforeCommit(ctx, auditRows{}, rows, s.insertAudit)
}

func (s *Store) insertAudit(ctx context.Context, parts []any) error {
	var rows []audit.Row
	for _, p := range parts {
		rows = append(rows, p.([]audit.Row)...) //nolint:errcheck,forcetypeassert // AppendAudit leaves nothing else
	}
	return s.insertEach(ctx, `INSERT INTO audit_entries (at, actor, action, meter, meters, body) VALUES (?, ?, ?, ?, ?, ?)`,
		len(rows), func(i int) []any {
			r := rows[i]
			return []any{micros(r.At), string(r.Actor), string(r.Action), nullTitle(r.Meter), nullBytes(r.Meters), r.Body}
		})
}

// nullTitle stores no title as NULL.
func nullTitle(t dlms.SystemTitle) any {
	if t.IsZero() {
		return nil
	}
	return t[:]
}

// nullBytes stores no bytes as NULL.
func nullBytes(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

const auditColumns = `id, at, actor, action, meter, meters, body`

func scanAuditRow(r scanner) (a audit.Row, err error) {
	var at int64
	err = r.Scan(&a.ID, &at, &a.Actor, &a.Action, titleOf(&a.Meter), &a.Meters, &a.Body)
	a.At = fromMicros(at)
	return a, err
}

// lastNumbered is the id of the newest entry that has a leaf.
const lastNumbered = `coalesce((SELECT entry + entries - 1 FROM audit_leaves ORDER BY n DESC LIMIT 1), 0)`

// appended writes what the transaction that ctx carries has left to be written at its end, so that it can be read in it.
func (s *Store) appended(ctx context.Context) error {
	t := s.tx(ctx)
	if t == nil || !t.write {
		return nil
	}
	var mine []any
	t.parts = slices.DeleteFunc(t.parts, func(p part) bool {
		is := p.group == auditRows{}
		if is {
			mine = append(mine, p.value)
		}
		return is
	})
	return s.insertAudit(ctx, mine)
}

// UnnumberedAudit implements audit.Store. Entries are numbered in the order of their ids, so all those without a leaf
// come after the last one that has one.
func (s *Store) UnnumberedAudit(ctx context.Context, limit int) ([]audit.Row, error) {
	if err := s.appended(ctx); err != nil {
		return nil, err
	}
	return list(ctx, s, scanAuditRow, `SELECT `+auditColumns+` FROM audit_entries
		WHERE id > `+lastNumbered+` ORDER BY id LIMIT ?`, limit)
}

// AuditSize implements audit.Store.
func (s *Store) AuditSize(ctx context.Context) (int64, error) {
	return one(ctx, s, scanInt, `SELECT coalesce(max(n + entries), 0) FROM audit_leaves WHERE n = (SELECT max(n) FROM audit_leaves)`)
}

// auditTile is how many hashes stand in one row at most: few rows to write, and a short one to read where one hash is
// wanted.
const auditTile = 64

// leafRun is a stretch of leaves whose entries follow each other: n of them from leaf and entry on.
type leafRun struct{ leaf, entry, n int64 }

func leafRuns(leaves []audit.Leaf) (runs []leafRun) {
	for _, l := range leaves {
		if last := len(runs) - 1; last >= 0 && runs[last].entry+runs[last].n == l.ID && runs[last].leaf+runs[last].n == l.N {
			runs[last].n++
			continue
		}
		runs = append(runs, leafRun{l.N, l.ID, 1})
	}
	return runs
}

// SaveAuditLeaves implements audit.Store.
func (s *Store) SaveAuditLeaves(ctx context.Context, leaves []audit.Leaf, first int64, hashes []audit.Hash) error {
	runs := leafRuns(leaves)
	err := s.insertEach(ctx, `INSERT INTO audit_leaves (n, entry, entries) VALUES (?, ?, ?)`, len(runs),
		func(i int) []any { return []any{runs[i].leaf, runs[i].entry, runs[i].n} })
	if err != nil {
		return err
	}
	return s.insertEach(ctx, `INSERT INTO audit_hashes (idx, hash) VALUES (?, ?)`, (len(hashes)+auditTile-1)/auditTile,
		func(i int) []any {
			var tile []byte
			for _, h := range hashes[i*auditTile : min((i+1)*auditTile, len(hashes))] {
				tile = append(tile, h[:]...)
			}
			return []any{first + int64(i*auditTile), tile}
		})
}

// auditTileRow is a row of hashes.
type auditTileRow struct {
	first  int64
	hashes []byte
}

// hash returns the hash with an index, if it stands in the row.
func (t auditTileRow) hash(idx int64) (h audit.Hash, ok bool) {
	at := (idx - t.first) * int64(len(h))
	if idx < t.first || at+int64(len(h)) > int64(len(t.hashes)) || len(t.hashes)%len(h) != 0 {
		return h, false
	}
	return audit.Hash(t.hashes[at:][:len(h)]), true
}

// AuditHashes implements audit.Store.
func (s *Store) AuditHashes(ctx context.Context, indexes []int64) ([]audit.Hash, error) {
	rows, err := each(ctx, s, indexes, func(i int64) []any { return []any{i} },
		func(r scanner) (t auditTileRow, err error) { return t, r.Scan(&t.first, &t.hashes) },
		`SELECT idx, hash FROM audit_hashes WHERE idx <= ? ORDER BY idx DESC LIMIT 1`)
	if err != nil {
		return nil, err
	}
	out := make([]audit.Hash, len(indexes))
	for i, idx := range indexes {
		ok := len(rows[i]) > 0
		if ok {
			out[i], ok = rows[i][0].hash(idx)
		}
		if !ok {
			return nil, fmt.Errorf("store: audit hash %d is missing", idx)
		}
	}
	return out, nil
}

// AuditLeaves implements audit.Store.
func (s *Store) AuditLeaves(ctx context.Context, first int64, limit int) ([]audit.Leaf, error) {
	return list(ctx, s, func(r scanner) (l audit.Leaf, err error) { return l, r.Scan(&l.N, &l.ID, &l.Body) },
		`SELECT l.n + (e.id - l.entry), e.id, e.body FROM audit_leaves l
		JOIN audit_entries e ON e.id >= l.entry AND e.id < l.entry + l.entries
		WHERE l.n >= coalesce((SELECT max(n) FROM audit_leaves WHERE n <= ?1), 0) AND l.n + (e.id - l.entry) >= ?1
		ORDER BY l.n, e.id LIMIT ?2`, first, limit)
}
