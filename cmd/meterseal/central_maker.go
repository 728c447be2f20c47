package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/shipment"
)

func (o *operator) makerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "maker",
		Short:   "Say which makers' shipments are taken",
		Example: "  meterseal central maker ls --data ./is",
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
	}
	c.AddCommand(o.makerAddCommand(), o.makerListCommand(), o.makerRevokeCommand())
	return c
}

func (o *operator) makerAddCommand() *cobra.Command {
	var fingerprint string
	c := &cobra.Command{
		Use:   "add FILE",
		Short: "Take shipments that are signed with a maker's key",
		Long: `Registers the public key of a maker, which 'meterseal maker shipment' writes beside the secret one. Its fingerprint has to
be given, as the maker told it on another way than the file came.`,
		Example: "  meterseal central maker add maker.key.pub --fingerprint ABCDE-FGHIJ-... --data ./is",
	}
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "what the maker told")
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		text, err := readSmall(args[0])
		if err != nil {
			return err
		}
		p, err := shipment.ParseMakerPublic(string(text))
		if err != nil {
			return err
		}
		if fingerprint == "" {
			return withHint(usage(c, "missing: --fingerprint"),
				"the file has %s: if maker %s told the same, give it with --fingerprint", p.Fingerprint(), p.Maker())
		}
		if err := is.AddMaker(ctx, api.MakerRequest{Key: p, Fingerprint: fingerprint}); err != nil {
			return err
		}
		return o.show(c, map[string]any{"maker": p.Maker(), "fingerprint": fingerprint}, func() error {
			return printf(c, "shipments of maker %s signed with %s are taken\n", p.Maker(), fingerprint)
		})
	})
}

func (o *operator) makerListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "ls",
		Short:   "List the keys of makers",
		Example: "  meterseal central maker ls --data ./is",
	}
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		makers, err := is.Makers(ctx)
		if err != nil {
			return err
		}
		return o.show(c, makers, func() error {
			rows := [][]string{{"MAKER", "FINGERPRINT", "STATE", "ADDED", "REVOKED"}}
			for _, m := range makers {
				rows = append(rows, []string{m.Maker, m.Fingerprint, m.State, when(m.AddedAt), when(m.RevokedAt)})
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

func (o *operator) makerRevokeCommand() *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:   "revoke FINGERPRINT",
		Short: "Take no more shipments that are signed with a key, for good",
		Long: `Ends a maker's key. What came in before stays: if its keys may be known to others, change them. The same key cannot be
registered again; a maker goes on with a new one.`,
		Example: "  meterseal central maker revoke ABCDE-FGHIJ-... --why stolen --data ./is",
	}
	c.Flags().StringVar(&why, "why", "", "for the record")
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		if err := need(c, "why"); err != nil {
			return err
		}
		if err := is.RevokeMaker(ctx, api.MakerRevocation{Fingerprint: args[0], Why: why}); err != nil {
			return err
		}
		return o.show(c, map[string]string{"fingerprint": args[0], "state": "revoked"}, func() error {
			return printf(c, "shipments signed with %s are refused from now on\n", args[0])
		})
	})
}
