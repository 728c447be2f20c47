package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/transport"
)

// snapshot is the database as it stood at the beginning of a turn. Where a step is not durable before it sends, the key
// journals are in it too.
type snapshot struct {
	path     string
	journals string
	fault    string // what brings it back
	turns    int    // until then
}

// pasts are the faults that bring an old database back: how often one of them is drawn, and how many turns back it lies, at
// most.
var pasts = []struct {
	fault      string
	one, turns int
}{
	{"database fails over and loses the last turns", 60, 8},
	{"yesterday's backup restored, with the key journal", 90, 36},
	{withoutJournal, 400, 36},
}

const withoutJournal = "yesterday's backup restored, without a key journal"

func (w *World) storeDir() string { return filepath.Join(w.opt.Dir, "store") }

func (w *World) openStore(ctx context.Context) error {
	var err error
	w.db, err = store.Open(ctx, w.storeDir(), store.Options{Volatile: true, Readers: 1, Log: w.opt.Log})
	return err
}

// buildNodes makes the root of the vault once and starts every node with it.
func (w *World) buildNodes(ctx context.Context) (to transport.Public, err error) {
	for i := range w.opt.Nodes {
		n := w.newNode(i)
		w.nodes = append(w.nodes, n)
		from := w.opt.Root
		if i > 0 { // the nodes share the root
			from = w.nodes[0].cfg.Data
		}
		if err := copyRoot(from, n.cfg.Data); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return to, err
		}
		if to, err = central.Init(ctx, n.cfg, n.deps()); err != nil {
			return to, err
		}
		if err := n.start(ctx); err != nil {
			return to, err
		}
	}
	if w.opt.Root == "" {
		return to, nil
	}
	return to, copyRoot(w.nodes[0].cfg.Data, w.opt.Root)
}

// copyRoot puts a root into a directory that has none; where there is none to be had, Init makes it.
func copyRoot(from, to string) error {
	if from == "" {
		return fs.ErrNotExist
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(from, rootFile))
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(to, rootFile)); err == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(to, rootFile), b, 0o600)
}

// rootFile is the vault's root in a data directory.
const rootFile = "vault.root"

// remember takes a snapshot of the database where one will come back: that is decided now, for a copy each turn would cost
// more than all else.
func (w *World) remember(ctx context.Context) {
	if w.calm {
		return
	}
	if w.opt.Without.Off(defence.DurableBeforeSend) { // every crash needs one
		w.discard(w.last)
		w.last = w.snapshot(ctx)
	}
	for _, p := range pasts {
		if w.one(p.one) && (p.fault != withoutJournal || w.opt.Without == 0) { // which is a defence less
			s := w.snapshot(ctx)
			s.fault, s.turns = p.fault, 1+w.IntN(p.turns)
			w.past = append(w.past, s)
		}
	}
}

func (w *World) snapshot(ctx context.Context) snapshot {
	w.taken++
	s := snapshot{path: filepath.Join(w.opt.Dir, fmt.Sprintf("backup-%d", w.taken))}
	if err := w.db.Backup(ctx, s.path); err != nil {
		w.broken("backup: %v", err)
	}
	if w.opt.Without.Off(defence.DurableBeforeSend) {
		s.journals = s.path + "-journals"
		if err := os.CopyFS(s.journals, os.DirFS(w.journalDir())); err != nil {
			w.broken("copy the journals: %v", err)
		}
	}
	return s
}

// discard removes a snapshot; the directory is a scratch one.
func (w *World) discard(s snapshot) {
	if s.path != "" {
		_ = os.Remove(s.path)
	}
	if s.journals != "" {
		_ = os.RemoveAll(s.journals)
	}
}

// revert brings an old database back where its turn has come, as a fail-over to a replica that lags behind does, or a
// restore. The key journals of the nodes are there.
func (w *World) revert(ctx context.Context) {
	for i := range w.past {
		w.past[i].turns--
	}
	i := slices.IndexFunc(w.past, func(s snapshot) bool { return s.turns <= 0 })
	if i < 0 {
		return
	}
	s := w.past[i]
	w.past = slices.Delete(w.past, i, i+1)
	w.fault(s.fault)
	defer w.discard(s)
	if s.fault != withoutJournal {
		w.goBack(ctx, s)
		return
	}
	if err := w.loseJournals(ctx, s); err != nil {
		w.broken("restore without a key journal: %v", err)
	}
}

func (w *World) journalDir() string { return filepath.Join(w.opt.Dir, "journal") }

// forget is a crash of a central system that sends before what it sends is durable: what it wrote in this turn is gone,
// from the database and from the key journals. A system that is durable first has lost nothing then.
func (w *World) forget(ctx context.Context) {
	s := w.last
	for _, n := range w.nodes {
		n.close()
	}
	err := errors.Join(os.RemoveAll(w.journalDir()), os.CopyFS(w.journalDir(), os.DirFS(s.journals)))
	if err == nil {
		err = filepath.WalkDir(w.journalDir(), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return os.Chmod(path, 0o600)
		})
	}
	if err != nil {
		w.broken("take the journals back: %v", err)
	}
	w.goBack(ctx, s)
}

// goBack ends every node, puts an old database in the place of the present one, and starts the nodes again.
func (w *World) goBack(ctx context.Context, s snapshot) {
	for _, n := range w.nodes {
		n.close()
	}
	if err := errors.Join(w.db.Close(), w.replaceDatabase(s.path)); err != nil {
		w.broken("restore: %v", err)
		return
	}
	if err := w.openStore(ctx); err != nil {
		w.broken("open the restored database: %v", err)
		return
	}
	for _, n := range w.nodes {
		if err := n.start(ctx); err != nil {
			w.broken("the central system does not start on a restored database: %v", err)
		}
	}
}

func (w *World) replaceDatabase(from string) error {
	to := filepath.Join(w.storeDir(), store.FileName)
	for _, old := range []string{to, to + "-wal", to + "-shm"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	b, err := os.ReadFile(filepath.Clean(from))
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
