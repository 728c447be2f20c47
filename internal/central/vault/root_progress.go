package vault

import (
	"context"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
)

// reSealBatch is how many rows are sealed anew with one commit, unless Options say otherwise.
const reSealBatch = 500

// reSealing is how far the rows are, in the store: whoever goes on begins there.
type reSealing struct {
	Term    uint32           `json:"term"`
	Pass    int              `json:"pass"`
	After   role.KeyRef      `json:"after,omitzero"`
	Devices dlms.SystemTitle `json:"devices,omitzero"`
	// Keys says that the keys of meters are through in this pass.
	Keys bool `json:"keys"`
	// Done counts rows that were sealed anew, All those there were at the beginning, under other terms.
	Done int `json:"done"`
	All  int `json:"all"`
	// Failed are rows that do not open.
	Failed  int      `json:"failed"`
	Refused []string `json:"refused,omitempty"`
}

// ReSealed reports whether there is nothing to seal anew, as far as this process knows.
func (v *Software) ReSealed() bool {
	term := v.keys.Term()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reSealed == term || v.keys.Terms()[0] == term // there is no older one
}

// ReSeal seals some rows anew that are under an older term than the one that seals, and tells whether there is more to do at
// once. One node at a time does it. It reads no row twice in a pass; a pass that finds nothing is the last.
func (v *Software) ReSeal(ctx context.Context) (more bool, err error) {
	if v.ReSealed() {
		return false, nil
	}
	term := v.keys.Term()
	p, err := v.reSealState(ctx, term)
	if err != nil {
		return false, fmt.Errorf("vault: re-seal: %w", err)
	}
	next := *p
	if next.After == (role.KeyRef{}) && !next.Keys {
		next.Failed, next.Refused = 0, nil
	}
	var keys []KeyRow
	var devices []DeviceRow
	if !p.Keys {
		keys, err = v.reSealKeys(ctx, &next)
	} else {
		devices, err = v.reSealDevices(ctx, &next)
	}
	if err != nil {
		return false, fmt.Errorf("vault: re-seal: %w", err)
	}
	if next.Keys && p.Keys && len(devices) == 0 && next.Devices == p.Devices {
		return v.endPass(ctx, next)
	}
	if err := v.crash("re-seal, before"); err != nil {
		return false, err
	}
	if err := v.saveReSealed(ctx, next, keys, devices); err != nil {
		return false, fmt.Errorf("vault: re-seal: %w", err)
	}
	return true, v.crash("re-seal, after")
}

// reSealState returns where to go on, or begins.
func (v *Software) reSealState(ctx context.Context, term uint32) (*reSealing, error) {
	p, err := readState[reSealing](ctx, v.store, stateReSeal)
	if err != nil || p != nil && p.Term == term {
		return p, err
	}
	all, err := v.under(ctx, term)
	return &reSealing{Term: term, Pass: 1, All: all}, err
}

// under counts the rows under terms before one.
func (v *Software) under(ctx context.Context, term uint32) (all int, err error) {
	counts, err := v.store.TermCounts(ctx)
	for t, rows := range counts {
		if t < term {
			all += rows
		}
	}
	return all, err
}

func (p *reSealing) refuse(what string, err error) {
	if p.Failed++; len(p.Refused) < maxRefused {
		p.Refused = append(p.Refused, fmt.Sprintf("%s: %v", what, err))
	}
}

// reSealKeys seals the next rows of meters anew. They are read and sealed outside the commit: nothing but a re-seal changes
// what of them it changes.
func (v *Software) reSealKeys(ctx context.Context, p *reSealing) (out []KeyRow, err error) {
	rows, err := v.store.KeyRowsUnder(ctx, p.Term, p.After, v.batch)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		p.After = row.Ref
		fresh, err := v.keys.ReSealRow(row)
		if err != nil {
			p.refuse(row.Ref.String(), err)
			continue
		}
		out = append(out, fresh)
	}
	p.Done += len(out)
	p.Keys = len(rows) < v.batch
	return out, nil
}

func (v *Software) reSealDevices(ctx context.Context, p *reSealing) (out []DeviceRow, err error) {
	titles, err := v.store.DevicesUnder(ctx, p.Term, p.Devices, v.batch)
	if err != nil {
		return nil, err
	}
	for _, title := range titles {
		p.Devices = title
		d, known, err := v.store.DeviceRow(ctx, title)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		fresh, err := v.keys.ReSealDevice(d)
		if err != nil {
			p.refuse("device "+title.String(), err)
			continue
		}
		out = append(out, fresh)
	}
	p.Done += 2 * len(out)
	return out, nil
}

func (v *Software) saveReSealed(ctx context.Context, p reSealing, keys []KeyRow, devices []DeviceRow) error {
	return v.store.Durable(ctx, func(ctx context.Context) error {
		if err := v.store.ReSealKeys(ctx, keys); err != nil {
			return err
		}
		if err := v.store.ReSealDevices(ctx, devices); err != nil {
			return err
		}
		if err := writeState(ctx, v.store, stateReSeal, p); err != nil {
			return err
		}
		if len(keys)+len(devices) == 0 {
			return nil
		}
		return v.audit.Append(ctx, audit.Entry{
			Actor: "system:vault", Action: ActionRootReSealed, Phase: audit.Done,
			Detail: map[string]string{"term": fmt.Sprint(p.Term), "keys": fmt.Sprint(len(keys)), "devices": fmt.Sprint(len(devices)), "done": fmt.Sprint(p.Done)},
		})
	})
}

// endPass ends a pass over all rows. It is the last one if nothing is left but what does not open, and every node seals under
// the term: nobody makes a row under an older one any more.
func (v *Software) endPass(ctx context.Context, p reSealing) (more bool, err error) {
	r, mine, err := v.rotation(ctx)
	if err != nil {
		return false, err
	}
	rotating := r != nil && mine && r.Term <= p.Term && r.DoneAt.IsZero() // the root is ahead of a database that was brought back
	waiting := false
	if rotating {
		nodes, err := v.rootNodes(ctx, *r)
		if err != nil {
			return false, err
		}
		for _, n := range nodes {
			waiting = waiting || n.Seals < r.Term
		}
	}
	left, err := v.under(ctx, p.Term)
	if err != nil {
		return false, err
	}
	again := reSealing{Term: p.Term, Pass: p.Pass + 1, Done: p.Done, All: max(p.All, p.Done+left)}
	settled := !waiting && left <= 2*p.Failed
	if settled {
		again.Failed, again.Refused = p.Failed, p.Refused
	}
	err = v.store.Durable(ctx, func(ctx context.Context) error {
		if settled && rotating && left == 0 {
			r.DoneAt = v.time()
			if err := v.rotated(ctx, *r, p); err != nil {
				return err
			}
		}
		return writeState(ctx, v.store, stateReSeal, again)
	})
	if err != nil {
		return false, fmt.Errorf("vault: re-seal: %w", err)
	}
	if settled {
		v.mu.Lock()
		v.reSealed = p.Term
		v.mu.Unlock()
	}
	return !settled && !waiting, v.crash("re-seal, pass ended")
}

func (v *Software) rotated(ctx context.Context, r RootRotation, p reSealing) error {
	if err := v.saveRotation(ctx, r); err != nil {
		return err
	}
	return v.audit.Append(ctx, audit.Entry{
		Actor: r.By, Action: ActionRootRotated, Phase: audit.Done, Outcome: r.Reason,
		Detail: map[string]string{"term": fmt.Sprint(r.Term), "rows": fmt.Sprint(p.Done)},
	})
}

// RootStatus is how the root of a vault stands.
type RootStatus struct {
	Vault string      `json:"vault"`
	Terms []TermState `json:"terms"`
	Names []TermNames `json:"names"`
	// Rotation is the newest, nil if there never was one.
	Rotation *RootRotation `json:"rotation,omitempty"`
	// Nodes is what each node that is waited for has; Waiting those that do not have the term yet, or do not seal under it.
	Nodes   []RootNode `json:"nodes,omitempty"`
	Waiting []string   `json:"waiting,omitempty"`
	// Done of All rows were sealed anew; Failed of them do not open.
	Done    int      `json:"done"`
	All     int      `json:"all"`
	Failed  int      `json:"failed"`
	Refused []string `json:"refused,omitempty"`
	// Finished says that the newest rotation is done.
	Finished bool `json:"finished"`
}

// RootStatus tells how the root stands.
func (v *Software) RootStatus(ctx context.Context) (s RootStatus, err error) {
	s = RootStatus{Vault: v.keys.ID(), Terms: v.keys.TermStates(), Names: v.keys.TermNames()}
	r, mine, err := v.rotation(ctx)
	if err != nil || r == nil {
		return s, err
	}
	s.Rotation, s.Finished = r, !r.DoneAt.IsZero()
	r.MAC = nil
	if !mine {
		s.Waiting = []string{v.node}
		return s, nil
	}
	if s.Nodes, err = v.rootNodes(ctx, *r); err != nil {
		return s, err
	}
	for _, n := range s.Nodes {
		if n.Seals < r.Term {
			s.Waiting = append(s.Waiting, n.Node)
		}
	}
	p, err := readState[reSealing](ctx, v.store, stateReSeal)
	if err == nil && p != nil && p.Term == r.Term {
		s.Done, s.All, s.Failed, s.Refused = p.Done, p.All, p.Failed, p.Refused
	}
	return s, err
}
