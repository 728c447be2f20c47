package relay

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

var _ rotation.Hand = (*Hand)(nil)

// entrance is one association of many that are opened together.
type entrance struct {
	meter dlms.SystemTitle
	place Place
	key   role.KeyRef
	use   *vault.Use
	do    func(context.Context, *client.Association) error
	err   error
}

// Transfer carries wrapped keys to their meters: in the IS's own association where there is one, else in the
// concentrator's, on order.
func (h *Hand) Transfer(ctx context.Context, parcels []rotation.Parcel) []error {
	all := make([]*entrance, len(parcels))
	for i, p := range parcels {
		all[i] = &entrance{meter: p.Key.Meter}
	}
	h.locateAll(ctx, all)
	var own, ordered []int
	for i, e := range all {
		method, param, err := transferOf(parcels[i])
		switch {
		case e.err != nil:
		case err != nil:
			e.err = err
		case e.place.EndToEnd:
			e.do = func(ctx context.Context, a *client.Association) error {
				_, err := a.Action(ctx, method, param)
				return err
			}
			own = append(own, i)
		default:
			ordered = append(ordered, i)
		}
	}
	h.each(ordered, func(i int) {
		method, param, _ := transferOf(parcels[i]) // which was so a moment ago
		all[i].err = h.Perform(ctx, all[i].meter, action(method, param))
	})
	entering := make([]*entrance, len(own))
	for n, i := range own {
		entering[n] = all[i]
	}
	h.enter(ctx, entering)
	return errorsOf(all)
}

// transferOf is key_transfer (BB 4.4.7, method 2) of one key.
func transferOf(p rotation.Parcel) (dlms.MethodRef, dlms.Data, error) {
	setup, ok := p.Key.Role.Setup()
	if !ok {
		return dlms.MethodRef{}, dlms.Data{}, fmt.Errorf("transfer %s: a key of this role is never transferred", p.Key)
	}
	method := dlms.MethodRef{Class: dlms.ClassSecuritySetup, Instance: setup, Method: 2}
	return method, dlms.Array(dlms.Structure(dlms.Enum(0), dlms.OctetString(p.Wrapped))), nil
}

// enter opens the IS's associations under the keys in force that it enters with.
func (h *Hand) enter(ctx context.Context, all []*entrance) {
	unlock := h.lockAll(ctx, all)
	defer unlock()
	h.current(ctx, all)
	h.open(ctx, all, "transfer")
	for _, e := range all {
		if refusedByMeter(e.err) {
			e.err = fmt.Errorf("%w: %w", rotation.ErrEntry, e.err)
		}
	}
}

// current finds the versions in force, under the locks: a key change that was waited for may have brought a new one.
func (h *Hand) current(ctx context.Context, all []*entrance) {
	live := living(all)
	targets := make([]vault.Target, len(live))
	for i, e := range live {
		targets[i] = vault.Target{Meter: e.meter, Role: e.place.entry()}
	}
	active, err := h.cfg.Vault.Active(ctx, targets)
	switch {
	case err == nil:
		for i, e := range live {
			e.key = active[i].Ref
		}
	case len(live) == 1:
		live[0].err = err
	default: // one of them may have no key in force, which is not the others' matter
		for _, e := range live {
			h.current(ctx, []*entrance{e})
		}
	}
}

// Opens proves versions of CC_IS or CC_LAN by associations of the IS's own.
func (h *Hand) Opens(ctx context.Context, keys []role.KeyRef) []error {
	all := make([]*entrance, len(keys))
	for i, k := range keys {
		all[i] = &entrance{meter: k.Meter, key: k, do: func(context.Context, *client.Association) error { return nil }}
	}
	h.locateAll(ctx, all)
	unlock := h.lockAll(ctx, all)
	defer unlock()
	h.open(ctx, all, "proof")
	for _, e := range all {
		if refusedByMeter(e.err) {
			e.err = fmt.Errorf("%w: %w", rotation.ErrRefused, e.err)
		}
	}
	return errorsOf(all)
}

// open opens the associations: one intent for all of them, durable before any, and one result.
func (h *Hand) open(ctx context.Context, all []*entrance, purpose string) {
	live := living(all)
	if len(live) == 0 {
		return
	}
	keys := make([]role.KeyRef, len(live))
	for i, e := range live {
		keys[i] = e.key
	}
	opened, err := h.cfg.Vault.OpenFor(ctx, h.cfg.Actor, h.cfg.Own, purpose, keys)
	for i, e := range live {
		if e.err = err; err == nil {
			e.use, e.err = opened[i].Use, opened[i].Err
		}
	}
	live = living(live)
	indexes := make([]int, len(live))
	for i := range indexes {
		indexes[i] = i
	}
	h.each(indexes, func(i int) { live[i].err = h.associate(ctx, live[i].place, live[i].use, live[i].do) })
	outcomes := make([]vault.Outcome, len(live))
	for i, e := range live {
		outcomes[i] = vault.Outcome{Use: e.use, Result: result(e.err)}
	}
	h.finish(ctx, outcomes)
}

// living are those that nothing has gone wrong with yet.
func living(all []*entrance) []*entrance {
	return slices.DeleteFunc(slices.Clone(all), func(e *entrance) bool { return e.err != nil })
}

func errorsOf(all []*entrance) []error {
	out := make([]error, len(all))
	for i, e := range all {
		out[i] = e.err
	}
	return out
}

func (h *Hand) locateAll(ctx context.Context, all []*entrance) {
	meters := make([]dlms.SystemTitle, len(all))
	for i, e := range all {
		meters[i] = e.meter
	}
	places, errs := h.cfg.Locate(ctx, meters)
	for i, e := range all {
		e.place, e.err = places[i], errs[i]
	}
}

// lockAll locks the meters, in the order of their titles: two that want the same ones do not wait for each other.
func (h *Hand) lockAll(ctx context.Context, all []*entrance) (unlock func()) {
	var held []func()
	sorted := slices.SortedFunc(slices.Values(living(all)), func(a, b *entrance) int { return bytes.Compare(a.meter[:], b.meter[:]) })
	for _, e := range sorted {
		var one func()
		if one, e.err = h.locks.hold(ctx, e.meter); e.err == nil {
			held = append(held, one)
		}
	}
	return func() {
		for _, f := range held {
			f()
		}
	}
}

// each runs f on indexes, Width at a time; one at a time in their order.
func (h *Hand) each(indexes []int, f func(i int)) {
	if h.cfg.Width == 1 {
		for _, i := range indexes {
			f(i)
		}
		return
	}
	sem := make(chan struct{}, h.cfg.Width)
	var wg sync.WaitGroup
	for _, i := range indexes {
		sem <- struct{}{}
		wg.Go(func() { defer func() { <-sem }(); f(i) })
	}
	wg.Wait()
}
