package vault

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// How many rows go in with one commit: a line of the key journal holds them, and the more they are, the more of them share
// a page of the table of fingerprints, which goes to the disk with each commit. The first batch is small, for the store
// waits until it is read.
const (
	firstRows = 2000
	batchRows = 12_000
)

// ImportShipment implements Vault. The whole file is on the disk, and its signature verified, before its first key is opened.
func (v *Software) ImportShipment(ctx context.Context, by audit.Actor, file io.Reader) (*shipment.Report, error) {
	f, err := shipment.Spool(v.dir, file)
	if err != nil {
		return &shipment.Report{}, v.refuseFile(ctx, by, shipment.Header{}, err)
	}
	defer f.Close()
	h := f.Header()
	report := &shipment.Report{Maker: h.Maker, Batch: h.Batch, Count: h.Count}
	in, err := v.openShipment(ctx, f)
	if err != nil {
		return report, v.refuseFile(ctx, by, h, err)
	}
	defer in.Close()
	if err := v.importAdmitted(ctx, by, f, in, report); err != nil {
		return report, fmt.Errorf("import: %w", err)
	}
	return report, v.audit.Append(ctx, audit.Entry{
		Actor: by, Action: ActionShipment, Phase: audit.Done, Outcome: report.String(), Detail: map[string]string{"signer": h.Signer},
	})
}

// importAdmitted is importAll for somebody who may have so many meters imported.
func (v *Software) importAdmitted(ctx context.Context, by audit.Actor, f *shipment.File, in *incoming, report *shipment.Report) error {
	if v.admit == nil {
		return v.importAll(ctx, by, in, report)
	}
	told, err := v.admit(ctx, Arrival{in.header, f.Sum(), func(ctx context.Context) (int, error) { return v.fresh(ctx, f) }})
	if err != nil {
		return err
	}
	err = v.importAll(ctx, by, in, report)
	return errors.Join(err, told(context.WithoutCancel(ctx), report.Imported))
}

// fresh counts the meters of a verified file whose titles nothing bears.
func (v *Software) fresh(ctx context.Context, f *shipment.File) (n int, err error) {
	rows, err := f.Rows()
	for err == nil {
		var titles []dlms.SystemTitle
		for len(titles) < batchRows && err == nil {
			var row shipment.Row
			if row, err = rows.Next(); err == nil && row.Refused == nil {
				titles = append(titles, row.Title)
			}
		}
		known, errK := v.store.TitleKinds(ctx, titles)
		if errK != nil {
			return 0, errK
		}
		n += len(titles) - len(known)
	}
	if !errors.Is(err, io.EOF) {
		return 0, err
	}
	return n, nil
}

// refuseFile enters in the audit log that a whole file was refused.
func (v *Software) refuseFile(ctx context.Context, by audit.Actor, h shipment.Header, why error) error {
	e := audit.Entry{Actor: by, Action: ActionRefused, Phase: audit.Done, Outcome: "refused the file: " + why.Error()}
	if h.Maker != "" {
		e.Detail = map[string]string{"maker": h.Maker, "batch": h.Batch, "signer": h.Signer}
	}
	return errors.Join(fmt.Errorf("import: %w", why), v.audit.Append(ctx, e))
}

// incoming is a verified shipment whose keys are put at rest as its rows are read.
type incoming struct {
	header shipment.Header
	rows   *shipment.Reader
	keys   Consignment
	weak   map[Fingerprint]bool
	size   int // of the next batch
}

// Close lets go of the file's key.
func (in *incoming) Close() error { return in.keys.Close() }

func (v *Software) openShipment(ctx context.Context, f *shipment.File) (*incoming, error) {
	h := f.Header()
	by, err := v.signer(ctx, h)
	if err != nil {
		return nil, err
	}
	if err := f.Verify(by); err != nil {
		return nil, err
	}
	if err := h.For(v.keys.Transport()); err != nil {
		return nil, err
	}
	in := &incoming{header: h, size: firstRows}
	if in.rows, err = f.Rows(); err != nil {
		return nil, err
	}
	if in.weak, err = shipment.WeakKeys(); err != nil {
		return nil, err
	}
	in.keys, err = v.keys.OpenConsignment(h.Key)
	return in, err
}

// adopted is a row with its keys at rest.
type adopted struct {
	shipment.Row
	keys []KeyRow
}

// next reads the next batch; none at the end.
func (in *incoming) next() ([]adopted, error) {
	rows := make([]adopted, 0, in.size)
	for len(rows) < in.size {
		row, err := in.rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		a := adopted{Row: row}
		if a.Refused == nil {
			if err := in.adopt(&a); err != nil {
				return nil, err
			}
		}
		rows = append(rows, a)
	}
	in.size = batchRows
	return rows, nil
}

// adopt puts the keys of a row at rest. A key that is bad refuses the row; an error is the vault's own.
func (in *incoming) adopt(a *adopted) error {
	seen := make(map[Fingerprint]role.Role, len(a.Keys))
	a.keys = make([]KeyRow, 0, len(a.Keys))
	for _, k := range a.Keys {
		row, err := in.keys.Adopt(role.KeyRef{Meter: a.Title, Role: k.Role, Version: 1}, a.Suite, k.Wrapped)
		if errors.Is(err, ErrConsigned) {
			a.Refused = &shipment.Refusal{Reason: shipment.Damaged, Detail: k.Role.String() + " does not open"}
			return nil
		}
		if err != nil {
			return err
		}
		other, twice := seen[row.Fingerprint]
		switch {
		case row.CheckValue != k.CheckValue:
			a.Refused = &shipment.Refusal{Reason: shipment.Damaged, Detail: k.Role.String() + " has another check value"}
		case in.weak[row.Fingerprint]:
			a.Refused = &shipment.Refusal{Reason: shipment.WeakKey, Detail: k.Role.String()}
		case twice:
			a.Refused = &shipment.Refusal{Reason: shipment.DuplicateKey, Detail: fmt.Sprintf("%s is its %s", k.Role, other)}
		}
		if a.Refused != nil {
			return nil
		}
		seen[row.Fingerprint] = k.Role
		a.keys = append(a.keys, row)
	}
	return nil
}

// readAhead is how many batches may be at rest and not yet in the store.
const readAhead = 2

// importAll puts keys at rest in one goroutine and rows into the store in another.
func (v *Software) importAll(ctx context.Context, by audit.Actor, in *incoming, report *shipment.Report) error {
	ctx, stop := context.WithCancel(ctx)
	batches, done := make(chan []adopted, readAhead), make(chan error, 1)
	go func() {
		defer close(batches)
		done <- in.feed(ctx, batches)
	}()
	var err error
	for rows := range batches {
		if err == nil {
			if err = v.importRows(ctx, by, in.header, rows, report); err != nil {
				stop()
			}
		}
	}
	stop()
	if fed := <-done; err == nil {
		err = fed
	}
	return err
}

func (in *incoming) feed(ctx context.Context, out chan<- []adopted) error {
	for {
		rows, err := in.next()
		if err != nil || len(rows) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case out <- rows:
		}
	}
}

// importRows takes one batch in one commit. Keys that others have are rare: first the batch is written without a look for
// them, and the index of the store refuses it whole if there is one; then they are looked for, to say which rows have them.
func (v *Software) importRows(ctx context.Context, by audit.Actor, h shipment.Header, rows []adopted, report *shipment.Report) error {
	err := v.importBatch(ctx, by, h, rows, report, v.store.DeviceFingerprintsInUse)
	if errors.Is(err, ErrKeyTaken) {
		err = v.importBatch(ctx, by, h, rows, report, v.store.FingerprintsInUse)
	}
	return err
}

// inUse returns those fingerprints that are in use.
type inUse func(ctx context.Context, fps []Fingerprint) (map[Fingerprint]bool, error)

// importBatch brings the report up to date after the commit only.
func (v *Software) importBatch(ctx context.Context, by audit.Actor, h shipment.Header, rows []adopted, report *shipment.Report, inUse inUse) error {
	var next shipment.Report
	err := v.step(ctx, func(ctx context.Context, c *change) error {
		next = *report
		known, err := v.known(ctx, rows, inUse)
		if err != nil {
			return err
		}
		c.meters, c.keys = make([]MeterRow, 0, len(rows)), make([]KeyRow, 0, 4*len(rows))
		for _, row := range rows {
			v.importRow(by, h, row, known, c, &next)
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

func (v *Software) known(ctx context.Context, rows []adopted, inUse inUse) (out known, err error) {
	var titles, old []dlms.SystemTitle
	for _, row := range rows {
		if row.Refused == nil {
			titles = append(titles, row.Title)
		}
	}
	if out.kinds, err = v.store.TitleKinds(ctx, titles); err != nil {
		return out, err
	}
	var refs []role.KeyRef
	var fps []Fingerprint
	for _, row := range rows {
		switch kind := out.kinds[row.Title]; {
		case row.Refused != nil:
		case kind == kindMeter:
			old = append(old, row.Title)
			for _, r := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
				refs = append(refs, role.KeyRef{Meter: row.Title, Role: r, Version: 1})
			}
		case kind == "":
			for _, k := range row.keys {
				fps = append(fps, k.Fingerprint)
			}
		}
	}
	if out.meters, err = v.store.MeterRows(ctx, old); err != nil {
		return out, err
	}
	if out.first, err = v.store.KeyRows(ctx, refs); err != nil {
		return out, err
	}
	out.inUse, err = inUse(ctx, fps)
	return out, err
}

func (v *Software) importRow(by audit.Actor, h shipment.Header, row adopted, known known, c *change, report *shipment.Report) {
	refused := row.Refused
	if refused == nil {
		kind, taken := known.kinds[row.Title]
		if taken && kind == kindMeter && known.same(h, row) {
			report.Unchanged++
			return
		}
		refused = known.refuse(row, kind, taken)
	}
	if refused != nil {
		report.Refuse(row.N, row.Title, refused)
		c.audit = append(c.audit, audit.Entry{
			Actor: by, Action: ActionRefused, Phase: audit.Done, Subject: audit.Subject{Meter: row.Title},
			Outcome: refused.Error(), Detail: map[string]string{"batch": h.Batch, "row": fmt.Sprint(row.N)},
		})
		return
	}
	v.addMeter(by, h, row, c)
	for _, k := range row.keys {
		known.inUse[k.Fingerprint] = true
	}
	report.Imported++
}

// same reports whether a known meter has exactly these first keys.
func (k known) same(h shipment.Header, row adopted) bool {
	m := k.meters[row.Title]
	if m.Maker != h.Maker || m.Profile != row.Profile || m.Suite != row.Suite {
		return false
	}
	have := 0
	for _, r := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
		if _, ok := k.first[role.KeyRef{Meter: row.Title, Role: r, Version: 1}]; ok {
			have++
		}
	}
	for _, key := range row.keys {
		if k.first[key.Ref].Fingerprint != key.Fingerprint {
			return false
		}
	}
	return have == len(row.keys)
}

func (k known) refuse(row adopted, kind string, taken bool) *shipment.Refusal {
	if taken && kind == kindMeter {
		return &shipment.Refusal{Reason: shipment.OtherKeys, Detail: "the meter is known, with other keys, profile or maker"}
	}
	if taken {
		return &shipment.Refusal{Reason: shipment.TitleInUse, Detail: "by a " + kind}
	}
	for _, key := range row.keys {
		if k.inUse[key.Fingerprint] {
			return &shipment.Refusal{Reason: shipment.DuplicateKey, Detail: key.Ref.Role.String() + " is in use elsewhere"}
		}
	}
	return nil
}

// addMeter puts a meter and its keys in. The first keys are in force: the maker put them into the meter.
func (v *Software) addMeter(by audit.Actor, h shipment.Header, row adopted, c *change) {
	at := v.time()
	c.meters = append(c.meters, MeterRow{
		Title: row.Title, Maker: h.Maker, Batch: h.Batch, Profile: row.Profile, Suite: row.Suite, EnrolledAt: at,
	})
	detail := map[string]string{"batch": h.Batch, "profile": row.Profile}
	for _, k := range row.keys {
		k.State, k.CreatedAt, k.ActiveAt = Active, at, at
		c.keys = append(c.keys, k)
		detail[k.Ref.Role.String()] = k.CheckValue.String()
	}
	c.audit = append(c.audit, audit.Entry{
		Actor: by, Action: ActionImported, Phase: audit.Done, Subject: audit.Subject{Meter: row.Title}, Detail: detail,
	})
}
