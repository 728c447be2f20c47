package vault

import (
	"context"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"

	"github.com/meterseal/meterseal/dlms"
)

// record is one change in the journal: exactly one field is set. Keys are in it as they are in the store, sealed.
type record struct {
	Meter   *MeterRow    `json:"meter,omitempty"`
	Device  *DeviceRow   `json:"device,omitempty"`
	Key     *KeyRow      `json:"key,omitempty"`
	State   *StateChange `json:"state,omitempty"`
	Counter *CounterRow  `json:"counter,omitempty"`
}

// change collects what one step changes, for the journal and for the store.
type change struct {
	meters   []MeterRow
	devices  []DeviceRow
	keys     []KeyRow
	states   []StateChange
	counters []CounterRow
	handouts []Handout // not in the journal: they restate what the audit log has
	audit    []audit.Entry
}

func (c *change) records() []record {
	var out []record
	for i := range c.meters {
		out = append(out, record{Meter: &c.meters[i]})
	}
	for i := range c.devices {
		out = append(out, record{Device: &c.devices[i]})
	}
	for i := range c.keys {
		out = append(out, record{Key: &c.keys[i]})
	}
	for i := range c.states {
		out = append(out, record{State: &c.states[i]})
	}
	for i := range c.counters {
		out = append(out, record{Counter: &c.counters[i]})
	}
	return out
}

// save writes the change: first the journal, synced, then the store, in the transaction of ctx. If that transaction
// is not committed, the journal is ahead, and the next step takes over what it has (see catchUp).
func (v *Software) save(ctx context.Context, c *change) error {
	if records := c.records(); len(records) > 0 && !v.without.Off(defence.Journal) {
		if err := v.crash("journal, before"); err != nil {
			return err
		}
		p, err := v.journal.Append(records)
		if err == nil {
			err = v.crash("journal, after")
		}
		if err != nil {
			return err
		}
		if err := v.store.SetJournalPosition(ctx, p); err != nil {
			return err
		}
	}
	if err := v.apply(ctx, c); err != nil {
		return err
	}
	return v.audit.Append(ctx, c.audit...)
}

func (v *Software) apply(ctx context.Context, c *change) error {
	if err := v.store.AddMeters(ctx, c.meters); err != nil {
		return fmt.Errorf("add meters: %w", err)
	}
	for _, d := range c.devices {
		if err := v.store.AddDevice(ctx, d); err != nil {
			return fmt.Errorf("add device %s: %w", d.Title, err)
		}
	}
	if err := v.store.AddKeys(ctx, c.keys); err != nil {
		return fmt.Errorf("add keys: %w", err)
	}
	if err := v.store.SetKeyStates(ctx, c.states); err != nil {
		return fmt.Errorf("set key states: %w", err)
	}
	if err := v.store.RaiseSendCounters(ctx, c.counters); err != nil {
		return fmt.Errorf("raise counters: %w", err)
	}
	if err := v.store.AddHandouts(ctx, c.handouts); err != nil {
		return fmt.Errorf("add handouts: %w", err)
	}
	return nil
}

// catchUp takes over what the journal has and the store has not: after a crash between the two, after a commit that
// failed, or after the store was restored from a backup. Every step begins with it, so that the store's position
// never moves past a record that the store does not have.
func (v *Software) catchUp(ctx context.Context) error {
	if v.without.Off(defence.Journal) {
		return nil
	}
	p, ok, err := v.store.JournalPosition(ctx)
	if err != nil {
		return err
	}
	if !ok {
		p = Position{Vault: v.root.id}
	}
	batches, err := v.journal.After(p)
	if err != nil || (len(batches) == 0 && ok) {
		return err
	}
	for _, batch := range batches {
		if err := v.replay(ctx, batch); err != nil {
			return fmt.Errorf("take over the key journal: %w", err)
		}
	}
	if len(batches) > 0 {
		v.log.Warn("the key journal was ahead of the store and has been taken over", "batches", len(batches))
		entry := audit.Entry{
			Actor: "system:vault", Action: ActionReplayed, Phase: audit.Done,
			Detail: map[string]string{"batches": fmt.Sprint(len(batches))},
		}
		if err := v.audit.Append(ctx, entry); err != nil {
			return err
		}
	}
	return v.store.SetJournalPosition(ctx, v.journal.Position())
}

// replay applies a batch, but for what is there already.
func (v *Software) replay(ctx context.Context, batch []record) error {
	var c change
	for _, r := range batch {
		switch {
		case r.Meter != nil:
			c.meters = append(c.meters, *r.Meter)
		case r.Device != nil:
			c.devices = append(c.devices, *r.Device)
		case r.Key != nil:
			c.keys = append(c.keys, *r.Key)
		case r.State != nil:
			c.states = append(c.states, *r.State)
		case r.Counter != nil:
			c.counters = append(c.counters, *r.Counter)
		default:
			return fmt.Errorf("%w: a record of an unknown kind; it was written by a newer program", ErrJournal)
		}
	}
	if err := v.dropKnown(ctx, &c); err != nil {
		return err
	}
	return v.apply(ctx, &c)
}

func (v *Software) dropKnown(ctx context.Context, c *change) error {
	var titles []dlms.SystemTitle
	for _, m := range c.meters {
		titles = append(titles, m.Title)
	}
	for _, d := range c.devices {
		titles = append(titles, d.Title)
	}
	kinds, err := v.store.TitleKinds(ctx, titles)
	if err != nil {
		return err
	}
	refs := make([]role.KeyRef, len(c.keys))
	for i, k := range c.keys {
		refs[i] = k.Ref
	}
	rows, err := v.store.KeyRows(ctx, refs)
	if err != nil {
		return err
	}
	c.meters = slices.DeleteFunc(c.meters, func(m MeterRow) bool { return kinds[m.Title] == kindMeter })
	c.devices = slices.DeleteFunc(c.devices, func(d DeviceRow) bool { return kinds[d.Title] == d.Kind })
	c.keys = slices.DeleteFunc(c.keys, func(k KeyRow) bool {
		row, known := rows[k.Ref]
		return known && row.Fingerprint == k.Fingerprint
	})
	return nil
}
