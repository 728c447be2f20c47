package main

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/config"
)

func centralCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "central",
		Short: "Run the central system (IS), or work one that runs",
		Long: `With --config it runs the central system: the vault, the bus that concentrators connect to, key changes and
collection. 'central init' makes it first. The other commands below work a running one over the socket in its data
directory (--data), which only its owner can open.

Fields of the configuration file: data, journal, passphrase_file, system_title, listen, hosts, clock_offset, utc_offset,
retry_min, retry_max. Paths are meant from the directory of the file.`,
		Example: `  meterseal central init --config central.yaml
  meterseal central --config central.yaml
  meterseal central status --data is
  meterseal central rotate --data is --reason "yearly change" --wait`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return runCentral(c, file) },
	}
	c.Flags().StringVar(&file, "config", "", "configuration file")
	c.AddCommand(centralInitCommand())
	c.AddCommand(operatorCommands()...)
	return c
}

func loadCentral(file string) (central.Config, error) {
	var cfg central.Config
	if err := config.Load(file, &cfg); err != nil {
		return cfg, err
	}
	for _, p := range []*string{&cfg.Data, &cfg.Journal, &cfg.PassphraseFile} {
		if *p != "" {
			*p = config.Beside(file, *p)
		}
	}
	return cfg, nil
}

// clock returns the machine's clock, moved by the offset of a configuration.
func clock(offset time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(offset) }
}

func runCentral(c *cobra.Command, file string) (err error) {
	if file == "" {
		return usage(c, "missing: --config, or one of the commands that --help lists")
	}
	log, err := logger(c)
	if err != nil {
		return err
	}
	cfg, err := loadCentral(file)
	if err != nil {
		return err
	}
	is, err := central.Open(c.Context(), cfg, central.Deps{Now: clock(cfg.ClockOffset), Rand: rand.Reader, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, is.Close()) }()
	return is.Run(c.Context())
}

func centralInitCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use: "init", Short: "Make the vault's root and the bus's certificates, once",
		Long: `Makes what the central system stands on. What is there already is left as it is. It prints the age recipient
that shipment and enrolment files are encrypted to, and the certificate that concentrators need a copy of.`,
		Example: "  meterseal central init --config central.yaml", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "config"); err != nil {
				return err
			}
			cfg, err := loadCentral(file)
			if err != nil {
				return err
			}
			recipient, err := central.Init(c.Context(), cfg, central.Deps{Now: clock(cfg.ClockOffset), Rand: rand.Reader})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, map[string]string{"recipient": recipient, "ca": cfg.CAFile()})
			}
			return printf(c, "recipient  %s\nca         %s\n", recipient, cfg.CAFile())
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
