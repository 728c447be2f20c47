package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central/api"
)

func (k *keeper) rotateRootCommand() *cobra.Command {
	var q api.RootRotation
	var wait bool
	c := &cobra.Command{
		Use:   "rotate-root",
		Short: "Bring in a new term of the root, and seal every row of keys anew under it",
		Long: `Works the running central system. A new term of the root is made in the root file; new rows are under it at once, and
all others are sealed anew in the background. Nothing stops meanwhile, keys of meters do not change, and the old terms stay
until 'meterseal vault retire-term'. It is under dual control.

Where several nodes share a database, each has a root file of its own: copy vault.root of the node that was asked to the
data directories of the others (write it beside, then rename it). Nothing is sealed under the term before every node has
it. A node that is gone for good is named with --without.

The rotation goes on in the central system when this command is stopped, and after a restart. Given again, it shows the
one that is under way.`,
		Example: `  meterseal vault rotate-root --reason "disk of the database was copied" --wait --config central.yaml
  meterseal vault rotate-root --reason yearly --without 4D534C1500000002 --config central.yaml`,
	}
	s := c.Flags()
	k.where(c)
	s.StringVar(&q.Reason, "reason", "", "why, for the record")
	s.StringSliceVar(&q.Without, "without", nil, "system title of a node that is gone for good")
	s.BoolVar(&wait, "wait", false, "show how far it is, until every row is done")
	return k.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		if err := need(c, "reason"); err != nil {
			return err
		}
		for _, t := range q.Without {
			if _, err := titleOf(c, "--without", t); err != nil {
				return err
			}
		}
		r, err := is.RotateRoot(ctx, q)
		if err != nil {
			return err
		}
		if wait {
			return k.watchRoot(ctx, c, is)
		}
		return k.show(c, r, func() error { return rootText(c, r) })
	})
}

// where adds the flag that finds a running central system.
func (k *keeper) where(c *cobra.Command) {
	c.Flags().StringVar(&k.data, "data", "", "data directory of the running central system (default: that of --config)")
}

// watchRoot shows how far a rotation of the root is until it is done.
func (k *keeper) watchRoot(ctx context.Context, c *cobra.Command, is *api.Client) error {
	bar := newProgress(c.ErrOrStderr(), "rows sealed anew")
	defer bar.close()
	waiting := ""
	for {
		r, err := is.Root(ctx)
		if err != nil {
			return err
		}
		if r.All > 0 {
			bar.set(r.Done, r.All)
		}
		if now := strings.Join(r.Waiting, " "); now != waiting {
			if waiting = now; now != "" {
				notef(c, "waiting for the root file of %s: copy vault.root there, or name the node with --without", now)
			}
		}
		switch {
		case r.Finished:
			bar.close()
			return k.show(c, r, func() error { return rootText(c, r) })
		case r.Failed > 0:
			bar.close()
			return withHint(fmt.Errorf("%d rows do not open, the first: %s", r.Failed, r.Refused[0]),
				"the others are done; see 'meterseal vault root', and 'meterseal vault drill' for a backup that has these")
		}
		select {
		case <-ctx.Done():
			return withHint(ctx.Err(), "the rotation goes on in the central system: meterseal vault root")
		case <-time.After(changesPoll):
		}
	}
}

func (k *keeper) rootCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "root", Short: "Show the terms of the root, and how far its rotation is",
		Long: `Works the running central system. Shows which terms the root of its node has, under which one it seals, how far the newest
rotation is, and which nodes it waits for.`,
		Example: "  meterseal vault root --config central.yaml --json",
	}
	k.where(c)
	return k.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		r, err := is.Root(ctx)
		if err != nil {
			return err
		}
		return k.show(c, r, func() error { return rootText(c, r) })
	})
}

func (k *keeper) retireTermCommand() *cobra.Command {
	var q api.Retirement
	var at string
	c := &cobra.Command{
		Use:   "retire-term N",
		Short: "Destroy an old term of the root, when nothing is sealed under it any more",
		Long: `Works the running central system. Destroys term N of the root, and those before it, in the root file of every node: a copy of
the database or a backup from before the rotation opens with no root file any more, unless somebody has kept an old one.
It is under dual control.

Refused as long as anything needs the term. --backup is a backup that was made after the rotation was done: with the key
journals it has everything. For PostgreSQL, which is backed up with its own tools, say with --backed-up-at when that was.
Destroy old copies of vault.root and older backups yourself, then make another backup and destroy the one that was given here:
the sealed root in it still has the term.`,
		Example: `  meterseal vault retire-term 1 --backup /backup/tuesday --config central.yaml
  meterseal vault retire-term 1 --backed-up-at 2026-11-23T04:00:00Z --config central.yaml`,
	}
	k.where(c)
	s := c.Flags()
	s.StringVar(&q.Backup, "backup", "", "backup that was made after the rotation")
	s.StringVar(&at, "backed-up-at", "", "when a PostgreSQL database was backed up with its own tools, RFC 3339")
	return k.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		term, err := strconv.ParseUint(args[0], 10, 32)
		if err != nil || term == 0 {
			return usage(c, "N: want the number of a term, got %q", args[0])
		}
		q.Term = uint32(term)
		if (q.Backup == "") == (at == "") {
			return usage(c, "want one of --backup and --backed-up-at")
		}
		if at != "" {
			if q.BackedUpAt, err = time.Parse(time.RFC3339, at); err != nil {
				return usage(c, "--backed-up-at: want a time as 2026-11-23T04:00:00Z, got %q", at)
			}
		} else if q.Backup, err = filepath.Abs(q.Backup); err != nil {
			return err
		}
		r, err := is.RetireTerm(ctx, q)
		if err != nil {
			return err
		}
		return k.show(c, r, func() error { return rootText(c, r) })
	})
}

func rootText(c *cobra.Command, r api.Root) error {
	rows := [][]string{{"TERM", "STATE", "MADE", "RETIRED", "MAC FINGERPRINT"}}
	for _, t := range r.Terms {
		mac := "-"
		if !t.MAC.IsZero() {
			mac = t.MAC.String()
		}
		rows = append(rows, []string{strconv.FormatUint(uint64(t.Term), 10), t.State, when(t.MadeAt), when(t.RetiredAt), mac})
	}
	if err := table(c.OutOrStdout(), rows); err != nil {
		return err
	}
	for _, n := range r.Waiting {
		notef(c, "waiting for the root file of node %s", n)
	}
	for _, refused := range r.Refused {
		notef(c, "does not open: %s", refused)
	}
	switch {
	case r.Term == 0:
		return nil
	case r.Finished:
		return printf(c, "every row is under term %d since %s\n", r.Term, when(r.DoneAt))
	default:
		return printf(c, "term %d: %d of %d rows sealed anew\n", r.Term, r.Done, r.All)
	}
}
