package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
)

func rotateCommand() *cobra.Command {
	o := new(operator)
	f := campaignFlags{}
	var meters []string
	var concentrator, selection string
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Change keys of meters, as a campaign",
		Long: `Starts a campaign that changes the keys of the meters named with --meter, of those under a --concentrator, or of a
--selection of the fleet, which is a list of

  all                 every meter
  maker=XYZ           of a maker
  concentrator=TITLE  under a concentrator
  older-than=90d      keys that are in force for longer (d, h, m)
  exposed             keys that somebody holds who has no right to them any more

of which all have to be true. The oldest key comes first, with exposed the newest exposure. The campaign runs in the
central system; --wait shows how far it is, and stopping that stops nothing: see 'meterseal campaign'.`,
		Example: `  meterseal rotate --meter 4D534C0000000001 --role CC_LAN --wait --data ./is
  meterseal rotate --concentrator 4D534CC000000001 --reason "quarter 1" --data ./is
  meterseal rotate --selection maker=MSL,older-than=365d --limit 20 --budget 100 --data ./is
  meterseal rotate --selection exposed --wait --data ./is`,
	}
	o.flags(c.Flags())
	f.add(c)
	s := c.Flags()
	s.StringSliceVar(&meters, "meter", nil, "these meters")
	s.StringVar(&concentrator, "concentrator", "", "the meters under this concentrator")
	s.StringVar(&selection, "selection", "", "what of the fleet: all, or maker=, concentrator=, older-than=, exposed")
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) (err error) {
		var q api.CampaignRequest
		given := 0
		for _, name := range []string{"meter", "concentrator", "selection"} {
			if c.Flags().Changed(name) {
				given++
			}
		}
		switch {
		case given != 1:
			return usage(c, "want one of --meter, --concentrator and --selection; the whole fleet is --selection all")
		case len(meters) > 0:
			q.Selection.Meters, err = titlesOf(c, "--meter", meters)
		case concentrator != "":
			q.Selection.Concentrator, err = titleOf(c, "--concentrator", concentrator)
		default:
			err = selectionOf(c, selection, &q)
		}
		if err != nil {
			return err
		}
		return o.start(ctx, c, is, &f, q)
	})
}

// selectionOf reads a --selection.
func selectionOf(c *cobra.Command, text string, q *api.CampaignRequest) (err error) {
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case part == "all" && text == "all":
		case name == "exposed" && value == "":
			q.Selection.Exposed = true
		case name == "maker" && value != "":
			q.Selection.Maker = value
		case name == "concentrator":
			if q.Selection.Concentrator, err = titleOf(c, "--selection concentrator", value); err != nil {
				return err
			}
		case name == "older-than":
			if q.OlderThan, err = spanOf(value); err != nil || q.OlderThan <= 0 {
				return usage(c, "--selection older-than: want a time as 90d or 12h, got %q", value)
			}
		default:
			return usage(c, "--selection: want all, or maker=, concentrator=, older-than=, exposed; got %q", part)
		}
	}
	return nil
}

// spanOf reads a time as Go does, and days.
func spanOf(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func exposureCommand() *cobra.Command {
	o := new(operator)
	f := campaignFlags{}
	var concentrator, terminal, meter string
	var q rotation.ExposureQuery
	var rekey bool
	c := &cobra.Command{
		Use:   "exposure",
		Short: "Show who holds which keys that may be in force, and since when; and change them",
		Long: `Lists the keys that were handed to a --concentrator or --terminal, those of a --meter, or all: since when, and why it
holds them. Held by its concentrator and live grant are as it should be; moved away, revoked and ended grant are not, and
last until a new key was proven in force. With --rekey exactly those keys are changed, the newest exposure first.`,
		Example: `  meterseal exposure --concentrator 4D534CC000000001 --data ./is
  meterseal exposure --terminal 4D534C7500000001 --rekey --wait --data ./is
  meterseal exposure --unentitled --json --data ./is`,
	}
	o.flags(c.Flags())
	f.add(c)
	s := c.Flags()
	s.StringVar(&concentrator, "concentrator", "", "what this concentrator holds")
	s.StringVar(&terminal, "terminal", "", "what this terminal holds")
	s.StringVar(&meter, "meter", "", "who holds keys of this meter")
	s.BoolVar(&q.Unentitled, "unentitled", false, "only what is held without a right to it")
	s.IntVar(&q.Limit, "list", 100, "list so many at most; the totals count all")
	s.BoolVar(&rekey, "rekey", false, "change these keys")
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		given := 0
		for _, t := range []struct {
			flag, text string
			title      *dlms.SystemTitle
		}{{"--concentrator", concentrator, &q.Concentrator}, {"--terminal", terminal, &q.Terminal}, {"--meter", meter, &q.Meter}} {
			if t.text == "" {
				continue
			}
			given++
			var err error
			if *t.title, err = titleOf(c, t.flag, t.text); err != nil {
				return err
			}
		}
		if given > 1 || q.Limit < 1 {
			return usage(c, "want one of --concentrator, --terminal and --meter, or none; and --list of at least 1")
		}
		e, err := is.Exposure(ctx, q)
		if err != nil {
			return err
		}
		if !rekey {
			return o.show(c, e, func() error { return showExposure(c, e) })
		}
		if !o.json {
			if err := showExposure(c, e); err != nil {
				return err
			}
		}
		f.defaultReason = "exposure,"
		return o.start(ctx, c, is, &f, api.CampaignRequest{Selection: exposed(q)})
	})
}

// exposed selects the keys of an exposure. Of all keys that somebody holds, those are meant that somebody holds without a
// right: the others would be held again at once.
func exposed(q rotation.ExposureQuery) rotation.Selection {
	s := rotation.Selection{Holder: q.Holder(), Exposed: q.Unentitled}
	if !q.Meter.IsZero() {
		s.Meters, s.Held = []dlms.SystemTitle{q.Meter}, true
	}
	s.Exposed = s.Exposed || !s.ByExposure()
	return s
}

// untilDay says when a holding ends by itself: at the end of its last day, or never.
func untilDay(d dlms.Day) string {
	if d.IsZero() {
		return "changed"
	}
	return d.String()
}

func showExposure(c *cobra.Command, e rotation.Exposure) error {
	rows := [][]string{{"KEYS", "ROLE", "WHY", "SINCE", "LAST"}}
	for _, t := range e.Totals {
		rows = append(rows, []string{strconv.Itoa(t.Keys), t.Role.String(), t.Why, when(t.Oldest), when(t.Newest)})
	}
	rows = append(rows, []string{}, []string{"METER", "ROLE", "VERSION", "STATE", "HOLDER", "SINCE", "UNTIL", "WHY"})
	for _, h := range e.Holdings {
		rows = append(rows, []string{
			h.Meter.String(), h.Role.String(), version32(h.Version), h.State, h.Holder.String(), when(h.Since), untilDay(h.LastDay), h.Why,
		})
	}
	if err := table(c.OutOrStdout(), rows); err != nil {
		return err
	}
	if e.Omitted > 0 {
		notef(c, "%d more are not listed: --list", e.Omitted)
	}
	return nil
}
