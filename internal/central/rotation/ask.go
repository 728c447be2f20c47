package rotation

import (
	"context"
	"fmt"
)

// Ask asks for a change of each key and wakes the reconciler. A key whose change is under way is left to it.
func (r *Reconciler) Ask(ctx context.Context, keys []Change) (int, error) {
	return r.ask(ctx, keys, StepWanted)
}

// Search asks for a search of each key: if the version in force is what the meter has, that is all.
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

// Kick makes Run look at the rows now.
func (r *Reconciler) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}
