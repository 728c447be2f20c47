package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Errors of PostgreSQL that callers test for.
var (
	// ErrNotDurable is returned for a server that answers a commit before it is on disk.
	ErrNotDurable = errors.New("PostgreSQL: a commit is not durable")
	// ErrPassword is returned for a URL with a password in it.
	ErrPassword = errors.New("PostgreSQL: a password in the URL can be read by others: put it in the file that PGPASSFILE names (~/.pgpass), or in PGPASSWORD")
)

// lockClass is the first half of the advisory lock that makes the writing transactions of all processes come one by
// one; the second half is the schema's. "MS".
const lockClass = 0x4D53

// Bounds of the server's patience. A process that is paused inside a transaction holds every other up until the server
// ends its session; one that waits for its turn gives up after a while.
const (
	idleInTransaction = 10 * time.Second
	lockTimeout       = time.Minute
)

// postgresEngine is a database that several processes share.
type postgresEngine struct {
	pool *pgxpool.Pool
	// writer is a pool of one connection, that of the one who writes: it does not wait for those who read.
	writer *pgxpool.Pool
	schema int32
	sqls   sync.Map // statements with "?", and the same with "$1"
	// togethers are statements with "?", and how they are written for many rows.
	togethers sync.Map
}

var _ engine = (*postgresEngine)(nil)

func openPostgres(ctx context.Context, url string, readers int) (e *postgresEngine, err error) {
	cfg, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	e = &postgresEngine{}
	for pool, conns := range map[**pgxpool.Pool]int32{&e.pool: int32(readers), &e.writer: 1} {
		cfg := cfg.Copy()
		cfg.MaxConns = conns
		if *pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
			return nil, errors.Join(fmt.Errorf("PostgreSQL: %w", err), e.close())
		}
	}
	if err := e.prepare(ctx); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// postgresConfig reads a URL as pgx does, with PGHOST, PGPASSFILE and the others of libpq. Its errors never show a
// password.
func postgresConfig(url string) (*pgxpool.Config, error) {
	if err := CheckURL(url); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "meterseal"
	}
	params["idle_in_transaction_session_timeout"] = strconv.FormatInt(idleInTransaction.Milliseconds(), 10)
	params["lock_timeout"] = strconv.FormatInt(lockTimeout.Milliseconds(), 10)
	return cfg, nil
}

// CheckURL refuses what is no URL of PostgreSQL, and one with a password in it: a command line and a configuration file
// are read by others.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return errors.New("store: want postgres://user@host:port/database") // what was given may hold a password
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return ErrPassword
	}
	return nil
}

// prepare brings the schema up to date, one process at a time, and refuses a server whose commits are not durable.
func (e *postgresEngine) prepare(ctx context.Context) error {
	conn, err := e.writer.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	defer conn.Release()
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := conn.QueryRow(ctx, `SELECT current_setting($1)`, setting).Scan(&value); err != nil {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
		if value == "off" {
			return fmt.Errorf("%w: %s is off; set it to on in postgresql.conf", ErrNotDurable, setting)
		}
	}
	if err := conn.QueryRow(ctx, `SELECT hashtext(current_schema())`).Scan(&e.schema); err != nil {
		return fmt.Errorf("PostgreSQL: no schema to work in: %w", err)
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, lockClass+1, e.schema); err != nil {
		return fmt.Errorf("PostgreSQL: wait for the schema: %w", err)
	}
	defer func() { _, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock($1, $2)`, lockClass+1, e.schema) }()
	db := stdlib.OpenDBFromPool(e.pool)
	return errors.Join(migrate(ctx, db, goose.DialectPostgres), db.Close())
}

// isTaken implements engine.
func (e *postgresEngine) isTaken(err error, index string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "23505" && refused.ConstraintName == index
}

func (*postgresEngine) fingerprintsApart() bool { return false }

func (e *postgresEngine) close() error {
	for _, pool := range []*pgxpool.Pool{e.pool, e.writer} {
		if pool != nil {
			pool.Close()
		}
	}
	return nil
}

func (e *postgresEngine) view(ctx context.Context) (work, error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	w := &postgresWork{postgresSession: postgresSession{e: e, db: conn.Conn()}, pooled: conn}
	if _, err := conn.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
		w.rollback()
		return nil, err
	}
	return w, nil
}

func (e *postgresEngine) read() session { return postgresSession{e: e, db: e.pool} }

// numbered writes "?" and "?1" as "$1".
func (e *postgresEngine) numbered(query string) string {
	if s, ok := e.sqls.Load(query); ok {
		return s.(string) //nolint:errcheck,forcetypeassert // only strings are stored
	}
	out := numbered(query)
	e.sqls.Store(query, out)
	return out
}

func numbered(query string) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(query); i++ {
		switch {
		case query[i] != '?':
			b.WriteByte(query[i])
		case i+1 < len(query) && query[i+1] >= '0' && query[i+1] <= '9':
			b.WriteByte('$')
		default:
			n++
			b.WriteString("$" + strconv.Itoa(n))
		}
	}
	return b.String()
}

// pgxDB is what a connection and a pool have in common.
type pgxDB interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// postgresSession is a connection or the pool.
type postgresSession struct {
	e  *postgresEngine
	db pgxDB
	// ahead are statements that go to the server together with the next one, in one round trip. nil: there are none, ever.
	ahead *ahead
}

func (s postgresSession) exec(ctx context.Context, query string, args []any) (int64, error) {
	args, err := bind(args)
	if err != nil {
		return 0, err
	}
	return s.send(ctx, s.e.numbered(query), args)
}

func (s postgresSession) query(ctx context.Context, query string, args []any, each func(scanner) error) error {
	args, err := bind(args)
	if err != nil {
		return err
	}
	return s.ask(ctx, s.e.numbered(query), args, each)
}

func drainPgx(rows pgx.Rows, each func(scanner) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// maxPipelined is how many statements go to the server in one round trip.
const maxPipelined = 512

// execEach runs a statement for many rows at once where that is possible, and else sends as many statements without waiting
// for the answer of each.
func (s postgresSession) execEach(ctx context.Context, query string, n int, args func(int) []any) (changed int64, err error) {
	if changed, done, err := s.execTogether(ctx, query, n, args); done || err != nil {
		return changed, err
	}
	row, plain := insertedRow(query)
	// PostgreSQL refuses to touch a row twice in one statement.
	plain = plain && !strings.Contains(query, "DO UPDATE")
	for i := 0; i < n; {
		b := s.batch()
		for i < n && b.Len() < maxPipelined {
			rows := 1
			if plain {
				rows = rowsOf(n - i)
			}
			var all []any
			for j := range rows {
				bound, err := bind(args(i + j))
				if err != nil {
					return 0, err
				}
				all = append(all, bound...)
			}
			b.Queue(s.e.numbered(manyRows(query, row, rows)), all...).Exec(func(tag pgconn.CommandTag) error {
				changed += tag.RowsAffected()
				return nil
			})
			i += rows
		}
		if err := s.db.SendBatch(ctx, b).Close(); err != nil {
			return 0, err
		}
	}
	return changed, nil
}

// insertedRow finds the row of an INSERT ... VALUES (...) that can be written with many rows.
func insertedRow(query string) (row string, ok bool) {
	if !strings.HasPrefix(query, "INSERT ") {
		return "", false
	}
	_, rest, ok := strings.Cut(query, "VALUES ")
	if !ok {
		return "", false
	}
	end := strings.IndexByte(rest, ')')
	return rest[:end+1], end > 0
}

// rowsOf says how many rows go into one statement: powers of two, so that few different statements have to be
// prepared.
func rowsOf(left int) int {
	for rows := 64; rows > 1; rows /= 2 {
		if left >= rows {
			return rows
		}
	}
	return 1
}

func manyRows(query, row string, rows int) string {
	if rows == 1 {
		return query
	}
	return strings.Replace(query, row, row+strings.Repeat(", "+row, rows-1), 1)
}

func (s postgresSession) queryEach(ctx context.Context, query string, n int, args func(int) []any,
	each func(row) error,
) error {
	if done, err := s.queryTogether(ctx, query, n, args, each); done || err != nil {
		return err
	}
	for first := 0; first < n; first += maxPipelined {
		b := s.batch()
		for i := first; i < min(n, first+maxPipelined); i++ {
			bound, err := bind(args(i))
			if err != nil {
				return err
			}
			b.Queue(s.e.numbered(query), bound...).Query(func(rows pgx.Rows) error {
				return drainPgx(rows, func(r scanner) error { return each(rowOf{r, i}) })
			})
		}
		if err := s.db.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
	}
	return nil
}
