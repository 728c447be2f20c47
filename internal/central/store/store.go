package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// FileName is the name of the database in its data directory.
const FileName = "meterseal.db"

// Errors that callers test for.
var (
	// ErrNewer is returned for a data directory written by a newer program.
	ErrNewer = errors.New("written by a newer version of meterseal")
	// ErrNotFound is returned where one row was asked for and none is there.
	ErrNotFound = sql.ErrNoRows
	// ErrWriteOutsideUpdate is a programming error: a write with a context that carries no transaction.
	ErrWriteOutsideUpdate = errors.New("store: write outside of Update")
	// ErrNested is returned by Durable inside another Update: it could not keep its promise.
	ErrNested = errors.New("store: a durable step cannot be part of another update")
)

// Options of Open. The zero value works.
type Options struct {
	// Log receives what an operator should know. Nothing by default.
	Log *slog.Logger
	// Readers is the number of read connections, 4 by default.
	Readers int
}

// Store is one open data directory. It is safe for concurrent use; there is one writer at a time.
type Store struct {
	log    *slog.Logger
	lock   *dirLock
	writer *sql.DB
	reader *sql.DB

	write sync.Mutex // serializes Update, in front of the writer's only connection
}

// Open opens the data directory dir, creates it (0700) if there is none, and brings its schema up to date. Only
// one process may have it open.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{log: o.Log, lock: lock}
	if err := s.openDatabase(ctx, dir, o.Readers); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", dir, err), s.Close())
	}
	return s, nil
}

func (s *Store) openDatabase(ctx context.Context, dir string, readers int) error {
	abs, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return err
	}
	if err := createPrivate(abs); err != nil {
		return err
	}
	if s.writer, err = sql.Open("sqlite", dsn(abs, false)); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	if err := migrate(ctx, s.writer); err != nil {
		return err
	}
	if s.reader, err = sql.Open("sqlite", dsn(abs, true)); err != nil {
		return err
	}
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	return nil
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

// dsn builds the connection string. synchronous=FULL makes a commit durable before it returns, which laws 4 and 8
// rest on; the writer takes its lock at BEGIN so that a read followed by a write cannot fail half-way.
func dsn(path string, readOnly bool) string {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	} else {
		q.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// Close closes the data directory.
func (s *Store) Close() error {
	var errs []error
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	return errors.Join(append(errs, s.lock.release())...)
}

// micros is how a time is stored: microseconds since 1970, UTC; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros reads what micros wrote, in UTC.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
