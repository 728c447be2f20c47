package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/backup"
)

// keeper is what the commands on a vault share.
type keeper struct {
	operator
	passphraseFile string
	rootFile       string
	journals       []string
}

func vaultCommand() *cobra.Command {
	k := new(keeper)
	c := &cobra.Command{
		Use:   "vault",
		Short: "Keep the vault of a central system: making it, backup, restore, drill, and opening one that is sealed",
		Long: `A backup is a snapshot of the database, the sealed root and the certificates, under a manifest that the vault signs.
What was done since is in the key journal: a restore takes it over from the journals of all nodes. Restored without one of
them the vault is sealed: two people have to approve before it opens, it goes on under a new system title, and versions
from before are handed out no more.`,
		Args: cobra.ArbitraryArgs, RunE: group,
		Example: `  meterseal vault init ceremony.json --by alice --dry-run
  meterseal vault backup /backup/monday --config central.yaml
  meterseal vault drill /backup/monday --journal /journal/key.journal --config central.yaml
  meterseal vault restore /backup/monday --journal /journal/key.journal --data ./is --passphrase-file pass`,
	}
	s := c.PersistentFlags()
	s.StringVar(&k.config, "config", "", "configuration file of the central system")
	s.StringVar(&k.as, "as", "", "as whom: a name, of a certificate in the data directory's people, or a file (default: METERSEAL_AS, or your name on this machine)")
	s.BoolVar(&k.json, "json", false, "print JSON")
	c.AddCommand(k.initCommand(), k.transcriptCommand(), k.rootCommand(), k.rotateRootCommand(), k.retireTermCommand(), k.passphraseCommand(), k.backupCommand(), k.exportCommand(), k.importCommand(), k.restoreCommand(), k.drillCommand(), k.statusCommand(), k.approveCommand(), k.openCommand(), k.missingCommand())
	return c
}

func (k *keeper) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR",
		Short: "Make a backup in a new directory, of a running central system or one at rest",
		Long: `Makes a backup in the new directory DIR: the database as of its last commit, the root if a passphrase seals it (one in
clear is left out: keep its own copy apart), the certificates encrypted to the vault, and a signed manifest. A running
central system goes on meanwhile. The key journal is not in it: it has its own place, on another disk.

It warns where fewer than two people could approve a restore of it.`,
		Example: "  meterseal vault backup /backup/monday --config central.yaml",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := k.load(c)
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			b, err := k.backup(c, cfg, dir)
			if err != nil {
				return err
			}
			for _, w := range b.Warnings {
				notef(c, "warning: %s", w)
			}
			return k.show(c, b, func() error {
				return printf(c, "%s: %d meters, %d keys, %d bytes%s\n", b.Dir, b.Meters, b.Keys, b.Bytes, withoutRoot(b))
			})
		},
	}
}

func withoutRoot(b api.Backup) string {
	if b.Root {
		return ""
	}
	return "; without the root, which no passphrase seals: keep a copy of it apart"
}

// backup asks a running central system for it, or makes it of one at rest.
func (k *keeper) backup(c *cobra.Command, cfg central.Config, dir string) (api.Backup, error) {
	is, err := k.client(c)
	if err != nil {
		return api.Backup{}, err
	}
	defer is.Close()
	b, err := is.Backup(c.Context(), dir)
	if err == nil || !errors.Is(err, api.ErrNoIS) {
		return b, err
	}
	h, err := k.house(c, cfg)
	if err != nil {
		return b, err
	}
	b, err = h.Backup(c.Context(), dir)
	return b, errors.Join(err, h.Close())
}

func (k *keeper) house(c *cobra.Command, cfg central.Config) (*central.House, error) {
	return central.OpenHouse(c.Context(), cfg, deps(c, cfg))
}

// restoring adds the flags of a restore.
func (k *keeper) restoring(c *cobra.Command) *cobra.Command {
	s := c.Flags()
	s.StringArrayVar(&k.journals, "journal", nil, "key journal of a node, as it is now; give those of all nodes")
	s.StringVar(&k.rootFile, "root", "", "copy of the root that was kept apart (default: the one in the backup)")
	s.StringVar(&k.passphraseFile, "passphrase-file", "", "file with the passphrase of the root (default: that of --config)")
	return c
}

// options are those of a restore, from the flags and, where it is given, the configuration.
func (k *keeper) options(c *cobra.Command, from string) (o backup.Options, cfg central.Config, err error) {
	if k.config != "" {
		if cfg, err = k.load(c); err != nil {
			return o, cfg, err
		}
	}
	if k.passphraseFile != "" {
		cfg.PassphraseFile = k.passphraseFile
	}
	o, err = central.RestoreOptions(cfg, deps(c, cfg), from, k.journals)
	o.RootFile = k.rootFile
	return o, cfg, err
}

func (k *keeper) restoreCommand() *cobra.Command {
	var approvals []string
	c := &cobra.Command{
		Use:   "restore BACKUP",
		Short: "Bring a backup back into a data directory without a database",
		Long: `Checks the backup against the root, brings the database, the root and the certificates back into the data directory of
--data or --config, and takes over what the key journals have beyond it. Nothing is put in its place before all of it has
worked, and no database is ever replaced. The journals are read and not changed: each must be where its node's
configuration looks for it when the node starts.

It takes two people, operators or key custodians whom the central system of the backup has let in. Each signs, with
'meterseal vault approve --restore', for this backup and this directory; that counts for an hour.

Without the journal of a node the vault is sealed: see meterseal vault status.`,
		Example: `  meterseal vault approve --restore /backup/monday --data ./is --reason "disk burnt" --as alice.pem --out alice.approval
  meterseal vault restore /backup/monday --journal /journal/key.journal --data ./is --passphrase-file pass \\
      --approval alice.approval --approval bob.approval`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			o, cfg, err := k.options(c, args[0])
			if err != nil {
				return err
			}
			if k.data != "" {
				cfg.Data = k.data
			}
			if cfg.Data == "" {
				return usage(c, "missing: --data, the data directory to restore into, or --config")
			}
			statements, err := statementsOf(approvals)
			if err != nil {
				return err
			}
			var r backup.Report
			err = k.watched(c, &o, func(ctx context.Context) error { r, err = central.Restore(ctx, o, cfg.Data, statements); return err })
			if errors.Is(err, access.ErrTwo) {
				return withHint(err, "two people each run: meterseal vault approve --restore %s --data %s --reason WHY --as FILE --out NAME.approval; give both files with --approval", args[0], cfg.Data)
			}
			if err != nil {
				return err
			}
			return k.show(c, r, func() error {
				return printf(c, "%s: %d meters and %d keys of %s, %d batches of the key journals\n%s", cfg.Data,
					r.Manifest.Meters, r.Manifest.Keys, when(r.Manifest.MadeAt), r.Batches, sealedText(r))
			})
		},
	}
	c.Flags().StringVar(&k.data, "data", "", "data directory to restore into (default: that of --config)")
	c.Flags().StringArrayVar(&approvals, "approval", nil, "what a person has signed with 'meterseal vault approve --restore'; give two")
	return k.restoring(c)
}

func sealedText(r backup.Report) string {
	if !r.Sealed {
		return ""
	}
	var nodes []string
	for _, l := range r.Lost {
		nodes = append(nodes, l.Node)
	}
	return fmt.Sprintf(`The vault is sealed: the key journal of node %s was not given.
If it is lost, two people approve: meterseal vault approve --as FILE --reason WHY --config FILE
and then:                          meterseal vault open --config FILE
`, strings.Join(nodes, ", "))
}

// watched runs a restore and shows how far it is.
func (k *keeper) watched(c *cobra.Command, o *backup.Options, do func(ctx context.Context) error) error {
	var p *progress
	o.Progress = func(step string, done, all int) {
		if p == nil || p.what != step {
			if p != nil {
				p.close()
			}
			p = newProgress(c.ErrOrStderr(), step)
		}
		p.set(done, all)
	}
	err := do(c.Context())
	if p != nil {
		p.close()
	}
	return err
}

func (k *keeper) drillCommand() *cobra.Command {
	var scratch string
	c := &cobra.Command{
		Use:   "drill BACKUP",
		Short: "Restore a backup into a scratch directory and prove that every key opens",
		Long: `Restores the backup below --scratch, takes the key journals over, opens and verifies every version of every key of every
meter and device, and removes all of it again. Nothing that runs is touched; run it as often as you make backups.`,
		Example: "  meterseal vault drill /backup/monday --journal /journal/key.journal --config central.yaml --json",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			o, _, err := k.options(c, args[0])
			if err != nil {
				return err
			}
			var d backup.Drilled
			err = k.watched(c, &o, func(ctx context.Context) error { d, err = backup.Drill(ctx, o, scratch); return err })
			if err != nil {
				return err
			}
			if err := k.show(c, d, func() error { return drillText(c, d) }); err != nil {
				return err
			}
			if !d.Sound() {
				return withHint(fmt.Errorf("drill: %d keys do not open, or are not there", d.Failed),
					"keep this backup and its journal as they are, and drill an older one")
			}
			return nil
		},
	}
	c.Flags().StringVar(&scratch, "scratch", os.TempDir(), "directory to restore below; best in memory")
	return k.restoring(c)
}

func drillText(c *cobra.Command, d backup.Drilled) error {
	for _, r := range d.Refused {
		if err := printf(c, "%s\n", r); err != nil {
			return err
		}
	}
	return printf(c, "%d meters complete, %d keys and %d devices open, %d do not; %d batches of the key journals, %d journals lost, %.1f s\n",
		d.Proof.Meters, d.Proof.Keys, d.Devices, d.Failed, d.Batches, len(d.Lost), d.Seconds)
}

// atRest works on the vault of a central system that is not running.
func (k *keeper) atRest(c *cobra.Command, do func(ctx context.Context, h *central.House) error) error {
	cfg, err := k.load(c)
	if err != nil {
		return err
	}
	h, err := k.house(c, cfg)
	if err != nil {
		return err
	}
	return errors.Join(do(c.Context(), h), h.Close())
}

func (k *keeper) openCommand() *cobra.Command {
	return &cobra.Command{
		Use: "open", Short: "Open a sealed vault without its journal, approved by two people", Args: exactly(0),
		Long: `Opens a vault that was restored without its key journal. It prints a system title that was never used before: write it
into the configuration (system_title), and give the central system a new path for its key journal. Versions of keys from
before are handed out no more; the central system asks the concentrators for what the journal had, and
meterseal vault missing lists the meters whose newest key may still be missing.`,
		Example: "  meterseal vault open --config central.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			return k.atRest(c, func(ctx context.Context, h *central.House) error {
				space, err := h.OpenSealed(ctx)
				if err != nil {
					return err
				}
				return k.show(c, space, func() error {
					return printf(c, "open; put this into the configuration file, then start the central system:\nsystem_title: %s\n", space.Title)
				})
			})
		},
	}
}

func (k *keeper) missingCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "missing", Short: "List the meters whose newest key may be missing, after an opening without the journal",
		Long: `Works the running central system. After the vault was opened without its key journal the central system asks every
concentrator for what it keeps for the vault. Until one has answered, the newest keys of its meters may be missing. The
keys that are listed as asked for are there; they are from before the opening, and are to be changed:
meterseal rotate --selection all --reason "restored without the journal".`,
		Example: "  meterseal vault missing --config central.yaml --json",
	}
	c.Flags().StringVar(&k.data, "data", "", "data directory of the running central system (default: that of --config)")
	return k.command(c, exactly(0), func(ctx context.Context, c *cobra.Command, is *api.Client, _ []string) error {
		m, err := is.Missing(ctx)
		if err != nil {
			return err
		}
		return k.show(c, m, func() error { return missingText(c, m) })
	})
}

func missingText(c *cobra.Command, m api.Missing) error {
	rows := [][]string{{"METER", "ROLE", "VERSION", "UNDER", "NEWEST KEY"}}
	for _, key := range m.Keys {
		state := "may be missing"
		if key.Asked {
			state = "there; change it"
		}
		rows = append(rows, []string{key.Meter.String(), key.Role.String(), version32(key.Version), named(key.Concentrator), state})
	}
	for _, r := range m.Refused {
		notef(c, "not taken back: %s", r)
	}
	for _, d := range m.NotAsked {
		notef(c, "concentrator %s has not answered yet", d)
	}
	if len(m.Keys) == 0 {
		return printf(c, "no key is missing\n")
	}
	return table(c.OutOrStdout(), rows)
}
