package central

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/backup"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// Backup implements api.Backend. The system goes on meanwhile.
func (is *IS) Backup(ctx context.Context, dir string) (api.Backup, error) {
	m, err := backup.Make(ctx, backup.Source{Store: is.store, Data: is.cfg.Data, Root: is.root, Now: is.deps.Now}, dir)
	if err != nil {
		return api.Backup{}, err
	}
	return toldOf(dir, m), is.audit.Append(ctx, audit.Entry{Actor: who(ctx), Action: actionBackedUp, Phase: audit.Done})
}

// actionBackedUp is a backup, in the audit log. It is not in the backup itself.
const actionBackedUp audit.Action = "vault.backed-up"

func toldOf(dir string, m backup.Manifest) api.Backup {
	out := api.Backup{Dir: dir, Vault: m.Vault, MadeAt: m.MadeAt, Meters: m.Meters, Keys: m.Keys}
	for _, f := range m.Files {
		out.Bytes += f.Bytes
		out.Root = out.Root || f.Name == vault.RootFile
	}
	return out
}

// House is the data directory of a central system that is not running, opened for what is done to its vault from outside:
// a backup, and opening one that is sealed.
type House struct {
	cfg   Config
	deps  Deps
	Store *store.Store
	Root  vault.Hold
	Audit *audit.Log
}

// OpenHouse opens it. No central system may be running on it.
func OpenHouse(ctx context.Context, cfg Config, deps Deps) (*House, error) {
	if _, err := cfg.complete(); err != nil {
		return nil, err
	}
	root, err := cfg.unseal(cfg.Data, deps)
	if err != nil {
		return nil, err
	}
	h := &House{cfg: cfg, deps: deps, Root: root, Store: deps.Store}
	if h.Store == nil {
		if h.Store, err = store.Open(ctx, cfg.Data, store.Options{URL: cfg.Store, Log: deps.Log}); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	h.Audit = audit.New(h.Store, audit.Options{Now: deps.Now})
	return h, nil
}

// Close gives it up.
func (h *House) Close() error {
	err := h.Root.Close()
	if h.deps.Store != nil {
		return err
	}
	return errors.Join(err, h.Store.Close())
}

// Backup makes a backup of a central system that is not running.
func (h *House) Backup(ctx context.Context, dir string) (api.Backup, error) {
	m, err := backup.Make(ctx, backup.Source{Store: h.Store, Data: h.cfg.Data, Root: h.Root, Now: h.deps.Now}, dir)
	if err != nil {
		return api.Backup{}, err
	}
	return toldOf(dir, m), nil
}

// VaultStatus is how a vault stands.
type VaultStatus struct {
	Vault string `json:"vault"`
	Kind  string `json:"kind"`
	// Keys is what they are kept in, Terms the terms of the root.
	Keys  vault.Description `json:"keys"`
	Terms []vault.TermState `json:"terms"`
	Seal  *vault.Seal       `json:"seal,omitempty"`
	Space *vault.Space      `json:"space,omitempty"`
	// Counting is how many approvals of opening count now.
	Counting int `json:"counting"`
	// Journals is how far each node's key journal is in the store.
	Journals map[string]int64 `json:"journals"`
}

// Status tells how the vault stands.
func (h *House) Status(ctx context.Context) (s VaultStatus, err error) {
	s = VaultStatus{Vault: h.Root.ID(), Kind: h.Root.Kind(), Keys: h.Root.Describe(), Terms: h.Root.TermStates(), Journals: map[string]int64{}}
	if s.Seal, err = vault.ReadSeal(ctx, h.Store); err != nil {
		return s, err
	}
	if s.Space, err = vault.ReadSpace(ctx, h.Store); err != nil {
		return s, err
	}
	if s.Seal != nil {
		s.Counting = len(s.Seal.Counting(h.deps.Now()))
	}
	places, err := h.Store.JournalPlaces(ctx)
	for node, p := range places {
		s.Journals[node] = p.Bytes
	}
	return s, err
}

// Approve enters one person's approval of opening the sealed vault.
func (h *House) Approve(ctx context.Context, who, why string) error {
	if who == "" {
		return errors.New("approve: want who")
	}
	return vault.Approve(ctx, h.Store, h.Audit, vault.Approval{By: audit.Actor("person:" + who), Reason: why, At: h.deps.Now().UTC()})
}

// OpenSealed opens the sealed vault without its journal, if two people have approved it. The central system goes on under
// the system title in the answer, and no other.
func (h *House) OpenSealed(ctx context.Context) (vault.Space, error) {
	space, err := vault.OpenSealed(ctx, h.Store, h.Audit, h.deps.Now(), h.deps.Rand)
	if err != nil {
		return vault.Space{}, err
	}
	return space, nil
}

// RestoreOptions are those of a restore into the data directory of a configuration.
func RestoreOptions(cfg Config, deps Deps, from string, journals []string) (backup.Options, error) {
	pass, err := cfg.passphrase()
	if err != nil {
		return backup.Options{}, fmt.Errorf("restore: %w", err)
	}
	return backup.Options{
		Backup: filepath.Clean(from), Journals: journals, Passphrase: pass, Token: cfg.opener(deps), By: actorOwner, Now: deps.Now, Log: deps.Log,
	}, nil
}
