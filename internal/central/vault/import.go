package vault

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// ErrInClear is returned for a file whose keys would have to pass through this process, by a vault that keeps them in a
// token.
var ErrInClear = errors.New("vault: the keys of this file would be in clear in this process, and this vault keeps them in a token")

// inProcess is the root that opens a maker's file here.
func (v *Software) inProcess() (*Root, error) {
	root, ok := v.keys.(*Root)
	if !ok {
		return nil, ErrInClear
	}
	return root, nil
}

// importBatch is how many rows go in with one commit.
const importBatch = 250

// ImportShipment implements Vault.
func (v *Software) ImportShipment(ctx context.Context, by audit.Actor, file io.Reader) (*shipment.Report, error) {
	root, err := v.inProcess()
	if err != nil {
		return &shipment.Report{}, fmt.Errorf("import: %w", err)
	}
	in, err := shipment.NewReader(file, root.reader)
	if err != nil {
		return &shipment.Report{}, fmt.Errorf("import: %w", err)
	}
	h := in.Header()
	report := &shipment.Report{Maker: h.Maker, Batch: h.Batch, Count: h.Count}
	for {
		rows, err := readRows(in)
		if err != nil {
			return report, fmt.Errorf("import: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		if err := v.importRows(ctx, by, h, rows, report); err != nil {
			return report, fmt.Errorf("import: %w", err)
		}
	}
	report.Missing = in.Missing()
	err = v.audit.Append(ctx, audit.Entry{
		Actor: by, Action: ActionShipment, Phase: audit.Done, Outcome: report.String(),
	})
	return report, err
}

func readRows(in *shipment.Reader) ([]shipment.Row, error) {
	var rows []shipment.Row
	for len(rows) < importBatch {
		row, err := in.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// importRows takes one batch in one commit. The report is brought up to date after the commit only.
func (v *Software) importRows(ctx context.Context, by audit.Actor, h shipment.Header, rows []shipment.Row, report *shipment.Report) error {
	var next shipment.Report
	err := v.step(ctx, func(ctx context.Context, c *change) error {
		next = *report
		known, err := v.known(ctx, rows)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := v.importRow(by, h, row, known, c, &next); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		*report = next
	}
	return err
}

// known is what the store and the rows before have of the titles and keys of a batch.
type known struct {
	kinds  map[dlms.SystemTitle]string
	meters map[dlms.SystemTitle]MeterRow
	first  map[role.KeyRef]KeyRow // the first version of each key
	inUse  map[Fingerprint]bool
}

func (v *Software) known(ctx context.Context, rows []shipment.Row) (known, error) {
	var titles []dlms.SystemTitle
	var refs []role.KeyRef
	var fps []Fingerprint
	for _, row := range rows {
		if row.Refused != nil {
			continue
		}
		titles = append(titles, row.Title)
		for _, r := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
			refs = append(refs, role.KeyRef{Meter: row.Title, Role: r, Version: 1})
		}
		for _, k := range row.Meter.Keys() {
			fps = append(fps, k.Key.Fingerprint())
		}
	}
	var out known
	var err error
	if out.kinds, err = v.store.TitleKinds(ctx, titles); err != nil {
		return out, err
	}
	if out.meters, err = v.store.MeterRows(ctx, titles); err != nil {
		return out, err
	}
	if out.first, err = v.store.KeyRows(ctx, refs); err != nil {
		return out, err
	}
	out.inUse, err = v.store.FingerprintsInUse(ctx, fps)
	return out, err
}

func (v *Software) importRow(by audit.Actor, h shipment.Header, row shipment.Row, known known, c *change, report *shipment.Report) error {
	refused := row.Refused
	if refused == nil {
		kind, taken := known.kinds[row.Title]
		if taken && kind == kindMeter && known.same(h, row) {
			report.Unchanged++
			return nil
		}
		refused = known.refuse(row, kind, taken)
	}
	if refused != nil {
		report.Refuse(row.N, row.Title, refused)
		c.audit = append(c.audit, audit.Entry{
			Actor: by, Action: ActionRefused, Phase: audit.Done, Subject: audit.Subject{Meter: row.Title},
			Outcome: refused.Error(), Detail: map[string]string{"batch": h.Batch, "row": fmt.Sprint(row.N)},
		})
		return nil
	}
	if err := v.addMeter(by, h, row, c); err != nil {
		return err
	}
	for _, k := range row.Meter.Keys() {
		known.inUse[k.Key.Fingerprint()] = true
	}
	report.Imported++
	return nil
}

// same reports whether a known meter has exactly these first keys.
func (k known) same(h shipment.Header, row shipment.Row) bool {
	m := k.meters[row.Title]
	if m.Maker != h.Maker || m.Profile != row.Meter.Profile || m.Suite != row.Meter.Suite {
		return false
	}
	have := 0
	for ref := range k.first {
		if ref.Meter == row.Title {
			have++
		}
	}
	keys := row.Meter.Keys()
	for _, rk := range keys {
		if k.first[role.KeyRef{Meter: row.Title, Role: rk.Role, Version: 1}].Fingerprint != rk.Key.Fingerprint() {
			return false
		}
	}
	return have == len(keys)
}

func (k known) refuse(row shipment.Row, kind string, taken bool) *shipment.Refusal {
	if taken && kind == kindMeter {
		return &shipment.Refusal{Reason: shipment.OtherKeys, Detail: "the meter is known, with other keys, profile or maker"}
	}
	if taken {
		return &shipment.Refusal{Reason: shipment.TitleInUse, Detail: "by a " + kind}
	}
	for _, rk := range row.Meter.Keys() {
		if k.inUse[rk.Key.Fingerprint()] {
			return &shipment.Refusal{Reason: shipment.DuplicateKey, Detail: rk.Role.String() + " is in use elsewhere"}
		}
	}
	return nil
}

// addMeter puts a meter and its keys in. The first keys are in force: the maker put them into the meter.
func (v *Software) addMeter(by audit.Actor, h shipment.Header, row shipment.Row, c *change) error {
	root, err := v.inProcess()
	if err != nil {
		return err
	}
	at := v.time()
	c.meters = append(c.meters, MeterRow{
		Title: row.Title, Maker: h.Maker, Batch: h.Batch, Profile: row.Meter.Profile, Suite: row.Meter.Suite, EnrolledAt: at,
	})
	detail := map[string]string{"batch": h.Batch, "profile": row.Meter.Profile}
	for _, rk := range row.Meter.Keys() {
		k, err := root.sealRow(role.KeyRef{Meter: row.Title, Role: rk.Role, Version: 1}, row.Meter.Suite, rk.Key)
		if err != nil {
			return err
		}
		k.State, k.CreatedAt, k.ActiveAt = Active, at, at
		c.keys = append(c.keys, k)
		detail[rk.Role.String()] = k.CheckValue.String()
	}
	c.audit = append(c.audit, audit.Entry{
		Actor: by, Action: ActionImported, Phase: audit.Done, Subject: audit.Subject{Meter: row.Title}, Detail: detail,
	})
	return nil
}

// EnrolDevice implements Vault.
func (v *Software) EnrolDevice(ctx context.Context, by audit.Actor, file enrol.File, fingerprint string) error {
	if err := file.Check(); err != nil {
		return err
	}
	if got := file.Fingerprint(); got != fingerprint {
		return fmt.Errorf("%w: it is %s; compare it with what %s %s shows", ErrFingerprint, got, file.Kind, file.Title)
	}
	d := DeviceRow{
		Title: file.Title, Kind: string(file.Kind), NKeyPublic: file.NKeyPublic, Fingerprint: fingerprint,
		State: deviceEnrolled, EnrolledAt: v.time(),
	}
	var err error
	if d.KEK, d.MAC, err = v.keys.AdoptDevice(file); err != nil {
		return err
	}
	err = v.step(ctx, func(ctx context.Context, c *change) error { return v.addDevice(ctx, by, d, c) })
	if err != nil {
		return fmt.Errorf("enrol %s %s: %w", file.Kind, file.Title, err)
	}
	return nil
}

func (v *Software) addDevice(ctx context.Context, by audit.Actor, d DeviceRow, c *change) error {
	old, known, err := v.store.DeviceRow(ctx, d.Title)
	if err != nil {
		return err
	}
	if known && old.Fingerprint == d.Fingerprint && old.State == deviceEnrolled {
		return nil
	}
	kinds, err := v.store.TitleKinds(ctx, []dlms.SystemTitle{d.Title})
	if err != nil {
		return err
	}
	if kind, taken := kinds[d.Title]; taken {
		return fmt.Errorf("%w: a %s bears %s already", ErrTitleInUse, kind, d.Title)
	}
	used, err := v.store.FingerprintsInUse(ctx, []Fingerprint{d.KEK.Fingerprint, d.MAC.Fingerprint})
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return errors.New("its keys are in use elsewhere; have it make new ones")
	}
	c.devices = append(c.devices, d)
	c.audit = append(c.audit, audit.Entry{
		Actor: by, Action: ActionEnrolled, Phase: audit.Done, Subject: audit.Subject{Device: d.Title},
		Detail: map[string]string{"kind": d.Kind, "fingerprint": d.Fingerprint},
	})
	return nil
}
