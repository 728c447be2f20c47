package transport

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms/key"
)

// Errors of an envelope.
var (
	// ErrNotForUs is returned for what was sealed to another vault.
	ErrNotForUs = errors.New("sealed to another vault")
	// ErrSealed is the one answer to a wrapped key that does not open. It does not say why: whoever could tell padding that
	// is wrong from a key of the wrong length could decrypt with it (Manger's attack).
	ErrSealed = errors.New("the sealed transport key does not open")
)

// Envelope is the head of what is sealed to a vault: to whose transport key, how, and the AES key that the rest is wrapped
// under. It holds no secret in clear.
type Envelope struct {
	To     string `json:"to"`     // fingerprint of the vault's transport key
	Scheme Scheme `json:"scheme"` // how Key was wrapped
	Key    []byte `json:"key"`    // the AES key under the RSA key
}

// Seal makes a new AES key from rand and its envelope to a vault. Since Go 1.26 crypto/rsa draws the randomness of the
// padding itself.
func Seal(rand io.Reader, to Public) (Envelope, key.Wrapping, error) {
	k, err := key.GenerateWrapping(rand)
	if err != nil {
		return Envelope{}, key.Wrapping{}, fmt.Errorf("seal to %s: %w", to.Fingerprint(), err)
	}
	wrapped, err := WrapKey(rand, to, k)
	if err != nil {
		return Envelope{}, key.Wrapping{}, err
	}
	return Envelope{To: to.Fingerprint(), Scheme: to.scheme, Key: wrapped}, k, nil
}

// WrapKey wraps one AES key under a vault's transport key.
func WrapKey(rand io.Reader, to Public, k key.Wrapping) ([]byte, error) {
	if to.IsZero() || k.IsZero() {
		return nil, fmt.Errorf("wrap transport key: %w", key.ErrNoKey)
	}
	hash, err := to.scheme.hash()
	if err != nil {
		return nil, fmt.Errorf("wrap transport key: %w", err)
	}
	pub, err := to.RSA()
	if err != nil {
		return nil, fmt.Errorf("wrap transport key: %w", err)
	}
	b := key.Reveal(k)
	defer clear(b)
	out, err := rsa.EncryptOAEP(hash.New(), rand, pub, b, nil)
	if err != nil {
		return nil, fmt.Errorf("wrap transport key: %w", err)
	}
	return out, nil
}

// Check refuses an envelope that no vault could open.
func (e Envelope) Check() error {
	if _, err := e.Scheme.hash(); err != nil {
		return fmt.Errorf("sealed to %q: %w", e.To, err)
	}
	if len(e.To) != 29 || len(e.Key) < MinBits/8 || len(e.Key) > MaxBits/8 {
		return fmt.Errorf("want the fingerprint of a transport key and a sealed key of %d to %d bytes", MinBits/8, MaxBits/8)
	}
	return nil
}

// For refuses an envelope to anybody but p, before anything is decrypted.
func (e Envelope) For(p Public) error {
	if err := e.Check(); err != nil {
		return err
	}
	if e.To != p.Fingerprint() || e.Scheme != p.scheme {
		return fmt.Errorf("%w: it is for %s (%s), this one is %s (%s)", ErrNotForUs, e.To, e.Scheme, p.Fingerprint(), p.scheme)
	}
	return nil
}
