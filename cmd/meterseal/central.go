package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/config"
)

// operator is what the commands that work a running central system share.
type operator struct {
	config, data, store string
	as, connect         string
	apiListen           string
	json                bool
	// vault is the token of --vault.
	vault string
}

func centralCommand() *cobra.Command {
	o := new(operator)
	c := &cobra.Command{
		Use:   "central",
		Short: "Run the central system (IS), or work a running one",
		Long: `Without a command it runs the central system of --config until it is stopped (Ctrl-C, SIGTERM).

The commands below it work a running one over the socket in its data directory, which they find by --data or --config, or over
--connect. Everybody shows a certificate, --as, and does what its roles allow: see 'meterseal central people'. Long jobs go
on in the central system when a command is stopped.

The keys are in software, or in a PKCS#11 token (a program built with -tags pkcs11): --vault, or vault in the configuration
file, names it as in pkcs11:token=LABEL?module-path=MODULE&pin-source=FILE. Without pin-source the PIN is that of the
environment variable METERSEAL_PIN, or is asked for; it is never an argument.

The rows are in SQLite in the data directory, or in a PostgreSQL database that several nodes share: --store, or store in
the configuration file. Its password is in the file that PGPASSFILE names (~/.pgpass) or in PGPASSWORD, never in the URL.

GOGC in the environment says how far the heap may grow before it is collected, 400 by default: less of it takes less
memory and more time of the processor.

Fields of the configuration file: data, store, lease_ttl, journal, passphrase_file, vault, system_title, listen, hosts, api_listen,
quotas, clock_offset, utc_offset, longest_grant, retry_min, retry_max. Paths are meant from the directory of the file.`,
		Example: `  meterseal central init --config central.yaml
  meterseal central --config central.yaml
  meterseal central --config central.yaml --store postgres://meterseal@db.example:5432/meterseal
  meterseal central import shipment.jsonl --data ./is
  meterseal central rollcall --data ./is`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	c.Flags().StringVar(&o.apiListen, "api-listen", "", "TCP address where the API answers, beside the socket (default: api_listen of --config)")
	o.vaultFlag(c)
	c.Flags().StringVar(&o.store, "store", "", "PostgreSQL database, postgres://user@host:port/database (default: store of --config, or SQLite)")
	o.flags(c.PersistentFlags())
	c.AddCommand(o.initCommand(),
		o.makerCommand(), o.importCommand(), o.enrolCommand(), o.assignCommand(), o.provisionCommand(), o.associateCommand(),
		o.collectCommand(), o.readingsCommand(), o.sightingsCommand(), o.breakerCommand(), o.clockCommand(),
		o.broadcastCommand(), o.rollCallCommand(),
		o.changesCommand(), o.keysCommand(), o.grantCommand(), o.grantEndCommand(),
		o.statusCommand(), o.auditExportCommand(), o.terminalLogCommand(), o.peopleCommand())
	return c
}

// flags adds where the central system is, and how its answers are shown.
func (o *operator) flags(s interface {
	StringVar(p *string, name, value, usage string)
	BoolVar(p *bool, name string, value bool, usage string)
},
) {
	s.StringVar(&o.as, "as", "", "as whom: a name, of a certificate in the data directory's people, or a file (default: METERSEAL_AS, or your name on this machine)")
	s.StringVar(&o.connect, "connect", "", "HOST:PORT of the API of a central system elsewhere; --as is then a file")
	s.StringVar(&o.config, "config", "", "configuration file of the central system")
	s.StringVar(&o.data, "data", "", "data directory of a running central system (default: that of --config)")
	s.BoolVar(&o.json, "json", false, "print JSON")
}

// vaultFlag adds where the keys are.
func (o *operator) vaultFlag(c *cobra.Command) {
	c.Flags().StringVar(&o.vault, "vault", "", "token that the keys are in, pkcs11:token=LABEL?module-path=MODULE&pin-source=FILE (default: vault of --config, or in software)")
}

// load reads the configuration, with its paths made whole.
func (o *operator) load(c *cobra.Command) (cfg central.Config, err error) {
	if err := need(c, "config"); err != nil {
		return cfg, err
	}
	if err := config.Load(o.config, &cfg); err != nil {
		return cfg, err
	}
	for _, path := range []*string{&cfg.Data, &cfg.Journal, &cfg.PassphraseFile} {
		*path = config.Beside(o.config, *path)
	}
	if o.vault != "" {
		cfg.Vault = o.vault
	} else if err := cfg.VaultBeside(func(path string) string { return config.Beside(o.config, path) }); err != nil {
		return cfg, err
	}
	if o.store != "" {
		cfg.Store = o.store
	}
	if o.apiListen != "" {
		cfg.APIListen = o.apiListen
	}
	return cfg, nil
}

// clockWith is the machine's clock and an offset.
func clockWith(offset time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(offset) }
}

func (o *operator) initCommand() *cobra.Command {
	var who string
	c := &cobra.Command{
		Use:   "init",
		Short: "Make the vault's root and the certificates, once",
		Long: `Makes the root of the vault and the certificates of the bus in the data directory of --config; what is there is left
as it is. The vault is made by the smallest ceremony, with its transcript; for one that people agree on beforehand see
'meterseal vault init'. It prints the vault's transport key, to which makers seal shipments and devices their enrolment (it is
in vault.pub in the data directory as well), and the certificate that concentrators know the central system by.

The first person is let in: --person, by default you, as operator, field manager and auditor. What takes two people, such as a
restore, takes key custodians too: let them in with 'meterseal central people add' before the first start.`,
		Example: `  meterseal central init --config central.yaml
  meterseal central init --config central.yaml --person alice`,
		Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := o.load(c)
			if err != nil {
				return err
			}
			recipient, err := central.Init(c.Context(), cfg, deps(c, cfg))
			if err != nil {
				return err
			}
			me, err := o.first(c, cfg, who)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(c, map[string]string{
					"recipient": recipient.String(), "fingerprint": recipient.Fingerprint(), "ca": cfg.CAFile(), "person": me,
				})
			}
			return printf(c, "recipient    %s\nfingerprint  %s\nCA           %s\n", recipient, recipient.Fingerprint(), cfg.CAFile())
		},
	}
	o.vaultFlag(c)
	c.Flags().StringVar(&who, "person", ownName(), "name of the first person; none: nobody")
	return c
}

// first lets the first person of an installation in, and says so.
func (o *operator) first(c *cobra.Command, cfg central.Config, name string) (string, error) {
	if here, err := access.HasPeople(cfg.Data); err != nil || here || name == "none" {
		return "", err
	}
	roles := []access.Role{access.Operator, access.FieldManager, access.Auditor}
	if err := central.MakePeople(c.Context(), cfg, deps(c, cfg), map[string][]access.Role{name: roles}); err != nil {
		return "", err
	}
	notef(c, "%s is let in as %s, by %s", name, access.Names(roles, "and"), access.PersonFile(cfg.Data, name))
	return name, nil
}

func (o *operator) run(c *cobra.Command) error {
	if o.data != "" {
		return usage(c, "--data is for the commands that work a running central system; this one wants --config")
	}
	cfg, err := o.load(c)
	if err != nil {
		return err
	}
	log, err := logger(c)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.CAFile()); errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("no central system in %s: %w", cfg.Data, err), "make one: meterseal central init --config %s", o.config)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(central.GCPercent)
	}
	d := deps(c, cfg)
	d.Log = log
	is, err := central.Open(c.Context(), cfg, d)
	if err != nil {
		return err
	}
	if err := o.announce(c, is.URL(), filepath.Join(cfg.Data, api.SocketName)); err != nil {
		return errors.Join(err, is.Close())
	}
	return errors.Join(stopped(c.Context(), is.Run(c.Context())), is.Close())
}

func (o *operator) announce(c *cobra.Command, url, socket string) error {
	if o.json {
		return printJSON(c, map[string]string{"bus": url, "socket": socket})
	}
	return printf(c, "bus     %s\nsocket  %s\n", url, socket)
}

// stopped takes the end that was asked for as no error.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// work is what a command does with a running central system.
type work func(ctx context.Context, c *cobra.Command, is *api.Client, args []string) error

// command finishes a command that works a running central system.
func (o *operator) command(c *cobra.Command, args cobra.PositionalArgs, do work) *cobra.Command {
	c.Args = args
	c.RunE = func(c *cobra.Command, args []string) error {
		is, err := o.client(c)
		if err != nil {
			return err
		}
		defer is.Close()
		return do(c.Context(), c, is, args)
	}
	return c
}

// client calls a running central system, as the one who is named.
func (o *operator) client(c *cobra.Command) (*api.Client, error) {
	dir := o.data
	if dir == "" && o.config != "" {
		cfg, err := o.load(c)
		if err != nil {
			return nil, err
		}
		dir = cfg.Data
	}
	if dir == "" && o.connect == "" {
		return nil, usage(c, "missing: --data, the data directory of the central system, or --config; or --connect, its address")
	}
	id, err := identity(dir, o.as)
	return api.NewClient(api.Target{Data: dir, Address: o.connect, As: id, Nobody: err}), nil
}

// identity finds the certificate to go by.
func identity(dir, as string) (*access.Identity, error) {
	if as == "" {
		as = os.Getenv("METERSEAL_AS")
	}
	return access.FindIdentity(dir, as, ownName())
}

// ownName is the caller's name on this machine, as a name of a person.
func ownName() string {
	u, err := user.Current()
	if err != nil {
		return "owner"
	}
	name := strings.ToLower(u.Username)
	if access.CheckName(name) != nil {
		return "owner"
	}
	return name
}

// show prints v as JSON, or else what text says.
func (o *operator) show(c *cobra.Command, v any, text func() error) error {
	if o.json {
		return printJSON(c, v)
	}
	return text()
}

// titleOf reads a system title of the command line.
func titleOf(c *cobra.Command, what, s string) (dlms.SystemTitle, error) {
	t, err := dlms.ParseSystemTitle(s)
	if err != nil {
		return t, usage(c, "%s: %w, got %q", what, err, s)
	}
	return t, nil
}

func titlesOf(c *cobra.Command, what string, list []string) ([]dlms.SystemTitle, error) {
	out := make([]dlms.SystemTitle, len(list))
	for i, s := range list {
		var err error
		if out[i], err = titleOf(c, what, s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// when shows a moment, or that there is none.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// named shows a title, or that there is none.
func named(t dlms.SystemTitle) string {
	if t.IsZero() {
		return "-"
	}
	return t.String()
}
