package transport

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/meterseal/meterseal/dlms/key"
)

// ErrPrivate is returned for bytes that are no private transport key. It holds nothing of them.
var ErrPrivate = errors.New("transport key: private key is damaged")

// Private is the private half of a transport key in the memory of a software vault. It prints nothing of itself; the key is
// captured in a closure, which reflection does not see into.
type Private struct {
	public Public
	reveal func() *rsa.PrivateKey
}

// Generate makes a transport key of MinBits. Since Go 1.26 crypto/rsa draws its randomness itself.
func Generate(rand io.Reader) (Private, error) {
	k, err := rsa.GenerateKey(rand, MinBits)
	if err != nil {
		return Private{}, fmt.Errorf("make transport key: %w", err)
	}
	return newPrivate(k)
}

// ParsePrivate reads what PKCS8 wrote. Its errors hold nothing of it.
func ParsePrivate(der []byte) (Private, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Private{}, ErrPrivate
	}
	k, ok := parsed.(*rsa.PrivateKey)
	if !ok || k.Validate() != nil {
		return Private{}, ErrPrivate
	}
	return newPrivate(k)
}

func newPrivate(k *rsa.PrivateKey) (Private, error) {
	pub, err := NewPublic(&k.PublicKey, OAEPSHA256)
	if err != nil {
		return Private{}, err
	}
	return Private{public: pub, reveal: func() *rsa.PrivateKey { return k }}, nil
}

// PKCS8 returns the key for the sealed root file, and for nothing else. The caller overwrites it when it is done.
func (p Private) PKCS8() ([]byte, error) {
	if p.reveal == nil {
		return nil, key.ErrNoKey
	}
	return x509.MarshalPKCS8PrivateKey(p.reveal())
}

// IsZero reports whether there is no key.
func (p Private) IsZero() bool { return p.reveal == nil }

// Public returns the other half.
func (p Private) Public() Public { return p.public }

// UnwrapKey opens a wrapped AES key.
func (p Private) UnwrapKey(wrapped []byte) (key.Wrapping, error) {
	if p.reveal == nil {
		return key.Wrapping{}, key.ErrNoKey
	}
	hash, err := p.public.scheme.hash()
	if err != nil {
		return key.Wrapping{}, err
	}
	b, err := rsa.DecryptOAEP(hash.New(), nil, p.reveal(), wrapped, nil)
	defer clear(b)
	if err != nil || len(b) != key.Size {
		return key.Wrapping{}, ErrSealed
	}
	k, err := key.NewWrapping(b)
	if err != nil || k.Weak() {
		return key.Wrapping{}, ErrSealed
	}
	return k, nil
}

// String names the key by its public half.
func (p Private) String() string { return "private transport key of " + p.public.Fingerprint() }

// Format prints String for every verb.
func (p Private) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, p.String()) }

// LogValue prints String.
func (p Private) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText refuses.
func (Private) MarshalText() ([]byte, error) { return nil, key.ErrRedacted }

// MarshalBinary refuses.
func (Private) MarshalBinary() ([]byte, error) { return nil, key.ErrRedacted }
