package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // and with it the database/sql driver "sqlite"
)

// FileName is the name of the SQLite database in its data directory.
const FileName = "meterseal.db"

// sqliteEngine is a database file of this process alone.
type sqliteEngine struct {
	path     string
	writerDB *sql.DB
	readerDB *sql.DB
	writer   sqliteSession // one connection, whose statements stay prepared
	reader   sqliteSession
}

var _ engine = (*sqliteEngine)(nil)

func openSQLite(ctx context.Context, dir string, o Options) (e *sqliteEngine, err error) {
	abs, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return nil, err
	}
	if err := createPrivate(abs); err != nil {
		return nil, err
	}
	e = &sqliteEngine{path: abs}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.writerDB, err = sql.Open("sqlite", dsn(abs, o.Volatile, false)); err != nil {
		return e, err
	}
	e.writerDB.SetMaxOpenConns(1)
	if err := migrate(ctx, e.writerDB, goose.DialectSQLite3); err != nil {
		return e, err
	}
	conn, err := e.writerDB.Conn(ctx)
	if err != nil {
		return e, err
	}
	e.writer = sqliteSession{db: conn, conn: conn, kept: map[string]*sql.Stmt{}, lookups: &sync.Map{}}
	if e.readerDB, err = sql.Open("sqlite", dsn(abs, o.Volatile, true)); err != nil {
		return e, err
	}
	e.readerDB.SetMaxOpenConns(o.Readers)
	e.readerDB.SetMaxIdleConns(o.Readers)
	e.reader = sqliteSession{db: e.readerDB, shared: &sync.Map{}, lookups: e.writer.lookups}
	return e, nil
}

// createPrivate makes sure that the database file is readable by its owner alone: SQLite itself would follow the
// umask, and its -wal and -shm files take the mode of the database.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// writerPragmas are for the one connection that writes. An import touches pages all over the table of fingerprints: they
// stay in memory (128 MB at most), and go to the database file once in many commits (a log of 256 MB; a commit is durable in
// the log). What a statement would need to be undone alone is kept in memory, not in a temporary file.
var writerPragmas = []string{"cache_size(-131072)", "wal_autocheckpoint(65536)", "temp_store(2)"}

// dsn builds the connection string. synchronous=FULL makes a commit durable before it returns, which laws 4 and 8
// rest on.
func dsn(path string, volatile, readOnly bool) string {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "foreign_keys(1)"}}
	if volatile {
		q.Add("_pragma", "synchronous(OFF)")
	} else {
		q.Add("_pragma", "synchronous(FULL)")
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	} else {
		q["_pragma"] = append(q["_pragma"], writerPragmas...)
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// begin takes the write lock at once, so that a read followed by a write cannot fail half-way.
func (e *sqliteEngine) begin(ctx context.Context, first opening) (work, error) {
	w := &sqliteWork{sqliteSession: e.writer}
	if _, err := w.exec(ctx, `BEGIN IMMEDIATE`, nil); err != nil {
		return nil, err
	}
	epoch, err := epochOf(ctx, w, first.node)
	if err == nil {
		first.epoch(epoch)
		err = w.queryEach(ctx, queryLease, len(first.leases), func(i int) []any { return leaseArgs(first.leases[i]) }, first.row)
	}
	if err != nil {
		w.rollback()
		return nil, err
	}
	return w, nil
}

func (e *sqliteEngine) view(ctx context.Context) (work, error) {
	conn, err := e.readerDB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &sqliteWork{sqliteSession: sqliteSession{db: conn, conn: conn, lookups: e.writer.lookups}, leave: conn.Close}
	if _, err := conn.ExecContext(ctx, `BEGIN`); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

func (e *sqliteEngine) read() session { return e.reader }

// isTaken implements engine. SQLite names the columns of the index and not the index.
func (e *sqliteEngine) isTaken(err error, index string) bool {
	var refused *sqlite.Error
	table, column, _ := strings.Cut(index, "_")
	return errors.As(err, &refused) && (refused.Code() == sqliteUnique || refused.Code() == sqlitePrimaryKey) &&
		strings.Contains(refused.Error(), table+"."+column)
}

func (*sqliteEngine) fingerprintsApart() bool { return true }

// SQLITE_CONSTRAINT_UNIQUE and SQLITE_CONSTRAINT_PRIMARYKEY.
const (
	sqliteUnique     = 2067
	sqlitePrimaryKey = 1555
)

func (e *sqliteEngine) close() error {
	var errs []error
	if e.reader.shared != nil {
		e.reader.shared.Range(func(_, s any) bool {
			errs = append(errs, s.(*sql.Stmt).Close()) //nolint:errcheck,forcetypeassert // only statements are stored
			return true
		})
	}
	for _, s := range e.writer.kept {
		errs = append(errs, s.Close())
	}
	if e.writer.conn != nil {
		errs = append(errs, e.writer.conn.Close())
	}
	for _, db := range []*sql.DB{e.readerDB, e.writerDB} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// sqlDB is what a connection and a pool have in common.
type sqlDB interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// sqliteSession is a connection or a pool.
type sqliteSession struct {
	db   sqlDB
	conn *sql.Conn
	kept map[string]*sql.Stmt // prepared once for the life of the connection
	// shared is kept of a pool, for many goroutines. Neither: prepared for each call.
	shared  *sync.Map
	lookups *sync.Map // of the queries that were asked
}

// maxKept bounds the statements that stay prepared; the statements of this package are far fewer.
const maxKept = 400

// prepare returns a statement and what to do with it in the end.
func (s sqliteSession) prepare(ctx context.Context, query string) (stmt *sql.Stmt, done func() error, err error) {
	keep := func() error { return nil }
	if stmt := s.kept[query]; stmt != nil {
		return stmt, keep, nil
	}
	if s.shared != nil {
		if known, ok := s.shared.Load(query); ok {
			return known.(*sql.Stmt), keep, nil //nolint:errcheck,forcetypeassert // only statements are stored
		}
	}
	if stmt, err = s.db.PrepareContext(ctx, query); err != nil {
		return nil, nil, err
	}
	if s.shared != nil {
		if first, lost := s.shared.LoadOrStore(query, stmt); lost {
			return first.(*sql.Stmt), stmt.Close, nil //nolint:errcheck,forcetypeassert // only statements are stored
		}
		return stmt, keep, nil
	}
	if s.kept == nil || len(s.kept) >= maxKept {
		return stmt, stmt.Close, nil
	}
	s.kept[query] = stmt
	return stmt, keep, nil
}

func (s sqliteSession) exec(ctx context.Context, query string, args []any) (int64, error) {
	return s.execEach(ctx, query, 1, func(int) []any { return args })
}

func (s sqliteSession) execEach(ctx context.Context, query string, n int, args func(int) []any) (changed int64, err error) {
	if n == 0 {
		return 0, nil
	}
	row, plain := insertedRow(query)
	for i := 0; i < n; {
		rows := 1
		if plain {
			rows = rowsOf(n - i)
		}
		k, err := s.execRows(ctx, manyRows(query, row, rows), i, rows, args)
		if err != nil {
			return 0, err
		}
		changed, i = changed+k, i+rows
	}
	return changed, nil
}

// execRows runs a statement with the arguments of some rows, from the i-th on.
func (s sqliteSession) execRows(ctx context.Context, query string, i, rows int, args func(int) []any) (changed int64, err error) {
	stmt, done, err := s.prepare(ctx, query)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, done()) }()
	var all []any
	for j := range rows {
		bound, err := bind(args(i + j))
		if err != nil {
			return 0, err
		}
		if all = append(all, bound...); rows == 1 {
			all = bound
		}
	}
	res, err := stmt.ExecContext(ctx, all...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s sqliteSession) query(ctx context.Context, query string, args []any, each func(scanner) error) error {
	args, err := bind(args)
	if err != nil {
		return err
	}
	return s.queryOne(ctx, query, args, each)
}

func (s sqliteSession) queryOne(ctx context.Context, query string, args []any, each func(scanner) error) (err error) {
	stmt, done, err := s.prepare(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return drain(rows, each)
}

// queryEach looks at ctx between statements and not in them: each is short, and to watch a context costs more than most.
func (s sqliteSession) queryEach(ctx context.Context, query string, n int, args func(int) []any, each func(row) error) (err error) {
	l, together := s.lookupOf(query)
	short := context.WithoutCancel(ctx)
	for i := 0; i < n && err == nil; {
		rows := 1
		if together {
			rows = rowsOf(n - i)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case rows > 1:
			err = s.queryTogether(short, l, i, rows, args, each)
		default:
			err = s.query(short, query, args(i), func(r scanner) error { return each(rowOf{r, i}) })
		}
		i += rows
	}
	return err
}

func drain(rows *sql.Rows, each func(scanner) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// sqliteWork is a transaction.
type sqliteWork struct {
	sqliteSession
	leave func() error // gives the connection back; nil for the writer, which is kept
	ended bool
}

func (*sqliteWork) last() {}

func (w *sqliteWork) part(ctx context.Context) error { return w.alone(ctx, savepoint) }

func (w *sqliteWork) keep(ctx context.Context) error { return w.alone(ctx, savepointEnd) }

func (w *sqliteWork) undo(ctx context.Context) error { return w.alone(ctx, savepointUndo) }

func (w *sqliteWork) alone(ctx context.Context, query string) error {
	_, err := w.exec(ctx, query, nil)
	return err
}

func (w *sqliteWork) commit(ctx context.Context) error {
	if _, err := w.exec(ctx, `COMMIT`, nil); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	w.ended = true
	return w.giveBack()
}

func (w *sqliteWork) rollback() {
	if w.ended {
		return
	}
	w.ended = true
	// An error means that SQLite has rolled the transaction back already, as it does when the disk is full.
	_, _ = w.exec(context.Background(), `ROLLBACK`, nil)
	_ = w.giveBack()
}

func (w *sqliteWork) giveBack() error {
	if w.leave == nil {
		return nil
	}
	return w.leave()
}
