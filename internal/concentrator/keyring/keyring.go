// Package keyring keeps the copies of CC_LAN that the central system sealed to this concentrator: sealed on disk,
// opened in memory, with the counters of each version beside it.
//
// There is one file for each version of each meter's key. It holds the sealed key as it came, its phase, the highest
// sending counter that may have been spent, and the last counter taken from the meter; each change is a line, durable
// before it takes effect. The name of the file says which key it is and how far its counters go: a file that does not
// verify therefore still says which version is lost, and that version is refused until it comes again with counters
// above all of those, or a newer one comes.
package keyring

import (
	"cmp"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// maxVersions is how many versions of one meter's key are kept at once.
const maxVersions = 16

// Errors of a keyring.
var (
	// ErrNoKey is returned for a version that the keyring does not hold.
	ErrNoKey = errors.New("keyring: no such key")
	// ErrRefused is returned for a sealed key that must not be taken.
	ErrRefused = errors.New("keyring: refused")
	// ErrLost is returned for a version whose counters were lost.
	ErrLost = errors.New("keyring: the counters of this version are lost: it takes a newer version, or the key sealed anew")
)

// Opener opens what is sealed to this concentrator: its identity.
type Opener interface {
	Title() dlms.SystemTitle
	Open(s enrol.SealedKey) (key.Unicast, error)
}

// errErased marks the file of a key that was removed.
var errErased = errors.New("erased")

// Config configures a Ring.
type Config struct {
	// Dir is the keyring's own directory. One process works in it.
	Dir   string
	Owner Opener
	Log   *slog.Logger // nil discards
	// WrapAEAD, if set, stands between each key's cipher and its use, for a nonce oracle.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
}

// Version names a held version of a meter's key.
type Version struct {
	Number uint32
	Phase  bus.Phase
}

// Ring is the keyring. It is safe for concurrent use.
type Ring struct {
	cfg Config

	mu     sync.Mutex
	meters map[dlms.SystemTitle]map[uint32]*entry
	lost   map[id]dlms.InvocationCounter // highest counter that the lost state may have reached
	// renamed says that files have names that are not durable yet.
	renamed bool
}

// id is one version of one meter's CC_LAN.
type id struct {
	meter   dlms.SystemTitle
	version uint32
}

func (k id) ref() role.KeyRef {
	return role.KeyRef{Meter: k.meter, Role: role.CCLAN, Version: k.version}
}

// Open reads the keyring in cfg.Dir, which it makes if need be.
func Open(cfg Config) (*Ring, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	r := &Ring{
		cfg: cfg, meters: map[dlms.SystemTitle]map[uint32]*entry{}, lost: map[id]dlms.InvocationCounter{},
	}
	if err := r.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("keyring: %w", err), r.Close())
	}
	return r, nil
}

func (r *Ring) load() error {
	files, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return err
	}
	found := map[id]dlms.InvocationCounter{}
	for _, f := range files {
		if durable.Unfinished(f.Name()) { // left by a crash before it counted
			if err := os.Remove(filepath.Join(r.cfg.Dir, f.Name())); err != nil {
				return err
			}
			continue
		}
		k, last, ok := parseName(f.Name())
		if !ok {
			return fmt.Errorf("%s: not a file of this keyring; move it away", f.Name())
		}
		found[k] = max(found[k], last)
	}
	// The file with the furthest counters is the newest: another is what a crash left of the one before.
	for _, f := range files {
		k, last, ok := parseName(f.Name())
		if ok && last < found[k] {
			if err := durable.Remove(filepath.Join(r.cfg.Dir, f.Name())); err != nil {
				return err
			}
		}
	}
	for k, last := range found {
		if err := r.loadEntry(k, last); err != nil {
			return err
		}
	}
	return nil
}

// loadEntry reads one file. Damage loses that version and no other.
func (r *Ring) loadEntry(k id, last dlms.InvocationCounter) error {
	e, err := r.openEntry(k, last)
	switch {
	case errors.Is(err, errErased):
		r.lost[k] = last
		return nil
	case errors.Is(err, durable.ErrDamaged):
		r.cfg.Log.Error("keyring.version.lost", "key_ref", k.ref().String(), "error", err)
		r.lost[k] = last
		return nil
	case err != nil:
		return err
	}
	r.put(k, e)
	return nil
}

func (r *Ring) put(k id, e *entry) {
	if r.meters[k.meter] == nil {
		r.meters[k.meter] = map[uint32]*entry{}
	}
	r.meters[k.meter][k.version] = e
}

// Close closes the files.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, versions := range r.meters {
		for _, e := range versions {
			err = errors.Join(err, e.close())
		}
	}
	return err
}

// Remove forgets all keys of a meter that has gone to another concentrator.
func (r *Ring) Remove(meter dlms.SystemTitle) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for n, e := range r.meters[meter] {
		err = errors.Join(err, r.forget(id{meter, n}, e))
	}
	delete(r.meters, meter)
	return errors.Join(err, r.sync())
}

// Held lists what is held, by meter and version.
func (r *Ring) Held() []bus.HeldKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []bus.HeldKey{}
	for meter, versions := range r.meters {
		for n, e := range versions {
			list = append(list, bus.HeldKey{Meter: meter, Version: n, Phase: e.phase()})
		}
	}
	slices.SortFunc(list, func(a, b bus.HeldKey) int {
		return cmp.Or(slices.Compare(a.Meter[:], b.Meter[:]), cmp.Compare(a.Version, b.Version))
	})
	return list
}

// Meters lists the meters with a version that may be used.
func (r *Ring) Meters() []dlms.SystemTitle {
	var list []dlms.SystemTitle
	for _, k := range r.Held() {
		if k.Phase != bus.PhasePending && (len(list) == 0 || list[len(list)-1] != k.Meter) {
			list = append(list, k.Meter)
		}
	}
	return list
}

// Usable lists the versions of a meter's key to try, in that order: the newest that may have reached the meter first.
// A pending one is not among them.
func (r *Ring) Usable(meter dlms.SystemTitle) []Version {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Version
	for n, e := range r.meters[meter] {
		if p := e.phase(); p != bus.PhasePending {
			list = append(list, Version{n, p})
		}
	}
	slices.SortFunc(list, func(a, b Version) int { return cmp.Compare(b.Number, a.Number) })
	return list
}

// LongTerm returns a version for use in an association.
func (r *Ring) LongTerm(meter dlms.SystemTitle, version uint32) (security.LongTerm, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.meters[meter][version]
	if e == nil {
		return security.LongTerm{}, fmt.Errorf("%w: %s", ErrNoKey, id{meter, version}.ref())
	}
	return e.longTerm()
}
