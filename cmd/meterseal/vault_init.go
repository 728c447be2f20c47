package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// tool is the program and its version.
func tool() string { return "meterseal " + version() }

func (k *keeper) initCommand() *cobra.Command {
	var by string
	var sample, dry bool
	c := &cobra.Command{
		Use:   "init CEREMONY",
		Short: "Make the root of a vault from one file that people have reviewed",
		Long: `Makes the root of a vault as the ceremony file says: whose vault it is, of which kind, who takes part, where the root file and
the key journal are, how the root is sealed, how many people approve what is under dual control (two: there is no other rule,
and any other number is refused), and the quotas. The file holds no secret; --sample prints one to begin from. With --dry-run everything is looked at and nothing made: all who take
part compare the SHA-256 of the file.

The transcript, beside the root, says who made it, when, with which program, and the fingerprints of all its keys. It is
signed with the key of the vault's audit log: see 'meterseal vault transcript verify'. Keep a copy elsewhere.

With --config the configuration of the central system has to agree with the ceremony. The certificates are made after it,
with 'meterseal central init', which leaves the vault as it is.`,
		Example: `  meterseal vault init --sample > ceremony.json
  meterseal vault init ceremony.json --by alice --dry-run
  meterseal vault init ceremony.json --by alice --config central.yaml`,
		Args: between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if sample {
				return printf(c, "%s", vault.SampleCeremony().Text())
			}
			if len(args) == 0 {
				return usage(c, "argument missing: want the ceremony file, or --sample")
			}
			return k.hold(c, args[0], by, dry)
		},
	}
	s := c.Flags()
	s.StringVar(&by, "by", userName(), "who makes it, one of the participants")
	s.BoolVar(&sample, "sample", false, "print a ceremony file to begin from")
	s.BoolVar(&dry, "dry-run", false, "show what would be done, and do nothing")
	return c
}

// userName is the name that the system knows the person by, "" if it knows none.
func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// hold holds a ceremony, or rehearses it.
func (k *keeper) hold(c *cobra.Command, path, by string, dry bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	ceremony, err := vault.ParseCeremony(text)
	if err != nil {
		return withHint(err, "compare it with 'meterseal vault init --sample'")
	}
	whole, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return err
	}
	ceremony = ceremony.Beside(whole)
	now := time.Now
	if k.config != "" {
		cfg, err := k.absolute(c)
		if err != nil {
			return err
		}
		if err := cfg.Agrees(ceremony); err != nil {
			return withHint(err, "make both say the same: the central system finds the vault by its configuration")
		}
		now = clockWith(cfg.ClockOffset)
	}
	plan := central.PlanVault(ceremony, by)
	if dry || len(plan.Obstacles) > 0 {
		return k.rehearsed(c, plan)
	}
	d := deps(c, central.Config{})
	d.Now = now
	made, err := central.MakeVault(ceremony, by, d)
	if err != nil {
		return err
	}
	for _, w := range plan.Warnings {
		notef(c, "%s", w)
	}
	to := filepath.Join(ceremony.Data, vault.TranscriptFile)
	answer := map[string]string{"vault": made.ID(), "transcript": to, "ceremony_sha256": ceremony.Hash(), "recipient": made.Transport().String(), "audit_key": made.Signer().PublicKey()}
	return errors.Join(k.show(c, answer, func() error {
		return printf(c, "vault       %s\nceremony    %s\nrecipient   %s\naudit key   %s\ntranscript  %s\n",
			made.ID(), ceremony.Hash(), made.Transport().String(), made.Signer().PublicKey(), to)
	}), made.Close())
}

// absolute is the configuration with whole paths.
func (k *keeper) absolute(c *cobra.Command) (cfg central.Config, err error) {
	if cfg, err = k.load(c); err != nil {
		return cfg, err
	}
	for _, p := range []*string{&cfg.Data, &cfg.Journal, &cfg.PassphraseFile} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

func (k *keeper) rehearsed(c *cobra.Command, p central.VaultPlan) error {
	err := k.show(c, p, func() error {
		lines := fmt.Sprintf("ceremony  %s\nvault     %s, of %s, %s\nby        %s\n", p.Ceremony, p.Vault, p.Tenant, p.Kind, p.By)
		for i, s := range p.Steps {
			lines += fmt.Sprintf("%d  %s\n", i+1, s)
		}
		return printf(c, "%s", lines)
	})
	for _, w := range p.Warnings {
		notef(c, "%s", w)
	}
	if len(p.Obstacles) == 0 {
		return err
	}
	for _, o := range p.Obstacles[1:] {
		notef(c, "%s", o)
	}
	return errors.Join(err, fmt.Errorf("vault init: %s", p.Obstacles[0]))
}

func (k *keeper) transcriptCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "transcript", Short: "Look at the transcript of a vault that was made", Args: cobra.ArbitraryArgs, RunE: group,
		Example: "  meterseal vault transcript verify vault.transcript --key NAME+HASH+KEY",
	}
	c.AddCommand(k.transcriptVerifyCommand())
	return c
}

func (k *keeper) transcriptVerifyCommand() *cobra.Command {
	var trusted, ceremony string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say whether a transcript is as the vault signed it, and show it",
		Long: `Verifies a transcript offline. --key is the public key of the vault's audit log, as the people of the ceremony have
noted it; without it the transcript is held against the key that it names itself, which shows damage and not forgery.
--ceremony is the file that was reviewed; with --config the vault of that central system has to be the one that was made.`,
		Example: `  meterseal vault transcript verify is/vault.transcript --key NAME+HASH+KEY --ceremony ceremony.json
  meterseal vault transcript verify is/vault.transcript --config central.yaml`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := readTranscript(c, args[0], trusted)
			if err != nil {
				return err
			}
			if ceremony != "" {
				text, err := os.ReadFile(ceremony)
				if err != nil {
					return err
				}
				if string(text) != t.CeremonyFile {
					return fmt.Errorf("transcript: %s is not the ceremony file that the vault was made from", ceremony)
				}
			}
			if k.config != "" {
				if err := k.matches(c, t); err != nil {
					return err
				}
			}
			return k.show(c, t, func() error { return transcriptText(c, t) })
		},
	}
	c.Flags().StringVar(&trusted, "key", "", "public key of the vault's audit log, NAME+HASH+KEY")
	c.Flags().StringVar(&ceremony, "ceremony", "", "ceremony file that was reviewed")
	return c
}

func readTranscript(c *cobra.Command, path, trusted string) (t vault.Transcript, err error) {
	signed, err := os.ReadFile(path)
	if err != nil {
		return t, err
	}
	var key audit.PublicKey
	if trusted != "" {
		if key, err = audit.ParsePublicKey(trusted); err != nil {
			return t, usage(c, "--key: %w", err)
		}
	} else {
		notef(c, "held against the key that the transcript names itself: compare the audit key, or give it with --key")
	}
	return vault.ReadTranscript(signed, key)
}

// matches holds a transcript against the vault of the configuration.
func (k *keeper) matches(c *cobra.Command, t vault.Transcript) error {
	cfg, err := k.load(c)
	if err != nil {
		return err
	}
	root, err := central.OpenHold(cfg, deps(c, cfg))
	if err != nil {
		return err
	}
	return errors.Join(t.Matches(root), root.Close())
}

func transcriptText(c *cobra.Command, t vault.Transcript) error {
	text := fmt.Sprintf("vault      %s\nname       %s, of %s, %s\nmade       %s by %s with %s\nceremony   %s\naudit key  %s\ntransport  %s\n",
		t.Vault, t.Name, t.Tenant, t.Kind, when(t.MadeAt), t.By, t.Tool, t.CeremonyHash, t.AuditKey, t.TransportHash)
	for _, n := range t.Terms {
		text += fmt.Sprintf("term %-5d wrap %s %s, mac %s %s\n", n.Term, n.WrapCheckValue, n.WrapFingerprint, n.MACCheckValue, n.MACFingerprint)
	}
	return printf(c, "%s", text)
}
