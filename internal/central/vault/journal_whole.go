package vault

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// maxStated bounds how many versions a process remembers to have in its journal, twice. Beyond it they are stated once more.
const maxStated = 1 << 16

// whole returns the records of a change, preceded by the rows of the versions that it speaks of and that this process has
// not put into its journal yet. Each node has a journal of its own: what one of them generated another may mark or use,
// and each journal alone has to bring back what it speaks of, into a store that was taken back to before it was there.
func (v *Software) whole(ctx context.Context, c *change) ([]record, error) {
	records := c.records()
	if len(records) == 0 {
		return nil, nil
	}
	missing := v.unstated(c)
	if len(missing) == 0 {
		return records, nil
	}
	rows, err := v.store.KeyRows(ctx, missing)
	if err != nil {
		return nil, err
	}
	var titles []dlms.SystemTitle
	for _, ref := range missing {
		titles = append(titles, ref.Meter)
	}
	meters, err := v.store.MeterRows(ctx, titles)
	if err != nil {
		return nil, err
	}
	stated := make([]record, 0, 2*len(missing)+len(records))
	for _, ref := range missing {
		if m, ok := meters[ref.Meter]; ok {
			stated = append(stated, record{Meter: &m})
			delete(meters, ref.Meter)
		}
	}
	for _, ref := range missing {
		if row, ok := rows[ref]; ok {
			stated = append(stated, record{Key: &row})
		}
	}
	return append(stated, records...), nil
}

// unstated returns the versions that a change speaks of without bringing them, and that the journal does not have yet.
func (v *Software) unstated(c *change) (missing []role.KeyRef) {
	v.mu.Lock()
	defer v.mu.Unlock()
	own := map[role.KeyRef]bool{}
	for _, k := range c.keys {
		own[k.Ref] = true
	}
	speak := func(ref role.KeyRef) {
		if !v.stated[ref] && !v.statedBefore[ref] && !own[ref] {
			own[ref] = true
			missing = append(missing, ref)
		}
	}
	for _, s := range c.states {
		speak(s.Ref)
	}
	for _, n := range c.counters {
		speak(n.Ref)
	}
	return missing
}

// state remembers that the journal has these versions, after it was synced.
func (v *Software) state(records []record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.stated) > maxStated || v.stated == nil {
		v.stated, v.statedBefore = map[role.KeyRef]bool{}, v.stated
	}
	for _, r := range records {
		if r.Key != nil {
			v.stated[r.Key.Ref] = true
		}
	}
}
