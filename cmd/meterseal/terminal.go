package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms/apdu"
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
	c.AddCommand(f.initCommand(), f.readCommand(), f.logCommand(), revokeTerminalCommand())
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

func (f *terminalFlags) logCommand() *cobra.Command {
	var out string
	var after uint64
	c := &cobra.Command{
		Use:   "log",
		Short: "Write the terminal's log of key use to a file, for the central system",
		Long: `Writes what the terminal has noted of each use of a key, in a chain that shows a missing stretch, signed by the
terminal, to a new file: 'meterseal central terminal-log FILE' takes it. The central system passes over what it knows.`,
		Example: "  meterseal terminal log --data ./terminal --out log.json",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "out"); err != nil {
				return err
			}
			cfg, err := f.load(c)
			if err != nil {
				return err
			}
			t, err := terminal.Open(cfg, terminal.Deps{Now: clockWith(cfg.ClockOffset), Rand: rand.Reader})
			if err != nil {
				return err
			}
			file, err := t.LogFile(after)
			if err = errors.Join(err, t.Close()); err != nil {
				return err
			}
			if err := writeNew(out, func(w *os.File) error { return json.NewEncoder(w).Encode(file) }); err != nil {
				return err
			}
			return printf(c, "%d entries in %s\n", len(file.Entries), out)
		},
	}
	c.Flags().StringVar(&out, "out", "", "the new file")
	c.Flags().Uint64Var(&after, "after", 0, "leave out the entries up to this one, which the central system has")
	return c
}

// refusedBecause says what a meter's refusal means for the engineer.
func refusedBecause(r *client.RejectError) string {
	switch {
	case r.Diagnostic == apdu.DiagnosticCallingTitleUnknown:
		return "by the meter's clock the last day of the grant has passed, or eight other grants are in use there: ask for a new grant, or have its clock looked at"
	case r.Result == apdu.AssociationRejectedTransient:
		return "the meter cannot tell the day: the central system has to set its clock first (meterseal central clock)"
	}
	return "the meter holds another CC_LOCALE than the grant was made for: it has changed since, as it does when a grant is ended; ask for a new grant"
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
		return withHint(err, "%s", refusedBecause(reject))
	}
	if err != nil {
		return err
	}
	if r.json {
		return printJSON(c, reading)
	}
	return printf(c, "meter  %s\nclock  %s\nindex  %d Wh\n", reading.Meter, reading.Clock, reading.IndexWh)
}
