package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central/api"
)

func (k *keeper) exportCommand() *cobra.Command {
	var to, concentrator string
	var meters []string
	var unproven bool
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Give running meters to another head-end, in a file that only it can open",
		Long: `Writes a new file, on the machine of the central system, with all keys that the meters may hold, their counters and floors,
signed by this vault and sealed to the transport key of the other one. It takes two people.

From then on this central system opens no association with these meters, changes no key and hands none out, for good: no two
head-ends use a key under one system title. The file is there whole or not at all, and all meters are gone or none. Where the file
was lost, or the machine failed on the way, the same export may be made again, to the same head-end and to no other; it replaces
its own file and no other one. Take the meters' concentrators out of service, or move them along.

It is refused while a key change is under way that may have reached one of the meters: wait until it is proven. A meter that
cannot be reached may go as it is, with --unproven: the file has every version that it may have, and the other head-end
searches. Changes that have not begun end with the export.`,
		Example: `  meterseal vault export /transfer/south.jsonl --to other.pub --concentrator 4D534CC000000001 --config central.yaml
  meterseal vault export /transfer/two.jsonl --to other.pub --meter 4D534C0000000001 --meter 4D534C0000000002 --config central.yaml`,
	}
	s := c.Flags()
	s.StringVar(&to, "to", "", "the other head-end's transport key: its file vault.pub, or the text of it")
	s.StringVar(&concentrator, "concentrator", "", "all meters that are under it")
	s.StringArrayVar(&meters, "meter", nil, "a meter; may be given again")
	s.BoolVar(&unproven, "unproven", false, "meters too that are in the middle of a key change")
	return k.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) (err error) {
		if err := need(c, "to"); err != nil {
			return err
		}
		q := api.MeterExport{Unproven: unproven}
		if q.To, err = recipientOf(c, "--to", to); err != nil {
			return err
		}
		if q.File, err = filepath.Abs(args[0]); err != nil {
			return err
		}
		if (concentrator == "") == (len(meters) == 0) {
			return usage(c, "want either --concentrator or --meter")
		}
		if concentrator != "" {
			if q.Concentrator, err = titleOf(c, "--concentrator", concentrator); err != nil {
				return err
			}
		} else if q.Meters, err = titlesOf(c, "--meter", meters); err != nil {
			return err
		}
		got, err := is.ExportMeters(ctx, q)
		if err != nil {
			return err
		}
		return k.show(c, got, func() error {
			return printf(c, "%s: %d meters, %d key versions, for %s alone; they are used here no more\n", got.File, got.Meters, got.Keys, got.To)
		})
	})
}

func (k *keeper) importCommand() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Take running meters over from another head-end",
		Long: `Imports a file that 'meterseal vault export' of another head-end has written for this one. The file is on the machine of the
central system. --from is the other head-end's audit key, as its 'central status' shows it, told on another way than the
file came. It takes two people.

Each meter comes in whole, with all versions, counters and floors, or not at all; importing a file again changes nothing.
The nodes here must bear other system titles than those of the other head-end.`,
		Example: "  meterseal vault import /transfer/south.jsonl --from meterseal-vault-...+...+... --config central.yaml",
	}
	c.Flags().StringVar(&from, "from", "", "the other head-end's audit key")
	return k.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		if err := need(c, "from"); err != nil {
			return err
		}
		file, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		report, err := is.ImportMeters(ctx, api.MeterImport{File: file, From: from})
		if err != nil {
			return err
		}
		err = k.show(c, report, func() error {
			rows := [][]string{}
			for _, r := range report.Rows {
				rows = append(rows, []string{"row " + strconv.Itoa(r.Row), named(r.Title), string(r.Reason), r.Detail})
			}
			return errors.Join(table(c.OutOrStdout(), rows), printf(c, "%s\n", report))
		})
		if err == nil && !report.Clean() {
			err = fmt.Errorf("%d meters refused", report.Refused)
		}
		return err
	})
}
