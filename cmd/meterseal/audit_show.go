package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/life"
	"github.com/meterseal/meterseal/internal/enrol"
)

func auditShowCommand() *cobra.Command {
	o := new(operator)
	var meter, trusted string
	c := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Tell the whole life of a meter's keys",
		Long: `Tells of each version of each key of a meter where it came from, to whom it was sealed, who used it and how often, how
it was proven, and what came after it; the use by concentrators and terminals as their own logs tell it. It asks a
running central system (--data), or reads a file of 'meterseal central audit-export', which is verified first (--key).`,
		Example: `  meterseal audit show --meter 4D534C0000000001 --data ./is
  meterseal audit show --meter 4D534C0000000001 audit.jsonl --key NAME+HASH+KEY`,
		Args: between(0, 1),
	}
	o.flags(c.Flags())
	c.Flags().StringVar(&meter, "meter", "", "system title of the meter")
	c.Flags().StringVar(&trusted, "key", "", "public key of the log, NAME+HASH+KEY, with FILE")
	asked := o.command(new(cobra.Command), between(0, 1), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		t, err := titleOf(c, "--meter", meter)
		if err != nil {
			return err
		}
		l, err := is.KeyLife(ctx, t)
		if err != nil {
			return err
		}
		return o.show(c, l, func() error { return showLife(c, l) })
	}).RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := need(c, "meter"); err != nil {
			return err
		}
		if len(args) == 0 {
			return asked(c, args)
		}
		if err := need(c, "key"); err != nil {
			return err
		}
		l, err := lifeIn(c, args[0], meter, trusted)
		if err != nil {
			return err
		}
		return o.show(c, l, func() error { return showLife(c, l) })
	}
	return c
}

// lifeIn reads the life of a meter's keys out of an export that verifies.
func lifeIn(c *cobra.Command, path, meter, trusted string) (l life.Life, err error) {
	t, err := titleOf(c, "--meter", meter)
	if err != nil {
		return l, err
	}
	key, err := audit.ParsePublicKey(trusted)
	if err != nil {
		return l, usage(c, "--key: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return l, err
	}
	defer f.Close()
	b := life.New(t)
	_, err = audit.Verify(f, audit.VerifyOptions{Trusted: key, Each: func(_ int64, e audit.Entry) error {
		b.Add(e)
		return nil
	}})
	return b.Life(), err
}

func showLife(c *cobra.Command, l life.Life) error {
	var b strings.Builder
	for _, k := range l.Keys {
		fmt.Fprintf(&b, "%s v%d  %s\n", k.Role, k.Version, k.CheckValue)
		for _, e := range k.Events {
			b.WriteString(eventLine(e))
		}
		for _, u := range k.Uses {
			b.WriteString(useLine(u))
		}
	}
	if len(l.Events) > 0 {
		fmt.Fprintf(&b, "meter %s\n", l.Meter)
	}
	for _, e := range l.Events {
		b.WriteString(eventLine(e))
	}
	return printf(c, "%s", b.String())
}

func eventLine(e life.Event) string {
	line := fmt.Sprintf("  %s  %s, by %s", when(e.At), e.Text, e.By)
	if e.Alarm {
		line += "  ALARM"
	}
	return line + "\n"
}

func useLine(u life.Use) string {
	var how []string
	for _, word := range slices.Sorted(maps.Keys(u.Results)) {
		how = append(how, fmt.Sprintf("%d %s", u.Results[word], word))
	}
	if u.Told {
		how = append(how, "as its own log tells")
	}
	often := fmt.Sprintf("%d times", u.Count)
	if u.Count == 1 {
		often = "once"
	}
	line := fmt.Sprintf("  %s  used %s by %s (%s)", when(u.First), often, u.By, u.As)
	if u.Count > 1 {
		line += ", last " + when(u.Last)
	}
	if u.Grant != "" {
		line += ", grant " + u.Grant
	}
	if !u.LastDay.IsZero() {
		line += " until " + u.LastDay.String()
	}
	if len(how) > 0 {
		line += ": " + strings.Join(how, ", ")
	}
	return line + "\n"
}

func (o *operator) terminalLogCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "terminal-log FILE",
		Short: "Take the log of key use that a terminal has brought back",
		Long: `Joins what a terminal has noted of its own use of keys ('meterseal terminal log') into the audit log. A file that the
terminal did not write is refused; one that misses a stretch is an alarm.`,
		Example: "  meterseal central terminal-log log.json --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		f, err := enrol.ReadLogFile(args[0])
		if err != nil {
			return err
		}
		taken, err := is.TakeTerminalLog(ctx, f)
		if err != nil {
			return err
		}
		return o.show(c, taken, func() error {
			return printf(c, "%d new entries of terminal %s; its log is known up to entry %d\n", taken.Taken, taken.Terminal, taken.Last)
		})
	})
}
