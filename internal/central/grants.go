package central

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// Grant implements api.Backend.
func (is *IS) Grant(ctx context.Context, q api.GrantRequest) (enrol.Grant, error) {
	if err := is.stillHere(ctx, q.Meters...); err != nil {
		return enrol.Grant{}, err
	}
	g, err := is.fleet.Grant(ctx, who(ctx), fleet.Grant{
		Terminal: q.Terminal, Meters: q.Meters, NotBefore: q.NotBefore, NotAfter: q.NotAfter,
	})
	if err != nil {
		return enrol.Grant{}, err
	}
	return is.vault.SealGrant(ctx, who(ctx), g.ID)
}

// EndGrant implements api.Backend.
func (is *IS) EndGrant(ctx context.Context, id string) (api.Asked, error) {
	live, err := is.fleet.Grants(ctx, fleet.GrantLive)
	if err != nil {
		return api.Asked{}, err
	}
	for _, g := range live {
		if g.ID == id {
			return is.end(ctx, g)
		}
	}
	return api.Asked{}, fmt.Errorf("%w grant %s, or it has ended", fleet.ErrUnknown, id)
}

func grantReason(g fleet.Grant) string { return "grant " + g.ID + " ended" }

// end ends a grant and asks for the keys. Between the two a crash is mended by settleGrants.
func (is *IS) end(ctx context.Context, g fleet.Grant) (api.Asked, error) {
	if err := is.fleet.End(ctx, who(ctx), g); err != nil {
		return api.Asked{}, err
	}
	return is.rotateOwed(ctx, api.Rotation{Meters: g.Meters, Roles: []role.Role{role.CCLOCALE}, Reason: grantReason(g), Once: true})
}

// settleGrants ends what is over, asks again where a change was not asked for, and closes what is proven.
func (is *IS) settleGrants(ctx context.Context) error {
	ended, err := is.fleet.GrantsEnded(ctx, actorIS)
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range ended {
		errs = append(errs, is.settle(ctx, g)) // one that cannot be settled holds no other up
	}
	return errors.Join(errs...)
}

// settle closes an ended grant when no meter takes what it holds any more: when each whose CC_LOCALE was given away has
// proven one made after its end, and the last day of what was derived has passed. A change that was under way when the
// grant ended does not count: the grant may hold the very key it brings in.
//
// A grant that somebody ended before its time ends at once, whatever it holds: its terminal may be lost.
func (is *IS) settle(ctx context.Context, g fleet.Grant) error {
	must, err := is.store.GivenAway(ctx, g.ID)
	if err != nil {
		return err
	}
	if g.EndedEarly() {
		must = g.Meters
	}
	if must, err = is.inService(ctx, must); err != nil {
		return err
	}
	if len(must) > 0 {
		if settled, err := is.settled(ctx, g, must); err != nil || !settled {
			return err
		}
	}
	zone := is.cfg.zone()
	today := dlms.DayOf(is.deps.Now().In(zone))
	if len(must) < len(g.Meters) && role.LastDayOf(g.NotAfter, zone).Compare(today) >= 0 {
		return nil // the meters refuse it by themselves when its last day has passed
	}
	return is.fleet.Close(ctx, who(ctx), g)
}

// settled asks for a new CC_LOCALE of meters, once, and reports whether each of them has proven one.
func (is *IS) settled(ctx context.Context, g fleet.Grant, meters []dlms.SystemTitle) (bool, error) {
	a, err := is.rotateOwed(ctx, api.Rotation{Meters: meters, Roles: []role.Role{role.CCLOCALE}, Reason: grantReason(g), Once: true})
	if err != nil || a.Asked > 0 {
		return false, err
	}
	changes, err := is.store.Changes().ByReason(ctx, grantReason(g))
	if err != nil {
		return false, err
	}
	done := 0
	for _, c := range changes {
		if c.Step == rotation.StepDone && slices.Contains(meters, c.Meter) {
			done++
		}
	}
	return done >= len(meters), nil
}

// watchGrants ends grants whose time is over, and sees to it that nobody uses them afterwards: see settle.
func (is *IS) watchGrants(ctx context.Context) error {
	t := time.NewTicker(grantInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := is.settleGrants(ctx); err != nil && ctx.Err() == nil {
			is.deps.Log.Error("grants could not be settled", "error", err)
		}
		if err := is.settleMoves(ctx); err != nil && ctx.Err() == nil {
			is.deps.Log.Error("moves could not be settled", "error", err)
		}
		if err := is.settleSpent(ctx); err != nil && ctx.Err() == nil {
			is.deps.Log.Error("keys that are nearly spent could not be asked for", "error", err)
		}
		if err := is.recallDue(ctx); err != nil && ctx.Err() == nil {
			is.deps.Log.Warn("a concentrator has not given back what it keeps for the vault", "error", err)
		}
		if err := is.welcome(ctx); err != nil && ctx.Err() == nil {
			is.deps.Log.Warn("a concentrator could not be given its keys", "error", err)
		}
	}
}
