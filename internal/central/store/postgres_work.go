package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// begin opens the transaction, waits for its turn and reads what it has to in one round trip. The turn is an advisory
// lock that ends with the transaction; each statement behind it sees whatever was committed before. So transactions are as
// serial as SQLite's, no statement fails because of another process, and the numbers of audit entries rise in the
// order of the commits.
func (e *postgresEngine) begin(ctx context.Context, first opening) (work, error) {
	conn, err := e.writer.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	w := &postgresWork{postgresSession: postgresSession{e: e, db: conn.Conn(), ahead: &ahead{}}, pooled: conn}
	b := &pgx.Batch{}
	b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`)
	b.Queue(`SELECT pg_advisory_xact_lock($1, $2)`, lockClass, e.schema)
	if err = e.queueOpening(b, first); err == nil {
		err = conn.SendBatch(ctx, b).Close()
	}
	if err != nil {
		w.rollback()
		return nil, err
	}
	return w, nil
}

func (e *postgresEngine) queueOpening(b *pgx.Batch, first opening) error {
	if first.node != "" {
		b.Queue(e.numbered(queryNodeEpoch), first.node).Query(func(rows pgx.Rows) error {
			return drainPgx(rows, func(r scanner) error {
				var epoch int64
				err := r.Scan(&epoch)
				first.epoch(epoch)
				return err
			})
		})
	}
	if len(first.leases) == 0 {
		return nil
	}
	t, _ := e.together(queryLease)
	c, _, err := t.columnsOf(0, len(first.leases), func(i int) []any { return leaseArgs(first.leases[i]) })
	if err != nil {
		return err
	}
	b.Queue(t.sql(c.types), c.values...).Query(func(rows pgx.Rows) error {
		r := &numberedRow{}
		return drainPgx(rows, func(from scanner) error { r.from = from; return first.row(r) })
	})
	return nil
}

// ahead are statements without an answer that wait for the next one, to go to the server with it.
type ahead struct {
	queries []statement
	all     bool // every statement without an answer waits
}

type statement struct {
	query string
	args  []any
}

// batch begins a batch with what goes ahead. What the server has taken is no longer ahead of the next one.
func (s postgresSession) batch() *pgx.Batch {
	b := &pgx.Batch{}
	if s.ahead == nil {
		return b
	}
	for _, q := range s.ahead.queries {
		b.Queue(q.query, q.args...).Exec(func(pgconn.CommandTag) error {
			s.ahead.queries = s.ahead.queries[1:]
			return nil
		})
	}
	return b
}

func (s postgresSession) waits() bool { return s.ahead != nil && len(s.ahead.queries) > 0 }

// send runs a statement and returns how many rows it changed.
func (s postgresSession) send(ctx context.Context, query string, args []any) (changed int64, err error) {
	if s.ahead != nil && s.ahead.all {
		s.ahead.queries = append(s.ahead.queries, statement{query, args})
		return 0, nil
	}
	if !s.waits() {
		tag, err := s.db.Exec(ctx, query, args...)
		return tag.RowsAffected(), err
	}
	b := s.batch()
	b.Queue(query, args...).Exec(func(tag pgconn.CommandTag) error {
		changed = tag.RowsAffected()
		return nil
	})
	return changed, s.db.SendBatch(ctx, b).Close()
}

// ask runs a query and hands every row to each.
func (s postgresSession) ask(ctx context.Context, query string, args []any, each func(scanner) error) error {
	if !s.waits() {
		if strings.HasPrefix(query, plannedAnew) {
			args = append([]any{pgx.QueryExecModeCacheDescribe}, args...)
		}
		rows, err := s.db.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		return drainPgx(rows, each)
	}
	b := s.batch()
	b.Queue(query, args...).Query(func(rows pgx.Rows) error { return drainPgx(rows, each) })
	return s.db.SendBatch(ctx, b).Close()
}

// postgresWork is a transaction on a connection of a pool.
type postgresWork struct {
	postgresSession
	pooled *pgxpool.Conn
	ended  bool
}

// endTimeout bounds the end of a transaction that nobody waits for any more.
const endTimeout = 5 * time.Second

// errGivenUp is for the parts of a transaction that PostgreSQL has given up.
var errGivenUp = errors.New("a statement of the transaction had failed")

// failed reports whether the server has given the transaction up, or the connection is gone.
func (w *postgresWork) failed() bool { return w.pooled.Conn().PgConn().TxStatus() != 'T' }

// part and keep cost no round trip: their statements go with the next one. They do nothing that could fail, as long as
// the transaction is sound.
func (w *postgresWork) part(context.Context) error {
	w.ahead.queries = append(w.ahead.queries, statement{query: savepoint})
	return nil
}

func (w *postgresWork) keep(context.Context) error {
	if w.failed() {
		return errGivenUp
	}
	if !w.unsent() {
		w.ahead.queries = append(w.ahead.queries, statement{query: savepointEnd})
	}
	return nil
}

// unsent takes back a savepoint that the server has not heard of, and reports whether it was one.
func (w *postgresWork) unsent() bool {
	last := len(w.ahead.queries) - 1
	if last < 0 || w.ahead.queries[last].query != savepoint {
		return false
	}
	w.ahead.queries = w.ahead.queries[:last]
	return true
}

// undo goes back to the savepoint. Where a statement has failed before the savepoint came to be, there is none to go back
// to but one of another part, and the transaction cannot go on.
func (w *postgresWork) undo(ctx context.Context) error {
	failed := w.failed()
	if w.unsent() {
		if failed {
			return errGivenUp
		}
		return nil
	}
	_, err := w.send(ctx, savepointUndo, nil)
	return err
}

func (w *postgresWork) last() { w.ahead.all = true }

func (w *postgresWork) commit(ctx context.Context) error {
	var tag pgconn.CommandTag
	b := w.batch()
	b.Queue(`COMMIT`).Exec(func(t pgconn.CommandTag) error {
		tag = t
		return nil
	})
	if err := w.db.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	w.ended = true
	w.pooled.Release()
	if tag.String() != "COMMIT" { // a statement had failed: the server has rolled all of it back
		return fmt.Errorf("store: commit: %w, and it was rolled back", errGivenUp)
	}
	return nil
}

// rollback ends the transaction. A connection that cannot be brought out of it is closed, which ends it as well.
func (w *postgresWork) rollback() {
	if w.ended {
		return
	}
	w.ended = true
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if _, err := w.db.Exec(ctx, `ROLLBACK`); err != nil {
		_ = w.pooled.Conn().Close(ctx)
	}
	w.pooled.Release()
}
