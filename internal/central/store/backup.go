package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// ErrNoBackup is returned where the database has tools of its own for it.
var ErrNoBackup = errors.New("store: a PostgreSQL database is backed up with its own tools (pg_basebackup, or pg_dump of one snapshot)")

// Backup writes a copy of the database, as it stands after the last commit, to a file that must not exist. It holds no
// writer up. Restored, it is a database of the past: what was committed since is in the key journal alone.
func (s *Store) Backup(ctx context.Context, path string) error {
	e, ok := s.engine.(*sqliteEngine)
	if !ok {
		return ErrNoBackup
	}
	if err := createPrivateNew(path); err != nil {
		return fmt.Errorf("store: backup: %w", err)
	}
	if err := e.backup(ctx, path); err != nil {
		return errors.Join(fmt.Errorf("store: backup: %w", err), os.Remove(path))
	}
	return syncFile(path)
}

// backup has a connection of its own: the readers may write nothing, another file included, and the writer is busy.
func (e *sqliteEngine) backup(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: e.path, RawQuery: "_pragma=busy_timeout(10000)"}).String())
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, path)
	return errors.Join(err, db.Close())
}

// createPrivateNew makes an empty file that only its owner can read: SQLite writes into it without changing its mode.
func createPrivateNew(path string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func syncFile(path string) error {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Shared reports whether several processes may share the database; such a one is backed up with its own tools.
func (s *Store) Shared() bool {
	_, file := s.engine.(*sqliteEngine)
	return !file
}
