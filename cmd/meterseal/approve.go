package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
)

// sameReason says how to do exactly the same again, where the reason of it was not given.
func sameReason(err error, given, used string) error {
	if given != "" || !errors.As(err, new(*access.PendingError)) {
		return err
	}
	return withHint(err, "the reason is a part of it: do it again with --reason %q", used)
}

func approveCommand() *cobra.Command {
	o := new(operator)
	c := &cobra.Command{
		Use:   "approve",
		Short: "Approve, as a second person, what somebody asked for",
		Long: `Some operations take two people: a restore, changing all keys that somebody holds, aborting a campaign, letting somebody in,
lifting a stop, and whatever is above a quota. They answer with the number of an approval. Somebody else looks at it with
'approve show' and gives it, and the first one does exactly the same again. An approval is for one operation with exactly
these parameters, for the one who asked, once, and within the hour.`,
		Args: cobra.ArbitraryArgs, RunE: group,
		Example: `  meterseal approve ls --data ./is
  meterseal approve show abcdefgh --data ./is
  meterseal approve give abcdefgh --reason "ticket 4711" --as bob --data ./is`,
	}
	o.flags(c.PersistentFlags())
	c.AddCommand(o.approvalsCommand(), o.approvalCommand(),
		o.decideCommand("give", "Give an approval", "given", (*api.Client).Approve),
		o.decideCommand("withdraw", "Take an approval back before it is used, or what was asked for", "withdrawn", (*api.Client).Withdraw))
	return c
}

func (o *operator) approvalsCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "ls", Short: "List the approvals that are wanted or given; --all: those of the last 30 days",
		Example: "  meterseal approve ls --data ./is",
	}
	c.Flags().BoolVar(&all, "all", false, "those that are used, withdrawn or expired too")
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		list, now, err := approvals(ctx, is)
		if err != nil {
			return err
		}
		if !all {
			list = slices.DeleteFunc(list, func(a access.Approval) bool {
				s := a.State(now)
				return s != "wanted" && s != "given"
			})
		}
		return o.show(c, list, func() error {
			rows := [][]string{{"ID", "STATE", "OPERATION", "ASKED BY", "VALID UNTIL", "GIVEN BY", "WHY"}}
			for _, a := range list {
				rows = append(rows, []string{a.ID, a.State(now), string(a.Op), a.Requester, when(a.ValidUntil), orDash(a.Approver), orDash(a.Why)})
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

// approvals lists them, with the time by the clock of the central system.
func approvals(ctx context.Context, is *api.Client) ([]access.Approval, time.Time, error) {
	list, err := is.Approvals(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	s, err := is.Status(ctx)
	return list, s.Time, err
}

func (o *operator) approvalCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Short: "Show what an approval is for, with all its parameters",
		Example: "  meterseal approve show abcdefgh --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		a, err := is.Approval(ctx, args[0])
		if err != nil {
			return err
		}
		s, err := is.Status(ctx)
		if err != nil {
			return err
		}
		return o.show(c, a, func() error { return showApproval(c, a, s.Time) })
	})
}

func showApproval(c *cobra.Command, a access.Approval, now time.Time) error {
	rule, _ := access.RuleOf(a.Op)
	rows := [][]string{
		{"approval", a.ID},
		{"state", a.State(now)},
		{"operation", rule.Does + " (" + string(a.Op) + ")"},
		{"why two", orDash(a.Why)},
		{"asked by", a.Requester + ", " + when(a.AskedAt)},
		{"valid until", when(a.ValidUntil)},
		{"takes", access.Names(rule.Seconds(), "or") + ", and not " + a.Requester},
		{"given by", orDash(a.Approver) + " " + a.Reason},
		{"hash", a.Hash},
	}
	if err := table(c.OutOrStdout(), rows); err != nil {
		return err
	}
	var text bytes.Buffer
	if json.Indent(&text, []byte(a.Params), "", "  ") != nil { // cut short, or nothing
		text.Reset()
		text.WriteString(a.Params)
	}
	return printf(c, "%s\n", text.String())
}

func (o *operator) decideCommand(verb, short, done string, do func(*api.Client, context.Context, api.Decision) (access.Approval, error)) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: verb + " ID", Short: short,
		Example: "  meterseal approve " + verb + ` abcdefgh --reason "ticket 4711" --data ./is`,
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		a, err := do(is, ctx, api.Decision{ID: args[0], Reason: reason})
		if err != nil {
			return err
		}
		return o.show(c, a, func() error {
			next := ""
			if done == "given" {
				next = "; " + a.Requester + " can do it now, until " + when(a.ValidUntil)
			}
			return printf(c, "%s: %s (%s)%s\n", a.ID, done, a.Op, next)
		})
	})
}

func quotaCommand() *cobra.Command {
	o := new(operator)
	c := &cobra.Command{
		Use:   "quota",
		Short: "Show how much may be done without a second person, and lift a stop after an anomaly",
		Long: `Orders to breakers, activations of images, key changes that people ask for and meters that each maker's shipments bring are
counted, each in a window that ends now.
What is above the quota takes a second person. An anomaly stops the class for everybody: many different orders above the
quota within one window, or a burst. Two people lift it.`,
		Args: cobra.ArbitraryArgs, RunE: group,
		Example: `  meterseal quota ls --data ./is
  meterseal quota lift breaker --data ./is`,
	}
	o.flags(c.PersistentFlags())
	ls := &cobra.Command{Use: "ls", Short: "Show what is used", Example: "  meterseal quota ls --data ./is"}
	lift := &cobra.Command{Use: "lift CLASS", Short: "Let a class go on that an anomaly has stopped", Example: "  meterseal quota lift breaker --data ./is"}
	c.AddCommand(o.command(ls, exactly(0), o.showQuotas), o.command(lift, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		class := access.Class(strings.ToLower(args[0]))
		if err := is.LiftStop(ctx, class); err != nil {
			return err
		}
		return o.show(c, map[string]any{"class": class, "stopped": false}, func() error { return printf(c, "%s goes on\n", class) })
	}))
	return c
}

func (o *operator) showQuotas(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
	all, err := is.Quotas(ctx)
	if err != nil {
		return err
	}
	return o.show(c, all, func() error {
		rows := [][]string{{"CLASS", "USED", "QUOTA", "WITHIN", "REFUSED", "STOPPED"}}
		for _, q := range all {
			stopped := "-"
			if q.Stop != nil {
				stopped = when(q.Stop.Since) + ": " + q.Stop.Why
			}
			rows = append(rows, []string{string(q.Class), strconv.Itoa(q.Used), strconv.Itoa(q.Limit), q.Window.String(), strconv.Itoa(q.Refused), stopped})
		}
		return table(c.OutOrStdout(), rows)
	})
}
