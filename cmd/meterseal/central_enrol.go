package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/enrol"
)

func (o *operator) importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Import a maker's shipment",
		Long: `Imports the meters of a maker's shipment file and reports by row what was refused; the good rows go in. The maker's
signature over the whole file is verified first, with a key that 'meterseal central maker add' has registered; a file that
was altered or cut is refused as a whole. Importing a file again changes nothing. The exit code is 0 only if every row is in.`,
		Example: "  meterseal central import shipment.jsonl --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) (err error) {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		report, err := is.ImportShipment(ctx, f)
		if report == nil {
			return err
		}
		shown := o.show(c, report, func() error {
			rows := [][]string{}
			for _, r := range report.Rows {
				rows = append(rows, []string{"row " + strconv.Itoa(r.Row), named(r.Title), string(r.Reason), r.Detail})
			}
			return errors.Join(table(c.OutOrStdout(), rows), printf(c, "%s\n", report))
		})
		if err == nil && !report.Clean() {
			err = withHint(fmt.Errorf("%d rows refused", report.Refused),
				"the good rows are in; ask the maker for the others, and import the new file")
		}
		return errors.Join(err, shown)
	})
}

func (o *operator) enrolCommand() *cobra.Command {
	var fingerprint string
	c := &cobra.Command{
		Use:   "enrol FILE",
		Short: "Make a concentrator or terminal known",
		Long: `Makes the device of an enrolment file known. The file's fingerprint has to be given, as the device showed it when
the file was made: whoever carries the file could put another one in its place.`,
		Example: "  meterseal central enrol concentrator.json --fingerprint ABCDE-FGHIJ-... --data ./is",
	}
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "what the device showed")
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		f, err := enrol.ReadFile(args[0])
		if err != nil {
			return err
		}
		if fingerprint == "" {
			return withHint(usage(c, "missing: --fingerprint"),
				"the file has %s: if the device showed the same, give it with --fingerprint", f.Fingerprint())
		}
		if err := is.Enrol(ctx, api.Enrolment{File: f, Fingerprint: fingerprint}); err != nil {
			return err
		}
		return o.show(c, map[string]any{"system_title": f.Title, "kind": f.Kind}, func() error {
			return printf(c, "%s %s is enrolled\n", f.Kind, f.Title)
		})
	})
}

func (o *operator) assignCommand() *cobra.Command {
	var unassigned int
	c := &cobra.Command{
		Use:   "assign CONCENTRATOR [METER...]",
		Short: "Put meters under a concentrator",
		Long:  "Puts the meters named under a concentrator, or with --unassigned the first N that are under none (0: all of them).",
		Example: `  meterseal central assign 4D534CC000000001 4D534C0000000001 4D534C0000000002 --data ./is
  meterseal central assign 4D534CC000000001 --unassigned 25 --data ./is`,
	}
	c.Flags().IntVar(&unassigned, "unassigned", 0, "take the first N meters that are under no concentrator, 0 for all")
	return o.command(c, atLeast(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		free := c.Flags().Changed("unassigned")
		if free == (len(args) > 1) || unassigned < 0 {
			return usage(c, "want either system titles of meters or --unassigned N")
		}
		d, err := titleOf(c, "CONCENTRATOR", args[0])
		if err != nil {
			return err
		}
		meters, err := titlesOf(c, "METER", args[1:])
		if err != nil {
			return err
		}
		if free {
			if meters, err = withoutConcentrator(ctx, is, unassigned); err != nil {
				return err
			}
		}
		if err := is.Assign(ctx, api.Assignment{Concentrator: d, Meters: meters}); err != nil {
			return err
		}
		return o.show(c, map[string]any{"concentrator": d, "assigned": len(meters)}, func() error {
			return printf(c, "%d meters are under %s\n", len(meters), d)
		})
	})
}

func withoutConcentrator(ctx context.Context, is *api.Client, most int) ([]dlms.SystemTitle, error) {
	var out []dlms.SystemTitle
	err := is.EachMeter(ctx, api.MeterQuery{Unassigned: true}, func(m api.MeterStatus) bool {
		out = append(out, m.Meter)
		return len(out) != most
	})
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("no meter is without a concentrator")
	}
	return out, nil
}

func (o *operator) provisionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "provision CONCENTRATOR",
		Short:   "Give a concentrator CC_LAN of its own meters, sealed to it",
		Example: "  meterseal central provision 4D534CC000000001 --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		d, err := titleOf(c, "CONCENTRATOR", args[0])
		if err != nil {
			return err
		}
		p, err := is.Provision(ctx, d)
		if err != nil {
			return err
		}
		err = o.show(c, p, func() error {
			for _, r := range p.Refused {
				notef(c, "%s CC_LAN v%d: %s", r.Meter, r.Version, r.Text)
			}
			return printf(c, "%s holds %d keys\n", d, p.Held)
		})
		if err == nil && len(p.Refused) > 0 {
			err = fmt.Errorf("%s refused %d keys", d, len(p.Refused))
		}
		return err
	})
}

func (o *operator) associateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "associate CONCENTRATOR",
		Short:   "Have a concentrator open its associations with each of its meters",
		Example: "  meterseal central associate 4D534CC000000001 --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		d, err := titleOf(c, "CONCENTRATOR", args[0])
		if err != nil {
			return err
		}
		s, err := is.Associate(ctx, d)
		if err != nil {
			return err
		}
		err = o.show(c, s, func() error {
			rows := [][]string{{"METER", "CLIENT", "CC_LAN", "SINCE"}}
			for _, a := range s.Associations {
				rows = append(rows, []string{a.Meter.String(), a.ClientSAP.String(), fmt.Sprintf("v%d", a.KeyVersion), when(a.Since)})
			}
			return table(c.OutOrStdout(), rows)
		})
		return errors.Join(err, o.faults(c, s.Failed))
	})
}

// faults tells which meters failed in an order over many, and is an error where any did.
func (o *operator) faults(c *cobra.Command, failed []bus.MeterFault) error {
	if !o.json {
		for _, f := range failed {
			notef(c, "%s: %s: %s", f.Meter, f.Code, f.Text)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d meters failed", len(failed))
	}
	return nil
}
