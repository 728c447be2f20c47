package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
)

// campaignFlags are what starting a campaign takes besides what it selects.
type campaignFlags struct {
	roles           []string
	name, reason    string
	defaultReason   string
	limit, inFlight int
	budget, tries   int
	wait            bool
}

func (f *campaignFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringSliceVar(&f.roles, "role", nil, "CC_LAN, CC_LOCALE, CC_IS (default: all that the meter's profile has)")
	s.StringVar(&f.name, "name", "", "a short name, for the list")
	s.StringVar(&f.reason, "reason", "", "why, for the record (default: the operator, and the time)")
	s.IntVar(&f.limit, "limit", rotation.DefaultPerConcentrator, "keys under way at one concentrator at most")
	s.IntVar(&f.inFlight, "in-flight", rotation.DefaultInFlight, "keys under way in all at most")
	s.IntVar(&f.budget, "budget", rotation.DefaultBudget, "stop when more keys than this are stuck; -1: never")
	s.IntVar(&f.tries, "tries", rotation.DefaultBudgetTries, "a key is stuck when this many versions were given up on the way, or its meter is searched for")
	s.BoolVar(&f.wait, "wait", false, "wait until all are done")
}

// start asks for the campaign and shows it, or waits for its end.
func (o *operator) start(ctx context.Context, c *cobra.Command, is *api.Client, f *campaignFlags, q api.CampaignRequest) error {
	for _, s := range f.roles {
		r, err := role.Parse(strings.ToUpper(s))
		if err != nil {
			return usage(c, "--role: %w", err)
		}
		q.Roles = append(q.Roles, r)
	}
	if f.limit < 1 || f.inFlight < 1 || f.tries < 1 || f.budget < -1 {
		return usage(c, "want --limit, --in-flight and --tries of at least 1, and --budget of at least -1")
	}
	q.Name, q.PerConcentrator, q.InFlight, q.Budget, q.BudgetTries = f.name, f.limit, f.inFlight, &f.budget, f.tries
	if q.Reason = f.reason; q.Reason == "" {
		s, err := is.Status(ctx)
		if err != nil {
			return err
		}
		q.Reason = strings.TrimSpace(f.defaultReason + " operator " + s.Time.UTC().Format(time.RFC3339))
	}
	p, err := is.StartCampaign(ctx, q)
	if err != nil {
		return sameReason(err, f.reason, q.Reason)
	}
	if f.wait {
		return o.watch(ctx, c, is, p.ID, false)
	}
	return o.show(c, p, func() error {
		return printf(c, "campaign %d: %s; watch it: meterseal campaign show %d --watch\n", p.ID, p.Reason, p.ID)
	})
}

// watch shows how far a campaign is until it asks for nothing more. With lines it prints a JSON object for each news.
func (o *operator) watch(ctx context.Context, c *cobra.Command, is *api.Client, id int64, lines bool) error {
	bar := newProgress(c.ErrOrStderr(), "keys changed")
	defer bar.close()
	var shown string
	for {
		p, err := is.Campaign(ctx, id)
		if err != nil {
			return leaving(ctx, err, id)
		}
		bar.say(estimate(p))
		bar.set(p.Done, p.Total)
		if news := fmt.Sprintf("%s %d %d %d %d %d", p.State, p.Total, p.Done, p.Asked, p.Stuck, p.Late); lines && news != shown {
			shown = news
			if err := printJSON(c, p); err != nil {
				return err
			}
		}
		if p.State != rotation.CampaignRunning {
			bar.close()
			return o.ended(c, p, lines)
		}
		select {
		case <-ctx.Done():
			return leaving(ctx, ctx.Err(), id)
		case <-time.After(changesPoll):
		}
	}
}

// ended tells how a campaign that was waited for has ended; everything but its being done is an error.
func (o *operator) ended(c *cobra.Command, p rotation.Progress, told bool) error {
	if !told {
		if err := o.show(c, p, func() error { return printf(c, "campaign %d: %s, %d keys changed\n", p.ID, p.State, p.Done) }); err != nil {
			return err
		}
	}
	if p.State == rotation.CampaignDone {
		return nil
	}
	err := fmt.Errorf("campaign %d is %s: %s", p.ID, p.State, p.Why)
	if p.Over() {
		return err
	}
	if p.State == rotation.CampaignPaused {
		return withHint(err, "go on: meterseal campaign resume %d", p.ID)
	}
	return withHint(err, "what is stuck: meterseal campaign show %d; go on with a larger budget: meterseal campaign resume %d --budget %d", p.ID, p.ID, 2*p.Stuck+1)
}

// leaving says that a campaign goes on when nobody watches.
func leaving(ctx context.Context, err error, id int64) error {
	if ctx.Err() == nil {
		return err
	}
	return withHint(ctx.Err(), "the campaign goes on in the central system; watch it: meterseal campaign show %d --watch; stop it: meterseal campaign pause %d", id, id)
}

// estimate says in words when a campaign will be done, if that can be said.
func estimate(p rotation.Progress) string {
	var text []string
	if p.PerMinute > 0 {
		text = append(text, fmt.Sprintf("%.0f a minute", p.PerMinute))
	}
	if !p.ETA.IsZero() {
		text = append(text, "done at "+when(p.ETA))
	}
	if p.Stuck > 0 {
		text = append(text, fmt.Sprintf("%d stuck", p.Stuck))
	}
	if p.Late > 0 {
		text = append(text, fmt.Sprintf("%d late", p.Late))
	}
	return strings.Join(text, ", ")
}

func campaignCommand() *cobra.Command {
	o := new(operator)
	c := &cobra.Command{
		Use:   "campaign",
		Short: "Watch and steer campaigns of key changes",
		Long: `A campaign changes many keys: it asks for them in its order, so many at a time, and stops by itself when too many
are stuck. It runs in the central system and goes on after a restart of everything. Start one with 'meterseal rotate' or
'meterseal exposure --rekey'.`,
		Example: `  meterseal campaign ls --data ./is
  meterseal campaign show 3 --watch --data ./is`,
		RunE: group,
	}
	o.flags(c.PersistentFlags())
	c.AddCommand(o.campaignListCommand(), o.campaignShowCommand(),
		o.steerCommand(rotation.Pause, "Ask for no more keys; those under way are brought to their end"),
		o.steerCommand(rotation.Resume, "Go on after a pause, or after a stop by the failure budget"),
		o.steerCommand(rotation.Abort, "End a campaign; keys under way are brought to their end, the others stay as they are"))
	return c
}

func (o *operator) campaignListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "ls",
		Short:   "List the campaigns, newest first",
		Example: "  meterseal campaign ls --data ./is",
	}
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		all, err := is.Campaigns(ctx)
		if err != nil {
			return err
		}
		return o.show(c, all, func() error {
			rows := [][]string{{"ID", "STATE", "DONE", "UNDER WAY", "STUCK", "LATE", "TOTAL", "ETA", "NAME", "REASON"}}
			for _, p := range all {
				rows = append(rows, []string{
					strconv.FormatInt(p.ID, 10), string(p.State), strconv.Itoa(p.Done), strconv.Itoa(p.Asked), strconv.Itoa(p.Stuck),
					strconv.Itoa(p.Late), totalOf(p), when(p.ETA), orDash(p.Name), p.Reason,
				})
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

// totalOf is the number of keys, with a mark while it grows.
func totalOf(p rotation.Progress) string {
	if p.Selected {
		return strconv.Itoa(p.Total)
	}
	return strconv.Itoa(p.Total) + "+"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// campaignID reads the number of a campaign.
func campaignID(c *cobra.Command, s string) (int64, error) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 1 {
		return 0, usage(c, "ID: want the number of a campaign, got %q", s)
	}
	return id, nil
}

func (o *operator) campaignShowCommand() *cobra.Command {
	var watch bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show how far a campaign is, and what is hard",
		Long: `Shows a campaign. The time of its end is what the keys changed in the last ten minutes say, and is left out where
they are too few to say it; keys that are stuck, or late because their meters cannot be reached, are not in it. Late ones
leave their places under way to others, and are tried until they are done. With --watch it is shown until the campaign ends, with
--watch --json as one JSON object a line.`,
		Example: `  meterseal campaign show 3 --data ./is
  meterseal campaign show 3 --watch --json --data ./is`,
	}
	c.Flags().BoolVar(&watch, "watch", false, "go on until it ends")
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		id, err := campaignID(c, args[0])
		if err != nil {
			return err
		}
		if watch {
			return o.watch(ctx, c, is, id, o.json)
		}
		p, err := is.Campaign(ctx, id)
		if err != nil {
			return err
		}
		return o.show(c, p, func() error { return showCampaign(c, p) })
	})
}

func showCampaign(c *cobra.Command, p rotation.Progress) error {
	roles := make([]string, len(p.Roles))
	for i, r := range p.Roles {
		roles[i] = r.String()
	}
	state := string(p.State)
	if p.Why != "" {
		state += ": " + p.Why
	}
	budget := fmt.Sprintf("%d stuck after %d tries", p.Budget, p.BudgetTries)
	if p.Budget < 0 {
		budget = "none"
	}
	rows := [][]string{
		{"campaign", strings.TrimSpace(strconv.FormatInt(p.ID, 10) + " " + p.Name)},
		{"reason", p.Reason},
		{"state", state},
		{"roles", strings.Join(roles, " ")},
		{"limits", fmt.Sprintf("%d at a concentrator, %d in all", p.PerConcentrator, p.InFlight)},
		{"failure budget", budget},
		{"keys", fmt.Sprintf("%d done, %d under way (%d stuck, %d late), %d waiting, %d dropped, %s in all", p.Done, p.Asked, p.Stuck, p.Late, p.Waiting, p.Dropped, totalOf(p))},
		{"started", when(p.CreatedAt)},
		{"ended", when(p.EndedAt)},
		{"estimate", orDash(estimate(p))},
	}
	if len(p.Hardest) > 0 {
		rows = append(rows, []string{}, []string{"METER", "ROLE", "STEP", "TRIED", "LAST ERROR"})
	}
	for _, h := range p.Hardest {
		rows = append(rows, []string{h.Meter.String(), h.Role.String(), string(h.Step), strconv.Itoa(h.Tried), h.LastError})
	}
	return table(c.OutOrStdout(), rows)
}

func (o *operator) steerCommand(how rotation.Steering, short string) *cobra.Command {
	var budget int
	c := &cobra.Command{
		Use:     string(how) + " ID",
		Short:   short,
		Example: fmt.Sprintf("  meterseal campaign %s 3 --data ./is", how),
	}
	if how == rotation.Resume {
		c.Flags().IntVar(&budget, "budget", 0, "new failure budget (default: the one it has)")
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		id, err := campaignID(c, args[0])
		if err != nil {
			return err
		}
		s := api.CampaignSteering{ID: id, How: how}
		if c.Flags().Changed("budget") {
			s.Budget = &budget
		}
		p, err := is.SteerCampaign(ctx, s)
		if err != nil {
			return err
		}
		return o.show(c, p, func() error {
			return printf(c, "campaign %d: %s, %d of %s keys changed\n", p.ID, p.State, p.Done, totalOf(p))
		})
	})
}
