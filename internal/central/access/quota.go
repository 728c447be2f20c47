package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// Class is a kind of operation that is counted.
type Class string

// The classes.
const (
	// Breakers counts orders to breakers that close or open one, or arm it.
	Breakers Class = "breaker"
	// Images counts images of meters that are made active.
	Images Class = "image"
	// BulkKeys counts keys that people ask to have changed.
	BulkKeys Class = "keys"
	// Imports counts meters that shipments bring, for each maker apart: see Of.
	Imports Class = "import"
)

// Of is a class for somebody who is counted apart, with the same quota: "import/msl" is that of maker MSL.
func (c Class) Of(whom string) Class { return c + "/" + Class(strings.ToLower(whom)) }

// kind is the class that the quota is said for.
func (c Class) kind() Class {
	kind, _, _ := strings.Cut(string(c), "/")
	return Class(kind)
}

// Quota is how much of a class may be done without a second person.
type Quota struct {
	// Limit may be used in any Window that ends now.
	Limit  int           `json:"limit" yaml:"limit"`
	Window time.Duration `json:"window" yaml:"window"`
	// Refusals is the anomaly: so many different orders above the limit within a window stop the class.
	Refusals int `json:"refusals" yaml:"refusals"`
	// Burst, if it is not 0, is the other one: more than so many within BurstWindow stop the class.
	Burst       int           `json:"burst,omitempty" yaml:"burst"`
	BurstWindow time.Duration `json:"burst_window,omitempty" yaml:"burst_window"`
}

// quotas are the defaults.
var quotas = map[Class]Quota{
	Breakers: {Limit: 50, Window: time.Hour, Refusals: 10, Burst: 25, BurstWindow: time.Minute},
	Images:   {Limit: 50, Window: time.Hour, Refusals: 10, Burst: 25, BurstWindow: time.Minute},
	BulkKeys: {Limit: 10_000, Window: time.Hour, Refusals: 10},
	Imports:  {Limit: 100_000, Window: 24 * time.Hour, Refusals: 10},
}

// DefaultQuota is that of a class where nothing else is said.
func DefaultQuota(c Class) Quota { return quotas[c] }

// Classes lists them.
func Classes() []Class { return slices.Sorted(maps.Keys(quotas)) }

// Use is one entry of the count: so much used, or one order refused.
type Use struct {
	Class   Class
	At      time.Time
	N       int
	Refused bool
	By      string
}

// Stop says why and since when a class is stopped.
type Stop struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}

// Quotas in the audit log.
const (
	ActionStopped audit.Action = "access.class.stopped"
	ActionLifted  audit.Action = "access.class.lifted"
)

// ErrStopped is returned for a class that an anomaly has stopped.
var ErrStopped = errors.New("access: stopped after an anomaly")

func stoppedError(class Class, s Stop) error {
	return fmt.Errorf("%w: class %s, since %s: %s; two people lift the stop: meterseal quota lift %s", ErrStopped, class, s.Since.Format(time.RFC3339), s.Why, class)
}

// QuotaStatus is how a class stands.
type QuotaStatus struct {
	Class Class `json:"class"`
	Quota
	Used    int   `json:"used"`
	Refused int   `json:"refused"`
	Stop    *Stop `json:"stop,omitempty"`
}

func (g *Gate) quota(class Class) Quota {
	if q, ok := g.cfg.Quotas[class.kind()]; ok {
		return q
	}
	return quotas[class.kind()]
}

// Left is how much of a class may be done now without a second person.
func (g *Gate) Left(ctx context.Context, class Class) (int, error) {
	q := g.quota(class)
	used, _, err := g.cfg.Store.Used(ctx, class, g.cfg.Now().Add(-q.Window))
	return max(0, q.Limit-used), err
}

// GiveBack counts n less of what was spent at a time, for it was not used. What the system does by itself is not counted.
func (g *Gate) GiveBack(ctx context.Context, class Class, n int, at time.Time) error {
	c, ok := CallFrom(ctx)
	if !ok || n <= 0 {
		return nil
	}
	return g.cfg.Store.Update(ctx, func(ctx context.Context) error {
		return g.cfg.Store.AddUse(ctx, Use{Class: class, At: at, N: -n, By: c.Name})
	})
}

// Spend counts n of a class, before it is done. What is above the quota takes a second person; a class that was stopped takes
// nothing. What the system does by itself is not counted. It must not be called inside an Update: what it writes counts
// also where it refuses.
func (g *Gate) Spend(ctx context.Context, class Class, n int) error {
	c, ok := CallFrom(ctx)
	if !ok || n <= 0 {
		return nil
	}
	var refusal error
	err := g.cfg.Store.Update(ctx, func(ctx context.Context) (err error) {
		refusal, err = g.spend(ctx, c, class, n)
		return err
	})
	if err != nil {
		return err
	}
	return refusal
}

// spend returns apart what is refused, which is committed, and what has failed, which is not.
func (g *Gate) spend(ctx context.Context, c Call, class Class, n int) (refusal, err error) {
	now, q := g.cfg.Now(), g.quota(class)
	if s, err := g.cfg.Store.Stop(ctx, class); err != nil || s != nil {
		if s != nil {
			refusal = stoppedError(class, *s)
		}
		return refusal, err
	}
	if err := g.cfg.Store.DropUses(ctx, class, now.Add(-2*max(q.Window, q.BurstWindow))); err != nil {
		return nil, err
	}
	used, refused, err := g.cfg.Store.Used(ctx, class, now.Add(-q.Window))
	if err != nil {
		return nil, err
	}
	approved := c.approved
	if used+n > q.Limit && !approved {
		var open *Approval
		approved, open, err = g.use(ctx, c)
		if err != nil {
			return nil, err
		}
		if !approved {
			return g.above(ctx, c, class, q, n, used, refused, open)
		}
	}
	if !approved && q.Burst > 0 {
		recent, _, err := g.cfg.Store.Used(ctx, class, now.Add(-q.BurstWindow))
		if err != nil {
			return nil, err
		}
		if recent+n > q.Burst {
			return g.stop(ctx, c, class, fmt.Sprintf("more than %d within %s", q.Burst, q.BurstWindow))
		}
	}
	return nil, g.cfg.Store.AddUse(ctx, Use{Class: class, At: g.cfg.Now(), N: n, By: c.Name})
}

// above refuses what is above the quota. An order that waits for its second person is counted once.
func (g *Gate) above(ctx context.Context, c Call, class Class, q Quota, n, used, refused int, open *Approval) (refusal, err error) {
	if open == nil {
		if err := g.cfg.Store.AddUse(ctx, Use{Class: class, At: g.cfg.Now(), N: n, Refused: true, By: c.Name}); err != nil {
			return nil, err
		}
		if refused+1 >= q.Refusals {
			return g.stop(ctx, c, class, fmt.Sprintf("%d orders above the quota of %d within %s", refused+1, q.Limit, q.Window))
		}
		why := fmt.Sprintf("quota %s: %d of %d used within %s, this is %d more", class, used, q.Limit, q.Window, n)
		if open, err = g.ask(ctx, c, why); err != nil {
			return nil, err
		}
	}
	return &PendingError{*open, rules[c.Op].Seconds()}, nil
}

func (g *Gate) stop(ctx context.Context, c Call, class Class, why string) (refusal, err error) {
	s := Stop{Since: g.cfg.Now().UTC().Truncate(time.Microsecond), Why: why}
	if err := g.cfg.Store.SetStop(ctx, class, &s); err != nil {
		return nil, err
	}
	err = g.cfg.Audit.Append(ctx, audit.Entry{
		Actor: c.Actor(), Action: ActionStopped, Phase: audit.Done, Outcome: why, Detail: map[string]string{"class": string(class)},
	})
	return stoppedError(class, s), err
}

// Lift lets a class that was stopped go on: what was used and refused before counts no more. That it takes two people is the
// operation's own rule.
func (g *Gate) Lift(ctx context.Context, class Class) error {
	if !slices.Contains(Classes(), class.kind()) {
		return fmt.Errorf("quota: want one of %v, got %q", Classes(), class)
	}
	return g.cfg.Store.Update(ctx, func(ctx context.Context) error {
		s, err := g.cfg.Store.Stop(ctx, class)
		if err != nil {
			return err
		}
		if s == nil {
			return fmt.Errorf("quota %s: it is not stopped", class)
		}
		if err := g.cfg.Store.SetStop(ctx, class, nil); err != nil {
			return err
		}
		if err := g.cfg.Store.DropUses(ctx, class, g.cfg.Now().Add(skew)); err != nil {
			return err
		}
		return g.cfg.Audit.Append(ctx, audit.Entry{
			Actor: ActorOr(ctx, "system:access"), Action: ActionLifted, Phase: audit.Done, Outcome: s.Why,
			Detail: map[string]string{"class": string(class)},
		})
	})
}

// Quotas tells how each class stands, and those that are counted apart.
func (g *Gate) Quotas(ctx context.Context, apart ...Class) ([]QuotaStatus, error) {
	var out []QuotaStatus
	for _, class := range append(Classes(), apart...) {
		s := QuotaStatus{Class: class, Quota: g.quota(class)}
		var err error
		if s.Used, s.Refused, err = g.cfg.Store.Used(ctx, class, g.cfg.Now().Add(-s.Window)); err != nil {
			return nil, err
		}
		if s.Stop, err = g.cfg.Store.Stop(ctx, class); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
