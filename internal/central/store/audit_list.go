package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
)

// auditLimit is how many records are listed where no limit is given.
const auditLimit = 1000

// ListAudit implements audit.Store.
func (s *Store) ListAudit(ctx context.Context, f audit.Filter) (out []audit.Row, err error) {
	if f.Limit <= 0 {
		f.Limit = auditLimit
	}
	if err := s.appended(ctx); err != nil {
		return nil, err
	}
	if f.Meter.IsZero() {
		return s.listAudit(ctx, f)
	}
	err = s.View(ctx, func(ctx context.Context) error {
		out, err = s.listAuditOf(ctx, f)
		return err
	})
	return out, err
}

func (s *Store) listAudit(ctx context.Context, f audit.Filter) ([]audit.Row, error) {
	query := `SELECT ` + auditColumns + ` FROM audit_entries WHERE 1 = 1`
	var args []any
	if f.Action != "" {
		query, args = query+` AND action = ?`, append(args, string(f.Action))
	}
	if f.After > 0 && f.Newest {
		query, args = query+` AND id < ?`, append(args, f.After)
	} else if f.After > 0 {
		query, args = query+` AND id > ?`, append(args, f.After)
	}
	order := ` ORDER BY id LIMIT ?`
	if f.Newest {
		order = ` ORDER BY id DESC LIMIT ?`
	}
	return list(ctx, s, scanAuditRow, query+order, append(args, f.Limit)...)
}

// listAuditOf lists the records of one meter.
func (s *Store) listAuditOf(ctx context.Context, f audit.Filter) (out []audit.Row, err error) {
	ids, err := s.auditIDs(ctx, f.Meter)
	if err != nil {
		return nil, err
	}
	if f.Newest {
		slices.Reverse(ids)
	}
	if f.After > 0 {
		ids = slices.DeleteFunc(ids, func(id int64) bool { return id == f.After || f.Newest != (id < f.After) })
	}
	for some := range slices.Chunk(ids, auditLimit) {
		rows, err := each(ctx, s, some, func(id int64) []any { return []any{id} }, scanAuditRow,
			`SELECT `+auditColumns+` FROM audit_entries WHERE id = ?`)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if len(r) == 0 || f.Action != "" && r[0].Action != f.Action {
				continue
			}
			if out = append(out, r[0]); len(out) == f.Limit {
				return out, nil
			}
		}
	}
	return out, nil
}

// auditIDs lists the records that name a meter: alone, among others, and among those that have no number yet.
func (s *Store) auditIDs(ctx context.Context, meter dlms.SystemTitle) ([]int64, error) {
	ids, err := list(ctx, s, scanInt, `SELECT id FROM audit_entries WHERE meter = ?`, meter[:])
	if err != nil {
		return nil, err
	}
	numbered, err := list(ctx, s, scanMention, `SELECT entry, entries FROM audit_mentions WHERE meter = ?`, meter[:])
	if err != nil {
		return nil, err
	}
	for _, m := range numbered {
		ids = append(ids, m...)
	}
	type fresh struct {
		id     int64
		meters []byte
	}
	tail, err := list(ctx, s, func(r scanner) (f fresh, err error) { return f, r.Scan(&f.id, &f.meters) },
		`SELECT id, meters FROM audit_entries WHERE id > `+lastNumbered+` AND meters IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	for _, t := range tail {
		for m := range slices.Chunk(t.meters, len(meter)) {
			if string(m) == string(meter[:]) {
				ids = append(ids, t.id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// SaveAuditMentions implements audit.Store. The entries stand as the differences of their ids, the first one in a column
// of its own.
func (s *Store) SaveAuditMentions(ctx context.Context, ms []audit.Mention) error {
	return s.insertEach(ctx, `INSERT INTO audit_mentions (meter, entry, entries) VALUES (?, ?, ?)`, len(ms), func(i int) []any {
		m := ms[i]
		more := make([]byte, 0, 2*len(m.IDs))
		for k := 1; k < len(m.IDs); k++ {
			more = binary.AppendUvarint(more, uint64(m.IDs[k]-m.IDs[k-1]))
		}
		return []any{m.Meter[:], m.IDs[0], more}
	})
}

var errMention = errors.New("store: a mention in the audit log is damaged")

func scanMention(r scanner) (ids []int64, err error) {
	var id int64
	var more []byte
	if err := r.Scan(&id, &more); err != nil {
		return nil, err
	}
	ids = []int64{id}
	for len(more) > 0 {
		d, n := binary.Uvarint(more)
		if n <= 0 {
			return nil, errMention
		}
		id, more = id+int64(d), more[n:]
		ids = append(ids, id)
	}
	return ids, nil
}
