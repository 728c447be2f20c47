package central

import (
	"context"
	"encoding/hex"
	"errors"
	"io"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// ActionPassphrase is in the audit log where a passphrase was changed.
const ActionPassphrase audit.Action = "vault.passphrase.changed"

// NewPassphrase says what a change of the passphrase has sealed anew.
type NewPassphrase struct {
	Root      bool `json:"root"`
	Authority bool `json:"authority"`
}

// ChangePassphrase seals the root of a central system at rest, and the key of its authority, with the passphrase in the file
// next. Each of the two files is replaced whole. Where it was cut between them it is done again: what the new passphrase
// opens already stays as it is.
func ChangePassphrase(ctx context.Context, cfg Config, deps Deps, next string) (out NewPassphrase, err error) {
	old, err := cfg.passphrase()
	if err != nil {
		return out, err
	}
	defer clear(old)
	fresh, err := readPassphrase(next)
	if err != nil {
		return out, err
	}
	defer clear(fresh)
	h, err := OpenHouse(ctx, cfg, deps)
	if errors.Is(err, vault.ErrPassphrase) {
		again := cfg
		again.PassphraseFile = next
		if done, errNew := OpenHouse(ctx, again, deps); errNew == nil {
			h, err = done, nil
		}
	}
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	var op [8]byte
	if _, err := io.ReadFull(deps.Rand, op[:]); err != nil {
		return out, err
	}
	tell := func(phase audit.Phase) error {
		return h.Store.Durable(ctx, func(ctx context.Context) error {
			return h.Audit.Append(ctx, audit.Entry{Actor: actorOwner, Action: ActionPassphrase, Phase: phase, Op: hex.EncodeToString(op[:])})
		})
	}
	if err := tell(audit.Intent); err != nil {
		return out, err
	}
	if out.Root, err = vault.ChangePassphrase(cfg.Data, old, fresh, deps.Crash); err != nil {
		return out, err
	}
	if access.HasAuthority(cfg.tlsDir()) {
		if out.Authority, err = access.ChangePassphrase(cfg.tlsDir(), old, fresh, vault.SealWork(cfg.Data)); err != nil {
			return out, err
		}
	}
	return out, tell(audit.Result)
}
