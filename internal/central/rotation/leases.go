package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/lease"
)

// taken is the work of one pass: due changes, and the right to do it where several processes share it.
type taken struct {
	due  []Change
	held *lease.Held // nil: there is nobody to share with
}

// context returns what the changes of one concentrator are worked on with: every write is under its lease.
func (t taken) context(ctx context.Context, concentrator dlms.SystemTitle) context.Context {
	if t.held == nil {
		return ctx
	}
	held, ok := t.held.Context(lease.Concentrator(concentrator))
	if !ok { // lost since it was taken
		gone, cancel := context.WithCancelCause(ctx)
		cancel(lease.ErrFenced)
		return gone
	}
	return held
}

func (t taken) release(ctx context.Context) error {
	if t.held == nil {
		return nil
	}
	return t.held.Release(ctx)
}

// take reads what is due and leases its concentrators. It then reads again: what was read before the leases were there
// may be what another process was just at.
func (r *Reconciler) take(ctx context.Context) (t taken, err error) {
	if t.due, err = r.due(ctx); err != nil || len(t.due) == 0 || r.cfg.Leases == nil {
		return t, err
	}
	var names []lease.Name
	seen := map[dlms.SystemTitle]bool{}
	for _, c := range t.due {
		if seen[c.Concentrator] || r.cfg.Away(c.Concentrator) {
			continue
		}
		seen[c.Concentrator] = true
		names = append(names, lease.Concentrator(c.Concentrator))
	}
	if t.held, err = r.cfg.Leases.Hold(ctx, names...); err != nil {
		return taken{}, err
	}
	if t.due, err = r.due(ctx); err != nil {
		return taken{}, errors.Join(err, t.held.Release(ctx))
	}
	t.due = slices.DeleteFunc(t.due, func(c Change) bool {
		_, mine := t.held.Context(lease.Concentrator(c.Concentrator))
		return !mine
	})
	return t, nil
}

func (r *Reconciler) due(ctx context.Context) ([]Change, error) {
	now := r.cfg.Now()
	due, err := r.cfg.Store.Due(ctx, now, now.Add(2*r.cfg.RetryMax), r.cfg.Batch)
	if err != nil {
		return nil, fmt.Errorf("read due key changes: %w", err)
	}
	return due, nil
}
