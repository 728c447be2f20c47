package vault

import (
	"context"
	"fmt"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
)

// minReady is how many reserved counters a handle has at least when it is given out: an association spends four.
const minReady = 8

// useKey names whose counters a handle counts.
type useKey struct {
	ref role.KeyRef
	own dlms.SystemTitle
}

// handle counts for one key version and one title. There is one in the process, whatever the number of
// associations: two counters over one reservation would hand out values twice (law 4).
type handle struct {
	v     *Software
	key   useKey
	send  *security.BlockCounter
	floor *security.FloorTable

	mu      sync.Mutex
	durable security.Reservation // what the journal and the store hold
	last    dlms.InvocationCounter
}

// OpenFor implements Vault.
func (v *Software) OpenFor(ctx context.Context, by audit.Actor, own dlms.SystemTitle, purpose string, keys []role.KeyRef) ([]Opened, error) {
	handles := make([]*handle, len(keys))
	var ahead []CounterRow
	d := deed{by: by, action: ActionUsed, device: own, why: purpose}
	op, items, err := v.intend(ctx, d, keys, func(ctx context.Context, items []item, c *change) error {
		if err := v.checkNode(ctx, own); err != nil {
			return err
		}
		var refs []role.KeyRef
		for i := range items {
			if it := &items[i]; it.err == nil {
				if it.err = usable(it.row); it.err == nil {
					refs = append(refs, it.ref)
				}
			}
		}
		held, err := v.hold(ctx, own, refs)
		if err != nil {
			return err
		}
		for i := range items {
			if items[i].err != nil {
				continue
			}
			handles[i], held = held[0], held[1:]
			if row, short := handles[i].ahead(); short {
				c.counters = append(c.counters, row)
			}
		}
		ahead = c.counters
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("vault: open for %s: %w", own, err)
	}
	v.reserved(own, ahead)
	return v.opened(ctx, d, op, items, handles)
}

func (v *Software) opened(ctx context.Context, d deed, op string, items []item, handles []*handle) ([]Opened, error) {
	out := make([]Opened, len(items))
	var broken []item
	for i := range items {
		it := &items[i]
		out[i].Ref = it.ref
		if it.err == nil {
			if out[i].Use, it.err = v.use(it.row, d.device, op, handles[i]); it.err != nil {
				broken = append(broken, *it)
			}
		}
		out[i].Err = it.err
	}
	if err := v.results(ctx, d, op, broken); err != nil {
		return nil, fmt.Errorf("vault: open for %s: %w", d.device, err)
	}
	return out, nil
}

// usable refuses keys that the central system opens nothing with.
func usable(row KeyRow) error {
	switch {
	case row.Ref.Role != role.CCIS && row.Ref.Role != role.CCLAN:
		return fmt.Errorf("%w: open an association with %s", ErrRole, row.Ref)
	case row.State == Pending:
		return fmt.Errorf("%w: open an association with %s: it was never sent", ErrState, row.Ref)
	}
	return nil
}

func (v *Software) checkNode(ctx context.Context, own dlms.SystemTitle) error {
	if err := v.CheckTitle(own); err != nil {
		return err
	}
	kinds, err := v.store.TitleKinds(ctx, []dlms.SystemTitle{own})
	if err != nil {
		return err
	}
	if kinds[own] != kindNode {
		return fmt.Errorf("%w: %s is not registered as a node of the central system", ErrTitle, own)
	}
	return nil
}

// use opens the row: from here on the key is in an AEAD or stays in its token, and nothing gives it back.
func (v *Software) use(row KeyRow, own dlms.SystemTitle, op string, h *handle) (*Use, error) {
	aead, err := v.keys.RowAEAD(row)
	if err != nil {
		return nil, err
	}
	if v.wrapAEAD != nil {
		aead = v.wrapAEAD(aead, row.Fingerprint)
	}
	c, err := security.NewCipher(aead, key.Authentication{})
	if err != nil {
		return nil, err
	}
	return &Use{
		Ref: row.Ref, Own: own, Op: op, check: row.CheckValue,
		long: security.LongTerm{Cipher: c, Send: h, Floor: h.floor, Generation: row.Ref.Version},
	}, nil
}

// hold returns the process's one handle for each key and title, from the store the first time.
func (v *Software) hold(ctx context.Context, own dlms.SystemTitle, refs []role.KeyRef) ([]*handle, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]*handle, len(refs))
	var missing []role.KeyRef
	for i, ref := range refs {
		out[i] = v.uses.get(useKey{ref, own})
		if out[i] == nil {
			missing = append(missing, ref)
		}
	}
	made, err := v.makeLocked(ctx, own, missing)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i] == nil {
			out[i], made = made[0], made[1:]
		}
	}
	return out, nil
}

// makeLocked makes handles for keys that have none.
func (v *Software) makeLocked(ctx context.Context, own dlms.SystemTitle, refs []role.KeyRef) ([]*handle, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	rows, err := v.store.SendCounters(ctx, own, refs)
	if err != nil {
		return nil, err
	}
	floors, err := v.floorsLocked(ctx, refs)
	if err != nil {
		return nil, err
	}
	out := make([]*handle, len(refs))
	for i, ref := range refs {
		h := &handle{v: v, key: useKey{ref, own}, durable: rows[ref].reservation(), floor: floors[i]}
		h.last = h.durable.Ceiling
		if h.send, err = security.NewBlockCounter(security.BlockConfig{
			Start: h.durable, Size: v.block, Reserve: h.reserve,
		}); err != nil {
			return nil, err
		}
		v.uses.put(h.key, h)
		out[i] = h
	}
	return out, nil
}

// floorsLocked reads the receive floors of keys. They are per key, not per own title; a second own title of this process
// shares the table.
func (v *Software) floorsLocked(ctx context.Context, refs []role.KeyRef) ([]*security.FloorTable, error) {
	out := make([]*security.FloorTable, len(refs))
	for i, ref := range refs {
		out[i] = v.tables.get(ref)
	}
	rows, err := v.store.ReceiveFloors(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, ref := range refs {
		if out[i] != nil {
			continue
		}
		floors := make([]security.Floor, len(rows[i]))
		for j, f := range rows[i] {
			floors[j] = security.Floor{Title: f.Title, Last: dlms.InvocationCounter(f.Last)}
		}
		out[i], err = security.NewFloorTable(security.FloorConfig{Floors: floors, Persist: func(f security.Floor) error {
			return v.floors.raise(FloorRow{Ref: ref, Title: f.Title, Last: uint32(f.Last)})
		}})
		if err != nil {
			return nil, err
		}
		v.tables.put(ref, out[i])
	}
	return out, nil
}

// Next implements security.SendCounter.
func (h *handle) Next() (dlms.InvocationCounter, error) {
	ic, err := h.send.Next()
	if err != nil {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.last, ic)
	return ic, nil
}

// RaiseTo raises the counter on a peer's word, within the bounds of dlms/security.
func (h *handle) RaiseTo(ic dlms.InvocationCounter) error { return h.send.RaiseTo(ic) }

// reserve makes a block durable, unless a batch has done so before.
func (h *handle) reserve(r security.Reservation) error {
	h.mu.Lock()
	done := r.Ceiling <= h.durable.Ceiling && r.Raised <= h.durable.Raised || h.v.without.Off(defence.CounterReservation)
	h.mu.Unlock()
	if done {
		return nil
	}
	ctx, cancel := background()
	defer cancel()
	row := CounterRow{Ref: h.key.ref, Title: h.key.own, Ceiling: uint32(r.Ceiling), Raised: r.Raised}
	err := h.v.step(ctx, func(ctx context.Context, c *change) error {
		gone, err := h.v.store.ExportRows(ctx, []dlms.SystemTitle{row.Ref.Meter})
		if err != nil {
			return err
		}
		if g, ok := gone[row.Ref.Meter]; ok {
			return fmt.Errorf("%w: %s, to %s", ErrExported, row.Ref.Meter, g.To)
		}
		c.counters = append(c.counters, row)
		return nil
	})
	if err == nil {
		h.reserved(row)
	}
	return err
}

// ahead says what to reserve together with an intent, where few counters are left: one commit for a whole batch
// instead of one for each key.
func (h *handle) ahead() (CounterRow, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := h.durable.Ceiling - h.last
	if left >= minReady || h.v.without.Off(defence.CounterReservation) || h.durable.Ceiling == dlms.MaxInvocationCounter {
		return CounterRow{}, false
	}
	ceiling := min(uint64(h.durable.Ceiling)+uint64(h.v.block), uint64(dlms.MaxInvocationCounter))
	return CounterRow{Ref: h.key.ref, Title: h.key.own, Ceiling: uint32(ceiling), Raised: h.durable.Raised}, true
}

func (h *handle) reserved(row CounterRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := row.reservation()
	h.durable.Ceiling = max(h.durable.Ceiling, r.Ceiling)
	h.durable.Raised = max(h.durable.Raised, r.Raised)
}

// reserved tells the handles of what was committed for them.
func (v *Software) reserved(own dlms.SystemTitle, rows []CounterRow) {
	for _, row := range rows {
		if h := v.uses.get(useKey{row.Ref, own}); h != nil {
			h.reserved(row)
		}
	}
}

func (u *Use) subject() audit.Subject {
	s := audit.KeySubject(u.Ref, u.check.String())
	s.Device = u.Own
	return s
}

// Finish implements Vault.
func (v *Software) Finish(ctx context.Context, by audit.Actor, outcomes []Outcome) error {
	entries := make([]audit.Entry, 0, len(outcomes))
	for _, o := range outcomes {
		if o.Use == nil {
			continue
		}
		entries = append(entries, audit.Entry{
			Actor: by, Action: ActionUsed, Phase: audit.Result, Op: o.Use.Op,
			Subject: o.Use.subject(), Outcome: o.Result,
		})
	}
	if len(entries) == 0 {
		return nil
	}
	return v.audit.Append(ctx, entries...)
}
