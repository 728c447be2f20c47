package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/terminal"
)

// operator makes a command that works a running central system and prints its answer as JSON, indented for a person.
func operator(use, short, example string, args cobra.PositionalArgs, do func(context.Context, *api.Client, []string) (any, error)) *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: use, Short: short, Example: "  meterseal central " + example, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			if err := need(c, "data"); err != nil {
				return err
			}
			is := api.NewClient(data)
			defer is.Close()
			v, err := do(c.Context(), is, args)
			if err != nil || v == nil {
				return err
			}
			return printJSON(c, v)
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory of the running central system")
	return c
}

func titles(args []string) ([]dlms.SystemTitle, error) {
	out := make([]dlms.SystemTitle, len(args))
	for i, a := range args {
		var err error
		if out[i], err = dlms.ParseSystemTitle(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// titled is a command about one title.
func titled(use, short, example string, do func(context.Context, *api.Client, dlms.SystemTitle) (any, error)) *cobra.Command {
	return operator(use, short, example, exactly(1), func(ctx context.Context, is *api.Client, args []string) (any, error) {
		t, err := titles(args)
		if err != nil {
			return nil, err
		}
		return do(ctx, is, t[0])
	})
}

func operatorCommands() []*cobra.Command {
	return []*cobra.Command{
		operator("status", "Say what there is", "status --data is", exactly(0),
			func(ctx context.Context, is *api.Client, _ []string) (any, error) { return is.Status(ctx) }),
		operator("import FILE", "Import a maker's shipment file", "import --data is shipment.age", exactly(1), importShipment),
		enrolCommand(), rotateCommand(), grantCommand(),
		operator("assign CONCENTRATOR METER...", "Put meters under a concentrator", "assign --data is 4D534CC000000001 4D534C0000000001",
			atLeast(2), assign),
		titled("provision CONCENTRATOR", "Give a concentrator CC_LAN of its own meters", "provision --data is 4D534CC000000001",
			func(ctx context.Context, is *api.Client, t dlms.SystemTitle) (any, error) {
				return is.Provision(ctx, t)
			}),
		titled("associate CONCENTRATOR", "Have a concentrator associate with all its meters", "associate --data is 4D534CC000000001",
			func(ctx context.Context, is *api.Client, t dlms.SystemTitle) (any, error) {
				return is.Associate(ctx, t)
			}),
		operator("collect DAY", "Collect the load curves of a day", "collect --data is 2026-01-31", exactly(1),
			func(ctx context.Context, is *api.Client, a []string) (any, error) { return is.Collect(ctx, a[0]) }),
		operator("readings METER DAY", "Print a stored day of a load curve", "readings --data is 4D534C0000000001 2026-01-31", exactly(2), readings),
		operator("changes REASON", "List the key changes asked for with a reason", `changes --data is "yearly change"`, exactly(1),
			func(ctx context.Context, is *api.Client, a []string) (any, error) { return is.Changes(ctx, a[0]) }),
		operator("breaker METER open|arm|status", "Work a meter's breaker", "breaker --data is 4D534C0000000001 open", exactly(2), breaker),
		titled("clock METER", "Set a meter's clock", "clock --data is 4D534C0000000001",
			func(ctx context.Context, is *api.Client, t dlms.SystemTitle) (any, error) {
				return nil, is.SetClock(ctx, t)
			}),
		titled("broadcast CONCENTRATOR", "Correct the clocks of a concentrator's meters by broadcast", "broadcast --data is 4D534CC000000001",
			func(ctx context.Context, is *api.Client, t dlms.SystemTitle) (any, error) {
				return is.BroadcastClock(ctx, t)
			}),
		operator("grant-end ID", "End a grant now; its meters get a new CC_LOCALE", "grant-end --data is 00112233", exactly(1),
			func(ctx context.Context, is *api.Client, a []string) (any, error) { return is.EndGrant(ctx, a[0]) }),
		operator("rollcall", "Open an association with every meter", "rollcall --data is", exactly(0),
			func(ctx context.Context, is *api.Client, _ []string) (any, error) { return is.RollCall(ctx) }),
		titled("keys METER", "Tell the life of a meter's keys", "keys --data is 4D534C0000000001",
			func(ctx context.Context, is *api.Client, t dlms.SystemTitle) (any, error) { return is.Keys(ctx, t) }),
		operator("audit-export FILE", "Write the audit log for offline verification", "audit-export --data is audit.jsonl", exactly(1), exportAudit),
	}
}

func importShipment(ctx context.Context, is *api.Client, args []string) (any, error) {
	f, err := os.Open(args[0])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := is.ImportShipment(ctx, f)
	if err == nil && !r.Clean() {
		err = fmt.Errorf("%d rows refused, %d missing; the good ones are in: %s", r.Refused, r.Missing, r)
	}
	return r, err
}

func assign(ctx context.Context, is *api.Client, args []string) (any, error) {
	t, err := titles(args)
	if err != nil {
		return nil, err
	}
	return nil, is.Assign(ctx, api.Assignment{Concentrator: t[0], Meters: t[1:]})
}

func readings(ctx context.Context, is *api.Client, args []string) (any, error) {
	t, err := titles(args[:1])
	if err != nil {
		return nil, err
	}
	return is.Readings(ctx, t[0], args[1])
}

func breaker(ctx context.Context, is *api.Client, args []string) (any, error) {
	t, err := titles(args[:1])
	if err != nil {
		return nil, err
	}
	if args[1] == "status" {
		return is.BreakerStatus(ctx, t[0])
	}
	return nil, is.Breaker(ctx, api.Breaker{Meter: t[0], Op: args[1]})
}

func exportAudit(ctx context.Context, is *api.Client, args []string) (any, error) {
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := is.ExportAudit(ctx, f); err != nil {
		_ = f.Close() // the export is what failed
		return nil, err
	}
	return nil, f.Close()
}

func enrolCommand() *cobra.Command {
	var fingerprint string
	c := operator("enrol FILE --fingerprint F", "Enrol a concentrator or terminal from its enrolment file",
		"enrol --data is dc.json --fingerprint AAAAA-BBBBB-CCCCC-DDDDD-EEEEE", exactly(1),
		func(ctx context.Context, is *api.Client, args []string) (any, error) {
			f, err := enrol.ReadFile(args[0])
			if err != nil {
				return nil, err
			}
			if fingerprint == "" {
				return nil, fmt.Errorf("this file has the fingerprint %s: compare it with the one the device showed, and give it with --fingerprint", f.Fingerprint())
			}
			return nil, is.Enrol(ctx, api.Enrolment{File: f, Fingerprint: fingerprint})
		})
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "the fingerprint that the device showed")
	return c
}

func rotateCommand() *cobra.Command {
	var (
		reason, concentrator string
		roles                []string
		wait                 bool
	)
	var c *cobra.Command
	c = operator("rotate [METER...]", "Change keys: of these meters, of a concentrator's, or of all",
		`rotate --data is --reason "yearly change" --wait`, atLeast(0),
		func(ctx context.Context, is *api.Client, args []string) (any, error) {
			q := api.Rotation{Reason: reason}
			var err error
			if q.Meters, err = titles(args); err != nil {
				return nil, err
			}
			if concentrator != "" {
				if q.Concentrator, err = dlms.ParseSystemTitle(concentrator); err != nil {
					return nil, err
				}
			}
			for _, r := range roles {
				parsed, err := role.Parse(r)
				if err != nil {
					return nil, err
				}
				q.Roles = append(q.Roles, parsed)
			}
			asked, err := is.Rotate(ctx, q)
			if err == nil && wait {
				err = awaitChanges(ctx, c, is, reason)
			}
			return asked, err
		})
	f := c.Flags()
	f.StringVar(&reason, "reason", "", "why, for the record")
	f.StringVar(&concentrator, "concentrator", "", "the meters of this concentrator")
	f.StringSliceVar(&roles, "role", nil, "CC_LAN, CC_LOCALE or CC_IS (default: all that the profile has)")
	f.BoolVar(&wait, "wait", false, "wait until every key is proven by its meter; may be interrupted, the changes go on")
	return c
}

// awaitChanges tells how far the changes are, each time that moves.
func awaitChanges(ctx context.Context, c *cobra.Command, is *api.Client, reason string) error {
	for last := -1; ; {
		changes, err := is.Changes(ctx, reason)
		if err != nil {
			return err
		}
		done := 0
		for _, ch := range changes {
			if ch.Step == rotation.StepDone {
				done++
			}
		}
		if done != last {
			notef(c, "%d of %d keys changed", done, len(changes))
			last = done
		}
		if done == len(changes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped waiting; the changes go on: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func grantCommand() *cobra.Command {
	var (
		out  string
		life time.Duration
	)
	c := operator("grant TERMINAL METER...", "Grant a terminal some meters for a time",
		"grant --data is --for 24h --out grant.json 4D534C7500000001 4D534C0000000001", atLeast(2),
		func(ctx context.Context, is *api.Client, args []string) (any, error) {
			t, err := titles(args)
			if err != nil {
				return nil, err
			}
			s, err := is.Status(ctx)
			if err != nil {
				return nil, err
			}
			g, err := is.Grant(ctx, api.GrantRequest{Terminal: t[0], Meters: t[1:], NotBefore: s.Time, NotAfter: s.Time.Add(life)})
			if err != nil {
				return nil, err
			}
			if err := terminal.WriteGrant(out, g); err != nil {
				return nil, err
			}
			return map[string]any{"id": g.ID, "not_after": g.NotAfter, "file": out}, nil
		})
	c.Flags().StringVar(&out, "out", "grant.json", "where the grant goes")
	c.Flags().DurationVar(&life, "for", 24*time.Hour, "how long it holds")
	return c
}
