package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/backup"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// rotateRoot has a node begin a rotation of the vault's root, or go on with one: in the middle of key changes, and perhaps it
// dies at one of the steps. The rows are sealed anew in the turns that follow.
func (w *World) rotateRoot(ctx context.Context) {
	n := w.nodes[w.IntN(len(w.nodes))]
	if w.one(2) {
		n.crashIn = 1 + w.IntN(24)
	}
	if n.dead {
		return
	}
	w.fault("root of the vault rotated")
	s, err := n.is.RotateRoot(ctx, api.RootRotation{Reason: "drawn"})
	w.note("rotate the root at %s: term %d, done %d of %d: %v", n.title, s.Term, s.Done, s.All, err)
}

// followRoot is what people do in a rotation: they bring the root file of the node that has the new term to the others, and
// retire the old terms when everything is under the new one.
func (w *World) followRoot(ctx context.Context) {
	if w.carryRoots(ctx) || w.keepTerms {
		return
	}
	n := w.alive()
	if n == nil {
		return
	}
	if w.one(3) {
		n.crashIn = 1 + w.IntN(12)
	}
	s, err := n.is.Root(ctx)
	old := s.Term
	for _, t := range s.Terms {
		if t.State == vault.TermOpens {
			old = t.Term
		}
	}
	if err != nil || !s.Finished || old >= s.Term {
		return
	}
	w.fault("an old term of the root retired")
	for _, p := range w.past { // of a database from before the rotation nothing would open: people keep none
		w.discard(p)
	}
	w.past = nil
	w.taken++
	dir := filepath.Join(w.opt.Dir, fmt.Sprintf("full-backup-%d", w.taken))
	if _, err = n.is.Backup(ctx, dir); err == nil {
		_, err = n.is.RetireTerm(ctx, api.Retirement{Term: old, Backup: dir})
	}
	w.note("retire term %d at %s: %v", old, n.title, err)
	_ = os.RemoveAll(dir) // a scratch directory
}

// carryRoots brings the root file of a node that has the newest term to those that lack it. It reports whether there were any.
func (w *World) carryRoots(ctx context.Context) (carried bool) {
	var from *node
	var lacking []*node
	for _, n := range w.nodes {
		if n.dead {
			continue
		}
		s, err := n.is.Root(ctx)
		has := slices.ContainsFunc(s.Terms, func(t api.RootTerm) bool { return t.Term == s.Term })
		switch {
		case errors.Is(err, vault.ErrRotation), err == nil && s.Term > 0 && !has:
			lacking = append(lacking, n)
		case err == nil && has:
			from = n
		}
	}
	if from == nil {
		return false
	}
	for _, n := range lacking {
		w.fault("root file brought to another node")
		if err := carryRoot(from, n); err != nil {
			w.broken("bring the root of %s to %s: %v", from.title, n.title, err)
		}
	}
	return len(lacking) > 0
}

func carryRoot(from, to *node) error {
	b, err := os.ReadFile(filepath.Join(from.cfg.Data, rootFile))
	if err != nil {
		return err
	}
	path := filepath.Join(to.cfg.Data, rootFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// rootSettled reports whether no rotation of the root is under way.
func (w *World) rootSettled(ctx context.Context) bool {
	for _, n := range w.nodes {
		if n.is == nil {
			continue // which is on the record as broken
		}
		s, err := n.is.Root(ctx)
		if err != nil {
			w.broken("root of %s: %v", n.title, err)
		}
		if s.Term > 0 && !s.Finished {
			return false
		}
	}
	return true
}

// proven opens every key that the database has, with the root file of each node as it is.
func (w *World) proven(ctx context.Context) {
	for _, n := range w.nodes {
		root, err := vault.Unseal(n.cfg.Data, nil)
		if err != nil {
			w.broken("root of %s: %v", n.title, err)
			continue
		}
		p, err := backup.Prove(ctx, w.db, root, nil)
		if err != nil || !p.Sound() {
			w.broken("with the root of %s %d keys do not open: %v, %v", n.title, p.Failed, p.Refused, err)
		}
	}
}
