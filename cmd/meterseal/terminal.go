package main

import (
	"crypto/rand"
	"errors"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/internal/config"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/terminal"
)

// terminalFlags say which terminal.
type terminalFlags struct{ config, data string }

func terminalCommand() *cobra.Command {
	f := new(terminalFlags)
	c := &cobra.Command{
		Use:   "terminal",
		Short: "Be a field engineer's terminal: read a meter on its local port, with a grant",
		Long: `Fields of the configuration file: data, clock_offset, timeout. Paths are meant from the directory of the file;
--data takes the place of the file's.`,
		Example: `  meterseal terminal init --data ./terminal --title 4D534CF000000001 --recipient vault.pub --out enrol.json
  meterseal terminal read --data ./terminal --grant grant.json --meter 4D534C0000000001 --connect 127.0.0.1:7000`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	c.PersistentFlags().StringVar(&f.config, "config", "", "configuration file")
	c.PersistentFlags().StringVar(&f.data, "data", "", "data directory of the terminal")
	c.AddCommand(f.initCommand(), f.readCommand(), revokeTerminalCommand())
	return c
}

func (f *terminalFlags) load(c *cobra.Command) (cfg terminal.Config, err error) {
	if f.config != "" {
		if err := config.Load(f.config, &cfg); err != nil {
			return cfg, err
		}
		cfg.Data = config.Beside(f.config, cfg.Data)
	}
	if f.data != "" {
		cfg.Data = f.data
	}
	if cfg.Data == "" {
		return cfg, usage(c, "missing: --data, the data directory of the terminal, or --config")
	}
	return cfg, nil
}

func (f *terminalFlags) initCommand() *cobra.Command {
	var e enrolFlags
	c := &cobra.Command{
		Use:     "init",
		Short:   "Make a terminal, once, and its enrolment file",
		Long:    enrolLong,
		Example: "  meterseal terminal init --data ./terminal --title 4D534CF000000001 --recipient vault.pub --out enrol.json",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "title", "recipient"); err != nil {
				return err
			}
			cfg, err := f.load(c)
			if err != nil {
				return err
			}
			title, err := titleOf(c, "--title", e.title)
			if err != nil {
				return err
			}
			to, err := recipientOf(c, "--recipient", e.recipient)
			if err != nil {
				return err
			}
			made, err := terminal.Init(cfg.Data, title, to, rand.Reader)
			if err != nil {
				return err
			}
			return e.finish(c, made)
		},
	}
	e.add(c)
	return c
}

type readFlags struct {
	grant, meter, connect string
	json                  bool
}

func (f *terminalFlags) readCommand() *cobra.Command {
	var r readFlags
	c := &cobra.Command{
		Use:   "read",
		Short: "Read clock and index of a granted meter on its local port",
		Long: `Opens an association over HDLC under the key in the grant, and reads: the meter's CC_LOCALE (profile linky), or
what is derived from it for this terminal until the grant's last day (profile hardened). A grant that is not in
force, another terminal's, or without this meter is refused before anything is sent. No connection to the central
system is needed.`,
		Example: "  meterseal terminal read --data ./terminal --grant grant.json --meter 4D534C0000000001 --connect 127.0.0.1:7000",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "grant", "meter", "connect"); err != nil {
				return err
			}
			cfg, err := f.load(c)
			if err != nil {
				return err
			}
			return r.run(c, cfg)
		},
	}
	s := c.Flags()
	s.StringVar(&r.grant, "grant", "", "file of the grant")
	s.StringVar(&r.meter, "meter", "", "system title of the meter")
	s.StringVar(&r.connect, "connect", "", "HOST:PORT of the meter's local port")
	s.BoolVar(&r.json, "json", false, "print JSON")
	return c
}

func (r *readFlags) run(c *cobra.Command, cfg terminal.Config) error {
	meter, err := titleOf(c, "--meter", r.meter)
	if err != nil {
		return err
	}
	grant, err := terminal.ReadGrant(r.grant)
	if err != nil {
		return err
	}
	t, err := terminal.Open(cfg, terminal.Deps{Now: clockWith(cfg.ClockOffset), Rand: rand.Reader})
	if err != nil {
		return err
	}
	reading, err := t.Read(c.Context(), grant, meter, r.connect)
	err = errors.Join(err, t.Close())
	if errors.Is(err, enrol.ErrGrantTime) || errors.Is(err, enrol.ErrNotGranted) {
		return withHint(err, "ask the central system for a new grant: meterseal central grant")
	}
	if reject := new(client.RejectError); errors.As(err, &reject) {
		return withHint(err, "the meter holds another CC_LOCALE than the grant: it has changed since, as it does when a grant ends; ask for a new grant")
	}
	if err != nil {
		return err
	}
	if r.json {
		return printJSON(c, reading)
	}
	return printf(c, "meter  %s\nclock  %s\nindex  %d Wh\n", reading.Meter, reading.Clock, reading.IndexWh)
}
