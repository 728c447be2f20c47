package main

import (
	"crypto/rand"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/concentrator"
	"github.com/meterseal/meterseal/internal/config"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/terminal"
)

func concentratorCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "concentrator", Short: "Run a concentrator",
		Long: `Runs a concentrator that 'concentrator init' made and the central system enrolled: it finds the meters on its
addresses, associates with them under the CC_LAN it is given, reads them on order and forwards what is not for it.

Fields of the configuration file: data, identity, is_url, is_ca, lan, timeout, dial_timeout, rediscover, parallel,
utc_offset, clock_offset. Paths are meant from the directory of the file.`,
		Example: `  meterseal concentrator init --config concentrator.yaml --title 4D534CC000000001 --recipient age1... --out dc.json
  meterseal concentrator --config concentrator.yaml`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "config"); err != nil {
				return err
			}
			log, err := logger(c)
			if err != nil {
				return err
			}
			cfg, err := loadConcentrator(file)
			if err != nil {
				return err
			}
			d, err := concentrator.New(cfg, concentrator.Deps{Now: clock(cfg.ClockOffset), Rand: rand.Reader, Log: log})
			if err != nil {
				return err
			}
			return d.Run(c.Context())
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file")
	c.AddCommand(concentratorInitCommand())
	return c
}

func loadConcentrator(file string) (concentrator.Config, error) {
	var cfg concentrator.Config
	if err := config.Load(file, &cfg); err != nil {
		return cfg, err
	}
	for _, p := range []*string{&cfg.Data, &cfg.Identity, &cfg.ISCA} {
		if *p != "" {
			*p = config.Beside(file, *p)
		}
	}
	return cfg, nil
}

// deviceFlags are what making a device's identity takes.
type deviceFlags struct{ title, recipient, out string }

func (f *deviceFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.title, "title", "", "system title of the device, 16 hexadecimal digits; nothing else may have it")
	c.Flags().StringVar(&f.recipient, "recipient", "", "the vault's recipient, as 'central init' printed it")
	c.Flags().StringVar(&f.out, "out", "enrol.json", "where the enrolment file goes")
}

// enrolment makes an identity and writes its enrolment file.
func (f *deviceFlags) enrolment(c *cobra.Command, make func(dlms.SystemTitle) (enrol.File, error)) error {
	if err := need(c, "title", "recipient"); err != nil {
		return err
	}
	title, err := dlms.ParseSystemTitle(f.title)
	if err != nil {
		return usage(c, "--title: %w", err)
	}
	file, err := make(title)
	if err != nil {
		return err
	}
	if err := file.Write(f.out); err != nil {
		return err
	}
	return printf(c, "enrolment    %s\nfingerprint  %s\n", f.out, file.Fingerprint())
}

func concentratorInitCommand() *cobra.Command {
	var (
		file string
		f    deviceFlags
	)
	c := &cobra.Command{
		Use: "init", Short: "Make a concentrator's identity and its enrolment file",
		Long: `Makes the identity once, in the data directory of the configuration, and an enrolment file for the central
system. Compare the fingerprint it prints with the one that 'central enrol' shows.`,
		Example: "  meterseal concentrator init --config concentrator.yaml --title 4D534CC000000001 --recipient age1... --out dc.json",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "config"); err != nil {
				return err
			}
			cfg, err := loadConcentrator(file)
			if err != nil {
				return err
			}
			return f.enrolment(c, func(t dlms.SystemTitle) (enrol.File, error) {
				return concentrator.Init(cfg.Data, t, rand.Reader, f.recipient)
			})
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file")
	f.add(c)
	return c
}

func terminalCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "terminal", Short: "The field terminal (TSP): read a meter on its local port with a grant",
		Example: `  meterseal terminal init --data tsp --title 4D534C7500000001 --recipient age1... --out tsp.json
  meterseal terminal read --data tsp --grant grant.json --meter 4D534C0000000001 --connect 127.0.0.1:7000`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	c.AddCommand(terminalInitCommand(), terminalReadCommand())
	return c
}

func terminalInitCommand() *cobra.Command {
	var (
		data string
		f    deviceFlags
	)
	c := &cobra.Command{
		Use: "init", Short: "Make a terminal's identity and its enrolment file", Args: exactly(0),
		Example: "  meterseal terminal init --data tsp --title 4D534C7500000001 --recipient age1... --out tsp.json",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "data"); err != nil {
				return err
			}
			return f.enrolment(c, func(t dlms.SystemTitle) (enrol.File, error) {
				return terminal.Init(data, t, f.recipient, rand.Reader)
			})
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory of the terminal")
	f.add(c)
	return c
}

func terminalReadCommand() *cobra.Command {
	var (
		cfg                              terminal.Config
		file, grant, meterTitle, connect string
		asJSON                           bool
	)
	c := &cobra.Command{
		Use: "read", Short: "Read clock and index of a granted meter", Args: exactly(0),
		Example: `  meterseal terminal read --data tsp --grant grant.json --meter 4D534C0000000001 --connect 127.0.0.1:7000
  meterseal terminal read --config terminal.yaml --grant grant.json --meter 4D534C0000000001 --connect 127.0.0.1:7000 --json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "grant", "meter", "connect"); err != nil {
				return err
			}
			meter, err := dlms.ParseSystemTitle(meterTitle)
			if err != nil {
				return usage(c, "--meter: %w", err)
			}
			if file != "" {
				if err := config.Load(file, &cfg); err != nil {
					return err
				}
				cfg.Data = config.Beside(file, cfg.Data)
			}
			if cfg.Data == "" {
				return usage(c, "missing: --data or --config")
			}
			t, err := terminal.Open(cfg, terminal.Deps{Now: clock(cfg.ClockOffset), Rand: rand.Reader})
			if err != nil {
				return err
			}
			defer t.Close() //nolint:errcheck // its log is written through
			g, err := terminal.ReadGrant(grant)
			if err != nil {
				return err
			}
			r, err := t.Read(c.Context(), g, meter, connect)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, r)
			}
			return printf(c, "meter  %s\nclock  %s\nA+     %d Wh\n", r.Meter, r.Clock, r.IndexWh)
		},
	}
	fl := c.Flags()
	fl.StringVar(&cfg.Data, "data", "", "data directory of the terminal")
	fl.StringVar(&file, "config", "", "configuration file: data, clock_offset, timeout")
	fl.StringVar(&grant, "grant", "", "grant file of the central system")
	fl.StringVar(&meterTitle, "meter", "", "system title of the meter")
	fl.StringVar(&connect, "connect", "", "HOST:PORT of the meter's local port")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
