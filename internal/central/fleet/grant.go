package fleet

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
)

// Grant allows a terminal some meters for a time. Ended grants stay until nobody can use them any more (closed): until
// their meters have a new CC_LOCALE or, where the terminal has only what is derived from it, until its last day has passed.
type Grant struct {
	ID        string
	Terminal  dlms.SystemTitle
	Meters    []dlms.SystemTitle
	NotBefore time.Time
	NotAfter  time.Time
	State     string
	// EndedAt is when it ended: before NotAfter where somebody ended it.
	EndedAt time.Time `json:",omitzero"`
}

// EndedEarly reports whether somebody ended the grant before its time: a terminal that was lost has what it was given.
func (g Grant) EndedEarly() bool { return g.State != GrantLive && g.EndedAt.Before(g.NotAfter) }

// States of a grant.
const (
	GrantLive   = "live"
	GrantEnded  = "ended"
	GrantClosed = "closed"
)

// Grant makes a live grant and returns it. Its keys are sealed by the vault.
func (f *Fleet) Grant(ctx context.Context, by audit.Actor, g Grant) (Grant, error) {
	if !g.NotAfter.After(g.NotBefore) || !g.NotAfter.After(f.now()) {
		return g, ErrTime
	}
	if latest := f.now().Add(f.longest); g.NotAfter.After(latest) {
		return g, fmt.Errorf("%w: %s, and a grant that is given now ends by %s at the latest (longest_grant: %s)",
			ErrLong, g.NotAfter.UTC().Format(time.RFC3339), latest.UTC().Format(time.RFC3339), f.longest)
	}
	if len(g.Meters) == 0 {
		return g, fmt.Errorf("%w meters: a grant names at least one", ErrUnknown)
	}
	id := make([]byte, 8)
	if _, err := io.ReadFull(f.rand, id); err != nil {
		return g, fmt.Errorf("fleet: grant: %w", err)
	}
	g.ID, g.State = hex.EncodeToString(id), GrantLive
	err := f.Update(ctx, func(ctx context.Context) error {
		if err := f.grantable(ctx, g); err != nil {
			return err
		}
		if err := f.AddGrant(ctx, g, f.now()); err != nil {
			return err
		}
		return f.audit.Append(ctx, grantEntry(by, ActionGrantMade, g))
	})
	if err != nil {
		return g, fmt.Errorf("fleet: grant: %w", err)
	}
	return g, nil
}

func (f *Fleet) grantable(ctx context.Context, g Grant) error {
	d, err := f.Device(ctx, g.Terminal)
	if err != nil {
		return err
	}
	if d.Kind != KindTerminal || d.State != DeviceEnrolled {
		return fmt.Errorf("%w terminal %s: it is a %s, %s", ErrUnknown, g.Terminal, d.Kind, d.State)
	}
	kinds, err := f.TitleKinds(ctx, g.Meters)
	if err != nil {
		return err
	}
	seen := map[dlms.SystemTitle]bool{}
	for _, m := range g.Meters {
		if kinds[m] != KindMeter || seen[m] {
			return fmt.Errorf("%w meter %s, or named twice", ErrUnknown, m)
		}
		seen[m] = true
	}
	return f.room(ctx, g)
}

// Lent is what a terminal may have of a meter's CC_LOCALE.
type Lent struct {
	Terminal dlms.SystemTitle
	// LastDay is that of a derived key; it is zero for the key itself, and for a live grant that is not sealed yet, which has
	// NotAfter.
	LastDay  dlms.Day
	NotAfter time.Time
}

// room refuses a meter that has a floor for as many terminals, or days of terminals, as it can have: it would refuse the
// grant itself, when somebody stands before it.
func (f *Fleet) room(ctx context.Context, g Grant) error {
	known, err := f.MetersByTitle(ctx, g.Meters)
	if err != nil {
		return err
	}
	lent, err := f.Lent(ctx, g.Meters, dlms.DayOf(f.now().In(f.zone)))
	if err != nil {
		return err
	}
	for i, m := range g.Meters {
		derived := known[m].EndToEnd()
		mine := f.lent(Lent{Terminal: g.Terminal, NotAfter: g.NotAfter}, derived)
		others, first := map[Lent]bool{}, dlms.Day{}
		for _, l := range lent[i] {
			if l = f.lent(l, derived); l != mine {
				others[l] = true
				if first.IsZero() || l.LastDay.Compare(first) < 0 {
					first = l.LastDay
				}
			}
		}
		switch {
		case len(others) < role.MostLent:
		case derived:
			return fmt.Errorf("%w: %s has a floor for each of %d terminals and last days, and no more: wait until after %s, when the first of them ends, or change its CC_LOCALE, which ends all of them",
				ErrFull, m, len(others), first)
		default:
			return fmt.Errorf("%w: %s has a floor for each of %d terminals, and no more under one CC_LOCALE: change it, which ends their grants", ErrFull, m, len(others))
		}
	}
	return nil
}

// lent tells apart what a meter tells apart: terminals and days, or terminals alone.
func (f *Fleet) lent(l Lent, derived bool) Lent {
	switch {
	case !derived:
		return Lent{Terminal: l.Terminal}
	case l.LastDay.IsZero():
		return Lent{Terminal: l.Terminal, LastDay: role.LastDayOf(l.NotAfter, f.zone)}
	}
	return Lent{Terminal: l.Terminal, LastDay: l.LastDay}
}

func grantEntry(by audit.Actor, action audit.Action, g Grant) audit.Entry {
	return audit.Entry{
		Actor: by, Action: action, Phase: audit.Done,
		Subject: audit.Subject{Device: g.Terminal, Grant: g.ID},
		Detail:  map[string]string{"meters": fmt.Sprint(len(g.Meters)), "not_after": g.NotAfter.UTC().Format(time.RFC3339)},
	}
}

// GrantsEnded ends the live grants whose time is over and returns every grant that has ended and is not closed: the
// meters whose CC_LOCALE must change.
func (f *Fleet) GrantsEnded(ctx context.Context, by audit.Actor) ([]Grant, error) {
	var ended []Grant
	err := f.Update(ctx, func(ctx context.Context) error {
		live, err := f.Grants(ctx, GrantLive)
		if err != nil {
			return err
		}
		now := f.now()
		for _, g := range live {
			if g.NotAfter.Before(now) {
				if err := f.End(ctx, by, g); err != nil {
					return err
				}
			}
		}
		ended, err = f.Grants(ctx, GrantEnded)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("fleet: grants ended: %w", err)
	}
	return ended, nil
}

// End ends a live grant. Until CC_LOCALE of its meters is changed, or its last day has passed where keys are derived, a
// dishonest terminal can still use it.
func (f *Fleet) End(ctx context.Context, by audit.Actor, g Grant) error {
	return f.set(ctx, by, g, GrantEnded, ActionGrantEnded)
}

// Close notes that no meter takes what an ended grant holds any more.
func (f *Fleet) Close(ctx context.Context, by audit.Actor, g Grant) error {
	return f.set(ctx, by, g, GrantClosed, ActionGrantDone)
}

func (f *Fleet) set(ctx context.Context, by audit.Actor, g Grant, state string, action audit.Action) error {
	err := f.Update(ctx, func(ctx context.Context) error {
		changed, err := f.SetGrantState(ctx, g.ID, state, f.now())
		if err != nil || !changed {
			return err
		}
		return f.audit.Append(ctx, grantEntry(by, action, g))
	})
	if err != nil {
		return fmt.Errorf("fleet: grant %s: %s: %w", g.ID, state, err)
	}
	return nil
}
