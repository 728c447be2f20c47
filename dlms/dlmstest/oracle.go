package dlmstest

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/meterseal/meterseal/dlms/key"
)

// ErrNonceReused is returned by an Oracle that saw one initialization vector twice under one key.
var ErrNonceReused = errors.New("dlmstest: nonce used twice")

// Reuse is the first repeated nonce that an Oracle saw, with the places that sealed.
type Reuse struct {
	// Key is the key by its name, IV the initialization vector that came twice, 12 bytes.
	Key key.Fingerprint
	IV  []byte
	// First and Second are who used it.
	First, Second Site
}

// Site is a Seal: the name of its watcher and the calls that led to it, innermost first.
type Site struct {
	// Watcher is the name that was given to the oracle with the cipher.
	Watcher string
	// Calls are function names with file and line.
	Calls []string
}

// Error describes the repeat on several lines.
func (r *Reuse) Error() string {
	return fmt.Sprintf("%v: key %s, iv %X\n  first by %s\n  again by %s", ErrNonceReused, r.Key, r.IV, r.First, r.Second)
}

// Unwrap returns ErrNonceReused.
func (r *Reuse) Unwrap() error { return ErrNonceReused }

// String lists the calls.
func (s Site) String() string { return s.Watcher + "\n    " + strings.Join(s.Calls, "\n    ") }

const siteDepth = 8

// site is the interned form of a Site: many seals come from few places.
type site struct {
	watcher string
	pcs     [siteDepth]uintptr
}

type nonce struct {
	key key.Fingerprint
	iv  [12]byte
}

// Oracle watches every Seal of the AEADs that it wraps, in all ends of a process, and remembers the first
// (key, IV) that was used twice. There is no exception: broadcasts and GMAC tags spend nonces of the same space.
// It keeps about 50 bytes for every seal and never forgets. The zero value is ready; it is safe for concurrent use.
//
// Seals that do not pass through a wrapped AEAD are not seen: a test that relies on it also checks Seals.
type Oracle struct {
	mu     sync.Mutex
	seen   map[nonce]uint32 // index into sites
	sites  []site
	known  map[site]uint32
	repeat *Reuse
	report func(*Reuse)
}

// NewOracle returns an oracle that fails t at the first repeat, and also at the end when nothing was sealed at all:
// an oracle that is not wired in would otherwise pass every test.
func NewOracle(t TB) *Oracle {
	o := &Oracle{report: func(r *Reuse) { t.Errorf("%v", r) }}
	t.Cleanup(func() {
		t.Helper()
		if o.Seals() == 0 {
			t.Errorf("dlmstest: the nonce oracle saw no seal; is it wired into both ends?")
		}
	})
	return o
}

// Wrap watches aead. It has the form in which both ends take it in their configuration.
func (o *Oracle) Wrap(aead cipher.AEAD, fp key.Fingerprint) cipher.AEAD {
	return o.Watch("aead", fp, aead)
}

// Watch watches aead under a name that a report shows.
func (o *Oracle) Watch(name string, fp key.Fingerprint, aead cipher.AEAD) cipher.AEAD {
	return &watched{AEAD: aead, oracle: o, name: name, key: fp}
}

// Seals returns how many different nonces were used.
func (o *Oracle) Seals() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen)
}

// Err returns the first repeat as a *Reuse, or nil.
func (o *Oracle) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.repeat == nil {
		return nil
	}
	return o.repeat
}

func (o *Oracle) record(n nonce, s site) {
	if r := o.note(n, s); r != nil && o.report != nil {
		o.report(r)
	}
}

// note returns the repeat if n is the first one.
func (o *Oracle) note(n nonce, s site) *Reuse {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen, o.known = make(map[nonce]uint32), make(map[site]uint32)
	}
	first, again := o.seen[n]
	if !again {
		o.seen[n] = o.siteLocked(s)
		return nil
	}
	if o.repeat != nil {
		return nil
	}
	o.repeat = &Reuse{Key: n.key, IV: n.iv[:], First: o.sites[first].resolve(), Second: s.resolve()}
	return o.repeat
}

func (o *Oracle) siteLocked(s site) uint32 {
	i, ok := o.known[s]
	if !ok {
		i = uint32(len(o.sites))
		o.sites, o.known[s] = append(o.sites, s), i
	}
	return i
}

func (s site) resolve() Site {
	out := Site{Watcher: s.watcher}
	n := 0
	for n < siteDepth && s.pcs[n] != 0 {
		n++
	}
	frames := runtime.CallersFrames(s.pcs[:n])
	for {
		f, more := frames.Next()
		if f.Function != "" {
			out.Calls = append(out.Calls, fmt.Sprintf("%s (%s:%d)", f.Function, f.File, f.Line))
		}
		if !more {
			return out
		}
	}
}

// watched is an AEAD whose seals are recorded.
type watched struct {
	cipher.AEAD
	oracle *Oracle
	name   string
	key    key.Fingerprint
}

// Seal records the nonce and seals.
func (w *watched) Seal(dst, iv, plaintext, additionalData []byte) []byte {
	n := nonce{key: w.key}
	copy(n.iv[:], iv)
	s := site{watcher: w.name}
	runtime.Callers(2, s.pcs[:])
	w.oracle.record(n, s)
	return w.AEAD.Seal(dst, iv, plaintext, additionalData)
}
