package sim

import (
	"crypto/cipher"
	"sync"

	"github.com/meterseal/meterseal/dlms/key"
)

// oracle counts nonces used twice, over all parts of a world (law 4).
type oracle struct {
	mu      sync.Mutex // the count at the end asks several meters at once
	seen    map[nonce]struct{}
	repeats int
	note    func(format string, args ...any)
}

type nonce struct {
	key key.Fingerprint
	iv  [12]byte
}

func newOracle(note func(string, ...any)) *oracle {
	return &oracle{seen: map[nonce]struct{}{}, note: note}
}

// wrap returns a WrapAEAD for one part.
func (o *oracle) wrap(who string) func(cipher.AEAD, key.Fingerprint) cipher.AEAD {
	return func(a cipher.AEAD, fp key.Fingerprint) cipher.AEAD { return &watched{a, o, who, fp} }
}

type watched struct {
	cipher.AEAD
	oracle *oracle
	who    string
	key    key.Fingerprint
}

// Seal notes the nonce and seals.
func (w *watched) Seal(dst, iv, plaintext, aad []byte) []byte {
	n := nonce{key: w.key}
	copy(n.iv[:], iv)
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	if _, again := w.oracle.seen[n]; again {
		w.oracle.repeats++
		w.oracle.note("NONCE TWICE by %s: key %s iv %x", w.who, w.key, iv)
	}
	w.oracle.seen[n] = struct{}{}
	return w.AEAD.Seal(dst, iv, plaintext, aad)
}
