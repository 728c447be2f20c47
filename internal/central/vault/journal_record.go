package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
)

// record is one change in the journal: exactly one field is set. Keys are in it as they are in the store, sealed.
type record struct {
	Meter   *MeterRow    `json:"meter,omitempty"`
	Device  *DeviceRow   `json:"device,omitempty"`
	Maker   *MakerRow    `json:"maker,omitempty"`
	Export  *ExportRow   `json:"export,omitempty"`
	Key     *KeyRow      `json:"key,omitempty"`
	State   *StateChange `json:"state,omitempty"`
	Counter *CounterRow  `json:"counter,omitempty"`
	// Fact is a change of the fleet, which the vault keeps and does not read.
	Fact json.RawMessage `json:"fact,omitempty"`
	// Space is the nonce space that the vault was opened in without the journal before this one.
	Space *Space `json:"space,omitempty"`
	// At is when a fact was noted.
	At time.Time `json:"at,omitzero"`
}

// change collects what one step changes, for the journal and for the store.
type change struct {
	meters   []MeterRow
	devices  []DeviceRow
	makers   []MakerRow
	exports  []ExportRow
	floors   []FloorRow // of meters that arrive; not in the journal, as no floor is
	keys     []KeyRow
	states   []StateChange
	counters []CounterRow
	lost     []role.KeyRef // of keys: their counters are not known. A restore with the journal takes that for all of them
	handouts []Handout     // not in the journal: they restate what the audit log has
	audit    []audit.Entry
}

func (c *change) records() []record {
	out := make([]record, 0, len(c.meters)+len(c.devices)+len(c.exports)+len(c.makers)+len(c.keys)+len(c.states)+len(c.counters))
	for i := range c.meters {
		out = append(out, record{Meter: &c.meters[i]})
	}
	for i := range c.devices {
		out = append(out, record{Device: &c.devices[i]})
	}
	for i := range c.exports {
		out = append(out, record{Export: &c.exports[i]})
	}
	for i := range c.makers {
		out = append(out, record{Maker: &c.makers[i]})
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

// maxTogether bounds how many records of different steps go into one line of the journal.
const maxTogether = 4000

// left is what a step leaves to be journalled.
type left struct {
	records []record
	line    func() ([]byte, error) // as encodeLine makes it, once
}

// leave makes ready what a step leaves. Many records are encoded while the step's rows are written.
func leave(records []record) *left {
	l := &left{records, sync.OnceValues(func() ([]byte, error) { return encodeLine(records) })}
	if len(records) > maxTogether {
		go func() { _, _ = l.line() }() // whoever writes it gets the error
	}
	return l
}

// firstLine takes the steps that go into one line.
func firstLine(steps []any) (line *left, rest []any) {
	var all []record
	n := 0
	for _, s := range steps {
		records := s.(*left).records //nolint:errcheck,forcetypeassert // nothing else is left
		if n > 0 && len(all)+len(records) > maxTogether {
			break
		}
		if n++; n == 1 {
			all = records[:len(records):len(records)]
			continue
		}
		all = append(all, records...)
	}
	if n == 1 {
		return steps[0].(*left), steps[1:] //nolint:errcheck,forcetypeassert // as above
	}
	return leave(all), steps[n:]
}

// save writes the change in the transaction of ctx. Its records are left to be journalled, synced, as the last act before
// the commit, in one line with those of the steps that share it. If the transaction is not committed after that, the
// journal is ahead, and the next step takes over what it has (see catchUp).
func (v *Software) save(ctx context.Context, c *change) error {
	records, err := v.whole(ctx, c)
	if err != nil {
		return err
	}
	if len(records) > 0 && !v.without.Off(defence.Journal) {
		if err := v.store.BeforeCommit(ctx, v.journal, leave(records), v.writeJournal); err != nil {
			return err
		}
	}
	audited := v.audit.Later(c.audit...)
	if err := v.apply(ctx, c); err != nil {
		return err
	}
	return audited(ctx)
}

// Note keeps a change of the fleet in the key journal: it is there, synced, before the caller's Update is committed.
func (v *Software) Note(ctx context.Context, fact []byte) error {
	if v.without.Off(defence.Journal) {
		return nil
	}
	if err := v.catchUp(ctx); err != nil {
		return err
	}
	return v.store.BeforeCommit(ctx, v.journal, leave([]record{{Fact: fact, At: v.time()}}), v.writeJournal)
}

// writeJournal appends the records of all the steps that are about to be committed together. None of them has let anything
// out of the house yet.
func (v *Software) writeJournal(ctx context.Context, steps []any) error {
	if err := v.crash("journal, before"); err != nil {
		return err
	}
	var p Position
	for len(steps) > 0 {
		var line *left
		line, steps = firstLine(steps)
		var err error
		if p, err = v.journal.appendLine(line.line); err != nil {
			return err
		}
		v.state(line.records)
	}
	if err := v.crash("journal, after"); err != nil {
		return err
	}
	return v.store.SetJournalPosition(ctx, p)
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
	if err := v.store.PutMakers(ctx, c.makers); err != nil {
		return fmt.Errorf("put makers: %w", err)
	}
	if err := v.store.AddKeys(ctx, c.keys); err != nil {
		return fmt.Errorf("add keys: %w", err)
	}
	if err := v.store.AddExports(ctx, c.exports); err != nil {
		return fmt.Errorf("add exports: %w", err)
	}
	if _, err := v.store.RaiseReceiveFloors(ctx, c.floors); err != nil {
		return fmt.Errorf("raise floors: %w", err)
	}
	if len(c.lost) > 0 {
		if err := v.store.LoseCounters(ctx, c.lost); err != nil {
			return fmt.Errorf("note lost counters: %w", err)
		}
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
