package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/terminal"
)

type rotateFlags struct {
	roles                []string
	concentrator, reason string
	once, wait           bool
}

func (o *operator) rotateCommand() *cobra.Command {
	var f rotateFlags
	c := &cobra.Command{
		Use:   "rotate [METER...]",
		Short: "Change keys of meters",
		Long: `Asks for new keys: of the meters named, of a concentrator's meters, or of the whole fleet; of the roles named, or of
all that the meter's profile has. The central system carries the changes out by itself, one after the other, and goes
on until each is proven in force; --wait shows how far it is and ends when all are done. A --wait that is stopped
stops nothing: 'meterseal central changes REASON' shows the rest.

With --once a key for which a change was asked for with the same reason is left alone, so that a script can be run
again.`,
		Example: `  meterseal central rotate --wait --data ./is
  meterseal central rotate --role CC_LAN --concentrator 4D534CC000000001 --reason "quarter 1" --once --wait --data ./is`,
	}
	s := c.Flags()
	s.StringVar(&f.concentrator, "concentrator", "", "all meters under this concentrator")
	s.StringSliceVar(&f.roles, "role", nil, "CC_LAN, CC_LOCALE, CC_IS (default: all that the profile has)")
	s.StringVar(&f.reason, "reason", "", "why, for the record (default: the operator, and the time)")
	s.BoolVar(&f.once, "once", false, "not again what was asked for with this reason before")
	s.BoolVar(&f.wait, "wait", false, "wait until all are done")
	return o.command(c, atLeast(0), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		q, err := f.rotation(ctx, c, is, args)
		if err != nil {
			return err
		}
		a, err := is.Rotate(ctx, q)
		if err != nil {
			return sameReason(err, f.reason, q.Reason)
		}
		err = o.show(c, a, func() error {
			return printf(c, "%d keys selected, %d changes asked for, reason %q\n", a.Selected, a.Asked, a.Reason)
		})
		if err != nil || !f.wait {
			return err
		}
		return o.awaitChanges(ctx, c, is, a.Reason)
	})
}

func (f *rotateFlags) rotation(ctx context.Context, c *cobra.Command, is *api.Client, meters []string) (q api.Rotation, err error) {
	q = api.Rotation{Reason: f.reason, Once: f.once}
	if q.Meters, err = titlesOf(c, "METER", meters); err != nil {
		return q, err
	}
	if f.concentrator != "" {
		if q.Concentrator, err = titleOf(c, "--concentrator", f.concentrator); err != nil {
			return q, err
		}
	}
	for _, s := range f.roles {
		r, err := role.Parse(strings.ToUpper(s))
		if err != nil {
			return q, usage(c, "--role: %w", err)
		}
		q.Roles = append(q.Roles, r)
	}
	if q.Once && q.Reason == "" {
		return q, usage(c, "--once: want --reason with it, the same each time")
	}
	if q.Reason == "" {
		s, err := is.Status(ctx)
		if err != nil {
			return q, err
		}
		q.Reason = "operator " + s.Time.UTC().Format(time.RFC3339)
	}
	return q, nil
}

// changesPoll is how often a waiting command looks at the changes.
const changesPoll = 500 * time.Millisecond

// awaitChanges shows how far the changes of a reason are until all are done.
func (o *operator) awaitChanges(ctx context.Context, c *cobra.Command, is *api.Client, reason string) error {
	p := newProgress(c.ErrOrStderr(), "keys changed")
	defer p.close()
	for {
		changes, err := is.Changes(ctx, reason)
		if err != nil {
			return waiting(ctx, err, reason)
		}
		done := 0
		for _, ch := range changes {
			if ch.Step == rotation.StepDone {
				done++
			}
		}
		p.set(done, len(changes))
		if done == len(changes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return waiting(ctx, ctx.Err(), reason)
		case <-time.After(changesPoll):
		}
	}
}

func waiting(ctx context.Context, err error, reason string) error {
	if ctx.Err() == nil {
		return err
	}
	return withHint(fmt.Errorf("stopped waiting: %w", ctx.Err()),
		"the central system goes on; see: meterseal central changes %q", reason)
}

func (o *operator) changesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "changes REASON",
		Short:   "Show the key changes asked for with a reason, and how far each is",
		Example: `  meterseal central changes "quarter 1" --data ./is`,
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		changes, err := is.Changes(ctx, args[0])
		if err != nil {
			return err
		}
		return o.show(c, changes, func() error {
			rows := [][]string{{"METER", "ROLE", "FROM", "TO", "STEP", "ATTEMPTS", "DUE", "LAST ERROR"}}
			for _, ch := range changes {
				rows = append(rows, []string{
					ch.Meter.String(), ch.Role.String(), version32(ch.From), version32(ch.To), string(ch.Step),
					strconv.Itoa(ch.Attempts), when(ch.DueAt), ch.LastError,
				})
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

func version32(v uint32) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("v%d", v)
}

func (o *operator) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "keys METER",
		Short:   "Show the life of a meter's keys: versions, states, holders; never a key",
		Example: "  meterseal central keys 4D534C0000000001 --data ./is",
	}
	return o.onMeter(c, func(ctx context.Context, c *cobra.Command, is *api.Client, m dlms.SystemTitle) error {
		keys, err := is.Keys(ctx, m)
		if err != nil {
			return err
		}
		return o.show(c, keys, func() error {
			rows := [][]string{{"ROLE", "VERSION", "STATE", "CHECK VALUE", "MADE", "IN FORCE", "ENDED", "HELD BY"}}
			for _, k := range keys {
				rows = append(rows, []string{
					k.Role.String(), version32(k.Version), k.State, k.CheckValue, when(k.CreatedAt), when(k.ActiveAt), when(k.EndedAt),
					strings.Join(k.Holders, " "),
				})
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

type grantFlags struct {
	from, out string
	term      time.Duration
}

func (o *operator) grantCommand() *cobra.Command {
	var f grantFlags
	c := &cobra.Command{
		Use:   "grant TERMINAL METER...",
		Short: "Give a terminal CC_LOCALE of some meters for a time",
		Long: `Writes a grant: CC_LOCALE of the meters, sealed to the terminal, for a time. When it has ended, by its time or by
grant-end, the central system changes CC_LOCALE of its meters.`,
		Example: "  meterseal central grant 4D534CF000000001 4D534C0000000001 --for 8h --out grant.json --data ./is",
	}
	s := c.Flags()
	s.StringVar(&f.from, "from", "", "when it begins, as 2026-01-31T12:00:00+01:00 (default: now)")
	s.DurationVar(&f.term, "for", 24*time.Hour, "how long it is in force")
	s.StringVar(&f.out, "out", "grant.json", "new file for the grant")
	return o.command(c, atLeast(2), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		q, err := f.request(ctx, c, is, args)
		if err != nil {
			return err
		}
		g, err := is.Grant(ctx, q)
		if err != nil {
			return err
		}
		if err := terminal.WriteGrant(f.out, g); err != nil {
			return withHint(err, "the grant %s was given: end it with meterseal central grant-end, and ask for another", g.ID)
		}
		return o.show(c, map[string]any{"id": g.ID, "not_before": g.NotBefore, "not_after": g.NotAfter, "out": f.out}, func() error {
			return printf(c, "grant %s for %s: %d meters, %s to %s: %s\n", g.ID, g.Terminal, len(g.Keys), when(g.NotBefore), when(g.NotAfter), f.out)
		})
	})
}

func (f *grantFlags) request(ctx context.Context, c *cobra.Command, is *api.Client, args []string) (q api.GrantRequest, err error) {
	if f.term <= 0 {
		return q, usage(c, "--for: want a time above 0, got %s", f.term)
	}
	if _, err := os.Lstat(f.out); !errors.Is(err, fs.ErrNotExist) {
		return q, withHint(fmt.Errorf("%s: %w", f.out, errors.Join(fs.ErrExist, err)), "choose another name")
	}
	if q.Terminal, err = titleOf(c, "TERMINAL", args[0]); err != nil {
		return q, err
	}
	if q.Meters, err = titlesOf(c, "METER", args[1:]); err != nil {
		return q, err
	}
	if f.from != "" {
		if q.NotBefore, err = time.Parse(time.RFC3339, f.from); err != nil {
			return q, usage(c, "--from: want a time as 2026-01-31T12:00:00+01:00, got %q", f.from)
		}
	} else {
		s, err := is.Status(ctx) // the time of the central system is the one that counts
		if err != nil {
			return q, err
		}
		q.NotBefore = s.Time
	}
	q.NotAfter = q.NotBefore.Add(f.term)
	return q, nil
}

func (o *operator) grantEndCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "grant-end ID",
		Short:   "End a grant, and change CC_LOCALE of its meters",
		Example: "  meterseal central grant-end 0123456789abcdef --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		a, err := is.EndGrant(ctx, args[0])
		if err != nil {
			return err
		}
		return o.show(c, a, func() error { return printf(c, "ended; %d keys to change, reason %q\n", a.Selected, a.Reason) })
	})
}
