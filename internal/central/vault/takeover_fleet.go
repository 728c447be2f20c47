package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// maxStart bounds how far above zero a title that a meter has never seen starts: a meter refuses a jump of more than 2^24.
const maxStart = 1 << 23

// ImportTransfer takes running meters over from another head-end, whose audit key a person named. A meter comes in with all
// its versions, counters and floors in one commit, or not at all; importing a file again changes nothing. Titles that the
// other head-end had opened associations under must not be nodes here: two holders of a key are told apart by their titles.
func (v *Software) ImportTransfer(ctx context.Context, by audit.Actor, file io.Reader, from audit.PublicKey, signer string) (*shipment.Report, error) {
	f, err := shipment.SpoolTransfer(v.dir, file)
	if err != nil {
		return &shipment.Report{}, v.refuseTransfer(ctx, by, shipment.TransferHeader{}, err)
	}
	defer f.Close()
	h := f.Header()
	report := &shipment.Report{Maker: "vault " + h.Vault, Batch: "transfer", Count: h.Count}
	t, err := v.openTransfer(ctx, f, from, signer)
	if err != nil {
		return report, v.refuseTransfer(ctx, by, h, err)
	}
	defer t.keys.Close()
	for n := 0; n < h.Count; {
		rows, err := t.next(n)
		if err == nil {
			err = v.takeOver(ctx, by, t, rows, report)
		}
		if err != nil {
			return report, fmt.Errorf("import: %w", err)
		}
		n += len(rows)
	}
	return report, v.audit.Append(ctx, audit.Entry{
		Actor: by, Action: ActionShipment, Phase: audit.Done, Outcome: report.String(), Detail: map[string]string{"signer": signer},
	})
}

func (v *Software) refuseTransfer(ctx context.Context, by audit.Actor, h shipment.TransferHeader, why error) error {
	return errors.Join(fmt.Errorf("import: %w", why), v.audit.Append(ctx, audit.Entry{
		Actor: by, Action: ActionRefused, Phase: audit.Done, Outcome: "refused the file: " + why.Error(), Detail: map[string]string{"vault": h.Vault},
	}))
}

// transfer is a verified file whose keys are put at rest as its rows are read.
type transfer struct {
	file *shipment.TransferFile
	keys Consignment
	weak map[Fingerprint]bool
	own  []dlms.SystemTitle // nodes here
	old  []dlms.SystemTitle // nodes there
}

func (v *Software) openTransfer(ctx context.Context, f *shipment.TransferFile, from audit.PublicKey, signer string) (*transfer, error) {
	if err := f.Verify(signer, from.Verify); err != nil {
		return nil, err
	}
	h := f.Header()
	if err := h.For(v.keys.Transport()); err != nil {
		return nil, err
	}
	t := &transfer{file: f, old: h.Titles}
	var err error
	if t.own, err = v.store.NodeTitles(ctx); err != nil {
		return nil, err
	}
	for _, title := range t.own {
		if slices.Contains(h.Titles, title) {
			return nil, fmt.Errorf("%w: %s is a node here, and was one of the head-end that gives the meters away; start under another title", ErrTitleInUse, title)
		}
	}
	if t.weak, err = shipment.WeakKeys(); err != nil {
		return nil, err
	}
	t.keys, err = v.keys.OpenConsignment(h.Key)
	return t, err
}

// arriving is a meter with its keys at rest.
type arriving struct {
	n       int
	row     shipment.TransferRow
	keys    []KeyRow
	refused *shipment.Refusal
}

func (t *transfer) next(n int) (rows []arriving, err error) {
	for len(rows) < transferBatch {
		row, bad, err := t.file.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		a := arriving{n: n + len(rows) + 1, row: row, refused: bad}
		if bad == nil {
			if err := t.adopt(&a); err != nil {
				return nil, err
			}
		}
		rows = append(rows, a)
	}
	return rows, nil
}

func (t *transfer) adopt(a *arriving) error {
	seen := map[Fingerprint]bool{}
	for _, ver := range a.row.Versions {
		ref := role.KeyRef{Meter: a.row.Title, Role: ver.Role, Version: ver.Version}
		k, err := t.keys.Adopt(ref, ver.Suite, ver.Wrapped)
		switch {
		case errors.Is(err, ErrConsigned):
			a.refused = &shipment.Refusal{Reason: shipment.Damaged, Detail: ref.String() + " does not open"}
		case err != nil:
			return err
		case k.CheckValue != ver.CheckValue:
			a.refused = &shipment.Refusal{Reason: shipment.Damaged, Detail: ref.String() + " has another check value"}
		case t.weak[k.Fingerprint]:
			a.refused = &shipment.Refusal{Reason: shipment.WeakKey, Detail: ref.String()}
		case seen[k.Fingerprint]:
			a.refused = &shipment.Refusal{Reason: shipment.DuplicateKey, Detail: ref.String()}
		}
		if a.refused != nil {
			return nil
		}
		seen[k.Fingerprint] = true
		k.State, k.CreatedAt, k.SentAt, k.ActiveAt, k.EndedAt = State(ver.State), ver.CreatedAt, ver.SentAt, ver.ActiveAt, ver.EndedAt
		a.keys = append(a.keys, k)
	}
	return nil
}

// takeOver takes one batch in one commit. The report is brought up to date after it only.
func (v *Software) takeOver(ctx context.Context, by audit.Actor, t *transfer, rows []arriving, report *shipment.Report) error {
	var next shipment.Report
	err := v.step(ctx, func(ctx context.Context, c *change) error {
		next = *report
		var titles []dlms.SystemTitle
		var fps []Fingerprint
		for _, a := range rows {
			titles = append(titles, a.row.Title)
			for _, k := range a.keys {
				fps = append(fps, k.Fingerprint)
			}
		}
		kinds, err := v.store.TitleKinds(ctx, titles)
		if err != nil {
			return err
		}
		inUse, err := v.store.FingerprintsInUse(ctx, fps)
		if err != nil {
			return err
		}
		for _, a := range rows {
			if err := v.takeMeter(ctx, by, t, a, kinds[a.row.Title], inUse, c, &next); err != nil {
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

func (v *Software) takeMeter(ctx context.Context, by audit.Actor, t *transfer, a arriving, kind string, inUse map[Fingerprint]bool, c *change, report *shipment.Report) error {
	refused := a.refused
	switch {
	case refused != nil:
	case kind == kindMeter:
		same, err := v.hasAll(ctx, a.keys)
		if err != nil {
			return err
		}
		if same {
			report.Unchanged++
			return nil
		}
		refused = &shipment.Refusal{Reason: shipment.OtherKeys, Detail: "the meter is known, with other keys"}
	case kind != "":
		refused = &shipment.Refusal{Reason: shipment.TitleInUse, Detail: "by a " + kind}
	default:
		for _, k := range a.keys {
			if inUse[k.Fingerprint] {
				refused = &shipment.Refusal{Reason: shipment.DuplicateKey, Detail: k.Ref.String() + " is in use elsewhere"}
			}
		}
	}
	if refused != nil {
		report.Refuse(a.n, a.row.Title, refused)
		c.audit = append(c.audit, audit.Entry{
			Actor: by, Action: ActionRefused, Phase: audit.Done, Subject: audit.Subject{Meter: a.row.Title}, Outcome: refused.Error(),
		})
		return nil
	}
	v.arrive(by, t, a, c)
	for _, k := range a.keys {
		inUse[k.Fingerprint] = true
	}
	report.Imported++
	return nil
}

// hasAll reports whether all versions of a meter that arrives are there already.
func (v *Software) hasAll(ctx context.Context, keys []KeyRow) (bool, error) {
	refs := make([]role.KeyRef, len(keys))
	for i, k := range keys {
		refs[i] = k.Ref
	}
	have, err := v.store.KeyRows(ctx, refs)
	for _, k := range keys {
		if have[k.Ref].Fingerprint != k.Fingerprint {
			return false, err
		}
	}
	return true, err
}

// arrive puts a meter in. What anybody has spent stays spent, under every title, and our own titles begin above what the
// other head-end's nodes may have spent under theirs.
func (v *Software) arrive(by audit.Actor, t *transfer, a arriving, c *change) {
	c.meters = append(c.meters, MeterRow{
		Title: a.row.Title, Maker: a.row.Maker, Batch: a.row.Batch, Profile: a.row.Profile, Suite: a.row.Suite, EnrolledAt: v.time(),
	})
	for i, ver := range a.row.Versions {
		k := a.keys[i]
		c.keys = append(c.keys, k)
		if ver.CountersLost {
			c.lost = append(c.lost, k.Ref)
		}
		var highest uint32
		for _, n := range ver.Counters {
			c.counters = append(c.counters, CounterRow{Ref: k.Ref, Title: n.Title, Ceiling: n.Ceiling, Raised: n.Raised})
			if slices.Contains(t.old, n.Title) {
				highest = max(highest, n.Ceiling)
			}
		}
		if k.Ref.Role != role.CCC && highest > 0 {
			for _, own := range t.own {
				c.counters = append(c.counters, CounterRow{Ref: k.Ref, Title: own, Ceiling: min(highest, maxStart)})
			}
		}
		for _, f := range ver.Floors {
			c.floors = append(c.floors, FloorRow{Ref: k.Ref, Title: f.Title, Last: f.Last})
		}
		c.audit = append(c.audit, audit.Entry{
			Actor: by, Action: ActionTaken, Phase: audit.Done, Subject: k.subject(), Outcome: string(k.State), Detail: map[string]string{"from": t.file.Header().Vault},
		})
	}
}
