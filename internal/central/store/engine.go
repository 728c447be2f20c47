package store

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/meterseal/meterseal/internal/role"
)

// engine is a database. What SQLite and PostgreSQL do differently is behind it, and nowhere else but in the two
// folders of migrations.
type engine interface {
	// begin opens the writing transaction: there is one at a time, over all processes that work on the database, so
	// that what a transaction reads stays as it is until it commits. epoch is that of the node (0: it has none), read
	// in the transaction.
	begin(ctx context.Context, node string) (w work, epoch int64, err error)
	// view opens a reading transaction on one snapshot.
	view(ctx context.Context) (work, error)
	// read is for single statements that only read.
	read() session
	// isTaken reports whether err is the refusal of a row by a unique index.
	isTaken(err error, index string) bool
	// fingerprintsApart reports whether the fingerprints of keys are a table that is written apart, and not an index of
	// the keys.
	fingerprintsApart() bool
	close() error
}

// session runs statements. A statement is written with "?" or "?1" for its arguments. The functions that are handed in
// must not use the session: the answer is still being read.
type session interface {
	// exec runs a statement and returns how many rows it changed.
	exec(ctx context.Context, query string, args []any) (int64, error)
	// execEach runs a statement n times and returns how many rows all of them changed.
	execEach(ctx context.Context, query string, n int, args func(i int) []any) (int64, error)
	// query hands every row to each.
	query(ctx context.Context, query string, args []any, each func(scanner) error) error
	// queryEach runs a query n times and hands every row of all answers to each, those of one answer in their order.
	queryEach(ctx context.Context, query string, n int, args func(i int) []any, each func(row) error) error
}

// work is an open transaction.
type work interface {
	session
	// commit makes it durable before it returns nil.
	commit(ctx context.Context) error
	// rollback ends it. After a commit it does nothing.
	rollback()
}

// The three statements that let a part of a transaction fail alone; they read the same in both engines.
const (
	savepoint      = `SAVEPOINT part`
	savepointEnd   = `RELEASE SAVEPOINT part`
	savepointUndo  = `ROLLBACK TO SAVEPOINT part`
	queryNodeEpoch = `SELECT epoch FROM nodes WHERE name = ?`
)

// scanner is one row.
type scanner interface{ Scan(dest ...any) error }

// row is a row of one of many answers.
type row interface {
	scanner
	// Item says, once the row was scanned, whose answer it is.
	Item() int
}

// rowOf is a row of the i-th answer.
type rowOf struct {
	scanner
	i int
}

// Item implements row.
func (r rowOf) Item() int { return r.i }

// bind brings arguments to the few types that both engines store in one way: int64, string, []byte, nil.
func bind(args []any) ([]any, error) {
	for i, a := range args {
		switch v := a.(type) {
		case nil, int64, string, []byte:
		case int:
			args[i] = int64(v)
		case uint8:
			args[i] = int64(v)
		case uint32:
			args[i] = int64(v)
		case role.Role:
			args[i] = int64(v)
		default:
			c, err := driver.DefaultParameterConverter.ConvertValue(a)
			if err != nil {
				return nil, fmt.Errorf("store: argument %d: %w", i+1, err)
			}
			args[i] = c
		}
	}
	return args, nil
}
