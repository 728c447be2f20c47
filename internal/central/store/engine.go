package store

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/role"
)

// engine is a database. What SQLite and PostgreSQL do differently is behind it, and nowhere else but in the two
// folders of migrations.
type engine interface {
	// begin opens the writing transaction: there is one at a time, over all processes that work on the database, so
	// that what a transaction reads stays as it is until it commits. What it reads first is asked for with it.
	begin(ctx context.Context, first opening) (w work, err error)
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

// opening is what a writing transaction reads first.
type opening struct {
	node   string
	leases []lease.Lease
	// epoch is given that of the node, held those of the leases that are held.
	epoch func(int64)
	held  func(lease.Lease)
}

const (
	queryNodeEpoch = `SELECT epoch FROM nodes WHERE name = ?`
	queryLease     = `SELECT token FROM leases WHERE kind = ? AND subject = ? AND owner = ? AND token = ?`
)

// row takes an answer to queryLease.
func (o opening) row(r row) error {
	_, err := scanInt(r)
	if err == nil {
		o.held(o.leases[r.Item()])
	}
	return err
}

func epochOf(ctx context.Context, s session, node string) (epoch int64, err error) {
	if node == "" {
		return 0, nil
	}
	err = s.query(ctx, queryNodeEpoch, []any{node}, func(r scanner) error { return r.Scan(&epoch) })
	return epoch, err
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
	// part begins a part of the transaction that can fail alone. It ends with keep, or with undo, which takes back what it
	// wrote. An error of one of the three means that the transaction cannot go on.
	part(ctx context.Context) error
	keep(ctx context.Context) error
	undo(ctx context.Context) error
	// last says that what is written from here on is not read any more in the transaction, and that nobody asks how many
	// rows it changed: it may be run with the commit.
	last()
	// commit makes it durable before it returns nil.
	commit(ctx context.Context) error
	// rollback ends it. After a commit it does nothing.
	rollback()
}

// The three statements behind part, keep and undo; they read the same in both engines.
const (
	savepoint     = `SAVEPOINT part`
	savepointEnd  = `RELEASE SAVEPOINT part`
	savepointUndo = `ROLLBACK TO SAVEPOINT part`
)

// plannedAnew begins a query that PostgreSQL plans each time: the table that it reads is empty at one time and has a
// million rows at another, and a plan that was made for the one takes hours with the other.
const plannedAnew = `/* planned anew */ `

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
