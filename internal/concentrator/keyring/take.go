package keyring

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/enrol"
)

// Take takes one key of a Provision. When it returns nil the key and its phase are durable. A phase does not go back by
// itself. A version in phase active is the one that the central system has proven: any newer one that was active becomes one
// that may be in force, and the older ones go. It need not be the newest: a transfer that was long on its way may bring
// in a version that was given up.
func (r *Ring) Take(p bus.ProvisionKey) error { return r.TakeAll([]bus.ProvisionKey{p})[0] }

// TakeAll is Take for the keys of one Provision, each with an outcome of its own. They share what it costs to make names of
// files durable.
func (r *Ring) TakeAll(ps []bus.ProvisionKey) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = r.take(p)
	}
	r.syncAll(errs) // before anything older is forgotten
	for i, p := range ps {
		if errs[i] == nil && p.Phase == bus.PhaseActive {
			k := id{p.Meter, p.Version}
			errs[i] = errors.Join(r.demote(k), r.dropOlder(k))
		}
	}
	r.syncAll(errs)
	return errs
}

// syncAll makes the names durable, or else fails all.
func (r *Ring) syncAll(errs []error) {
	err := r.sync()
	if err == nil {
		return
	}
	for i := range errs {
		errs[i] = errors.Join(errs[i], err)
	}
}

// sync makes the names of files durable that were written since the last time.
func (r *Ring) sync() error {
	if !r.renamed {
		return nil
	}
	if err := durable.SyncDir(r.cfg.Dir); err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	r.renamed = false
	return nil
}

func (r *Ring) take(p bus.ProvisionKey) error {
	k := id{p.Meter, p.Version}
	if rank(p.Phase) == 0 {
		return fmt.Errorf("%w: phase %q", ErrRefused, p.Phase)
	}
	e := r.meters[k.meter][k.version]
	var err error
	switch {
	case p.Sealed == nil && e == nil:
		if _, lost := r.lost[k]; lost {
			return ErrLost
		}
		return ErrNoKey
	case e == nil:
		e, err = r.add(k, *p.Sealed, p.Phase)
	case p.Sealed != nil:
		e, err = r.extend(k, e, *p.Sealed)
	}
	if err != nil || rank(p.Phase) <= rank(e.phase()) {
		return err
	}
	return e.setPhase(p.Phase)
}

// demote makes every newer active version of the meter one that may be in force.
func (r *Ring) demote(k id) error {
	var err error
	for n, e := range r.meters[k.meter] {
		if n > k.version && e.phase() == bus.PhaseActive {
			err = errors.Join(err, e.setPhase(bus.PhaseSent))
		}
	}
	return err
}

// rank orders the phases; 0 is none of them.
func rank(p bus.Phase) int {
	return slices.Index([]bus.Phase{bus.PhasePending, bus.PhaseSent, bus.PhaseActive}, p) + 1
}

// open checks a sealed key and opens it.
func (r *Ring) open(k id, s enrol.SealedKey) (key.Unicast, error) {
	if s.Ref() != k.ref() {
		return key.Unicast{}, fmt.Errorf("%w: want %s, got %s: a concentrator holds CC_LAN and nothing else", ErrRefused, k.ref(), s.Ref())
	}
	opened, err := r.cfg.Owner.Open(s)
	if err != nil {
		return key.Unicast{}, err
	}
	if opened.Weak() {
		return key.Unicast{}, fmt.Errorf("%w: weak key", ErrRefused)
	}
	return opened, nil
}

// add takes a version that is not held.
func (r *Ring) add(k id, s enrol.SealedKey, phase bus.Phase) (*entry, error) {
	opened, err := r.open(k, s)
	if err != nil {
		return nil, err
	}
	if reached, lost := r.lost[k]; lost && s.FirstCounter <= reached {
		return nil, ErrLost
	}
	for n, e := range r.meters[k.meter] {
		if n > k.version && e.phase() == bus.PhaseActive && phase != bus.PhaseActive {
			return nil, fmt.Errorf("%w: version %d is active, an older one is not taken back", ErrRefused, n)
		}
		if e.key.Equal(opened) {
			return nil, fmt.Errorf("%w: the same key as version %d", ErrRefused, n)
		}
	}
	if err := r.makeRoom(k.meter); err != nil {
		return nil, err
	}
	return r.write(k, opened, record{Sealed: &s, Phase: phase})
}

// extend takes the same version sealed anew: its counters go further.
func (r *Ring) extend(k id, e *entry, s enrol.SealedKey) (*entry, error) {
	opened, err := r.open(k, s)
	if err != nil {
		return nil, err
	}
	if !e.key.Equal(opened) {
		return nil, fmt.Errorf("%w: another key under the same version", ErrRefused)
	}
	return e, e.extend(s)
}

// write makes the file of a version, and forgets what was lost of it.
func (r *Ring) write(k id, opened key.Unicast, rec record) (*entry, error) {
	e, err := r.newEntry(k, opened, rec)
	if err != nil {
		return nil, err
	}
	r.put(k, e)
	if reached, lost := r.lost[k]; lost {
		delete(r.lost, k)
		if err := r.sync(); err != nil { // one of both files is there, whatever comes
			return nil, err
		}
		return e, durable.Remove(r.path(k, reached))
	}
	return e, nil
}

// makeRoom forgets the oldest version that is not active, where as many are held as may be. The central system never
// forgets one: should it be in force after all, it is sealed to this concentrator anew.
func (r *Ring) makeRoom(meter dlms.SystemTitle) error {
	versions := r.meters[meter]
	if len(versions) < maxVersions {
		return nil
	}
	for _, n := range slices.Sorted(maps.Keys(versions)) {
		if e := versions[n]; e.phase() != bus.PhaseActive {
			return r.forget(id{meter, n}, e)
		}
	}
	return fmt.Errorf("%w: %d active versions are held", ErrRefused, len(versions))
}

// forget drops a version, but not how far its counters may have gone.
func (r *Ring) forget(k id, e *entry) error {
	r.lost[k] = e.last
	delete(r.meters[k.meter], k.version)
	return e.erase()
}

// dropOlder forgets the versions before k.
func (r *Ring) dropOlder(k id) error {
	var err error
	for n, e := range r.meters[k.meter] {
		if n < k.version {
			err = errors.Join(err, r.forget(id{k.meter, n}, e))
		}
	}
	return err
}
