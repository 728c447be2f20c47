package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// The actions of a transfer in the audit log.
const (
	ActionExported audit.Action = "vault.meter.exported"
	ActionTransfer audit.Action = "vault.transfer.written"
	ActionTaken    audit.Action = "vault.meter.taken-over"
)

// ErrExported is returned for what is no longer done with keys of a meter that was given to another head-end.
var ErrExported = errors.New("vault: the meter was given to another head-end")

// ExportRow says that a meter was given away, and to whose transport key.
type ExportRow struct {
	Meter dlms.SystemTitle
	To    string
	At    time.Time
}

// transferBatch is how many meters are taken over with one commit.
const transferBatch = 500

// maxExport is how many meters are given away with one file: all of them go with one commit.
const maxExport = 50_000

// ExportMeters gives meters to another head-end: it writes a file with all versions of their keys that they may hold, and what
// was spent under each. From before the first of its keys is wrapped, the vault opens no association with them, changes no
// key and hands none out, so that the counters in the file are the last ones. After a crash, or where the file was lost, the
// same meters may be exported again to the same head-end, and to no other.
func (v *Software) ExportMeters(ctx context.Context, by audit.Actor, to transport.Public, meters []dlms.SystemTitle, w io.Writer) (keys int, err error) {
	if to == v.Transport() {
		return 0, errors.New("vault: export: this is the vault's own transport key")
	}
	if err := v.giveAway(ctx, by, to, meters); err != nil {
		return 0, fmt.Errorf("vault: export: %w", err)
	}
	if keys, err = v.writeTransfer(ctx, to, meters, w); err != nil {
		return 0, fmt.Errorf("vault: export: %w", err)
	}
	return keys, v.audit.Append(ctx, audit.Entry{
		Actor: by, Action: ActionTransfer, Phase: audit.Done,
		Detail: map[string]string{"to": to.Fingerprint(), "meters": fmt.Sprint(len(meters)), "versions": fmt.Sprint(keys)},
	})
}

// giveAway stops the use of all meters with one commit: after a crash all of them are gone, or none.
func (v *Software) giveAway(ctx context.Context, by audit.Actor, to transport.Public, meters []dlms.SystemTitle) error {
	if len(meters) > maxExport {
		return fmt.Errorf("want at most %d meters in a file, got %d; make several", maxExport, len(meters))
	}
	if err := v.mayGo(ctx, to, meters); err != nil {
		return err
	}
	return v.step(ctx, func(ctx context.Context, c *change) error {
		gone, err := v.store.ExportRows(ctx, meters)
		if err != nil {
			return err
		}
		for _, m := range meters {
			if g, again := gone[m]; again && g.To != to.Fingerprint() {
				return fmt.Errorf("%w: %s, to %s", ErrExported, m, g.To)
			} else if again {
				continue
			}
			c.exports = append(c.exports, ExportRow{Meter: m, To: to.Fingerprint(), At: v.time()})
			c.audit = append(c.audit, audit.Entry{
				Actor: by, Action: ActionExported, Phase: audit.Done, Subject: audit.Subject{Meter: m}, Detail: map[string]string{"to": to.Fingerprint()},
			})
		}
		return nil
	})
}

func (v *Software) mayGo(ctx context.Context, to transport.Public, meters []dlms.SystemTitle) error {
	if len(meters) == 0 {
		return errors.New("no meters")
	}
	rows, err := v.store.MeterRows(ctx, meters)
	if err != nil {
		return err
	}
	gone, err := v.store.ExportRows(ctx, meters)
	if err != nil {
		return err
	}
	seen := map[dlms.SystemTitle]bool{}
	for _, m := range meters {
		if _, known := rows[m]; !known || seen[m] {
			return fmt.Errorf("%w: %s is no meter of this vault, or stands there twice", ErrTitle, m)
		}
		if g, ok := gone[m]; ok && g.To != to.Fingerprint() {
			return fmt.Errorf("%w: %s, to %s", ErrExported, m, g.To)
		}
		seen[m] = true
	}
	return nil
}

func (v *Software) writeTransfer(ctx context.Context, to transport.Public, meters []dlms.SystemTitle, w io.Writer) (keys int, err error) {
	titles, err := v.store.NodeTitles(ctx)
	if err != nil {
		return 0, err
	}
	env, c, err := v.keys.NewConsignment(v.rand, to)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	signer := v.keys.Signer()
	out, err := shipment.NewTransferWriter(w, shipment.TransferHeader{
		Vault: v.ID(), Signer: signer.PublicKey(), Count: len(meters), Titles: titles, Envelope: env,
	})
	if err != nil {
		return 0, err
	}
	rows, err := v.store.MeterRows(ctx, meters)
	if err != nil {
		return 0, err
	}
	for _, m := range meters {
		versions, err := v.released(ctx, m, c)
		if err != nil {
			return keys, err
		}
		r := rows[m]
		keys += len(versions)
		if err := out.Row(shipment.TransferRow{
			Title: m, Maker: r.Maker, Batch: r.Batch, Profile: r.Profile, Suite: r.Suite, Versions: versions,
		}); err != nil {
			return keys, err
		}
	}
	return keys, out.End(signer.Sign)
}

// released wraps every version of a meter's keys for the other head-end. One that is pending was never sent: it goes as given
// up, so that its number is not used for another key.
func (v *Software) released(ctx context.Context, m dlms.SystemTitle, c Consignment) ([]shipment.Version, error) {
	rows, err := v.store.MeterKeyRows(ctx, m)
	if err != nil {
		return nil, err
	}
	refs := make([]role.KeyRef, len(rows))
	for i, k := range rows {
		refs[i] = k.Ref
	}
	spent, err := v.store.CountersOf(ctx, refs)
	if err != nil {
		return nil, err
	}
	floors, err := v.store.ReceiveFloors(ctx, refs)
	if err != nil {
		return nil, err
	}
	lost, err := v.store.CountersLost(ctx, refs)
	if err != nil {
		return nil, err
	}
	out := make([]shipment.Version, len(rows))
	for i, k := range rows {
		blob, err := c.Release(k)
		if err != nil {
			return nil, err
		}
		if k.State == Pending {
			k.State = Abandoned
		}
		out[i] = shipment.Version{
			Role: k.Ref.Role, Version: k.Ref.Version, Suite: k.Suite, State: string(k.State), Wrapped: blob, CheckValue: k.CheckValue,
			CreatedAt: k.CreatedAt, SentAt: k.SentAt, ActiveAt: k.ActiveAt, EndedAt: k.EndedAt, CountersLost: lost[k.Ref],
		}
		for _, n := range spent[i] {
			out[i].Counters = append(out[i].Counters, shipment.TransferCounter{Title: n.Title, Ceiling: n.Ceiling, Raised: n.Raised})
		}
		for _, f := range floors[i] {
			out[i].Floors = append(out[i].Floors, shipment.TransferFloor{Title: f.Title, Last: f.Last})
		}
	}
	return out, nil
}

// refuseExported sets the error of every item whose meter was given away.
func (v *Software) refuseExported(ctx context.Context, items []item) error {
	titles := make([]dlms.SystemTitle, len(items))
	for i, it := range items {
		titles[i] = it.ref.Meter
	}
	gone, err := v.store.ExportRows(ctx, titles)
	if err != nil || len(gone) == 0 {
		return err
	}
	for i := range items {
		if g, ok := gone[items[i].ref.Meter]; ok && items[i].err == nil {
			items[i].err = fmt.Errorf("%w: %s, to %s", ErrExported, items[i].ref.Meter, g.To)
		}
	}
	return nil
}
