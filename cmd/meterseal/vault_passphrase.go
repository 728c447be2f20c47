package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/vault"
)

func (k *keeper) passphraseCommand() *cobra.Command {
	var next string
	c := &cobra.Command{
		Use:   "passphrase",
		Short: "Seal the root with a new passphrase, on a central system that does not run",
		Long: `Seals the root file, and the key of the authority that lets people in, with the passphrase in the file of
--new-passphrase-file. A root in clear is sealed for the first time. No key changes. Each file is replaced whole; where it
was cut, give the same command again.

Afterwards let passphrase_file of the configuration file name the new one. Every node has a root file of its own: do it on
each, and rotate no root before all of them have the same passphrase.

Backups and copies from before open with the old passphrase as ever, and it is worth as much with them: keep it as long as
you keep them. If somebody may have it together with a copy, rotate the root as well: meterseal vault rotate-root.`,
		Example: `  meterseal vault passphrase --new-passphrase-file new.passphrase --config central.yaml`,
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "new-passphrase-file"); err != nil {
				return err
			}
			cfg, err := k.load(c)
			if err != nil {
				return err
			}
			if k.passphraseFile != "" {
				cfg.PassphraseFile = k.passphraseFile
			}
			done, err := central.ChangePassphrase(c.Context(), cfg, deps(c, cfg), next)
			if errors.Is(err, vault.ErrPassphrase) {
				return withHint(err, "the passphrase as it is now is that of --config, or of --passphrase-file")
			}
			if err != nil {
				return err
			}
			return k.show(c, done, func() error {
				if !done.Root && !done.Authority {
					return printf(c, "the root is sealed with it already\n")
				}
				return printf(c, "the root is sealed with the new passphrase; let passphrase_file of the configuration file be %s\n", next)
			})
		},
	}
	c.Flags().StringVar(&next, "new-passphrase-file", "", "file with the new passphrase")
	c.Flags().StringVar(&k.passphraseFile, "passphrase-file", "", "file with the passphrase as it is now (default: that of --config)")
	return c
}
