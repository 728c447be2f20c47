package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
)

func (o *operator) peopleCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "people",
		Short: "Let people and services in, and revoke their certificates",
		Long: `Everybody who works the central system has a certificate of its own authority, which names a person and roles:
operator, key-custodian, auditor, field-manager, maker. On a running system a key custodian adds people, with the approval of
a second one. While there are fewer than two key custodians the owner of the data directory adds people on a system at rest,
with --config.`,
		Args: cobra.ArbitraryArgs, RunE: group,
		Example: `  meterseal central people add alice --role key-custodian --config central.yaml
  meterseal central people ls --data ./is
  meterseal central people revoke bob --why "laptop stolen" --data ./is`,
	}
	c.AddCommand(o.addPersonCommand(), o.listPeopleCommand(), o.revokePersonCommand(), personKeyCommand(), personJoinCommand())
	return c
}

// atRest does it on the running system, or, where none runs and --config is given, in its data directory.
func (o *operator) atRest(c *cobra.Command, running func(ctx context.Context, is *api.Client) error, resting func(ctx context.Context, h *central.House) error) error {
	is, err := o.client(c)
	if err == nil {
		err = running(c.Context(), is)
		is.Close()
	}
	if o.config == "" || err == nil || !errors.Is(err, api.ErrNoIS) && !errors.Is(err, access.ErrIdentity) {
		return err
	}
	cfg, err := o.load(c)
	if err != nil {
		return err
	}
	h, err := central.OpenHouse(c.Context(), cfg, deps(c, cfg))
	if err != nil {
		return err
	}
	return errors.Join(resting(c.Context(), h), h.Close())
}

func (o *operator) addPersonCommand() *cobra.Command {
	var roles []string
	var keyFile, out string
	var days int
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Issue a certificate to a person or a service",
		Long: `Issues a certificate with the roles given, for --days. The person's key is made here and written with the certificate into
--out, by default NAME.pem in the people directory of the data directory; hand it over and remove it. Better: the person makes
the key with 'people key', you pass its public line with --key, and only the certificate is written, which the person joins with
the key by 'people join'. Adding somebody again issues another certificate beside the first.`,
		Example: `  meterseal central people add alice --role operator --role auditor --config central.yaml
  meterseal central people add bob --role key-custodian --key bob.pub --out bob.crt --data ./is`,
		Args: exactly(1),
	}
	s := c.Flags()
	s.StringSliceVar(&roles, "role", nil, access.Names(access.Roles(), "or"))
	s.StringVar(&keyFile, "key", "", "file with the person's public key, from 'people key'")
	s.StringVar(&out, "out", "", "file to write (default: NAME.pem in the people directory)")
	s.IntVar(&days, "days", int(access.DefaultLife/(24*time.Hour)), "how long it counts")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := need(c, "role"); err != nil {
			return err
		}
		p := api.NewPerson{Name: args[0], Days: days}
		if err := access.CheckName(p.Name); err != nil {
			return usage(c, "%w", err)
		}
		for _, s := range roles {
			r, err := access.ParseRole(s)
			if err != nil {
				return usage(c, "--role: %w", err)
			}
			p.Roles = append(p.Roles, r)
		}
		return o.add(c, p, keyFile, out)
	}
	return c
}

// add issues a certificate. A request that waits for its second person has its key kept, so that it is the same request
// when it is made again.
func (o *operator) add(c *cobra.Command, p api.NewPerson, keyFile, out string) error {
	dir := o.data
	if dir == "" && o.config != "" {
		cfg, err := o.load(c)
		if err != nil {
			return err
		}
		dir = cfg.Data
	}
	if out == "" {
		if dir == "" {
			return usage(c, "missing: --out, the file to write")
		}
		out = access.PersonFile(dir, p.Name)
	}
	if _, err := os.Lstat(out); err == nil {
		return fmt.Errorf("%s is there already: name another file with --out", out)
	}
	key, err := publicOf(&p, keyFile, out)
	if err != nil {
		return err
	}
	var issued access.Issued
	err = o.atRest(c,
		func(ctx context.Context, is *api.Client) error { issued, err = is.AddPerson(ctx, p); return err },
		func(ctx context.Context, h *central.House) error { issued, err = h.AddPerson(ctx, p); return err })
	if err != nil {
		return err
	}
	if err := writeIssued(issued, key, out); err != nil {
		return err
	}
	return o.show(c, issued, func() error {
		return printf(c, "%s is let in as %s until %s: %s\n", issued.Name, access.Names(issued.Roles, "and"), when(issued.NotAfter), out)
	})
}

// pendingKey is where a key waits for its certificate.
func pendingKey(out string) string { return out + ".waiting" }

// publicOf reads the person's public key, or makes the pair.
func publicOf(p *api.NewPerson, keyFile, out string) (key *ecdsa.PrivateKey, err error) {
	if keyFile != "" {
		b, err := os.ReadFile(keyFile)
		if err != nil {
			return nil, err
		}
		p.Public = strings.TrimSpace(string(b))
		_, err = access.ParsePublic(p.Public)
		return nil, err
	}
	if key, err = access.ReadKey(pendingKey(out)); errors.Is(err, os.ErrNotExist) {
		if key, err = access.NewKey(rand.Reader); err == nil {
			err = access.WriteKey(pendingKey(out), key)
		}
	}
	if err != nil {
		return nil, err
	}
	p.Public, err = access.PublicText(key.Public())
	return key, err
}

func writeIssued(issued access.Issued, key *ecdsa.PrivateKey, out string) error {
	if key == nil {
		return os.WriteFile(out, []byte(issued.Certificate+issued.Authority), 0o600)
	}
	id, err := issued.Identity(key)
	if err != nil {
		return err
	}
	return errors.Join(id.Write(out), os.Remove(pendingKey(out)))
}

func (o *operator) listPeopleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the certificates", Args: exactly(0),
		Example: "  meterseal central people ls --data ./is",
		RunE: func(c *cobra.Command, _ []string) error {
			var all []access.Certificate
			err := o.atRest(c,
				func(ctx context.Context, is *api.Client) (err error) { all, err = is.People(ctx); return err },
				func(ctx context.Context, h *central.House) (err error) { all, err = h.People(ctx); return err })
			if err != nil {
				return err
			}
			return o.show(c, all, func() error {
				rows := [][]string{{"NAME", "ROLES", "UNTIL", "REVOKED", "ISSUED BY", "CERTIFICATE"}}
				for _, p := range all {
					rows = append(rows, []string{p.Name, access.Names(p.Roles, "and"), when(p.NotAfter), when(p.RevokedAt), string(p.IssuedBy), p.Fingerprint[:16]})
				}
				return table(c.OutOrStdout(), rows)
			})
		},
	}
}

func (o *operator) revokePersonCommand() *cobra.Command {
	q := api.RevokedPerson{}
	c := &cobra.Command{
		Use: "revoke NAME", Short: "Take somebody's certificates, at once and for good", Args: exactly(1),
		Long: `Takes all certificates of a person, or with --certificate one of them. What the person has open is refused from the next
request on, on every node of the central system.`,
		Example: `  meterseal central people revoke bob --why "laptop stolen" --data ./is`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := need(c, "why"); err != nil {
				return err
			}
			q.Name = args[0]
			var n int
			err := o.atRest(c,
				func(ctx context.Context, is *api.Client) (err error) { n, err = is.RevokePerson(ctx, q); return err },
				func(ctx context.Context, h *central.House) (err error) { n, err = h.RevokePerson(ctx, q); return err })
			if err != nil {
				return err
			}
			return o.show(c, map[string]any{"person": q.Name, "revoked": n}, func() error {
				return printf(c, "%s: %s certificates revoked\n", q.Name, strconv.Itoa(n))
			})
		},
	}
	c.Flags().StringVar(&q.Why, "why", "", "for the record")
	c.Flags().StringVar(&q.Fingerprint, "certificate", "", "only this one, by its whole fingerprint (people ls --json)")
	return c
}

func personKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "key FILE", Short: "Make your own key, and print its public line", Args: exactly(1),
		Long: `Makes a private key in the new file FILE, which does not leave your machine, and prints the line that whoever adds you
passes with --key.`,
		Example: "  meterseal central people key bob.key > bob.pub",
		RunE: func(c *cobra.Command, args []string) error {
			key, err := access.NewKey(rand.Reader)
			if err != nil {
				return err
			}
			if err := access.WriteKey(args[0], key); err != nil {
				return err
			}
			line, err := access.PublicText(key.Public())
			if err != nil {
				return err
			}
			return printf(c, "%s\n", line)
		},
	}
}

func personJoinCommand() *cobra.Command {
	return &cobra.Command{
		Use: "join KEY CERTIFICATE OUT", Short: "Join your key and the certificate that was issued for it", Args: exactly(3),
		Long:    `Writes the new file OUT, for --as and METERSEAL_AS, from the private key of 'people key' and the certificate that was issued.`,
		Example: "  meterseal central people join bob.key bob.crt bob.pem",
		RunE: func(c *cobra.Command, args []string) error {
			key, err := access.ReadKey(args[0])
			if err != nil {
				return err
			}
			b, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			id, err := access.Issued{Certificate: string(b)}.Identity(key)
			if err != nil {
				return fmt.Errorf("%s: %w", args[1], err)
			}
			if err := id.Write(args[2]); err != nil {
				return err
			}
			return printf(c, "%s: %s\n", args[2], id)
		},
	}
}
