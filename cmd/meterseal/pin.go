package main

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/meterseal/meterseal/internal/central"
)

// deps is what a command gives a central system, or its house.
func deps(c *cobra.Command, cfg central.Config) central.Deps {
	return central.Deps{Now: clockWith(cfg.ClockOffset), Rand: rand.Reader, Tool: tool(), PIN: askPIN(c)}
}

// askPIN asks the person at the terminal for the PIN of a token, without echo. nil where nobody sits there.
func askPIN(c *cobra.Command) func() (string, error) {
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return func() (string, error) {
		notef(c, "PIN of the token:")
		b, err := term.ReadPassword(int(in.Fd()))
		defer clear(b)
		if err != nil {
			return "", fmt.Errorf("PIN: %w", err)
		}
		return string(b), nil
	}
}
