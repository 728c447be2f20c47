package vault

import (
	"context"
	"fmt"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
)

// MarkSent implements Vault.
func (v *Software) MarkSent(ctx context.Context, by audit.Actor, keys []role.KeyRef) error {
	return v.mark(ctx, by, keys, "", func(row KeyRow, _ []KeyRow, m *marks) error {
		switch row.State {
		case Sent: // a crash came between this mark and the caller's own
			return nil
		case Pending:
			m.to(row, Sent, ActionSent)
			return nil
		default:
			return fmt.Errorf("%w: mark %s sent: it is %s", ErrState, row.Ref, row.State)
		}
	})
}

// MarkActive implements Vault. A version that was given up or superseded may turn out to be in force: the meter's
// word is the truth.
func (v *Software) MarkActive(ctx context.Context, by audit.Actor, keys []role.KeyRef, proof string) error {
	return v.mark(ctx, by, keys, proof, func(row KeyRow, versions []KeyRow, m *marks) error {
		if row.State == Pending {
			return fmt.Errorf("%w: mark %s active: it was never sent", ErrState, row.Ref)
		}
		if row.Ref.Role == role.CCC {
			return fmt.Errorf("%w: mark %s active", ErrRole, row.Ref)
		}
		for _, other := range versions {
			switch {
			case other.Ref == row.Ref:
			case other.State == Active:
				m.to(other, Superseded, ActionEnded)
			case other.State == Sent && other.Ref.Version < row.Ref.Version:
				m.to(other, Abandoned, ActionAbandoned)
			}
		}
		if row.State != Active {
			m.to(row, Active, ActionActive)
		}
		return nil
	})
}

// MarkAbandoned implements Vault.
func (v *Software) MarkAbandoned(ctx context.Context, by audit.Actor, keys []role.KeyRef, why string) error {
	return v.mark(ctx, by, keys, why, func(row KeyRow, _ []KeyRow, m *marks) error {
		switch row.State {
		case Abandoned:
			return nil
		case Pending, Sent:
			m.to(row, Abandoned, ActionAbandoned)
			return nil
		default:
			return fmt.Errorf("%w: abandon %s: it is %s", ErrState, row.Ref, row.State)
		}
	})
}

// marks collects state changes and their audit entries.
type marks struct {
	v   *Software
	c   *change
	by  audit.Actor
	why string
}

func (m *marks) to(row KeyRow, s State, action audit.Action) {
	m.c.states = append(m.c.states, StateChange{Ref: row.Ref, State: s, At: m.v.time(), Of: row.Fingerprint})
	m.c.audit = append(m.c.audit, audit.Entry{
		Actor: m.by, Action: action, Phase: audit.Done, Subject: row.subject(), Outcome: m.why,
		Detail: map[string]string{"from": string(row.State)},
	})
}

// mark moves the states of a batch in one commit; if one of them may not, none does.
func (v *Software) mark(ctx context.Context, by audit.Actor, keys []role.KeyRef, why string,
	move func(row KeyRow, versions []KeyRow, m *marks) error,
) error {
	targets := make([]Target, len(keys))
	seen := map[Target]bool{}
	for i, ref := range keys {
		targets[i] = Target{ref.Meter, ref.Role}
		if seen[targets[i]] {
			return fmt.Errorf("vault: mark: %s stands twice in one batch", targets[i])
		}
		seen[targets[i]] = true
	}
	err := v.join(ctx, func(ctx context.Context, c *change) error {
		versions, err := v.versions(ctx, keys, targets)
		if err != nil {
			return err
		}
		m := &marks{v: v, c: c, by: by, why: why}
		for i, ref := range keys {
			row, ok := versionOf(versions[i], ref.Version)
			if !ok {
				return fmt.Errorf("%w: %s", ErrUnknownKey, ref)
			}
			if err := move(row, versions[i], m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("vault: mark: %w", err)
	}
	return nil
}

// versions reads the live versions of each key, and all of them where one that is meant is no longer live.
func (v *Software) versions(ctx context.Context, keys []role.KeyRef, targets []Target) ([][]KeyRow, error) {
	versions, err := v.store.LiveKeyVersions(ctx, targets)
	if err != nil {
		return nil, err
	}
	for i, ref := range keys {
		if _, live := versionOf(versions[i], ref.Version); !live {
			return v.store.KeyVersions(ctx, targets)
		}
	}
	return versions, nil
}

func versionOf(rows []KeyRow, version uint32) (KeyRow, bool) {
	for _, k := range rows {
		if k.Ref.Version == version {
			return k, true
		}
	}
	return KeyRow{}, false
}
