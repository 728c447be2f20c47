package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
)

// Changes is the table of key changes; it implements rotation.Store.
type Changes struct{ s *Store }

// Changes returns the table of key changes.
func (s *Store) Changes() Changes { return Changes{s} }

var _ rotation.Store = Changes{}

const changeColumns = `id, meter, concentrator, role, from_version, to_version, step, reason, attempts, tried, searched,
	due_at, last_error, created_at, done_at`

// Update implements rotation.Store.
func (c Changes) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	return c.s.Update(ctx, fn)
}

// Ask inserts a change for each key that has no open one. Its concentrator is the one that the meter is under by now,
// whatever the caller has read before; a meter under none, or one that was given away, is passed over.
func (c Changes) Ask(ctx context.Context, changes []rotation.Change) (n int, err error) {
	err = c.s.Update(ctx, func(ctx context.Context) error {
		inserted, err := c.ask(ctx, changes)
		n = int(inserted)
		return err
	})
	return n, err
}

func (c Changes) ask(ctx context.Context, changes []rotation.Change) (int64, error) {
	n, err := c.s.execEach(ctx, `INSERT INTO changes (meter, concentrator, role, role_order, from_version, to_version,
		step, reason, attempts, tried, due_at, last_error, created_at, done_at)
		SELECT title, concentrator, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, ?8, '', ?9, 0 FROM meters
		WHERE title = ?1 AND concentrator IS NOT NULL AND state = 'enrolled' ON CONFLICT DO NOTHING`,
		len(changes), func(i int) []any {
			ch := changes[i]
			return []any{
				ch.Meter[:], int(ch.Role), slices.Index(role.Associations(), ch.Role), ch.From, ch.To,
				string(ch.Step), ch.Reason, micros(ch.DueAt), micros(ch.CreatedAt),
			}
		})
	if err != nil {
		return 0, fmt.Errorf("insert key changes: %w", err)
	}
	return n, nil
}

// Due returns the open changes whose time has come, the first by role of each meter. One that waits for its next try
// holds no other role up: a stuck CC_LAN must not keep an ended grant alive. One that is due beyond the horizon was
// written by a clock that was ahead, and is due now. What is under a concentrator that another node has leased is not in
// the answer. OFFSET has PostgreSQL look for the others of each meter by their index, whatever it thinks of the sizes. The "+" keeps the engines from another index than that of the order: a campaign has many rows that are due at
// once, of which a pass wants the first few.
func (c Changes) Due(ctx context.Context, now, horizon time.Time, limit int) ([]rotation.Change, error) {
	return list(ctx, c.s, scanChange, plannedAnew+`SELECT `+changeColumns+` FROM changes c
		WHERE done_at = 0 AND (+due_at <= ?1 OR +due_at > ?2) AND NOT EXISTS (SELECT 1 FROM changes o
			WHERE o.meter = c.meter AND o.done_at = 0 AND o.role_order < c.role_order AND (o.due_at <= ?1 OR o.due_at > ?2)
			LIMIT 1 OFFSET 0)
		AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.kind = ?3 AND l.subject = c.concentrator
			AND l.until > ?1 AND l.until <= ?4 AND l.owner <> ?5)
		ORDER BY concentrator, id LIMIT ?6`, micros(now), micros(horizon), lease.KindConcentrator,
		micros(now.Add(lease.Horizon)), c.s.nodeName(), limit)
}

// Save writes how far each change has come, all or none. A change whose meter was moved since it was read is
// rotation.ErrMoved: what was done for it was done under another concentrator, and the row may say otherwise by now.
func (c Changes) Save(ctx context.Context, changes []rotation.Change) error {
	return c.s.Update(ctx, func(ctx context.Context) error {
		var open, done []rotation.Change
		for _, ch := range changes {
			if ended := ch.Step == rotation.StepDone; ended == ch.DoneAt.IsZero() {
				return fmt.Errorf("key change %d: step %s, and done at %s", ch.ID, ch.Step, ch.DoneAt)
			} else if ended {
				done = append(done, ch)
			} else {
				open = append(open, ch)
			}
		}
		n, err := c.save(ctx, open, ``)
		if err != nil {
			return err
		}
		m, err := c.save(ctx, done, `, done_at = ?`)
		if err == nil && n+m != int64(len(changes)) {
			err = fmt.Errorf("%d of %d key changes: %w", int64(len(changes))-n-m, len(changes), rotation.ErrMoved)
		}
		return err
	})
}

// save writes changes that stay open, or that are done: then done_at is set as well. SQLite brings the indexes of every
// column up to date that an UPDATE names, and PostgreSQL those of the whole row if one of them has changed: what an open
// change goes through stands in none.
func (c Changes) save(ctx context.Context, changes []rotation.Change, doneAt string) (int64, error) {
	return c.s.execEach(ctx, `UPDATE changes SET from_version = ?, to_version = ?, step = ?, attempts = ?, tried = ?, searched = ?,
		due_at = ?, last_error = ?`+doneAt+` WHERE id = ? AND concentrator = ?`, len(changes), func(i int) []any {
		ch := changes[i]
		args := []any{ch.From, ch.To, string(ch.Step), ch.Attempts, ch.Tried, ch.Searched, micros(ch.DueAt), text(ch.LastError)}
		if doneAt != `` {
			args = append(args, micros(ch.DoneAt))
		}
		return append(args, ch.ID, ch.Concentrator[:])
	})
}

// Open counts what is not done and tells when the next one is due.
func (c Changes) Open(ctx context.Context) (count int, next time.Time, err error) {
	type row struct {
		n   int
		due sql.NullInt64
	}
	r, err := one(ctx, c.s, func(s scanner) (r row, err error) { return r, s.Scan(&r.n, &r.due) },
		`SELECT count(*), min(due_at) FROM changes WHERE done_at = 0`)
	if err != nil || !r.due.Valid {
		return r.n, time.Time{}, err
	}
	return r.n, fromMicros(r.due.Int64), nil
}

// ByReason lists every change asked for with a reason, done or not, oldest first.
func (c Changes) ByReason(ctx context.Context, reason string) ([]rotation.Change, error) {
	return list(ctx, c.s, scanChange, `SELECT `+changeColumns+` FROM changes WHERE reason = ? ORDER BY id`, reason)
}

// Last returns the newest change of a key, or ErrNotFound.
func (c Changes) Last(ctx context.Context, k rotation.MeterRole) (rotation.Change, error) {
	return one(ctx, c.s, scanChange, `SELECT `+changeColumns+` FROM changes WHERE meter = ? AND role = ?
		ORDER BY id DESC LIMIT 1`, k.Meter[:], int(k.Role))
}

func scanChange(s scanner) (rotation.Change, error) {
	var (
		c                  rotation.Change
		meter, dc          []byte
		r                  int
		step               string
		due, created, done int64
	)
	err := s.Scan(&c.ID, &meter, &dc, &r, &c.From, &c.To, &step, &c.Reason, &c.Attempts, &c.Tried, &c.Searched, &due,
		&c.LastError, &created, &done)
	if err != nil {
		return c, err
	}
	var errM, errD error
	c.Meter, errM = dlms.SystemTitleFromBytes(meter)
	c.Concentrator, errD = dlms.SystemTitleFromBytes(dc)
	c.Role, c.Step = role.Role(r), rotation.Step(step)
	c.DueAt, c.CreatedAt, c.DoneAt = fromMicros(due), fromMicros(created), fromMicros(done)
	return c, errors.Join(errM, errD)
}

// text keeps what a peer said storable: PostgreSQL takes neither a zero byte nor what is no UTF-8.
func text(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD") }
