package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/access"
)

func (k *keeper) approveCommand() *cobra.Command {
	var why, from, out string
	c := &cobra.Command{
		Use: "approve", Short: "Sign, as one of two people, that a sealed vault is opened or a backup restored", Args: exactly(0),
		Long: `Enters the approval of one person, signed with the key of the certificate of --as, which counts for an hour and goes on
record. Two different people, operators or key custodians, have to approve before meterseal vault open opens the vault. What
the key journal had that nobody brings back is lost with it.

With --restore it signs that this backup is restored into the directory of --data or --config, and writes that into --out, for
meterseal vault restore. Nothing else of the central system is needed for it.`,
		Example: `  meterseal vault approve --as alice.pem --reason "journal disk burnt, ticket 4711" --config central.yaml
  meterseal vault approve --restore /backup/monday --data ./is --reason "disk burnt" --as alice.pem --out alice.approval`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "reason"); err != nil {
				return err
			}
			if from != "" {
				return k.approveRestore(c, from, out, why)
			}
			return k.atRest(c, func(ctx context.Context, h *central.House) error {
				cfg, err := k.load(c)
				if err != nil {
					return err
				}
				id, err := identity(cfg.Data, k.as)
				if err != nil {
					return err
				}
				if err := h.Approve(ctx, id, why); err != nil {
					return err
				}
				s, err := h.Status(ctx)
				if err != nil {
					return err
				}
				return k.show(c, s, func() error { return printf(c, "%d of 2 approvals count\n", s.Counting) })
			})
		},
	}
	s := c.Flags()
	s.StringVar(&why, "reason", "", "why, for the record")
	s.StringVar(&from, "restore", "", "the backup that is to be restored")
	s.StringVar(&k.data, "data", "", "the data directory that it is to be restored into (default: that of --config)")
	s.StringVar(&out, "out", "", "new file for the approval of a restore")
	return c
}

// approveRestore signs for a restore.
func (k *keeper) approveRestore(c *cobra.Command, from, out, why string) error {
	if err := need(c, "out"); err != nil {
		return err
	}
	cfg := central.Config{}
	if k.config != "" {
		var err error
		if cfg, err = k.load(c); err != nil {
			return err
		}
	}
	into := k.data
	if into == "" {
		into = cfg.Data
	}
	if into == "" {
		return usage(c, "missing: --data, the data directory to restore into, or --config")
	}
	id, err := identity(into, k.as)
	if err != nil {
		return err
	}
	s, err := central.ApproveRestore(id, central.Deps{Now: clockWith(cfg.ClockOffset), Rand: rand.Reader}, from, into, why)
	if err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Clean(out), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return k.show(c, s, func() error { return printf(c, "%s: %s stands for it until %s\n", out, s.By, when(s.Until)) })
}

// statementsOf reads what people have signed.
func statementsOf(files []string) ([]access.Statement, error) {
	out := make([]access.Statement, len(files))
	for i, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &out[i]); err != nil {
			return nil, fmt.Errorf("%s: want a file of 'meterseal vault approve': %w", name, err)
		}
	}
	return out, nil
}
