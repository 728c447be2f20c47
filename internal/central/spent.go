package central

import (
	"context"
	"errors"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/role"
)

// Why a key is changed without anybody having asked.
const (
	reasonSpent = "counters past half of their range"
	reasonBurnt = "a counter is out of reach"
)

// actionBurnt is on the record when a meter, or somebody in its place, refuses every counter in reach.
const actionBurnt audit.Action = "meter.alarm.counter-burnt"

// spentBatch is how many keys are asked for in one go.
const spentBatch = 500

// burntPause is how long a key that was changed because of its counters is not changed for that again. What says that a
// counter is burnt is not authenticated, and a meter takes no more than 1,024 keys in its life.
const burntPause = 7 * 24 * time.Hour

// settleSpent asks for a new key where counters go to their end.
func (is *IS) settleSpent(ctx context.Context) error {
	keys, err := is.store.Spent(ctx, spentBatch)
	if err != nil || len(keys) == 0 {
		return err
	}
	changes := make([]rotation.Change, len(keys))
	for i, k := range keys {
		changes[i] = rotation.Change{Meter: k.Meter, Role: k.Role, Reason: reasonSpent}
	}
	_, err = is.reconciler.Ask(ctx, changes)
	return err
}

// burnt asks for a new key where the meter wants a counter that ours may not be raised to.
func (is *IS) burnt(ctx context.Context, k role.KeyRef) {
	if err := is.askBurnt(ctx, rotation.MeterRole{Meter: k.Meter, Role: k.Role}); err != nil {
		is.deps.Log.Error("a key whose counter is out of reach could not be changed", "key_ref", k.String(), "error", err)
	}
}

func (is *IS) askBurnt(ctx context.Context, k rotation.MeterRole) error {
	last, err := is.store.Changes().Last(ctx, k)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	case last.Step != rotation.StepDone:
		return nil
	case last.Reason == reasonBurnt && is.deps.Now().Sub(last.DoneAt) < burntPause:
		is.deps.Log.Warn("a counter is out of reach again; its key was changed lately", "meter", k.Meter.String(), "role", k.Role.String())
		return nil
	}
	if _, err := is.reconciler.Ask(ctx, []rotation.Change{{Meter: k.Meter, Role: k.Role, Reason: reasonBurnt}}); err != nil {
		return err
	}
	return is.audit.Append(ctx, audit.Entry{
		Actor: actorIS, Action: actionBurnt, Phase: audit.Done, Subject: audit.Subject{Meter: k.Meter, Role: k.Role},
	})
}
