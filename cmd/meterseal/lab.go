package main

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/meterseal/meterseal/internal/lab"
)

const labExample = `  # 50 meters under two concentrators, everything on this machine
  meterseal lab

  # the architecture exactly as published, with a real load curve
  meterseal lab --profile linky --load-curve household.csv.gz

  # keep the state, stop at any moment, go on later; explore it while it stays up
  meterseal lab --data ./lab --stay

  # for scripts: one JSON object on standard output
  meterseal lab --json`

// labCommand runs the whole system on one machine.
func labCommand() *cobra.Command {
	cfg := lab.Config{Now: time.Now, Rand: rand.Reader}
	var asJSON, verbose bool
	c := &cobra.Command{
		Use: "lab", Short: "run the whole system on this machine and show it working", Example: labExample,
		Long: `Runs an IS, concentrators, meters and terminals over loopback sockets: meters are enrolled, read and
re-keyed, attacks are executed and refused, a breaker is operated, a terminal reads with a grant.
The exit code is 0 only if all of it held. State is kept with --data: stop at any moment, and go on.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Out = labOutput(cmd, asJSON)
			f, ok := cfg.Out.(*os.File)
			cfg.Terminal = ok && term.IsTerminal(int(f.Fd()))
			cfg.Log = slog.New(slog.DiscardHandler)
			if verbose {
				cfg.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelInfo}))
			}
			report, err := lab.Run(cmd.Context(), cfg)
			if asJSON {
				if e := json.NewEncoder(cmd.OutOrStdout()).Encode(report); e != nil && err == nil {
					err = e
				}
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Profile, "profile", "hardened", "profile of the meters: hardened or linky")
	f.IntVar(&cfg.Meters, "meters", 50, "how many meters")
	f.IntVar(&cfg.Concentrators, "concentrators", 2, "how many concentrators")
	f.StringVar(&cfg.LoadCurve, "load-curve", "", "load curve to replay: UCI household format or the grid customer's export (default: a built-in household)")
	f.StringVar(&cfg.Data, "data", "", "folder that keeps the state (default: a temporary one, removed at the end)")
	f.StringVar(&cfg.Vault, "vault", "", "token that the keys of the IS are in, pkcs11:token=LABEL?module-path=MODULE&pin-source=FILE (default: in software)")
	f.BoolVar(&cfg.Stay, "stay", false, "keep the system up afterwards, until Ctrl-C")
	f.BoolVar(&asJSON, "json", false, "one JSON object on standard output; everything else on standard error")
	f.BoolVarP(&verbose, "verbose", "v", false, "log what the roles do, on standard error")
	return c
}

// labOutput is where the lines for people go.
func labOutput(cmd *cobra.Command, asJSON bool) io.Writer {
	if asJSON {
		return cmd.ErrOrStderr()
	}
	return cmd.OutOrStdout()
}
