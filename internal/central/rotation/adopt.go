package rotation

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/internal/role"
)

// adopt takes up the keys of which a version was sent and of which no change speaks any more: the database was brought
// back from a time before the change, and the key journal has what followed. They are searched, for the meter alone
// knows how it ended.
func (r *Reconciler) adopt(ctx context.Context) error {
	now := r.cfg.Now()
	if since := now.Sub(r.adopted); since >= 0 && since < r.cfg.RetryMin {
		return nil
	}
	orphans, err := r.cfg.Store.Orphans(ctx, r.cfg.Batch)
	if err != nil {
		return fmt.Errorf("look for keys whose change is gone: %w", err)
	}
	r.adopted = now
	if err := r.cfg.Store.Follow(ctx); err != nil {
		return fmt.Errorf("put key changes under the concentrators of their meters: %w", err)
	}
	if len(orphans) == 0 {
		return nil
	}
	for i := range orphans {
		orphans[i].Step, orphans[i].CreatedAt, orphans[i].DueAt = StepSearching, now, now
		orphans[i].Reason = "a version was sent and the change of it is gone"
	}
	if _, err := r.cfg.Store.Ask(ctx, orphans); err != nil {
		return fmt.Errorf("take up keys whose change is gone: %w", err)
	}
	r.cfg.Log.Warn("keys were taken up whose change is gone", "keys", len(orphans))
	return nil
}

// resume brings rows and vault together before anything is done. They part when one of them is older than the other: the
// database fails over to a replica that lags behind, or is restored, and the key journal is not. The vault is right.
func (r *Reconciler) resume(ctx context.Context, group []*Change) error {
	for _, c := range group {
		if c.To == 0 {
			continue
		}
		st, err := r.cfg.Vault.Standing(ctx, c.to())
		if err != nil {
			return fmt.Errorf("how %s stands: %w", c.to(), err)
		}
		if err := r.agree(ctx, c, st); err != nil {
			return err
		}
	}
	return nil
}

// agree makes one row fit how its version stands.
func (r *Reconciler) agree(ctx context.Context, c *Change, st Standing) error {
	sent := c.Step == StepSent || c.Step == StepSearching
	switch st {
	case StandingPending:
		if sent { // the row knows that it left, the vault forgot
			return r.cfg.Vault.MarkSent(ctx, []role.KeyRef{c.to()})
		}
	case StandingSent:
		if !sent {
			c.Step = StepSent
		}
	case StandingActive:
		if !sent { // proven before the rows were taken back
			c.Step = StepSent
		}
	case StandingOver:
		c.Step, c.To = StepWanted, 0
	}
	return nil
}

// entry asks for a search of the key that the central system enters a meter with, when the meter refused it while
// something else was to be done. Anybody on the line can refuse in its name: a search finds the key in force then.
func (r *Reconciler) entry(ctx context.Context, c *Change, cause error) {
	if !errors.Is(cause, ErrEntry) {
		return
	}
	k, err := r.cfg.Hand.Entry(ctx, c.Meter)
	if err != nil || k == c.Role {
		return
	}
	active, err := r.cfg.Vault.Active(ctx, []MeterRole{{c.Meter, k}})
	if err != nil {
		r.cfg.Log.Error("no key in force to enter with", "meter", c.Meter.String(), "error", err)
		return
	}
	now := r.cfg.Now()
	ask := Change{
		Meter: c.Meter, Concentrator: c.Concentrator, Role: k, From: active[0].Version, Step: StepSearching, CreatedAt: now,
		DueAt: now, Reason: "the meter refused the key in force",
	}
	if _, err := r.cfg.Store.Ask(ctx, []Change{ask}); err != nil {
		r.cfg.Log.Error("a search could not be asked for", "meter", c.Meter.String(), "error", err)
	}
}
