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
	"github.com/meterseal/meterseal/internal/terminal"
)

// changesPoll is how often a waiting command looks at the changes.
const changesPoll = 500 * time.Millisecond

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
		Long: `Writes a grant for a terminal, sealed to it, for a time, at most longest_grant of the configuration file (31 days).

Of meters of the profile hardened it holds a key that is derived from CC_LOCALE for this terminal until the last day of the
grant. That day ends at midnight by the meters' clocks (utc_offset of the configuration file); the meters then take it no
more. Of others it holds CC_LOCALE itself, which the central system changes when the grant has ended; after grant-end it
does so for all. A meter has room for eight terminals, or last days of terminals, at a time.`,
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
