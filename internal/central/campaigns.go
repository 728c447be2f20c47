package central

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// Campaigns in the audit log; the changes that they ask for name them as their reason.
const (
	actionCampaign audit.Action = "rotation.campaign.started"
	actionSteered  audit.Action = "rotation.campaign.steered"
)

// StartCampaign implements api.Backend.
func (is *IS) StartCampaign(ctx context.Context, q api.CampaignRequest) (p rotation.Progress, err error) {
	c := rotation.Campaign{
		Name: q.Name, Reason: q.Reason, Selection: q.Selection, Roles: q.Roles,
		PerConcentrator: q.PerConcentrator, InFlight: q.InFlight, Budget: rotation.DefaultBudget, BudgetTries: q.BudgetTries,
	}
	if q.Budget != nil {
		c.Budget = *q.Budget
	}
	if q.OlderThan < 0 {
		return p, fmt.Errorf("%w: older than: want a time above 0", rotation.ErrCampaign)
	}
	if q.OlderThan > 0 {
		c.Selection.Before = is.deps.Now().Add(-q.OlderThan)
	}
	if err := is.known(ctx, c.Selection); err != nil {
		return p, err
	}
	n, err := is.atMost(ctx, c)
	if err != nil {
		return p, err
	}
	if err := is.gate.Spend(ctx, access.BulkKeys, n); err != nil {
		return p, err
	}
	err = is.store.Update(ctx, func(ctx context.Context) error {
		if c, err = is.campaigns.Start(ctx, c); err != nil {
			return err
		}
		return is.audit.Append(ctx, audit.Entry{
			Actor: who(ctx), Action: actionCampaign, Phase: audit.Done, Outcome: c.Reason,
			Detail: map[string]string{"campaign": strconv.FormatInt(c.ID, 10)},
		})
	})
	if err != nil {
		return p, err
	}
	is.kickCampaigns()
	return is.campaigns.Progress(ctx, c)
}

// atMost is how many keys a campaign changes at most; the selection itself is made later, and can only be smaller.
func (is *IS) atMost(ctx context.Context, c rotation.Campaign) (int, error) {
	meters := len(c.Selection.Meters)
	switch {
	case meters > 0:
	case !c.Selection.Concentrator.IsZero():
		mine, err := is.store.Served(ctx, c.Selection.Concentrator)
		if err != nil {
			return 0, err
		}
		meters = len(mine)
	default:
		n, err := is.store.CountMeters(ctx)
		if err != nil {
			return 0, err
		}
		meters = n
	}
	roles := len(c.Roles)
	if roles == 0 {
		roles = len(role.Associations())
	}
	return meters * roles, nil
}

// known refuses a selection by a name that nothing bears: it would select nothing, and look like success.
func (is *IS) known(ctx context.Context, s rotation.Selection) error {
	kinds, err := is.store.TitleKinds(ctx, s.Meters)
	if err != nil {
		return err
	}
	for _, m := range s.Meters {
		if kinds[m] != fleet.KindMeter {
			return fmt.Errorf("%w meter %s", fleet.ErrUnknown, m)
		}
	}
	if err := is.stillHere(ctx, s.Meters...); err != nil {
		return err
	}
	if !s.Concentrator.IsZero() {
		if _, err := is.deviceOf(ctx, s.Concentrator, enrol.Concentrator); err != nil {
			return err
		}
	}
	if !s.Holder.IsZero() {
		_, err = is.fleet.Device(ctx, s.Holder)
	}
	return err
}

// deviceOf returns a device that must be of a kind.
func (is *IS) deviceOf(ctx context.Context, t dlms.SystemTitle, kind enrol.Kind) (fleet.Device, error) {
	d, err := is.fleet.Device(ctx, t)
	if err == nil && d.Kind != string(kind) {
		err = fmt.Errorf("%w %s %s: it is a %s", fleet.ErrUnknown, kind, t, d.Kind)
	}
	return d, err
}

// Campaigns implements api.Backend.
func (is *IS) Campaigns(ctx context.Context) ([]rotation.Progress, error) {
	all, err := is.store.Campaigns().Campaigns(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]rotation.Progress, len(all))
	for i, c := range all {
		if out[i], err = is.campaigns.Progress(ctx, c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Campaign implements api.Backend.
func (is *IS) Campaign(ctx context.Context, id int64) (p rotation.Progress, err error) {
	c, err := is.store.Campaigns().Campaign(ctx, id)
	if err != nil {
		return p, err
	}
	return is.campaigns.Progress(ctx, c)
}

// SteerCampaign implements api.Backend.
func (is *IS) SteerCampaign(ctx context.Context, s api.CampaignSteering) (p rotation.Progress, err error) {
	err = is.store.Update(ctx, func(ctx context.Context) error {
		if err := is.campaigns.Steer(ctx, s.ID, s.How, s.Budget); err != nil {
			return err
		}
		return is.audit.Append(ctx, audit.Entry{
			Actor: who(ctx), Action: actionSteered, Phase: audit.Done, Outcome: string(s.How),
			Detail: map[string]string{"campaign": strconv.FormatInt(s.ID, 10)},
		})
	})
	if err != nil {
		return p, err
	}
	is.kickCampaigns()
	return is.Campaign(ctx, s.ID)
}

func (is *IS) kickCampaigns() {
	select {
	case is.campaignsKick <- struct{}{}:
	default:
	}
}

// campaignInterval is how often a running campaign is looked at.
const campaignInterval = 500 * time.Millisecond

// runCampaigns drives the campaigns until ctx ends.
func (is *IS) runCampaigns(ctx context.Context) error {
	t := time.NewTicker(campaignInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-is.campaignsKick:
		case <-t.C:
		}
		if _, err := is.campaigns.Beat(ctx); err != nil && ctx.Err() == nil {
			is.deps.Log.Error("campaigns could not go on", "error", err)
		}
	}
}

// Exposure implements api.Backend.
func (is *IS) Exposure(ctx context.Context, q rotation.ExposureQuery) (e rotation.Exposure, err error) {
	switch {
	case !q.Meter.IsZero():
		_, err = is.fleet.Find(ctx, q.Meter)
	case !q.Terminal.IsZero():
		_, err = is.deviceOf(ctx, q.Terminal, enrol.Terminal)
	case !q.Concentrator.IsZero():
		_, err = is.deviceOf(ctx, q.Concentrator, enrol.Concentrator)
	}
	if err != nil {
		return e, err
	}
	return is.store.Exposure(ctx, q, is.deps.Now())
}

// RevokeTerminal implements api.Backend. Its grants end with it; that asks for a new CC_LOCALE of their meters, and until
// each is proven the terminal counts among those who hold a live key.
func (is *IS) RevokeTerminal(ctx context.Context, q api.Revocation) (r api.Revoked, err error) {
	if q.Why == "" {
		return r, errors.New("revoke: want a reason, for the record")
	}
	if _, err := is.deviceOf(ctx, q.Terminal, enrol.Terminal); err != nil {
		return r, err
	}
	err = is.store.Update(ctx, func(ctx context.Context) error {
		r = api.Revoked{Terminal: q.Terminal}
		if err := is.fleet.Revoke(ctx, who(ctx), q.Terminal, q.Why); err != nil {
			return err
		}
		live, err := is.fleet.Grants(ctx, fleet.GrantLive)
		if err != nil {
			return err
		}
		for _, g := range live {
			if g.Terminal != q.Terminal {
				continue
			}
			if err := is.fleet.End(ctx, who(ctx), g); err != nil {
				return err
			}
			r.Grants++
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	if err := is.settleGrants(ctx); err != nil {
		is.deps.Log.Warn("the keys of ended grants are asked for again soon", "error", err)
	}
	e, err := is.store.Exposure(ctx, rotation.ExposureQuery{Terminal: q.Terminal, Limit: 1}, is.deps.Now())
	for _, t := range e.Totals {
		r.Keys += t.Keys
	}
	return r, err
}
