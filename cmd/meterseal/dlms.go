package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
)

func dlmsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dlms",
		Short: "Browse, read, write and invoke on any DLMS meter",
		Long: `Talks to any DLMS/COSEM meter, over TCP or a serial port.

` + linkHelp + `

Without keys it is the public client (16), which every meter answers and shows little. With --keys it authenticates
by HLS-GMAC under the ek of the keys file and everything is authenticated and encrypted. With --secret FILE it proves
itself by a password (--auth lls) or an HLS secret (--auth sha256) to a meter that does not cipher.

keys.json belongs to the meter: {"system_title": ..., "ek": ..., "kek": ..., "ak": ...} in hexadecimal, ak only where
one is in use. Our own system title is --client-title, or one drawn at random at the first use and kept in
keys.json.counters, beside it, with the counters of the keys: reserved before they are used, never lowered.`,
		Example: `  meterseal dlms browse --connect 127.0.0.1:4059
  meterseal dlms browse --hdlc 10.0.0.7:4001 --physical 17 --values
  meterseal dlms browse --serial /dev/ttyUSB0 --mode-e --secret password.txt
  meterseal dlms get --connect 127.0.0.1:4059 1/0.0.42.0.0.255/2
  meterseal dlms profile --connect 127.0.0.1:4059 --keys keys.json --last 10 1.0.99.1.0.255`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	c.AddCommand(browseCommand(), getCommand(), setCommand(), actionCommand(), profileCommand())
	return c
}

func getCommand() *cobra.Command {
	var f meterFlags
	c := &cobra.Command{
		Use:   "get CLASS/OBIS/ATTRIBUTE...",
		Short: "Read attributes",
		Long: `Reads attributes, one after the other in one association. A register is shown with its unit, a clock as a time;
with --json each value is one line as it came: {"attribute": ..., "value": {TYPE: CONTENT}}.`,
		Example: `  meterseal dlms get --connect 127.0.0.1:4059 --keys keys.json 8/0.0.1.0.0.255/2 3/1.0.1.8.0.255/2
  meterseal dlms get --serial /dev/ttyUSB0 --mode-e --client 1 --auth gmac --keys keys.json --json 15/0.0.40.0.0.255/2`,
		Args: atLeast(1),
		RunE: func(c *cobra.Command, args []string) error {
			refs := make([]dlms.AttributeRef, len(args))
			for i, a := range args {
				var err error
				if refs[i], err = dlms.ParseAttributeRef(a); err != nil {
					return usage(c, "%w", err)
				}
			}
			return f.with(c, func(ctx context.Context, s *session) error { return get(ctx, c, s, refs, f.json) })
		},
	}
	f.add(c)
	return c
}

func get(ctx context.Context, c *cobra.Command, s *session, refs []dlms.AttributeRef, asJSON bool) error {
	for _, ref := range refs {
		v, err := s.Get(ctx, ref)
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(c, struct {
				Attribute string    `json:"attribute"`
				Value     dlms.Data `json:"value"`
			}{ref.String(), v})
		} else {
			err = printValue(ctx, c, s, ref, v, len(refs) > 1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func printValue(ctx context.Context, c *cobra.Command, s *session, ref dlms.AttributeRef, v dlms.Data, named bool) error {
	scaler := ref
	scaler.Attribute = 3
	text := describe(ref, v, func() (dlms.Data, error) { return s.Get(ctx, scaler) })
	if named {
		text = ref.String() + " = " + text
	}
	return printf(c, "%s\n", strings.TrimRight(text, "\n"))
}

func setCommand() *cobra.Command {
	var f meterFlags
	c := &cobra.Command{
		Use:   "set CLASS/OBIS/ATTRIBUTE VALUE",
		Short: "Write an attribute",
		Long:  "Writes one attribute.\n\n" + valueHelp,
		Example: `  meterseal dlms set --connect 127.0.0.1:4059 --keys keys.json 8/0.0.1.0.0.255/2 datetime:now
  meterseal dlms set --connect 127.0.0.1:4059 --keys keys.json 8/0.0.1.0.0.255/3 int16:-60`,
		Args: exactly(2),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := dlms.ParseAttributeRef(args[0])
			if err != nil {
				return usage(c, "%w", err)
			}
			v, err := parseValue(args[1], time.Now)
			if err != nil {
				return usage(c, "%w", err)
			}
			return f.with(c, func(ctx context.Context, s *session) error {
				if err := s.Set(ctx, ref, v); err != nil {
					return err
				}
				return f.done(c, "attribute", ref.String(), dlms.Null())
			})
		},
	}
	f.add(c)
	return c
}

func actionCommand() *cobra.Command {
	var f meterFlags
	c := &cobra.Command{
		Use:   "action CLASS/OBIS/METHOD [VALUE]",
		Short: "Invoke a method",
		Long:  "Invokes one method and prints what it returns.\n\n" + valueHelp,
		Example: `  meterseal dlms action --connect 127.0.0.1:4059 --keys keys.json 70/0.0.96.3.10.255/1 int8:0
  meterseal dlms action --connect 127.0.0.1:4059 --keys keys.json --json 8/0.0.1.0.0.255/6 int16:10`,
		Args: between(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := dlms.ParseMethodRef(args[0])
			if err != nil {
				return usage(c, "%w", err)
			}
			v := dlms.Null()
			if len(args) > 1 {
				if v, err = parseValue(args[1], time.Now); err != nil {
					return usage(c, "%w", err)
				}
			}
			return f.with(c, func(ctx context.Context, s *session) error {
				back, err := s.Action(ctx, ref, v)
				if err != nil {
					return err
				}
				return f.done(c, "method", ref.String(), back)
			})
		},
	}
	f.add(c)
	return c
}

// done says that a set or an action succeeded, and what came back.
func (f *meterFlags) done(c *cobra.Command, what, name string, back dlms.Data) error {
	if f.json {
		return printJSON(c, map[string]any{what: name, "result": "success", "value": back})
	}
	if back.IsNull() {
		return printf(c, "%s: success\n", name)
	}
	return printf(c, "%s: %s\n", name, back)
}
