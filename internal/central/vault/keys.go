package vault

import (
	"context"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
)

// deed is what is done to a batch of keys, by whom, to or for which device, under which grant, and why.
type deed struct {
	by     audit.Actor
	action audit.Action
	device dlms.SystemTitle
	grant  string
	why    string
}

func (d deed) entry(op string, phase audit.Phase, it item) audit.Entry {
	e := audit.Entry{Actor: d.by, Action: d.action, Phase: phase, Op: op, Subject: audit.KeySubject(it.ref, "")}
	if it.row.Ref == it.ref {
		e.Subject = it.row.subject()
	}
	e.Subject.Device, e.Subject.Grant = d.device, d.grant
	return e
}

// item is one key on its way through an operation.
type item struct {
	ref role.KeyRef
	row KeyRow
	err error
	// refused: err was there before the key was touched.
	refused bool
}

// Generate implements Vault.
func (v *Software) Generate(ctx context.Context, by audit.Actor, keys []Target) ([]Generated, error) {
	var out []Generated
	err := v.join(ctx, func(ctx context.Context, c *change) error {
		versions, err := v.store.KeyVersions(ctx, keys)
		if err != nil {
			return err
		}
		gone, err := v.store.ExportRows(ctx, targetMeters(keys))
		if err != nil {
			return err
		}
		out = make([]Generated, len(keys))
		made := map[Target]KeyInfo{}
		for i, t := range keys {
			out[i].Target = t
			if info, twice := made[t]; twice {
				out[i].Info = info
				continue
			}
			if g, ok := gone[t.Meter]; ok {
				out[i].Err = fmt.Errorf("%w: %s, to %s", ErrExported, t.Meter, g.To)
				continue
			}
			if out[i].Info, out[i].Err = v.generate(by, t, versions[i], c); out[i].Err == nil {
				made[t] = out[i].Info
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("vault: generate: %w", err)
	}
	return out, nil
}

func (v *Software) generate(by audit.Actor, t Target, versions []KeyRow, c *change) (KeyInfo, error) {
	if t.Role == role.CCC {
		return KeyInfo{}, fmt.Errorf("%w: %s comes from the maker", ErrRole, t)
	}
	if len(versions) == 0 {
		return KeyInfo{}, fmt.Errorf("%w: %s has no first version", ErrUnknownKey, t)
	}
	newest := versions[0]
	if newest.State == Pending {
		return newest.info(), nil
	}
	if newest.Ref.Version == 1<<32-1 {
		return KeyInfo{}, fmt.Errorf("%w: %s has no version left", ErrRange, t)
	}
	version := newest.Ref.Version + 1
	if v.space != nil {
		version = max(version, v.space.FirstVersion)
	}
	row, err := v.draw(role.KeyRef{Meter: t.Meter, Role: t.Role, Version: version}, newest.Suite, versions)
	if err != nil {
		return KeyInfo{}, fmt.Errorf("vault: generate %s: %w", t, err)
	}
	row.State, row.CreatedAt = Pending, v.time()
	c.keys = append(c.keys, row)
	c.audit = append(c.audit, audit.Entry{Actor: by, Action: ActionGenerated, Phase: audit.Done, Subject: row.subject()})
	return row.info(), nil
}

// draws is how many keys are drawn for one version before it is given up: that two in a row have the check value of
// another version is no chance.
const draws = 4

// draw makes a key whose check value no other version of it has: of CC_LOCALE the check value is the proof (law 5), and has
// three bytes. In a fleet of millions some versions in a row would have the same one.
func (v *Software) draw(ref role.KeyRef, suite uint8, versions []KeyRow) (row KeyRow, err error) {
	for range draws {
		if row, err = v.keys.NewRow(v.rand, ref, suite); err != nil {
			return row, err
		}
		if !slices.ContainsFunc(versions, func(k KeyRow) bool { return k.CheckValue == row.CheckValue }) {
			return row, nil
		}
	}
	return row, fmt.Errorf("%d keys in a row have the check value of another version: is the source of randomness broken?", draws)
}

// Wrap implements Vault.
func (v *Software) Wrap(ctx context.Context, by audit.Actor, keys []role.KeyRef) ([]Wrapped, error) {
	masters := make([]KeyRow, len(keys))
	d := deed{by: by, action: ActionWrapped}
	op, items, err := v.intend(ctx, d, keys, func(ctx context.Context, items []item, c *change) error {
		return v.masters(ctx, items, masters)
	})
	if err != nil {
		return nil, fmt.Errorf("vault: wrap: %w", err)
	}
	out := make([]Wrapped, len(items))
	for i := range items {
		it := &items[i]
		out[i] = Wrapped{Ref: it.ref, CheckValue: it.row.CheckValue}
		if it.err == nil {
			out[i].Blob, it.err = v.keys.WrapRow(masters[i], it.row)
		}
		out[i].Err = it.err
	}
	if err := v.results(ctx, d, op, items); err != nil {
		return nil, fmt.Errorf("vault: wrap: %w", err)
	}
	return out, nil
}

// masters checks which items may be wrapped, and finds the CCC of each.
func (v *Software) masters(ctx context.Context, items []item, masters []KeyRow) error {
	targets := make([]Target, len(items))
	for i, it := range items {
		targets[i] = Target{it.ref.Meter, role.CCC}
	}
	versions, err := v.store.LiveKeyVersions(ctx, targets)
	if err != nil {
		return err
	}
	for i := range items {
		it := &items[i]
		ccc, ok := activeOf(versions[i])
		switch {
		case it.err != nil:
		case it.ref.Role == role.CCC:
			it.err = fmt.Errorf("%w: %s is not transferred", ErrRole, it.ref)
		case it.row.State != Pending && it.row.State != Sent:
			it.err = fmt.Errorf("%w: wrap %s: it is %s", ErrState, it.ref, it.row.State)
		case !ok:
			it.err = fmt.Errorf("%w: %s has no CCC in force", ErrUnknownKey, it.ref.Meter)
		}
		masters[i] = ccc
	}
	return nil
}

// intend commits, for one batch, the intent to use keys, before any of them is used. It reads the rows; check sets
// the errors of the items that are refused, and adds to the change what must be durable with the intent.
func (v *Software) intend(ctx context.Context, d deed, keys []role.KeyRef,
	check func(ctx context.Context, items []item, c *change) error,
) (op string, items []item, err error) {
	if err := distinct(keys); err != nil {
		return "", nil, err
	}
	if op, err = v.op(); err != nil {
		return "", nil, err
	}
	err = v.step(ctx, func(ctx context.Context, c *change) error {
		if items, err = v.items(ctx, keys); err != nil {
			return err
		}
		if err := check(ctx, items, c); err != nil {
			return err
		}
		for i := range items {
			items[i].refused = items[i].err != nil
			it := items[i]
			e := d.entry(op, audit.Intent, it)
			e.Outcome = d.why
			if it.err != nil {
				e.Phase, e.Outcome = audit.Result, "refused: "+it.err.Error()
			}
			c.audit = append(c.audit, e)
		}
		return nil
	})
	return op, items, err
}

func distinct(keys []role.KeyRef) error {
	seen := make(map[role.KeyRef]bool, len(keys))
	for _, k := range keys {
		if seen[k] {
			return fmt.Errorf("vault: %s stands twice in one batch", k)
		}
		seen[k] = true
	}
	return nil
}

func (v *Software) items(ctx context.Context, keys []role.KeyRef) ([]item, error) {
	rows, err := v.store.KeyRows(ctx, keys)
	if err != nil {
		return nil, err
	}
	items := make([]item, len(keys))
	for i, ref := range keys {
		row, ok := rows[ref]
		items[i] = item{ref: ref, row: row}
		if !ok {
			items[i].err = fmt.Errorf("%w: %s", ErrUnknownKey, ref)
		}
	}
	return items, v.refuseExported(ctx, items)
}

// results enters what became of the intents. Where that fails, the operation fails: what was made stays here.
func (v *Software) results(ctx context.Context, d deed, op string, items []item) error {
	var entries []audit.Entry
	for _, it := range items {
		if it.refused {
			continue // which the intent's commit has said
		}
		e := d.entry(op, audit.Result, it)
		e.Outcome = "ok"
		if it.err != nil {
			e.Outcome = "failed: " + it.err.Error()
			v.log.Error("a key could not be used", "key_ref", it.ref.String(), "action", string(d.action), "error", it.err)
		}
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil
	}
	return v.audit.Append(ctx, entries...)
}

// meters lists the meters of a batch.
func meters(keys []role.KeyRef) []dlms.SystemTitle {
	out := make([]dlms.SystemTitle, len(keys))
	for i, k := range keys {
		out[i] = k.Meter
	}
	return out
}

func targetMeters(keys []Target) []dlms.SystemTitle {
	out := make([]dlms.SystemTitle, len(keys))
	for i, k := range keys {
		out[i] = k.Meter
	}
	return out
}
