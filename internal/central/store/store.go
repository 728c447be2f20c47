package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/role"
)

// Errors that callers test for.
var (
	// ErrNewer is returned for a database written by a newer program.
	ErrNewer = errors.New("written by a newer version of meterseal")
	// ErrNotFound is returned where one row was asked for and none is there.
	ErrNotFound = sql.ErrNoRows
	// ErrWriteOutsideUpdate is a programming error: a write with a context that carries no transaction.
	ErrWriteOutsideUpdate = errors.New("store: write outside of Update")
	// ErrNested is returned by Durable inside another Update: it could not keep its promise.
	ErrNested = errors.New("store: a durable step cannot be part of another update")
	// ErrFenced is returned for a write under a lease that was lost, or of a node whose name another process has taken.
	ErrFenced = lease.ErrFenced
)

// Options of Open. The zero value works: SQLite in the data directory.
type Options struct {
	// URL is a PostgreSQL database, postgres://user@host:port/database, without a password. SQLite when empty.
	URL string
	// Log receives what an operator should know. Nothing by default.
	Log *slog.Logger
	// Volatile does not wait for the disk (SQLite alone): what was committed survives the process, not the machine. For
	// simulations.
	Volatile bool
	// Readers is the number of read connections, 4 by default.
	Readers int
	// Zone is that of the meters' clocks, in which they count days: role.MetersZone by default.
	Zone *time.Location
}

// Store is one open database, as one node of the central system sees it (see As). It is safe for concurrent use; there
// is one writer at a time.
type Store struct {
	*database
	node *node // nil: no node, nothing to check
}

// database is what the nodes that one process holds have in common.
type database struct {
	log     *slog.Logger
	lock    *dirLock
	engine  engine
	commits commits
	zone    *time.Location // of the meters' clocks
}

// Open opens the database of the data directory dir and brings its schema up to date. The directory is created (0700)
// if there is none, and only one process may have it open: with PostgreSQL too, for the vault and the key journal of
// this process are in it.
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
	if o.Zone == nil {
		o.Zone = role.MetersZone()
	}
	db := &database{log: o.Log, lock: lock, zone: o.Zone}
	db.commits = commits{db: db, turn: make(chan struct{}, 1)}
	if o.URL != "" {
		db.engine, err = asEngine(openPostgres(ctx, o.URL, o.Readers))
	} else if db.engine, err = asEngine(openSQLite(ctx, dir, o)); err != nil {
		err = fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return &Store{database: db}, nil
}

// asEngine keeps a nil pointer from becoming an engine that is not nil.
func asEngine[E engine](e E, err error) (engine, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Close closes the database, for all its nodes, and gives the data directory up.
func (db *database) Close() error { return errors.Join(db.engine.close(), db.lock.release()) }

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
