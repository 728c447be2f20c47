package rotation

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// Ask asks for a change of each key and wakes the reconciler. A key whose change is under way is left to it.
func (r *Reconciler) Ask(ctx context.Context, keys []Change) (int, error) {
	return r.ask(ctx, keys, StepWanted)
}

// Search asks for a search of each key: if the version in force is what the meter has, that is all. The vault may have none
// in force.
func (r *Reconciler) Search(ctx context.Context, keys []Change) (int, error) {
	return r.ask(ctx, keys, StepSearching)
}

func (r *Reconciler) ask(ctx context.Context, keys []Change, step Step) (int, error) {
	now := r.cfg.Now()
	mrs := make([]MeterRole, len(keys))
	for i := range keys {
		mrs[i] = MeterRole{keys[i].Meter, keys[i].Role}
	}
	active, err := r.cfg.Vault.Active(ctx, mrs)
	if errors.Is(err, vault.ErrUnknownKey) && step == StepSearching {
		active, err = r.inForce(ctx, mrs)
	}
	if err != nil {
		return 0, fmt.Errorf("ask for key changes: %w", err)
	}
	for i := range keys {
		keys[i].From, keys[i].To = active[i].Version, 0
		keys[i].Step, keys[i].CreatedAt, keys[i].DueAt = step, now, now
	}
	n, err := r.cfg.Store.Ask(ctx, keys)
	if err != nil {
		return 0, fmt.Errorf("ask for key changes: %w", err)
	}
	r.Kick()
	return n, nil
}

// inForce is Vault.Active for keys of which some may have no version in force: 0.
func (r *Reconciler) inForce(ctx context.Context, keys []MeterRole) ([]role.KeyRef, error) {
	out := make([]role.KeyRef, len(keys))
	for i, k := range keys {
		active, err := r.cfg.Vault.Active(ctx, []MeterRole{k})
		switch {
		case err == nil:
			out[i] = active[0]
		case !errors.Is(err, vault.ErrUnknownKey):
			return nil, err
		}
	}
	return out, nil
}

// Kick makes Run look at the rows now.
func (r *Reconciler) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}
