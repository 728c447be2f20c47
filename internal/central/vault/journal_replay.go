package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
)

// ErrTwoVersions is returned where the journal has a version that may have reached a meter, and the store another key
// under the same number: the store was brought back from a backup and worked with before this node's journal was there.
var ErrTwoVersions = errors.New("key journal: a version stands for two keys: bring the store back from its backup again, and start every node with its journal before any of them changes a key")

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
	left := leftTheHouse(batches)
	for _, batch := range batches {
		if err := v.replay(ctx, batch, left); err != nil {
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
func (v *Software) replay(ctx context.Context, batch []record, left map[role.KeyRef]bool) error {
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
	ahead, err := v.dropKnown(ctx, &c, left)
	if err != nil {
		return err
	}
	if err := v.store.AddStatesAhead(ctx, ahead); err != nil {
		return err
	}
	if err := v.apply(ctx, &c); err != nil {
		return err
	}
	return v.overtake(ctx, c.keys)
}

// overtake brings versions that have just come to where another node's journal, which was there before, had them.
func (v *Software) overtake(ctx context.Context, keys []KeyRow) error {
	refs := make([]role.KeyRef, len(keys))
	for i, k := range keys {
		refs[i] = k.Ref
	}
	waiting, err := v.store.TakeStatesAhead(ctx, refs)
	if err != nil {
		return err
	}
	for _, s := range waiting {
		rows, err := v.store.KeyRows(ctx, []role.KeyRef{s.Ref})
		if err != nil {
			return err
		}
		if overtaken(rows[s.Ref], s) {
			continue
		}
		if err := v.store.SetKeyStates(ctx, []StateChange{s}); err != nil {
			return err
		}
	}
	return nil
}

// leftTheHouse returns the versions that the batches themselves say may have reached a meter: they were marked sent, or
// more. A version is marked before it is carried to one.
func leftTheHouse(batches [][]record) map[role.KeyRef]bool {
	left := map[role.KeyRef]bool{}
	for _, batch := range batches {
		for _, r := range batch {
			if r.State != nil && r.State.State != Pending {
				left[r.State.Ref] = true
			}
		}
	}
	return left
}

// dropKnown leaves out what the store has already, and what another node has overtaken. It returns the states of versions
// that are not there yet: another node made them, and they are in its journal.
func (v *Software) dropKnown(ctx context.Context, c *change, left map[role.KeyRef]bool) (ahead []StateChange, err error) {
	var titles []dlms.SystemTitle
	for _, m := range c.meters {
		titles = append(titles, m.Title)
	}
	for _, d := range c.devices {
		titles = append(titles, d.Title)
	}
	kinds, err := v.store.TitleKinds(ctx, titles)
	if err != nil {
		return nil, err
	}
	var refs []role.KeyRef
	for _, k := range c.keys {
		refs = append(refs, k.Ref)
	}
	for _, s := range c.states {
		refs = append(refs, s.Ref)
	}
	rows, err := v.store.KeyRows(ctx, refs)
	if err != nil {
		return nil, err
	}
	fresh := map[role.KeyRef]bool{}
	for _, k := range c.keys {
		fresh[k.Ref] = true
		if row, known := rows[k.Ref]; known && row.Fingerprint != k.Fingerprint && left[k.Ref] {
			return nil, fmt.Errorf("%w: %s", ErrTwoVersions, k.Ref)
		}
	}
	c.meters = slices.DeleteFunc(c.meters, func(m MeterRow) bool { return kinds[m.Title] == kindMeter })
	c.devices = slices.DeleteFunc(c.devices, func(d DeviceRow) bool { return kinds[d.Title] == d.Kind })
	// A known version under another fingerprint is another node's, made when this one had died before its commit: the
	// version in the journal was used for nothing.
	c.keys = slices.DeleteFunc(c.keys, func(k KeyRow) bool { _, known := rows[k.Ref]; return known })
	c.states = slices.DeleteFunc(c.states, func(s StateChange) bool {
		row, known := rows[s.Ref]
		if !known && !fresh[s.Ref] {
			ahead = append(ahead, s)
			return true
		}
		return known && overtaken(row, s)
	})
	return ahead, nil
}

// overtaken reports whether a row has gone further than a state in the journal, since then: by another node, which took
// the work over from one that died between its journal and its commit.
func overtaken(row KeyRow, s StateChange) bool {
	return rank(row.State) > rank(s.State) && !s.At.After(latest(row))
}

func rank(s State) int { return slices.Index([]State{Pending, Sent, Active, Superseded, Abandoned}, s) }

func latest(k KeyRow) time.Time {
	return slices.MaxFunc([]time.Time{k.CreatedAt, k.SentAt, k.ActiveAt, k.EndedAt}, time.Time.Compare)
}
