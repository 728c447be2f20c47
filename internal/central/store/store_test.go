package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func addTitle(ctx context.Context, s *Store, title string) error {
	_, err := s.exec(ctx, `INSERT INTO titles (title, kind, created_at) VALUES (?, 'meter', 1)`, []byte(title))
	return err
}

func countTitles(t *testing.T, s *Store) int {
	t.Helper()
	n, err := one(t.Context(), s, func(r scanner) (n int, err error) { return n, r.Scan(&n) }, `SELECT count(*) FROM titles`)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenRefusesADirectoryInUseAndNamesTheProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(t.Context(), dir, Options{})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "pid ") {
		t.Fatalf("second open: want ErrInUse with the pid, got %v", err)
	}
}

func TestOpenAfterCloseFindsWhatWasCommitted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a ?%b")
	s := open(t, dir)
	if err := s.Update(t.Context(), func(ctx context.Context) error { return addTitle(ctx, s, "MSL00001") }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := countTitles(t, open(t, dir)); n != 1 {
		t.Fatalf("want 1 title after reopening, got %d", n)
	}
}

func TestOpenMakesFilesReadableByTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	if err := s.Update(t.Context(), func(ctx context.Context) error { return addTitle(ctx, s, "MSL00001") }); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 {
		t.Fatalf("want lock, database and WAL, got %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: want no rights for others, got %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	err := s.Update(t.Context(), func(ctx context.Context) error {
		_, err := s.exec(ctx, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrNewer) {
		t.Fatalf("want ErrNewer, got %v", err)
	}
	// The refusal must have let go of the lock.
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrNewer) {
		t.Fatalf("want ErrNewer again, got %v", err)
	}
}

func TestUpdateRollsBackWhenAnyPartFails(t *testing.T) {
	s := open(t, t.TempDir())
	boom := errors.New("boom")
	err := s.Update(t.Context(), func(ctx context.Context) error {
		if err := addTitle(ctx, s, "MSL00001"); err != nil {
			return err
		}
		_ = s.Update(ctx, func(context.Context) error { return boom }) // ignored, and still no commit
		return nil
	})
	if !errors.Is(err, boom) {
		t.Fatalf("want the inner error, got %v", err)
	}
	if n := countTitles(t, s); n != 0 {
		t.Fatalf("want nothing written, got %d titles", n)
	}
}

func TestUpdateEndsItsTransactionWhenTheFunctionPanics(t *testing.T) {
	s := open(t, t.TempDir())
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(t.Context(), func(ctx context.Context) error { _ = addTitle(ctx, s, "MSL00001"); panic("x") })
	}()
	if err := s.Update(t.Context(), func(ctx context.Context) error { return addTitle(ctx, s, "MSL00002") }); err != nil {
		t.Fatal(err)
	}
	if n := countTitles(t, s); n != 1 {
		t.Fatalf("want 1 title, got %d", n)
	}
}

func TestDurableRefusesToBePartOfAnotherUpdate(t *testing.T) {
	s := open(t, t.TempDir())
	err := s.Update(t.Context(), func(ctx context.Context) error {
		return s.Durable(ctx, func(context.Context) error { return nil })
	})
	if !errors.Is(err, ErrNested) {
		t.Fatalf("want ErrNested, got %v", err)
	}
}

func TestWritesOutsideOfUpdateAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	if err := addTitle(t.Context(), s, "MSL00001"); !errors.Is(err, ErrWriteOutsideUpdate) {
		t.Fatalf("without a transaction: want ErrWriteOutsideUpdate, got %v", err)
	}
	err := s.View(t.Context(), func(ctx context.Context) error { return addTitle(ctx, s, "MSL00001") })
	if !errors.Is(err, ErrWriteOutsideUpdate) {
		t.Fatalf("in a view: want ErrWriteOutsideUpdate, got %v", err)
	}
}

func TestMicrosKeepsTheZeroTime(t *testing.T) {
	if !fromMicros(micros(time.Time{})).IsZero() {
		t.Fatal("the zero time did not survive")
	}
	now := time.Date(2026, 11, 3, 4, 5, 6, 789000, time.UTC)
	if got := fromMicros(micros(now)); !got.Equal(now) {
		t.Fatalf("want %v, got %v", now, got)
	}
}
