package sim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// loseJournals brings an old database back while every key journal is lost: the vault is sealed, two people open it, and
// the nodes go on under titles that were never used before.
func (w *World) loseJournals(ctx context.Context, s snapshot) error {
	for _, n := range w.nodes {
		n.close()
	}
	if err := errors.Join(w.db.Close(), w.replaceDatabase(s.path)); err != nil {
		return err
	}
	if err := w.openStore(ctx); err != nil {
		return err
	}
	n := w.nodes[0]
	deps := n.deps()
	h, err := central.OpenHouse(ctx, n.cfg, deps)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := vault.SealUp(ctx, h.Store, h.Audit, "person:operator", vault.Seal{Since: n.now(), Reason: "the journals are lost"}); err != nil {
		return err
	}
	if err := n.start(ctx); !errors.Is(err, vault.ErrSealed) {
		return fmt.Errorf("want a sealed vault, got %w", err)
	}
	for _, name := range []string{"alice", "bob"} {
		id, err := person(ctx, h, deps, name)
		if err != nil {
			return err
		}
		if err := h.Approve(ctx, id, "burnt"); err != nil {
			return err
		}
	}
	space, err := h.OpenSealed(ctx)
	if err != nil {
		return err
	}
	lives := len(w.faults) + int(space.FirstVersion)
	for i, n := range w.nodes {
		n.title = space.Title
		n.title[7] += byte(i)
		n.cfg.SystemTitle = n.title.String()
		n.cfg.Journal = filepath.Join(w.opt.Dir, "journal", fmt.Sprintf("node-%d-%d.journal", i+1, lives))
		if err := n.start(ctx); err != nil {
			return err
		}
	}
	for _, s := range w.past { // what is older has no journal any more
		w.discard(s)
	}
	w.past = nil
	return w.evictAgain(ctx)
}

// evictAgain is what people do who know what the database has forgotten.
func (w *World) evictAgain(ctx context.Context) error {
	revoked, err := w.db.Revoked(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(w.stations, func(s *station) bool { return !s.evicted })
	for _, s := range w.stations {
		if !s.evicted || slices.Contains(revoked, s.title) {
			continue
		}
		if _, err := w.nodes[0].is.Evict(ctx, api.Eviction{Concentrator: s.title, Successor: w.stations[i].title, Why: "stolen, as people know"}); err != nil {
			return fmt.Errorf("evict once more: %w", err)
		}
	}
	return nil
}

// person lets an operator in.
func person(ctx context.Context, h *central.House, deps central.Deps, name string) (*access.Identity, error) {
	key, err := access.NewKey(deps.Rand)
	if err != nil {
		return nil, err
	}
	line, err := access.PublicText(key.Public())
	if err != nil {
		return nil, err
	}
	issued, err := h.AddPerson(ctx, api.NewPerson{Name: name, Roles: []access.Role{access.Operator}, Public: line})
	if err != nil {
		return nil, err
	}
	return issued.Identity(key)
}
