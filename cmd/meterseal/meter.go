package main

import (
	"context"
	"crypto/rand"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/config"
	"github.com/meterseal/meterseal/internal/meter"
)

type meterCommandFlags struct {
	config    string
	count     int
	profile   string
	bench     meter.BenchConfig
	clock     string
	installed string
	json      bool
}

func meterCommand() *cobra.Command {
	var f meterCommandFlags
	c := &cobra.Command{
		Use:   "meter",
		Short: "Simulate meters: a fleet from a configuration file, or one for a test bench",
		Long: `With --config it serves a fleet of meters of the profiles hardened or linky from one process, each with a memory
of its own that survives everything but losing its folder.

With --keys it is a plain meter (profile generic) for a test bench, which any DLMS client can reach: the public client
16 without security, the management client 1 with HLS-GMAC and suite 0, server 1. Its counters are kept in
keys.json.counters; where that cannot be written it refuses to start unless --ephemeral-keys is given.

It prints where each meter is reached, and serves until it is stopped (Ctrl-C, SIGTERM).

Fields of the configuration file: profile, factory, factory_identity, first, count, data, lan_listen, local_listen,
load_curve, installed_at, utc_offset, clock (start, cold, offset, wrong), spread (percent, shift), press_after. Paths are meant
from the directory of the file.`,
		Example: `  meterseal meter --config meters.yaml
  meterseal meter --config meters.yaml --count 25
  meterseal meter --profile generic --listen 127.0.0.1:4059 --keys keys.json
  meterseal meter --keys keys.json --hdlc 127.0.0.1:4060 --ephemeral-keys`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	s := c.Flags()
	s.StringVar(&f.config, "config", "", "configuration file of a fleet")
	s.IntVar(&f.count, "count", 0, "how many meters of the factory file to serve (default: what the configuration says)")
	s.StringVar(&f.profile, "profile", "", "generic for a test bench; with --config the profile that all meters must have")
	s.StringVar(&f.bench.Keys, "keys", "", "bench: the keys file")
	s.StringVar(&f.bench.Listen, "listen", "", "bench: HOST:PORT for the COSEM wrapper over TCP")
	s.StringVar(&f.bench.HDLC, "hdlc", "", "bench: HOST:PORT for HDLC over TCP")
	s.BoolVar(&f.bench.Ephemeral, "ephemeral-keys", false, "bench: keep no counters; only for keys that are thrown away")
	s.StringVar(&f.bench.LoadCurve, "load-curve", "", "bench: file to replay (default: a built-in household)")
	s.StringVar(&f.clock, "clock", "", "bench: the time it is at the start, as 2026-01-31T12:00:00+01:00 (default: now)")
	s.StringVar(&f.installed, "installed-at", "", "bench: when the load profile begins (default: a week ago, or the file's first full day)")
	s.DurationVar(&f.bench.PressAfter, "press-after", 0, "bench: how long after an arming of the breaker the customer presses its button, 0 for never")
	s.BoolVar(&f.json, "json", false, "print where the meters are as JSON, one a line")
	c.AddCommand(moveMeterCommand())
	return c
}

func (f *meterCommandFlags) run(c *cobra.Command) error {
	log, err := logger(c)
	if err != nil {
		return err
	}
	deps := meter.Deps{Now: time.Now, Rand: rand.Reader, Log: log}
	switch {
	case f.config != "" && f.bench.Keys != "":
		return usage(c, "want either --config, for a fleet, or --keys, for a test bench")
	case f.config != "":
		return f.fleet(c, deps)
	case f.bench.Keys != "":
		return f.runBench(c, deps)
	}
	return usage(c, "missing: --config for a fleet, or --keys for a test bench")
}

func (f *meterCommandFlags) fleet(c *cobra.Command, deps meter.Deps) error {
	for _, name := range []string{"listen", "hdlc", "ephemeral-keys", "load-curve", "clock", "installed-at", "press-after"} {
		if c.Flags().Changed(name) {
			return usage(c, "--%s is for a test bench; a fleet has it in its configuration file", name)
		}
	}
	var cfg meter.Config
	if err := config.Load(f.config, &cfg); err != nil {
		return err
	}
	for _, path := range []*string{&cfg.Factory, &cfg.FactoryIdentity, &cfg.Data, &cfg.LoadCurve} {
		*path = config.Beside(f.config, *path)
	}
	if c.Flags().Changed("count") {
		cfg.Count = f.count
	}
	if f.profile != "" {
		cfg.Profile = f.profile
	}
	fleet, err := meter.OpenFleet(cfg, deps)
	if err != nil {
		return err
	}
	return f.serve(c, fleet, fleet.Addresses()...)
}

func (f *meterCommandFlags) runBench(c *cobra.Command, deps meter.Deps) error {
	if f.profile != "" && f.profile != meter.ProfileGeneric {
		return usage(c, "--profile: a test bench has generic, got %q; the others come from a factory file (--config)", f.profile)
	}
	if f.bench.Listen == "" && f.bench.HDLC == "" {
		return usage(c, "missing: --listen or --hdlc")
	}
	if c.Flags().Changed("count") {
		return usage(c, "--count: a test bench has one meter; a fleet comes from a factory file (--config)")
	}
	for flag, into := range map[*string]*time.Time{&f.clock: &f.bench.Clock, &f.installed: &f.bench.InstalledAt} {
		if *flag == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, *flag)
		if err != nil {
			return usage(c, "want a time as 2026-01-31T12:00:00+01:00, got %q", *flag)
		}
		*into = t
	}
	bench, err := meter.OpenBench(f.bench, deps)
	if err != nil {
		return err
	}
	for _, w := range bench.Warnings() {
		deps.Log.Warn("keys file", "warning", w)
	}
	return f.serve(c, bench, meter.Address{Title: bench.Title(), LAN: bench.Addr(), Local: bench.HDLCAddr()})
}

// serve says where the meters are and runs them.
func (f *meterCommandFlags) serve(c *cobra.Command, r interface{ Run(context.Context) error }, at ...meter.Address) error {
	for _, a := range at {
		if err := f.printAddress(c, a); err != nil {
			return err
		}
	}
	return r.Run(c.Context())
}

func (f *meterCommandFlags) printAddress(c *cobra.Command, a meter.Address) error {
	if f.json {
		return printJSON(c, struct {
			Title dlms.SystemTitle `json:"system_title"`
			LAN   string           `json:"lan,omitempty"`
			Local string           `json:"local,omitempty"`
		}{a.Title, address(a.LAN), address(a.Local)})
	}
	text := "meter " + a.Title.String()
	if a.LAN != nil {
		text += "  wrapper " + address(a.LAN)
	}
	if a.Local != nil {
		text += "  hdlc " + address(a.Local)
	}
	return printf(c, "%s\n", text)
}

func address(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
