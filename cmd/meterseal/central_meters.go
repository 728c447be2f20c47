package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
)

// onMeter is a command whose one argument is a meter.
func (o *operator) onMeter(c *cobra.Command, do func(context.Context, *cobra.Command, *api.Client, dlms.SystemTitle) error) *cobra.Command {
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		m, err := titleOf(c, "METER", args[0])
		if err != nil {
			return err
		}
		return do(ctx, c, is, m)
	})
}

// dayOf reads a day of the command line.
func dayOf(c *cobra.Command, day string) error {
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return usage(c, "DAY: want YYYY-MM-DD, got %q", day)
	}
	return nil
}

func (o *operator) collectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "collect DAY",
		Short: "Have every concentrator read what is missing of a day",
		Long: `Has every concentrator read the load curve of a day from the meters of which it is not stored yet. The readings come
when they come: what is stored afterwards may be less than what was asked for. Ask again, and look at readings.`,
		Example: "  meterseal central collect 2026-01-31 --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		if err := dayOf(c, args[0]); err != nil {
			return err
		}
		r, err := is.Collect(ctx, args[0])
		if err != nil {
			return err
		}
		err = o.show(c, r, func() error {
			return printf(c, "%s: %d meters asked; %d days stored, %d values\n", r.Day, r.Asked, r.Stored, r.Values)
		})
		return errors.Join(err, o.faults(c, r.Failed))
	})
}

func (o *operator) readingsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "readings METER DAY",
		Short:   "Show a stored day of a meter's load curve",
		Example: "  meterseal central readings 4D534C0000000001 2026-01-31 --data ./is",
	}
	return o.command(c, exactly(2), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		m, err := titleOf(c, "METER", args[0])
		if err != nil {
			return err
		}
		if err := dayOf(c, args[1]); err != nil {
			return err
		}
		d, err := is.Readings(ctx, m, args[1])
		if err != nil {
			return err
		}
		return o.show(c, d, func() error {
			rows := [][]string{{"FROM", "WH", "STATUS"}}
			for i, v := range d.Values {
				status := "-"
				if i < len(d.Status) {
					status = fmt.Sprintf("%02X", d.Status[i])
				}
				rows = append(rows, []string{when(d.Start.Add(time.Duration(i) * d.Period)), strconv.FormatInt(v, 10), status})
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

func (o *operator) sightingsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "sightings",
		Short:   "Show what was last seen of each meter's index and clock",
		Example: "  meterseal central sightings --data ./is",
	}
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		list, err := is.Sightings(ctx)
		if err != nil {
			return err
		}
		return o.show(c, list, func() error {
			rows := [][]string{{"METER", "INDEX WH", "CLOCK", "SEEN"}}
			for _, s := range list {
				rows = append(rows, []string{
					s.Meter.String(), strconv.FormatInt(s.IndexWh, 10), fmt.Sprintf("%+d s", s.ClockSeconds), when(s.SeenAt),
				})
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

func (o *operator) breakerCommand() *cobra.Command {
	var through string
	c := &cobra.Command{
		Use:   "breaker METER open|arm|status",
		Short: "Open or arm a meter's breaker, or look at it",
		Long: `open disconnects; arm lets the customer close it with the button; status reads the state and the log.
With --through concentrator the order goes through the concentrator's own association, which meters of the profile
hardened refuse.`,
		Example: `  meterseal central breaker 4D534C0000000001 open --data ./is
  meterseal central breaker 4D534C0000000001 status --data ./is`,
	}
	c.Flags().StringVar(&through, "through", "", "concentrator, or nothing for the way that the meter's profile has")
	return o.command(c, exactly(2), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		m, err := titleOf(c, "METER", args[0])
		if err != nil {
			return err
		}
		if through != "" && through != "concentrator" {
			return usage(c, "--through: want concentrator or nothing, got %q", through)
		}
		switch args[1] {
		case "status":
			return o.breakerStatus(ctx, c, is, m)
		case "open", "arm":
			if err := is.Breaker(ctx, api.Breaker{Meter: m, Op: args[1], Through: through}); err != nil {
				return err
			}
			return o.show(c, map[string]any{"meter": m, "op": args[1], "result": "success"}, func() error {
				return printf(c, "%s: breaker: %s: success\n", m, args[1])
			})
		}
		return usage(c, "want open, arm or status, got %q", args[1])
	})
}

func (o *operator) breakerStatus(ctx context.Context, c *cobra.Command, is *api.Client, m dlms.SystemTitle) error {
	s, err := is.BreakerStatus(ctx, m)
	if err != nil {
		return err
	}
	return o.show(c, s, func() error {
		rows := [][]string{{"TIME", "EVENT"}}
		for _, e := range s.Events {
			rows = append(rows, []string{when(e.Time), strconv.Itoa(e.Code)})
		}
		return errors.Join(printf(c, "%s: breaker %s\n", m, s.State), table(c.OutOrStdout(), rows))
	})
}

func (o *operator) clockCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "clock METER",
		Short:   "Set a meter's clock, also one that was lost",
		Example: "  meterseal central clock 4D534C0000000001 --data ./is",
	}
	return o.onMeter(c, func(ctx context.Context, c *cobra.Command, is *api.Client, m dlms.SystemTitle) error {
		if err := is.SetClock(ctx, m); err != nil {
			return err
		}
		return o.show(c, map[string]any{"meter": m, "result": "success"}, func() error { return printf(c, "%s: clock set\n", m) })
	})
}

func (o *operator) broadcastCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "broadcast CONCENTRATOR",
		Short:   "Have a concentrator send its time to all its meters, which take it within their bound",
		Example: "  meterseal central broadcast 4D534CC000000001 --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		d, err := titleOf(c, "CONCENTRATOR", args[0])
		if err != nil {
			return err
		}
		r, err := is.BroadcastClock(ctx, d)
		if err != nil {
			return err
		}
		err = o.show(c, r, func() error { return printf(c, "%s: time sent to %d meters\n", d, r.Meters) })
		return errors.Join(err, o.faults(c, r.Failed))
	})
}

func (o *operator) rollCallCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "rollcall",
		Short:   "Open an association of the central system's own with every meter: is any lost?",
		Example: "  meterseal central rollcall --data ./is",
	}
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		r, err := is.RollCall(ctx)
		if err != nil {
			return err
		}
		err = o.show(c, r, func() error {
			for _, m := range r.Missing {
				notef(c, "%s did not answer", m)
			}
			for _, k := range r.Astray {
				notef(c, "%s has another %s than the one in force; it is searched for", k.Meter, k.Role)
			}
			return printf(c, "%d meters answered, %d did not\n", r.Answered, len(r.Missing))
		})
		if err == nil && len(r.Missing) > 0 {
			err = fmt.Errorf("%d meters did not answer", len(r.Missing))
		}
		return err
	})
}

func (o *operator) statusCommand() *cobra.Command {
	var list bool
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show what the central system knows",
		Example: "  meterseal central status --meters --data ./is",
	}
	c.Flags().BoolVar(&list, "meters", false, "list the meters as well")
	return o.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		s, err := is.Status(ctx)
		if err != nil {
			return err
		}
		var meters []api.MeterStatus
		if list {
			err := is.EachMeter(ctx, api.MeterQuery{}, func(m api.MeterStatus) bool { meters = append(meters, m); return true })
			if err != nil {
				return err
			}
		}
		return o.show(c, listed{s, meters}, func() error {
			rows := [][]string{
				{"system title", s.SystemTitle.String()},
				{"time", when(s.Time)},
				{"bus", s.BusURL},
				{"recipient", s.VaultRecipient.String()},
				{"audit key", s.AuditKey},
				{"meters", strconv.Itoa(s.Meters)},
				{"key changes open", strconv.Itoa(s.OpenChanges)},
				{"bytes on the bus", fmt.Sprintf("%d in, %d out", s.BusBytesIn, s.BusBytesOut)},
			}
			rows = append(rows, alarmsOf(s)...)
			for _, d := range s.Concentrators {
				rows = append(rows, []string{"concentrator", d.String()})
			}
			for _, d := range s.Terminals {
				rows = append(rows, []string{"terminal", d.String()})
			}
			if list {
				rows = append(rows, []string{}, []string{"METER", "PROFILE", "CONCENTRATOR", "STATE"})
				for _, m := range meters {
					rows = append(rows, []string{m.Meter.String(), m.Profile, named(m.Concentrator), m.State})
				}
			}
			return table(c.OutOrStdout(), rows)
		})
	})
}

// listed is a status with the meters themselves, where they were asked for.
type listed struct {
	api.Status
	Fleet []api.MeterStatus `json:"fleet,omitempty"`
}

// alarmsOf lists what somebody has to look at.
func alarmsOf(s api.Status) (rows [][]string) {
	for _, l := range s.Logs {
		if !l.Due.IsZero() {
			rows = append(rows, []string{"LOG MISSING", fmt.Sprintf("%s %s has not brought back its log since %s", l.Kind, l.Device, when(l.Due))})
		}
	}
	for _, a := range s.Alarms {
		rows = append(rows, []string{"ALARM", fmt.Sprintf("%s %s of %s: %s", when(a.At), a.Action, culprit(a), a.Cause)})
	}
	return rows
}

func (o *operator) auditExportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "audit-export FILE",
		Short:   "Write the signed audit log to a new file",
		Long:    "Writes the audit log with a signed checkpoint over it; 'meterseal audit verify' reads it offline.",
		Example: "  meterseal central audit-export audit.jsonl --data ./is",
	}
	return o.command(c, exactly(1), func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error {
		out := args[0]
		if err := writeNew(out, func(w *os.File) error { return is.ExportAudit(ctx, w) }); err != nil {
			return err
		}
		return o.show(c, map[string]string{"out": out}, func() error { return printf(c, "%s\n", out) })
	})
}

func culprit(a api.Alarm) string {
	if !a.Device.IsZero() {
		return a.Device.String()
	}
	return "meter " + named(a.Meter)
}
