package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
}

// kept is how many turns back a backup may be.
const kept = 24

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
		if i > 0 { // the nodes share the root
			if err := copyRoot(w.nodes[0].cfg.Data, n.cfg.Data); err != nil {
				return to, err
			}
		}
		if to, err = central.Init(ctx, n.cfg, n.deps()); err != nil {
			return to, err
		}
		if err := n.start(ctx); err != nil {
			return to, err
		}
	}
	return to, nil
}

func copyRoot(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(from, rootFile))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, rootFile), b, 0o600)
}

// rootFile is the vault's root in a data directory.
const rootFile = "vault.root"

// remember takes a snapshot of the database.
func (w *World) remember(ctx context.Context) {
	if w.calm || !w.opt.Without.Off(defence.DurableBeforeSend) && !w.one(4) {
		return
	}
	s := snapshot{path: filepath.Join(w.opt.Dir, fmt.Sprintf("backup-%d", len(w.past)))}
	if err := w.db.Backup(ctx, s.path); err != nil {
		w.broken("backup: %v", err)
		return
	}
	if w.opt.Without.Off(defence.DurableBeforeSend) {
		s.journals = s.path + "-journals"
		if err := os.CopyFS(s.journals, os.DirFS(w.journalDir())); err != nil {
			w.broken("copy the journals: %v", err)
		}
	}
	w.past = append(w.past, s)
	if old := len(w.past) - 1 - kept; old >= 0 {
		_ = os.Remove(w.past[old].path) // it is a scratch directory
	}
}

func (w *World) journalDir() string { return filepath.Join(w.opt.Dir, "journal") }

// forget is a crash of a central system that sends before what it sends is durable: what it wrote in this turn is gone,
// from the database and from the key journals. A system that is durable first has lost nothing then.
func (w *World) forget(ctx context.Context) {
	s := w.past[len(w.past)-1]
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

// failOver loses the last turns of the database, as a fail-over to a replica that lags behind does. The key journals of
// the nodes are not lost.
func (w *World) failOver(ctx context.Context) {
	if n := len(w.past); n > 0 {
		w.fault("database fails over and loses the last turns")
		w.goBack(ctx, w.past[n-1])
	}
}

// restore brings the database of an older turn back; the key journals are there.
func (w *World) restore(ctx context.Context) {
	if n := len(w.past); n > 3 {
		w.fault("yesterday's backup restored, with the key journal")
		w.goBack(ctx, w.past[n-1-w.IntN(min(n, kept))])
	}
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
