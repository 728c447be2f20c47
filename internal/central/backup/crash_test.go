package backup_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/backup"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// copyTree copies a directory as it is at this moment: what a process that is killed leaves.
func (w *world) copyTree(from, to string) {
	w.t.Helper()
	w.must(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	}))
}

// TestLaw5ACrashAtAnyStepOfARestoreLosesNoKey keeps what each step of a restore leaves, and restores over that: with the key
// journal, and without it. Without it the vault is sealed, wherever the crash was.
func TestLaw5ACrashAtAnyStepOfARestoreLosesNoKey(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	meters := w.ship(a, "b1", 1, 3)
	w.enrol(a, enrol.Concentrator, dc1)
	from := w.backup("backup")
	w.must(a.fleet.Assign(t.Context(), by, dc1, meters[:1]))
	w.change(a, meters[0], role.CCIS, vault.Active)
	w.change(a, meters[1], role.CCLAN, vault.Sent)
	w.must(a.vault.Close())
	for name, c := range map[string]struct {
		journals []string
		keys     int
	}{"with the journal": {[]string{a.journal}, 14}, "without it": {nil, 12}} {
		t.Run(name, func(t *testing.T) { w.crashInRestore(t, w.options(from, c.journals...), meters, c.keys) })
	}
}

func (w *world) crashInRestore(t *testing.T, o backup.Options, meters []dlms.SystemTitle, keys int) {
	base := t.TempDir()
	data, left := filepath.Join(base, "data"), map[string]string{}
	var order []string
	crashing := o
	crashing.At = func(point string) {
		dir := filepath.Join(base, "after "+point)
		w.copyTree(data, dir)
		left[point] = dir
		order = append(order, point)
	}
	if _, err := backup.Restore(t.Context(), crashing, data); err != nil {
		t.Fatal(err)
	}
	if len(order) != 8 || order[7] != "database in its place" {
		t.Fatalf("got steps %q", order)
	}
	for _, point := range order {
		t.Run(point, func(t *testing.T) {
			r, err := backup.Restore(t.Context(), o, left[point])
			if point == "database in its place" { // it was done
				if !errors.Is(err, backup.ErrOccupied) {
					t.Errorf("want ErrOccupied, got %v", err)
				}
			} else if err != nil || r.Sealed != (len(o.Journals) == 0) || (r.Batches > 0) == r.Sealed {
				t.Fatalf("done over: %+v, %v", r, err)
			}
			w.complete(t, left[point], meters, keys, len(o.Journals) == 0)
		})
	}
}

// complete checks that a data directory has all there is, and nothing that a restore has worked with.
func (w *world) complete(t *testing.T, data string, meters []dlms.SystemTitle, keys int, sealed bool) {
	t.Helper()
	stray, err := filepath.Glob(filepath.Join(data, ".*"))
	if err != nil || len(stray) > 0 {
		t.Errorf("%v is left, %v", stray, err)
	}
	root, err := vault.Unseal(data, pass)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), data, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	p, err := backup.Prove(t.Context(), db, root, nil)
	if err != nil || !p.Sound() || p.Meters != len(meters) || p.Keys != keys || p.Devices != 1 {
		t.Errorf("got %+v, %v", p, err)
	}
	if seal, err := vault.ReadSeal(t.Context(), db); err != nil || (seal != nil) != sealed {
		t.Errorf("sealed: got %+v, want %v, %v", seal, sealed, err)
	}
	if b, err := os.ReadFile(filepath.Join(data, backup.TLSDir, "server.key")); err != nil || string(b) != "a private key" {
		t.Errorf("certificates: %q, %v", b, err)
	}
}

func TestARestoreDoesNotTakeAnothersLogForItsOwn(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	w.ship(a, "b1", 1, 1)
	from := w.backup("backup")
	for _, tail := range []string{"-wal", "-shm"} {
		data := w.path("data" + tail)
		w.must(os.MkdirAll(data, 0o700))
		w.must(os.WriteFile(filepath.Join(data, store.FileName+tail), []byte("of a database that was moved away"), 0o600))
		if _, err := backup.Restore(t.Context(), w.options(from, a.journal), data); !errors.Is(err, backup.ErrOccupied) {
			t.Errorf("%s: want ErrOccupied, got %v", tail, err)
		}
	}
}

func TestTwoRestoresDoNotWorkInOneDirectory(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	w.ship(a, "b1", 1, 1)
	from, data := w.backup("backup"), w.path("new")
	o := w.options(from, a.journal)
	var second error
	o.At = func(point string) {
		if point == "database open" {
			_, second = backup.Restore(t.Context(), w.options(from, a.journal), data)
		}
	}
	if _, err := backup.Restore(t.Context(), o, data); err != nil || second == nil {
		t.Errorf("the first: %v; the second: %v", err, second)
	}
}

// rotateRoot brings in a new term of the root, and seals everything anew.
func (w *world) rotateRoot(s *system) {
	w.t.Helper()
	w.must(s.vault.RotateRoot(w.t.Context(), by, "test", nil))
	for range 2 {
		w.must(s.vault.Follow(w.t.Context()))
		w.reSeal(s)
	}
}

func (w *world) reSeal(s *system) {
	w.t.Helper()
	for more := true; more; {
		var err error
		more, err = s.vault.ReSeal(w.t.Context())
		w.must(err)
	}
}

// TestLaw5ABackupFromBeforeARotationOfTheRootIsRestoredWithTheRootAsItIs has rows of both terms, in backup and journal.
func TestLaw5ABackupFromBeforeARotationOfTheRootIsRestoredWithTheRootAsItIs(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	meters := w.ship(a, "b1", 1, 2)
	w.enrol(a, enrol.Concentrator, dc1)
	from := w.backup("before")
	w.change(a, meters[0], role.CCIS, vault.Active)
	w.rotateRoot(a)
	w.change(a, meters[1], role.CCIS, vault.Active)
	after := w.backup("after")
	now := filepath.Join(w.data, vault.RootFile)

	// The root in the old backup lacks the term of the journal's last rows: refused, and said what to bring.
	o := w.options(from, a.journal)
	if _, err := backup.Restore(t.Context(), o, w.path("x")); !errors.Is(err, vault.ErrTerm) {
		t.Errorf("with its own root: want ErrTerm, got %v", err)
	}
	o.RootFile = now
	for name, o := range map[string]backup.Options{"the old one, with the root as it is": o, "the new one": w.options(after, a.journal)} {
		d, err := backup.Drill(t.Context(), o, t.TempDir())
		if err != nil || !d.Sound() || d.Proof.Meters != 2 || d.Proof.Keys != 10 || d.Proof.Devices != 1 {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}

	// It is sealed anew after the restore, without being asked for, and the old term goes.
	w.must(a.vault.Close())
	w.must(w.db.Close())
	data := w.path("restored")
	w.must(os.MkdirAll(data, 0o700))
	w.copyTree(filepath.Dir(now), w.path("kept"))
	b, err := os.ReadFile(filepath.Join(w.path("kept"), vault.RootFile))
	w.must(err)
	w.must(os.WriteFile(filepath.Join(data, vault.RootFile), b, 0o600))
	_, err = backup.Restore(t.Context(), w.options(from, a.journal), data)
	w.must(err)
	w.data = data
	w.open()
	s := w.node(node1)
	w.reSeal(s)
	counts, err := w.db.TermCounts(t.Context())
	if err != nil || len(counts) != 1 || counts[w.root.Term()] != 12 {
		t.Errorf("got %v, %v", counts, err)
	}
	w.rotateRoot(s)
	last := w.backup("last")
	r, err := backup.Rotated(t.Context(), last, w.root.Term()-1)
	w.must(err)
	w.must(s.vault.RetireTerm(t.Context(), by, w.root.Term()-1, vault.Backed{Rotation: r}))
	if _, err := backup.Rotated(t.Context(), from, 1); !errors.Is(err, vault.ErrStillNeeded) {
		t.Errorf("want ErrStillNeeded, got %v", err)
	}
	o = w.options(from, s.journal)
	o.RootFile = filepath.Join(w.data, vault.RootFile)
	if _, err := backup.Drill(t.Context(), o, t.TempDir()); !errors.Is(err, vault.ErrTermRetired) {
		t.Errorf("a backup from before: want ErrTermRetired, got %v", err)
	}
	if d, err := backup.Drill(t.Context(), w.options(last, s.journal), t.TempDir()); err != nil || !d.Sound() {
		t.Errorf("the last one: %+v, %v", d, err)
	}
}
