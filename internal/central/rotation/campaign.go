package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// CampaignState is how a campaign stands. Whatever it is, changes that were begun are brought to their end: a meter is never
// left half changed. What was asked for and not begun is withdrawn when a campaign stops, for whatever reason.
type CampaignState string

// States of a campaign. Stopped is paused by itself, because its failure budget was spent.
const (
	CampaignRunning CampaignState = "running"
	CampaignPaused  CampaignState = "paused"
	CampaignStopped CampaignState = "stopped"
	CampaignAborted CampaignState = "aborted"
	CampaignDone    CampaignState = "done"
)

// Selection says which keys a campaign changes: all of the fleet, less what does not fit.
type Selection struct {
	Meters       []dlms.SystemTitle `json:"meters,omitempty"`
	Concentrator dlms.SystemTitle   `json:"concentrator,omitzero"`
	Maker        string             `json:"maker,omitempty"`
	// Before leaves out keys that came into force later.
	Before time.Time `json:"before,omitzero"`
	// Exposed leaves out keys that nobody holds but those who have a right to.
	Exposed bool `json:"exposed,omitempty"`
	// Holder leaves out keys that were not handed out to this device.
	Holder dlms.SystemTitle `json:"holder,omitzero"`
	// Held leaves out keys that were handed out to nobody.
	Held bool `json:"held,omitempty"`
}

// ByExposure reports whether the selection is about who holds keys: then the newest exposure comes first, else the oldest
// key.
func (s Selection) ByExposure() bool { return s.Exposed || s.Held || !s.Holder.IsZero() }

// Whole reports whether all meters have to be looked at.
func (s Selection) Whole() bool {
	return len(s.Meters) == 0 && s.Concentrator.IsZero() && s.Holder.IsZero()
}

// Campaign changes many keys for one reason.
type Campaign struct {
	ID        int64         `json:"id"`
	Name      string        `json:"name"`
	Reason    string        `json:"reason"`
	Selection Selection     `json:"selection"`
	Roles     []role.Role   `json:"roles"`
	State     CampaignState `json:"state"`
	// PerConcentrator bounds the keys under way at one concentrator, InFlight those of the campaign.
	PerConcentrator int `json:"per_concentrator"`
	InFlight        int `json:"in_flight"`
	// Budget is how many keys may be stuck before the campaign stops by itself, -1 for any number. A key is stuck when its
	// meter is searched for, or when BudgetTries versions were given up on the way.
	Budget      int `json:"budget"`
	BudgetTries int `json:"budget_tries"`
	// Selected says that the selection is complete; until then Total grows.
	Selected bool `json:"selected"`
	Total    int  `json:"total"`
	// Asked are under way. Done were proven in force. Dropped were not there any more when their turn came.
	Asked   int `json:"under_way"`
	Done    int `json:"done"`
	Dropped int `json:"dropped"`
	// Why it is not running.
	Why       string    `json:"why,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	// RunningSince is when it was started, or resumed last.
	RunningSince time.Time `json:"running_since"`
	EndedAt      time.Time `json:"ended_at,omitzero"`

	// Cursor is how far the selection has come, by title of the meter.
	Cursor dlms.SystemTitle `json:"-"`
}

// Waiting counts the keys that were not asked for.
func (c Campaign) Waiting() int { return c.Total - c.Asked - c.Done - c.Dropped }

// ChangeReason is the reason of the changes that the campaign asks for.
func (c Campaign) ChangeReason() string { return fmt.Sprintf("campaign %d: %s", c.ID, c.Reason) }

// Over reports whether the campaign asks for nothing more, ever.
func (c Campaign) Over() bool { return c.State == CampaignDone || c.State == CampaignAborted }

// Progress is how far a campaign is.
type Progress struct {
	Campaign
	Waiting int `json:"waiting"`
	// Stuck are those of the keys under way that count against the budget.
	Stuck int `json:"stuck"`
	// Late are those of the others whose meters could not be reached lately. They hold nobody up, and no estimate counts
	// with them.
	Late int `json:"late"`
	// PerMinute is how many keys were proven a minute lately; 0: too few to say.
	PerMinute float64 `json:"per_minute,omitempty"`
	// ETA is when those that are neither stuck nor late will be done at this rate. It is not there before there is a basis for it, nor
	// while the campaign is not running.
	ETA time.Time `json:"eta,omitzero"`
	// Hardest are some of the keys under way that were tried most.
	Hardest []Change `json:"hardest,omitempty"`
}

// Bounds of what an ETA is based on: the keys proven in the last while.
const (
	etaWindow = 10 * time.Minute
	etaLeast  = 10 * time.Second
	etaKeys   = 5
)

// estimate adds rate and ETA: recent keys were proven since the beginning of the window.
func (p *Progress) estimate(recent int, from, now time.Time) {
	took := now.Sub(from)
	if p.State != CampaignRunning || recent < etaKeys || took < etaLeast {
		return
	}
	p.PerMinute = float64(recent) / took.Minutes()
	if left := p.Waiting + p.Asked - p.Stuck - p.Late; p.Selected && left > 0 {
		p.ETA = now.Add(time.Duration(float64(left) / p.PerMinute * float64(time.Minute))).Truncate(time.Second)
	}
}

// LateAttempts is after how many tries without an answer a key under way is late: a minute or two after it was asked for.
const LateAttempts = 5

// idleShare is how many times the limit of a concentrator may wait there, stuck or late, beside what is under way in earnest.
const idleShare = 4

// UnderWay counts the keys of a campaign that are under way at a concentrator.
type UnderWay struct {
	Concentrator dlms.SystemTitle
	// Keys are all of them; Stuck those that count against the budget, Late those of the others that were tried
	// LateAttempts times since they got any further.
	Keys, Stuck, Late int
}

// Busy is how many of them take up room at the concentrator, of which limit is how much there is. A meter that cannot be
// reached is tried so rarely that it leaves its place to another one: else as many of them as the limit would hold the
// concentrator's others up for good. More than a few times the limit do not wait so.
func (u UnderWay) Busy(limit int) int { return u.Keys - min(u.Stuck+u.Late, idleShare*limit) }

// CampaignKey is one key of a campaign whose turn has come.
type CampaignKey struct {
	MeterRole
	Concentrator dlms.SystemTitle
}

// CampaignStore keeps campaigns and their keys.
type CampaignStore interface {
	ExposureStore
	Update(ctx context.Context, fn func(ctx context.Context) error) error
	// AddCampaign adds one and returns its number.
	AddCampaign(ctx context.Context, c Campaign) (int64, error)
	// SaveCampaign writes what changes in the life of a campaign, within an Update.
	SaveCampaign(ctx context.Context, c Campaign) error
	// Campaigns lists all, newest first; Campaign returns one; OpenCampaigns those that run or have keys under way.
	Campaigns(ctx context.Context) ([]Campaign, error)
	Campaign(ctx context.Context, id int64) (Campaign, error)
	OpenCampaigns(ctx context.Context) ([]Campaign, error)

	// SelectKeys takes the next part of the selection, at most meters meters of it, and moves the cursor.
	SelectKeys(ctx context.Context, c *Campaign, meters int, now time.Time) error
	// SettleKeys notes which keys under way are done. A change that was under way when the campaign was made does not
	// count: its key may be the very one that has to go. It waits for its turn again.
	SettleKeys(ctx context.Context, c *Campaign) error
	// KeysUnderWay counts them by concentrator.
	KeysUnderWay(ctx context.Context, c Campaign) ([]UnderWay, error)
	// NextKeys lists keys that wait, in their order, at most limit: of all concentrators, or of one.
	NextKeys(ctx context.Context, id int64, concentrator dlms.SystemTitle, limit int) ([]CampaignKey, error)
	// NextConcentrator returns the first concentrator after one that has keys waiting.
	NextConcentrator(ctx context.Context, id int64, after dlms.SystemTitle) (dlms.SystemTitle, bool, error)
	// AskKeys asks for a change of each key, or joins the one under way, and counts them; what is not there any more is
	// dropped.
	AskKeys(ctx context.Context, c *Campaign, keys []CampaignKey, now time.Time) error
	// WithdrawKeys takes back what was asked for and not begun, within an Update: those keys wait for their turn again.
	WithdrawKeys(ctx context.Context, c *Campaign) error
	// DoneSince counts the keys that were proven since.
	DoneSince(ctx context.Context, id int64, since time.Time) (int, error)
	// Hardest lists the changes under way that were tried most, at most limit.
	Hardest(ctx context.Context, id int64, limit int) ([]Change, error)
}
