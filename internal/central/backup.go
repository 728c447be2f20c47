package central

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
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
	out, err := toldOf(ctx, dir, m, is.gate.People())
	return out, errors.Join(err, is.audit.Append(ctx, audit.Entry{Actor: who(ctx), Action: actionBackedUp, Phase: audit.Done}))
}

// actionBackedUp is a backup, in the audit log. It is not in the backup itself.
const actionBackedUp audit.Action = "vault.backed-up"

// toldOf says what a backup is, and what is wrong with it: one that too few people stand behind cannot be brought back.
func toldOf(ctx context.Context, dir string, m backup.Manifest, people access.People) (api.Backup, error) {
	out := api.Backup{Dir: dir, Vault: m.Vault, MadeAt: m.MadeAt, Meters: m.Meters, Keys: m.Keys}
	for _, f := range m.Files {
		out.Bytes += f.Bytes
		out.Root = out.Root || f.Name == vault.RootFile
	}
	rule, _ := access.RuleOf(access.OpRestore)
	behind, err := people.Holding(ctx, rule.Roles...)
	if len(behind) < 2 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("a restore of it takes two people, %s, and it knows %d: let another one in (meterseal central people add) and make a backup again",
			access.Names(rule.Roles, "or"), len(behind)))
	}
	return out, err
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
		if h.Store, err = store.Open(ctx, cfg.Data, store.Options{URL: cfg.Store, Log: deps.Log, Zone: cfg.zone()}); err != nil {
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
	return toldOf(ctx, dir, m, h.people())
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
		for _, a := range s.Seal.Counting(h.deps.Now()) {
			if h.counts(ctx, *s.Seal, a) == nil {
				s.Counting++
			}
		}
	}
	places, err := h.Store.JournalPlaces(ctx)
	for node, p := range places {
		s.Journals[node] = p.Bytes
	}
	return s, err
}

// opening is what people approve when they approve the opening of a sealed vault.
type opening struct {
	Vault string              `json:"vault"`
	Since time.Time           `json:"sealed_since"`
	Lost  []vault.LostJournal `json:"lost"`
}

func (h *House) opening(s vault.Seal) opening { return opening{h.Root.ID(), s.Since, s.Lost} }

// Approve enters one person's approval of opening the sealed vault, signed with the key of the person's certificate.
func (h *House) Approve(ctx context.Context, id *access.Identity, why string) error {
	seal, err := vault.ReadSeal(ctx, h.Store)
	if err != nil {
		return err
	}
	if seal == nil {
		return errors.New("approve: the vault is not sealed")
	}
	s, err := id.State(h.deps.Rand, h.deps.Now(), access.OpOpenSealedVault, h.opening(*seal), why)
	if err != nil {
		return err
	}
	a := vault.Approval{By: access.PersonActor(s.By), Reason: why, At: s.At}
	if a.Proof, err = json.Marshal(s); err != nil {
		return err
	}
	if err := h.counts(ctx, *seal, a); err != nil {
		return err
	}
	return vault.Approve(ctx, h.Store, h.Audit, a)
}

// counts refuses an approval that is not the word of who it says, for this opening, by a certificate that counts now.
func (h *House) counts(ctx context.Context, seal vault.Seal, a vault.Approval) error {
	var s access.Statement
	if err := json.Unmarshal(a.Proof, &s); err != nil {
		return fmt.Errorf("approval of %s: without a signature: %w", a.By, access.ErrStatement)
	}
	panel, err := access.NewPanel(h.cfg.tlsDir(), h.Store, h.deps.Now())
	if err != nil {
		return err
	}
	c, err := panel.Check(ctx, s, access.OpOpenSealedVault, h.opening(seal))
	if err == nil && c.Actor() != a.By {
		err = fmt.Errorf("approval of %s: it is %s's: %w", a.By, c.Name, access.ErrStatement)
	}
	return err
}

// OpenSealed opens the sealed vault without its journal, if two people have approved it. The central system goes on under
// the system title in the answer, and no other.
func (h *House) OpenSealed(ctx context.Context) (vault.Space, error) {
	return vault.OpenSealed(ctx, h.Store, h.Audit, h.deps.Now(), h.deps.Rand, func(seal vault.Seal, a vault.Approval) error {
		return h.counts(ctx, seal, a)
	})
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

// restoring is what people approve when they approve a restore: of this backup, into this directory.
type restoring struct {
	// Manifest is SHA-256 of the backup's signed manifest.
	Manifest string `json:"manifest"`
	Into     string `json:"into"`
}

func restoreOf(from, into string) (restoring, error) {
	b, err := os.ReadFile(filepath.Join(from, backup.ManifestName))
	if err != nil {
		return restoring{}, fmt.Errorf("restore: %s is no backup: %w", from, err)
	}
	into, err = filepath.Abs(into)
	sum := sha256.Sum256(b)
	return restoring{hex.EncodeToString(sum[:]), into}, err
}

// ApproveRestore gives a person's word for the restore of a backup into a data directory.
func ApproveRestore(id *access.Identity, deps Deps, from, into, why string) (access.Statement, error) {
	what, err := restoreOf(from, into)
	if err != nil {
		return access.Statement{}, err
	}
	return id.State(deps.Rand, deps.Now(), access.OpRestore, what, why)
}

// Restore brings a backup back, if two people of those that the backup's own authority has let in stand for it. Those whose
// certificates were revoked, as far as the backup and the key journals know, do not count.
func Restore(ctx context.Context, o backup.Options, into string, statements []access.Statement) (backup.Report, error) {
	what, err := restoreOf(o.Backup, into)
	if err != nil {
		return backup.Report{}, err
	}
	if len(statements) < 2 {
		return backup.Report{}, fmt.Errorf("restore: %w: %d are here", access.ErrTwo, len(statements))
	}
	o.Admit = func(ctx context.Context, stage string, db *store.Store, log *audit.Log) error {
		panel, err := access.NewPanel(filepath.Join(stage, backup.TLSDir), db, o.Now())
		if err != nil {
			return err
		}
		people, err := panel.Two(ctx, access.OpRestore, what, statements)
		if err != nil {
			return err
		}
		entries := make([]audit.Entry, len(people))
		for i, c := range people {
			entries[i] = audit.Entry{
				Actor: c.Actor(), Action: access.ActionUsed, Phase: audit.Done,
				Detail: map[string]string{"operation": string(access.OpRestore), "manifest": what.Manifest, "certificate": c.Fingerprint},
			}
		}
		return log.Append(ctx, entries...)
	}
	return backup.Restore(ctx, o, into)
}
