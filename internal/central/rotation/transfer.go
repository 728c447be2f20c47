package rotation

import (
	"context"
	"slices"
)

// meters carries keys to the meters whose changes this pass has just marked sent, and seeks the proofs. A change found at
// StepSent may have been transferred before a crash, or not: it is proven, never sent again.
func (r *Reconciler) meters(ctx context.Context, group []*Change, fresh map[*Change]bool) {
	sent := only(group, func(c *Change) bool { return c.Step == StepSent })
	searching := only(group, func(c *Change) bool { return c.Step == StepSearching })
	r.transfer(ctx, only(sent, func(c *Change) bool { return fresh[c] }))
	r.prove(ctx, sent)
	r.each(searching, func(c *Change) { r.search(ctx, c) })
}

func only(cs []*Change, want func(*Change) bool) []*Change {
	return slices.DeleteFunc(slices.Clone(cs), func(c *Change) bool { return !want(c) })
}

// transfer is step 4. Its outcome is only noted: success does not prove the change, nor does an error disprove it.
func (r *Reconciler) transfer(ctx context.Context, cs []*Change) {
	if len(cs) == 0 {
		return
	}
	parcels, carried := r.wrap(ctx, cs)
	if len(parcels) == 0 {
		return
	}
	for i, err := range r.cfg.Hand.Transfer(ctx, parcels) {
		if err != nil {
			r.untransferred(ctx, carried[i], err)
		}
	}
}

func (r *Reconciler) untransferred(ctx context.Context, c *Change, err error) {
	c.LastError = "transfer: " + err.Error()
	r.entry(ctx, c, err)
	r.cfg.Log.Warn("key transfer answered with an error; its outcome is open", "key_ref", c.to().String(), "error", err)
}

// wrap wraps the keys, all together; where that fails, one by one, so that one that is refused holds nobody else up.
func (r *Reconciler) wrap(ctx context.Context, cs []*Change) (parcels []Parcel, carried []*Change) {
	wrapped, err := r.cfg.Vault.Wrap(ctx, refs(cs))
	switch {
	case err == nil:
		for i, c := range cs {
			parcels = append(parcels, Parcel{c.to(), wrapped[i]})
		}
		return parcels, cs
	case len(cs) == 1:
		r.untransferred(ctx, cs[0], err)
		return nil, nil
	}
	for _, c := range cs {
		p, one := r.wrap(ctx, []*Change{c})
		parcels, carried = append(parcels, p...), append(carried, one...)
	}
	return parcels, carried
}
