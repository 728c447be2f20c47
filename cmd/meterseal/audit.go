package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/keylog"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Verify an audit log offline, and read the life of a key in it", Args: cobra.ArbitraryArgs, RunE: group,
		Example: `  meterseal audit verify audit.jsonl --key PUBLICKEY
  meterseal audit show --meter 4D534C0000000001 --data ./is`,
	}
	c.AddCommand(auditVerifyCommand(), auditShowCommand())
	return c
}

func auditVerifyCommand() *cobra.Command {
	var (
		trusted string
		heads   []string
		asJSON  bool
	)
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Say whether an exported audit log is what the central system signed",
		Long: `Reads a file of 'meterseal central audit-export' and says whether any record was changed, removed, added or moved.
--key is the log's public key ('meterseal central status'), kept since before there was a reason for doubt.
--known is a file with a checkpoint of an earlier day; the log must still begin with what that one signed.`,
		Example: "  meterseal audit verify audit.jsonl --key NAME+HASH+KEY",
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := need(c, "key"); err != nil {
				return err
			}
			key, err := audit.ParsePublicKey(trusted)
			if err != nil {
				return usage(c, "--key: %w", err)
			}
			o := audit.VerifyOptions{Trusted: key}
			for _, path := range heads {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				tree, err := audit.OpenCheckpoint(b, key)
				if err != nil {
					return err
				}
				o.Known = append(o.Known, tree)
			}
			return verifyAudit(c, args[0], o, asJSON)
		},
	}
	c.Flags().StringVar(&trusted, "key", "", "public key of the log, NAME+HASH+KEY")
	c.Flags().StringArrayVar(&heads, "known", nil, "file with an earlier checkpoint; may be given again")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func verifyAudit(c *cobra.Command, path string, o audit.VerifyOptions, asJSON bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	devices := deviceLogs{}
	o.Each = devices.follow
	tree, err := audit.Verify(f, o)
	if errors.Is(err, audit.ErrTampered) {
		return withHint(err, "this file is not what the log signed: keep it, and export again to see whether the log itself was changed")
	}
	if err != nil {
		return err
	}
	entries := 0
	for _, last := range devices {
		entries += int(last.Sequence)
	}
	if asJSON {
		return printJSON(c, map[string]any{"records": tree.N, "root": tree.Hash.String(), "devices": len(devices), "device_entries": entries})
	}
	return printf(c, "%d records, all as signed; root %s\nlogs of %d devices joined in, %d entries, none missing\n",
		tree.N, tree.Hash, len(devices), entries)
}

// deviceLogs are the newest entries of the devices' own logs, as they were joined into the audit log.
type deviceLogs map[dlms.SystemTitle]keylog.Entry

// follow checks that what a device tells follows from what it told before.
func (d deviceLogs) follow(n int64, e audit.Entry) error {
	if len(e.Log) == 0 {
		return nil
	}
	if err := keylog.Verify(d[e.Subject.Device], e.Log); err != nil {
		return fmt.Errorf("record %d: log of %s: %w", n, e.Subject.Device, err)
	}
	d[e.Subject.Device] = e.Log[len(e.Log)-1]
	return nil
}
