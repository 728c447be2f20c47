package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central/api"
)

func evictCommand() *cobra.Command {
	o := new(operator)
	var to, why string
	c := &cobra.Command{
		Use:   "evict CONCENTRATOR",
		Short: "Take a stolen concentrator's rights and give its meters to another one",
		Long: `Takes the rights of a concentrator for good: it is cut off the central system, nothing is sealed to it any more, and
its meters go to --to. CC_LAN of all of them changes by itself, the newest exposure first, and the new keys are sealed to
the successor alone. 'meterseal exposure --concentrator' shows what it can still use until then. The successor must be
able to reach the meters. Doing it again changes nothing.`,
		Example: "  meterseal concentrator evict 4D534CC000000001 --to 4D534CC000000002 --why stolen --data ./is",
	}
	o.flags(c.Flags())
	c.Flags().StringVar(&to, "to", "", "the concentrator that gets its meters")
	c.Flags().StringVar(&why, "why", "", "for the record")
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) (err error) {
		if err := need(c, "to", "why"); err != nil {
			return err
		}
		e := api.Eviction{Why: why}
		if e.Concentrator, err = titleOf(c, "CONCENTRATOR", args[0]); err != nil {
			return err
		}
		if e.Successor, err = titleOf(c, "--to", to); err != nil {
			return err
		}
		got, err := is.Evict(ctx, e)
		if err != nil {
			return err
		}
		return o.show(c, got, func() error {
			return printf(c, "%s is evicted; %d meters are under %s and change their CC_LAN: meterseal exposure --concentrator %s\n",
				got.Concentrator, got.Meters, got.Successor, got.Concentrator)
		})
	})
}

func revokeTerminalCommand() *cobra.Command {
	o := new(operator)
	var why string
	c := &cobra.Command{
		Use:   "revoke TERMINAL",
		Short: "Take a lost terminal's rights, and change the keys that it holds",
		Long: `Takes the rights of a terminal for good. Its grants end, and CC_LOCALE of their meters changes by itself; until a
meter has proven its new key the terminal can use the old one there: 'meterseal exposure --terminal' shows what is left.`,
		Example: "  meterseal terminal revoke 4D534C7500000001 --why lost --data ./is",
	}
	o.flags(c.Flags())
	c.Flags().StringVar(&why, "why", "", "for the record")
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		if err := need(c, "why"); err != nil {
			return err
		}
		t, err := titleOf(c, "TERMINAL", args[0])
		if err != nil {
			return err
		}
		got, err := is.RevokeTerminal(ctx, api.Revocation{Terminal: t, Why: why})
		if err != nil {
			return err
		}
		return o.show(c, got, func() error {
			return printf(c, "%s is revoked; %d grants ended, %d keys are exposed until they are changed: meterseal exposure --terminal %s\n",
				got.Terminal, got.Grants, got.Keys, got.Terminal)
		})
	})
}

func moveMeterCommand() *cobra.Command {
	o := new(operator)
	var to string
	c := &cobra.Command{
		Use:   "move METER...",
		Short: "Put meters under another concentrator; their CC_LAN changes by itself",
		Long: `Puts meters under another concentrator. The one before is told to forget them, and CC_LAN changes by itself until
nobody but the present one was ever given the key in force.`,
		Example: "  meterseal meter move 4D534C0000000001 --to 4D534CC000000002 --data ./is",
	}
	o.flags(c.Flags())
	c.Flags().StringVar(&to, "to", "", "the concentrator")
	return o.command(c, atLeast(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		if err := need(c, "to"); err != nil {
			return err
		}
		d, err := titleOf(c, "--to", to)
		if err != nil {
			return err
		}
		meters, err := titlesOf(c, "METER", args)
		if err != nil {
			return err
		}
		if err := is.Assign(ctx, api.Assignment{Concentrator: d, Meters: meters}); err != nil {
			return err
		}
		return o.show(c, map[string]any{"concentrator": d, "moved": len(meters)}, func() error {
			return printf(c, "%d meters are under %s\n", len(meters), d)
		})
	})
}
