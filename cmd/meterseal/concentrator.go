package main

import (
	"crypto/rand"
	"errors"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/concentrator"
	"github.com/meterseal/meterseal/internal/config"
	"github.com/meterseal/meterseal/internal/enrol"
)

func concentratorCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "concentrator",
		Short: "Run a concentrator",
		Long: `Runs the concentrator of --config until it is stopped (Ctrl-C, SIGTERM). Make it first with init, and have the
central system enrol it.

Fields of the configuration file: data, identity, is_url, is_ca, lan, timeout, dial_timeout, rediscover, parallel,
utc_offset, clock_offset. Paths are meant from the directory of the file.`,
		Example: `  meterseal concentrator init --config concentrator.yaml --title 4D534CC000000001 --recipient vault.pub --out enrol.json
  meterseal concentrator --config concentrator.yaml`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return runConcentrator(c, file) },
	}
	c.PersistentFlags().StringVar(&file, "config", "", "configuration file")
	c.AddCommand(concentratorInitCommand(&file), evictCommand())
	return c
}

func loadConcentrator(c *cobra.Command, file string) (cfg concentrator.Config, err error) {
	if err := need(c, "config"); err != nil {
		return cfg, err
	}
	if err := config.Load(file, &cfg); err != nil {
		return cfg, err
	}
	for _, path := range []*string{&cfg.Data, &cfg.Identity, &cfg.ISCA} {
		*path = config.Beside(file, *path)
	}
	return cfg, nil
}

func runConcentrator(c *cobra.Command, file string) error {
	cfg, err := loadConcentrator(c, file)
	if err != nil {
		return err
	}
	log, err := logger(c)
	if err != nil {
		return err
	}
	d, err := concentrator.New(cfg, concentrator.Deps{Now: clockWith(cfg.ClockOffset), Rand: rand.Reader, Log: log})
	if err != nil {
		return err
	}
	if err := printf(c, "concentrator %s  central system %s\n", d.Title(), cfg.ISURL); err != nil {
		return errors.Join(err, d.Close())
	}
	return stopped(c.Context(), d.Run(c.Context()))
}

// enrolFlags are what making a device takes.
type enrolFlags struct {
	title, recipient, out string
	json                  bool
}

func (f *enrolFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.title, "title", "", "its system title, 16 hexadecimal digits, which nothing else may bear")
	s.StringVar(&f.recipient, "recipient", "", "the central system's transport key: its file vault.pub, or the text of it")
	s.StringVar(&f.out, "out", "enrol.json", "new file for the enrolment")
	s.BoolVar(&f.json, "json", false, "print JSON")
}

// finish writes the enrolment file and shows its fingerprint.
func (f *enrolFlags) finish(c *cobra.Command, file enrol.File) error {
	if err := file.Write(f.out); err != nil {
		return err
	}
	if f.json {
		return printJSON(c, map[string]any{"system_title": file.Title, "fingerprint": file.Fingerprint(), "out": f.out})
	}
	return printf(c, "%s %s: %s\nfingerprint  %s\n", file.Kind, file.Title, f.out, file.Fingerprint())
}

const enrolLong = `It makes the device's own secrets in its data directory, once, and an enrolment file for the central system. Whoever
enrols the file compares its fingerprint with the one printed here.`

func concentratorInitCommand(file *string) *cobra.Command {
	var f enrolFlags
	c := &cobra.Command{
		Use:     "init",
		Short:   "Make a concentrator, once, and its enrolment file",
		Long:    enrolLong,
		Example: "  meterseal concentrator init --config concentrator.yaml --title 4D534CC000000001 --recipient vault.pub --out enrol.json",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "config", "title", "recipient"); err != nil {
				return err
			}
			cfg, err := loadConcentrator(c, *file)
			if err != nil {
				return err
			}
			title, err := titleOf(c, "--title", f.title)
			if err != nil {
				return err
			}
			to, err := recipientOf(c, "--recipient", f.recipient)
			if err != nil {
				return err
			}
			made, err := concentrator.Init(cfg.Data, title, rand.Reader, to)
			if err != nil {
				return err
			}
			return f.finish(c, made)
		},
	}
	f.add(c)
	return c
}
