package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// tx is one open transaction, carried by the context that Update and View hand to their function.
type tx struct {
	sql    *sql.Tx
	write  bool
	failed error // the first error of a joined Update: the outermost one must not commit
}

// key finds the transaction of one store in a context; two stores in one process do not meet.
type key struct{ s *Store }

func (s *Store) tx(ctx context.Context) *tx {
	t, _ := ctx.Value(key{s}).(*tx)
	return t
}

// InUpdate reports whether ctx carries a writing transaction of s.
func (s *Store) InUpdate(ctx context.Context) bool {
	t := s.tx(ctx)
	return t != nil && t.write
}

// Update runs fn in one transaction and commits it, durably, before it returns nil. The context handed to fn
// carries the transaction; fn must use it and no other. An Update inside an Update joins it: if the inner one
// fails, the outer one does not commit, even if it ignores the error.
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	if t := s.tx(ctx); t != nil {
		return t.join(ctx, fn)
	}
	s.write.Lock()
	defer s.write.Unlock()
	return s.run(ctx, s.writer, &tx{write: true}, fn)
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
	return s.run(ctx, s.reader, &tx{}, fn)
}

func (t *tx) join(ctx context.Context, fn func(ctx context.Context) error) error {
	if !t.write {
		return ErrWriteOutsideUpdate
	}
	err := fn(ctx)
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return err
}

func (s *Store) run(ctx context.Context, db *sql.DB, t *tx, fn func(ctx context.Context) error) error {
	begun, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	t.sql = begun
	// After a commit this does nothing. It also ends the transaction when fn panics.
	defer begun.Rollback()
	if err := fn(context.WithValue(ctx, key{s}, t)); err != nil {
		return err
	}
	if t.failed != nil {
		return fmt.Errorf("store: a part of the update had failed: %w", t.failed)
	}
	if err := begun.Commit(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}

// exec writes; ctx must carry a transaction of Update.
func (s *Store) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	t := s.tx(ctx)
	if t == nil || !t.write {
		return nil, ErrWriteOutsideUpdate
	}
	return t.sql.ExecContext(ctx, query, args...)
}

// execEach runs one statement n times, prepared once; args gives the i-th arguments.
func (s *Store) execEach(ctx context.Context, query string, n int, args func(i int) []any) (err error) {
	t := s.tx(ctx)
	if t == nil || !t.write {
		return ErrWriteOutsideUpdate
	}
	if n == 0 {
		return nil
	}
	stmt, err := t.sql.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	for i := range n {
		if _, err := stmt.ExecContext(ctx, args(i)...); err != nil {
			return err
		}
	}
	return nil
}

// querier is what a transaction and a connection pool have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// from returns where reads with ctx go: its transaction, or the read pool.
func (s *Store) from(ctx context.Context) querier {
	if t := s.tx(ctx); t != nil {
		return t.sql
	}
	return s.reader
}

// scanner is one row.
type scanner interface{ Scan(dest ...any) error }

// list runs a query and reads every row with scan.
func list[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := s.from(ctx).QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return drain(rows, scan)
}

func drain[T any](rows *sql.Rows, scan func(scanner) (T, error)) (out []T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
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

// each runs one query per item, prepared once, and reads the rows of each. The answer has one slice per item.
func each[K, T any](ctx context.Context, s *Store, items []K, args func(K) []any, scan func(scanner) (T, error),
	query string,
) (out [][]T, err error) {
	if len(items) == 0 {
		return nil, nil
	}
	stmt, err := s.from(ctx).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	out = make([][]T, len(items))
	for i, item := range items {
		rows, err := stmt.QueryContext(ctx, args(item)...)
		if err != nil {
			return nil, err
		}
		if out[i], err = drain(rows, scan); err != nil {
			return nil, err
		}
	}
	return out, nil
}
