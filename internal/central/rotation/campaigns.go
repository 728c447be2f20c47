package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// Defaults and bounds of a campaign.
const (
	DefaultPerConcentrator = 50
	DefaultInFlight        = 4000
	DefaultBudget          = 10
	DefaultBudgetTries     = 3
	// selectMeters is how many meters are selected in one commit, selectParts how many of those a beat does.
	selectMeters = 5000
	selectParts  = 4
	// maxMeters bounds a selection by name.
	maxMeters = 100_000
	// hardest is how many of the hardest changes are shown.
	hardest = 10
)

// Errors of campaigns.
var (
	// ErrCampaign is returned for a campaign that cannot be made or steered so.
	ErrCampaign = errors.New("campaign")
	// ErrNoCampaign is returned for a number that no campaign has.
	ErrNoCampaign = errors.New("there is no such campaign")
)

// CampaignsConfig says what Campaigns work with. All but Log and Turn are required.
type CampaignsConfig struct {
	Store CampaignStore
	Now   func() time.Time
	Log   *slog.Logger
	// Turn says whether it is this process's turn to run the campaigns, and under which context. nil: always.
	Turn func(ctx context.Context) (context.Context, bool, error)
	// Asked is told when changes were asked for.
	Asked func()
}

// Campaigns runs campaigns. What it knows is in the rows: another process can go on with them at any time.
type Campaigns struct {
	cfg CampaignsConfig

	mu    sync.Mutex
	after map[int64]dlms.SystemTitle // whose turn was last; only for fairness
}

// NewCampaigns returns the runner; Beat drives it.
func NewCampaigns(cfg CampaignsConfig) *Campaigns {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Turn == nil {
		cfg.Turn = func(ctx context.Context) (context.Context, bool, error) { return ctx, true, nil }
	}
	if cfg.Asked == nil {
		cfg.Asked = func() {}
	}
	return &Campaigns{cfg: cfg, after: map[int64]dlms.SystemTitle{}}
}

// Start makes a campaign. Its keys are selected and asked for by the beats that follow.
func (r *Campaigns) Start(ctx context.Context, c Campaign) (Campaign, error) {
	now := r.cfg.Now()
	c.State, c.CreatedAt, c.RunningSince = CampaignRunning, now, now
	c.PerConcentrator = cmp.Or(c.PerConcentrator, DefaultPerConcentrator)
	c.InFlight = cmp.Or(c.InFlight, DefaultInFlight)
	c.BudgetTries = cmp.Or(c.BudgetTries, DefaultBudgetTries)
	if len(c.Roles) == 0 {
		c.Roles = role.Associations()
	}
	if err := c.check(); err != nil {
		return c, err
	}
	var err error
	if c.ID, err = r.cfg.Store.AddCampaign(ctx, c); err != nil {
		return c, fmt.Errorf("add campaign: %w", err)
	}
	return c, nil
}

func (c Campaign) check() error {
	switch {
	case c.Reason == "":
		return fmt.Errorf("%w: want a reason, for the record", ErrCampaign)
	case len(c.Selection.Meters) > maxMeters:
		return fmt.Errorf("%w: want at most %d meters by name, got %d", ErrCampaign, maxMeters, len(c.Selection.Meters))
	case c.PerConcentrator < 1 || c.InFlight < 1 || c.BudgetTries < 1 || c.Budget < -1:
		return fmt.Errorf("%w: want limits of at least 1 and a budget of at least -1", ErrCampaign)
	}
	for _, r := range c.Roles {
		if r != role.CCLAN && r != role.CCLOCALE && r != role.CCIS {
			return fmt.Errorf("%w: %s is not changed by a campaign", ErrCampaign, r)
		}
	}
	return nil
}

// Steering is what can be done with a campaign.
type Steering string

// Ways to steer a campaign.
const (
	Pause  Steering = "pause"
	Resume Steering = "resume"
	Abort  Steering = "abort"
)

// Steer pauses, resumes or aborts a campaign. Budget, unless nil, is the new failure budget. Doing it twice changes
// nothing.
func (r *Campaigns) Steer(ctx context.Context, id int64, how Steering, budget *int) error {
	return r.cfg.Store.Update(ctx, func(ctx context.Context) error {
		c, err := r.cfg.Store.Campaign(ctx, id)
		if err != nil {
			return err
		}
		if budget != nil {
			c.Budget = *budget
		}
		if err := c.steer(how, r.cfg.Now()); err != nil {
			return err
		}
		if err := c.check(); err != nil {
			return err
		}
		if how != Resume {
			if err := r.cfg.Store.WithdrawKeys(ctx, &c); err != nil {
				return err
			}
		}
		return r.cfg.Store.SaveCampaign(ctx, c)
	})
}

func (c *Campaign) steer(how Steering, now time.Time) error {
	switch {
	case how == Abort && c.State == CampaignAborted, how == Pause && c.State == CampaignPaused, how == Resume && c.State == CampaignRunning:
	case c.Over():
		return fmt.Errorf("%w: %s campaign %d: it is %s", ErrCampaign, how, c.ID, c.State)
	case how == Pause:
		c.State, c.Why = CampaignPaused, "paused by the operator"
	case how == Abort:
		c.State, c.Why, c.EndedAt = CampaignAborted, "aborted by the operator", now
	case how == Resume:
		c.State, c.Why, c.RunningSince = CampaignRunning, "", now
	default:
		return fmt.Errorf("%w: want pause, resume or abort, got %q", ErrCampaign, how)
	}
	return nil
}

// Progress tells how far a campaign is.
func (r *Campaigns) Progress(ctx context.Context, c Campaign) (p Progress, err error) {
	p = Progress{Campaign: c, Waiting: c.Waiting()}
	ways, err := r.cfg.Store.KeysUnderWay(ctx, c)
	if err != nil {
		return p, err
	}
	for _, w := range ways {
		p.Stuck, p.Late = p.Stuck+w.Stuck, p.Late+w.Late
	}
	now := r.cfg.Now()
	from := now.Add(-etaWindow)
	if c.RunningSince.After(from) {
		from = c.RunningSince
	}
	recent, err := r.cfg.Store.DoneSince(ctx, c.ID, from)
	if err != nil {
		return p, err
	}
	p.estimate(recent, from, now)
	p.Hardest, err = r.cfg.Store.Hardest(ctx, c.ID, hardest)
	return p, err
}

// Beat brings every open campaign on: it notes what is done and asks for what may be asked for, in one commit each. It
// returns how many keys it asked for.
func (r *Campaigns) Beat(ctx context.Context) (asked int, err error) {
	open, err := r.cfg.Store.OpenCampaigns(ctx)
	if err != nil || len(open) == 0 {
		return 0, err
	}
	ctx, mine, err := r.cfg.Turn(ctx)
	if err != nil || !mine {
		return 0, err
	}
	for _, c := range open { // one that fails holds no other up
		n, e := r.beat(ctx, c.ID)
		asked += n
		if e != nil {
			err = errors.Join(err, fmt.Errorf("campaign %d: %w", c.ID, e))
		}
	}
	if asked > 0 {
		r.cfg.Asked()
	}
	return asked, err
}

func (r *Campaigns) beat(ctx context.Context, id int64) (asked int, err error) {
	for range selectParts {
		var done bool
		err := r.cfg.Store.Update(ctx, func(ctx context.Context) error {
			c, err := r.cfg.Store.Campaign(ctx, id)
			if err != nil {
				return err
			}
			if done = c.Selected || c.State != CampaignRunning; done {
				return nil
			}
			if err := r.cfg.Store.SelectKeys(ctx, &c, selectMeters, r.cfg.Now()); err != nil {
				return err
			}
			return r.cfg.Store.SaveCampaign(ctx, c)
		})
		if err != nil {
			return 0, err
		}
		if done {
			break
		}
	}
	err = r.cfg.Store.Update(ctx, func(ctx context.Context) error {
		c, err := r.cfg.Store.Campaign(ctx, id) // as it is by now: it may have been paused
		if err != nil {
			return err
		}
		before := c.Asked
		if err := r.advance(ctx, &c); err != nil {
			return err
		}
		asked = max(0, c.Asked-before)
		return r.cfg.Store.SaveCampaign(ctx, c)
	})
	return asked, err
}

// advance notes what is done, stops a campaign whose budget is spent, asks for what there is room for, and ends it.
func (r *Campaigns) advance(ctx context.Context, c *Campaign) error {
	if err := r.cfg.Store.SettleKeys(ctx, c); err != nil {
		return err
	}
	if c.State != CampaignRunning {
		return nil
	}
	ways, err := r.cfg.Store.KeysUnderWay(ctx, *c)
	if err != nil {
		return err
	}
	busy, stuck := map[dlms.SystemTitle]int{}, 0
	room := c.InFlight
	for _, w := range ways {
		n := w.Busy(c.PerConcentrator)
		busy[w.Concentrator] = n
		room -= n
		stuck += w.Stuck
	}
	if c.Budget >= 0 && stuck > c.Budget {
		c.State, c.Why = CampaignStopped, fmt.Sprintf("%d keys are stuck, the budget is %d", stuck, c.Budget)
		r.cfg.Log.Error("a campaign has stopped", "campaign", c.ID, "stuck", stuck, "budget", c.Budget)
		return r.cfg.Store.WithdrawKeys(ctx, c)
	}
	if !c.Selected { // the order is known when all of them are
		return nil
	}
	if err := r.fill(ctx, c, room, busy); err != nil {
		return err
	}
	if c.Waiting() == 0 && c.Asked == 0 {
		c.State, c.EndedAt = CampaignDone, r.cfg.Now()
	}
	return nil
}

// fill asks for keys in their order as far as there is room for so many more; and then, so that full concentrators at the head hold the
// others up as little as may be, concentrator by concentrator.
func (r *Campaigns) fill(ctx context.Context, c *Campaign, room int, busy map[dlms.SystemTitle]int) error {
	take := func(list []CampaignKey) (keys []CampaignKey) {
		for _, k := range list {
			if room > 0 && busy[k.Concentrator] < c.PerConcentrator {
				keys = append(keys, k)
				busy[k.Concentrator]++
				room--
			}
		}
		return keys
	}
	if room <= 0 || c.Waiting() == 0 {
		return nil
	}
	list, err := r.cfg.Store.NextKeys(ctx, c.ID, dlms.SystemTitle{}, room)
	if err != nil {
		return err
	}
	if err := r.cfg.Store.AskKeys(ctx, c, take(list), r.cfg.Now()); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.after[c.ID]
	for at, wrapped := first, false; room > 0 && c.Waiting() > 0; {
		next, ok, err := r.cfg.Store.NextConcentrator(ctx, c.ID, at)
		if err != nil {
			return err
		}
		if !ok && !wrapped {
			at, wrapped = dlms.SystemTitle{}, true
			continue
		}
		if !ok || wrapped && string(next[:]) > string(first[:]) {
			return nil
		}
		at, r.after[c.ID] = next, next
		free := min(room, c.PerConcentrator-busy[next])
		if free <= 0 {
			continue
		}
		if list, err = r.cfg.Store.NextKeys(ctx, c.ID, next, free); err != nil {
			return err
		}
		if err := r.cfg.Store.AskKeys(ctx, c, take(list), r.cfg.Now()); err != nil {
			return err
		}
	}
	return nil
}
