package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central"
)

func (k *keeper) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how the vault of a central system at rest stands", Args: exactly(0),
		Long: `Shows where the keys are, and whether CC_IS and CC_LAN are used inside a token or pass through this process for one
association each; the terms of the root; whether the vault is sealed and why, who has approved opening it, and under which system title it goes on after
an opening without its journal.`,
		Example: "  meterseal vault status --config central.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			return k.atRest(c, func(ctx context.Context, h *central.House) error {
				s, err := h.Status(ctx)
				if err != nil {
					return err
				}
				return k.show(c, s, func() error { return statusText(c, s) })
			})
		},
	}
}

func statusText(c *cobra.Command, s central.VaultStatus) error {
	lines := append([]string{"vault   " + s.Vault + ", " + s.Kind}, keysText(s)...)
	for node, at := range s.Journals {
		lines = append(lines, fmt.Sprintf("journal %s taken over to byte %d", node, at))
	}
	if s.Space != nil {
		lines = append(lines, fmt.Sprintf("opened  %s without its journal; system title %s, versions from v%d on",
			when(s.Space.OpenedAt), s.Space.Title, s.Space.FirstVersion))
	}
	if s.Seal == nil {
		lines = append(lines, "sealed  no")
	} else {
		lines = append(lines, fmt.Sprintf("sealed  since %s: %s; %d of 2 approvals count", when(s.Seal.Since), s.Seal.Reason, s.Counting))
		for _, a := range s.Seal.Approvals {
			lines = append(lines, fmt.Sprintf("        %s, %s: %s", a.By, when(a.At), a.Reason))
		}
	}
	return printf(c, "%s\n", strings.Join(lines, "\n"))
}

// keysText tells where the keys are, and what passes through this process.
func keysText(s central.VaultStatus) (lines []string) {
	if d := s.Keys; d.Token != "" {
		lines = append(lines, fmt.Sprintf("token   %q, %s, serial %s, by %s", d.Token, d.Model, d.Serial, d.Module),
			"uses    "+strings.Join(d.Mechanisms, ", "))
	}
	lines = append(lines, "CC_IS, CC_LAN  used "+s.Keys.Associations)
	for _, n := range s.Keys.Notes {
		lines = append(lines, "note    "+n)
	}
	for _, t := range s.Terms {
		lines = append(lines, fmt.Sprintf("term    %d %s", t.Term, t.State))
	}
	return lines
}
