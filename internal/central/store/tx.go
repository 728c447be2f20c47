package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/defence"
)

// tx is one caller's part of an open transaction, carried by the context that Update and View hand to their function.
type tx struct {
	work   work
	write  bool
	failed error // the first error of a joined Update: the outermost one must not commit
	fences []lease.Lease
	parts  []part
	memo   *memo // of the transaction, nil for one that only reads
}

// key finds the transaction of one database in a context; two databases in one process do not meet.
type key struct{ db *database }

func (s *Store) tx(ctx context.Context) *tx {
	t, _ := ctx.Value(key{s.database}).(*tx)
	return t
}

// InUpdate reports whether ctx carries a writing transaction of s.
func (s *Store) InUpdate(ctx context.Context) bool {
	t := s.tx(ctx)
	return t != nil && t.write
}

// Update runs fn in a transaction and commits it, durably, before it returns nil. The context handed to fn carries the
// transaction; fn must use it and no other. Updates that come at the same time share one commit, each as a part that
// can fail alone; fn may run on another goroutine than the caller's.
//
// An Update inside an Update joins it: if the inner one fails, the outer one does not commit, even if it ignores the
// error. An Update under leases (lease.With) fails with ErrFenced if one of them is no longer held.
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	if t := s.tx(ctx); t != nil {
		return s.join(ctx, t, fn)
	}
	return s.commits.do(ctx, s, fn)
}

// Durable is an Update that refuses to be part of another one: what it wrote is on disk when it returns nil.
// What must be written before a key is used goes through it.
func (s *Store) Durable(ctx context.Context, fn func(ctx context.Context) error) error {
	if s.tx(ctx) != nil {
		return ErrNested
	}
	return s.Update(ctx, fn)
}

// View runs fn on one consistent snapshot. Inside an Update it sees that update's own writes.
func (s *Store) View(ctx context.Context, fn func(ctx context.Context) error) error {
	if s.tx(ctx) != nil {
		return fn(ctx)
	}
	w, err := s.engine.view(ctx)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	// After a commit this does nothing. It also ends the transaction when fn panics.
	defer w.rollback()
	if err := fn(context.WithValue(ctx, key{s.database}, &tx{work: w})); err != nil {
		return err
	}
	return w.commit(ctx)
}

func (s *Store) join(ctx context.Context, t *tx, fn func(ctx context.Context) error) error {
	if !t.write {
		return ErrWriteOutsideUpdate
	}
	err := s.checkFences(ctx, t)
	if err == nil {
		err = fn(ctx)
	}
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return err
}

// checkFences refuses the transaction if a lease that ctx is under is no longer held. There is one writer at a time, so
// what holds here holds until the commit.
func (s *Store) checkFences(ctx context.Context, t *tx) error {
	if s.node != nil && s.node.without.Off(defence.Fencing) {
		return nil
	}
	for _, l := range lease.From(ctx) {
		if slices.Contains(t.fences, l) {
			continue
		}
		held, err := s.holds(ctx, t, l)
		if err != nil {
			return err
		}
		if !held {
			return fmt.Errorf("%w: %s", ErrFenced, l)
		}
		t.fences = append(t.fences, l)
	}
	return nil
}

// part is what a caller leaves to be written once, at the end of the transaction, together with what others leave.
type part struct {
	group any
	value any
	write func(ctx context.Context, parts []any) error
}

// BeforeCommit leaves value to be handed to write, with all the values of the same group that are left in the
// transaction that ctx carries, in order, as its last act before the commit. The values of a part that fails are left
// out. If write fails, nothing is committed. Group must be comparable, and write the same for all of a group.
func (s *Store) BeforeCommit(ctx context.Context, group, value any, write func(ctx context.Context, parts []any) error) error {
	t := s.tx(ctx)
	if t == nil || !t.write {
		return ErrWriteOutsideUpdate
	}
	t.parts = append(t.parts, part{group, value, write})
	return nil
}

// writer returns the transaction to write in.
func (s *Store) writer(ctx context.Context) (work, error) {
	t := s.tx(ctx)
	if t == nil || !t.write {
		return nil, ErrWriteOutsideUpdate
	}
	return t.work, ctx.Err()
}

// exec writes and returns how many rows it changed; ctx must carry a transaction of Update. A statement is never cut in
// the middle: that would end the transaction, which others may share.
func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	w, err := s.writer(ctx)
	if err != nil {
		return 0, err
	}
	return w.exec(context.WithoutCancel(ctx), query, args)
}

// execEach runs one statement n times; args gives the i-th arguments.
func (s *Store) execEach(ctx context.Context, query string, n int, args func(i int) []any) (int64, error) {
	w, err := s.writer(ctx)
	if err != nil || n == 0 {
		return 0, err
	}
	return w.execEach(context.WithoutCancel(ctx), query, n, args)
}

// insertEach is execEach for what either works or fails.
func (s *Store) insertEach(ctx context.Context, query string, n int, args func(i int) []any) error {
	_, err := s.execEach(ctx, query, n, args)
	return err
}

// from returns where reads with ctx go: its transaction, or the read connections.
func (s *Store) from(ctx context.Context) (context.Context, session) {
	t := s.tx(ctx)
	switch {
	case t == nil:
		return ctx, s.engine.read()
	case t.write:
		return context.WithoutCancel(ctx), t.work
	default:
		return ctx, t.work
	}
}

// list runs a query and reads every row with scan.
func list[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) (out []T, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, from := s.from(ctx)
	err = from.query(ctx, query, args, func(r scanner) error {
		v, err := scan(r)
		out = append(out, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// one reads the single row of a query; ErrNotFound if there is none.
func one[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	rows, err := list(ctx, s, scan, query, args...)
	if err == nil && len(rows) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return rows[0], nil
}

// each runs one query per item and reads the rows of each. The answer has one slice per item.
func each[K, T any](ctx context.Context, s *Store, items []K, args func(K) []any, scan func(scanner) (T, error),
	query string,
) ([][]T, error) {
	if len(items) == 0 {
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([][]T, len(items))
	ctx, from := s.from(ctx)
	err := from.queryEach(ctx, query, len(items), func(i int) []any { return args(items[i]) }, func(r row) error {
		v, err := scan(r)
		if err == nil {
			out[r.Item()] = append(out[r.Item()], v)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
