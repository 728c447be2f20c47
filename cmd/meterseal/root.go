package main

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func rootCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "meterseal",
		Short: "Keys, associations and readings of electricity meters, end to end",
		Long: `Meterseal runs a metering system by the DLMS/COSEM standard: a central system that holds the keys of the
meters in a vault and changes them, concentrators that read the meters, simulated meters, and portable terminals.

Exit codes:
  0  all of it was done
  1  something failed or was refused; standard error says what, and what to do next
  2  the command line cannot be understood; nothing was done

Results go to standard output, everything else to standard error. Commands with --json print JSON there and nothing
else.`,
		Example: `  meterseal lab
  meterseal meter --profile generic --listen 127.0.0.1:4059 --keys keys.json
  meterseal dlms get --connect 127.0.0.1:4059 --keys keys.json 8/0.0.1.0.0.255/2`,
		Version:       version(),
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.SetVersionTemplate("meterseal {{.Version}}\n")
	c.PersistentFlags().String("log-level", "info", "what is logged to standard error: debug, info, warn or error")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, "%w", err) })
	c.AddCommand(labCommand(), centralCommand(), concentratorCommand(), meterCommand(), terminalCommand(), makerCommand(),
		rotateCommand(), campaignCommand(), exposureCommand(), approveCommand(), quotaCommand(),
		dlmsCommand(), decodeCommand(), auditCommand(), vaultCommand(), versionCommand())
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  meterseal version", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "meterseal", version())
			return err
		},
	}
}

// version is what the Go tool wrote into the binary: the module's version, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	return v + " " + info.GoVersion
}

// group is the command that only has others below it.
func group(c *cobra.Command, args []string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if len(args) == 0 {
		return usage(c, "want a command: %s", strings.Join(names, ", "))
	}
	c.SuggestionsMinimumDistance = 2 // letters to change
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return usage(c, "unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usage(c, "unknown command %q: want one of %s", args[0], strings.Join(names, ", "))
}

// exactly takes n arguments.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

// between takes least to most arguments, as the command's Use shows them.
func between(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && most == 0 && c.HasSubCommands():
			return group(c, args)
		case len(args) < least:
			return usage(c, "argument missing: want %s", c.UseLine())
		case len(args) > most:
			return usage(c, "unexpected argument %q: want %s", args[most], c.UseLine())
		}
		return nil
	}
}

// atLeast takes n arguments or more.
func atLeast(n int) cobra.PositionalArgs {
	const plenty = 1 << 20
	return between(n, plenty)
}

// need refuses a command line without these flags.
func need(c *cobra.Command, names ...string) error {
	var missing []string
	for _, n := range names {
		if !c.Flags().Changed(n) {
			missing = append(missing, "--"+n)
		}
	}
	if len(missing) > 0 {
		return usage(c, "missing: %s", strings.Join(missing, ", "))
	}
	return nil
}

// logger writes to standard error what --log-level asks for.
func logger(c *cobra.Command) (*slog.Logger, error) {
	var level slog.Level
	name, err := c.Flags().GetString("log-level")
	if err != nil {
		return nil, err
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, usage(c, "--log-level: want debug, info, warn or error, got %q", name)
	}
	return slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}
