//go:build !race

package sim

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// loseJournals brings an old database back while every key journal is lost: the vault is sealed, two people open it, and
// the nodes go on under titles that were never used before.
func (w *World) loseJournals(ctx context.Context) error {
	s := w.last
	if s.path == "" {
		return errors.New("no backup yet")
	}
	w.fault("yesterday's backup restored, without a key journal")
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

// TestLaw5NoMeterIsLostWithTheKeyJournals loses all journals in the middle of a storm, twice. The concentrators are honest
// and none is stolen: one that says that it keeps what it does not keep, or that is stolen in the same hours, can lose
// meters of its own once all journals are lost too.
func TestLaw5NoMeterIsLostWithTheKeyJournals(t *testing.T) {
	for seed := uint64(1); seed <= 6; seed++ {
		opt := Options{Seed: *flagBase + seed - 1, Dir: inMemory(t), Keep: 2000, Honest: true}
		synctest.Test(t, func(t *testing.T) {
			w, err := New(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				w.storm(t.Context())
				w.discard(w.last)
				w.last = w.snapshot(t.Context())
				w.storm(t.Context())
				if err := w.loseJournals(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			w.storm(t.Context())
			w.settle(t.Context())
			r := w.count(t.Context())
			missing, err := w.nodes[0].is.Missing(t.Context())
			if err != nil {
				t.Error(err)
			}
			if r.Failed() || len(missing.NotAsked) > 0 {
				t.Errorf("%s\nmissing: %+v", r, missing)
				for _, l := range r.Record[max(0, len(r.Record)-100):] {
					t.Log(l)
				}
			}
			t.Logf("%s; %d keys to be changed", r, len(missing.Keys))
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
