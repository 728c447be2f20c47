package transport

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // OAEP for tokens that do no other: see the package comment
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/meterseal/meterseal/dlms/key"
)

// Scheme names how an AES key is wrapped under an RSA key. The set is closed.
type Scheme string

// The schemes: OAEP and MGF1 with the same hash function, an empty label.
const (
	OAEPSHA256 Scheme = "rsa-oaep-sha256"
	OAEPSHA1   Scheme = "rsa-oaep-sha1"
)

// hash returns the hash function of a scheme.
func (s Scheme) hash() (crypto.Hash, error) {
	switch s {
	case OAEPSHA256:
		return crypto.SHA256, nil
	case OAEPSHA1:
		return crypto.SHA1, nil
	default:
		return 0, fmt.Errorf("scheme: want %s or %s", OAEPSHA256, OAEPSHA1)
	}
}

// The sizes of an RSA key in bits. Less than 3,072 is weaker than the AES keys below it; more than 4,096 costs whoever
// imports more than it gives.
const (
	MinBits = 3072
	MaxBits = 4096
)

// exponent is the only public exponent that is taken.
const exponent = 65537

// ErrPublic is returned for a text that is no transport key.
var ErrPublic = errors.New("transport key: want one line meterseal-rsa1:SCHEME:BASE64")

const (
	publicPrefix = "meterseal-rsa1:"
	// maxText bounds the text form: 4,096 bits are 550 bytes of SubjectPublicKeyInfo.
	maxText = 1024
)

// Public is the public half of a vault's transport key, with the scheme that the vault opens. The zero value is none.
// Values compare with ==.
type Public struct {
	scheme Scheme
	spki   string // SubjectPublicKeyInfo, DER, as x509 writes it
}

// NewPublic checks a key and takes it.
func NewPublic(k *rsa.PublicKey, s Scheme) (Public, error) {
	if _, err := s.hash(); err != nil {
		return Public{}, fmt.Errorf("transport key: %w", err)
	}
	if k == nil || k.N == nil || k.N.BitLen() < MinBits || k.N.BitLen() > MaxBits || k.E != exponent {
		return Public{}, fmt.Errorf("transport key: want RSA of %d to %d bits, exponent %d", MinBits, MaxBits, exponent)
	}
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return Public{}, fmt.Errorf("transport key: %w", err)
	}
	return Public{scheme: s, spki: string(der)}, nil
}

// ParsePublic reads the text form, with or without a line's end.
func ParsePublic(text string) (Public, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, publicPrefix)
	scheme, b64, more := strings.Cut(rest, ":")
	if !ok || !more || len(text) > maxText {
		return Public{}, ErrPublic
	}
	der, err := base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil {
		return Public{}, ErrPublic
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Public{}, ErrPublic
	}
	k, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return Public{}, ErrPublic
	}
	p, err := NewPublic(k, Scheme(scheme))
	if err == nil && p.spki != string(der) {
		return Public{}, ErrPublic // one key has one form, and so one fingerprint
	}
	return p, err
}

// IsZero reports whether there is no key.
func (p Public) IsZero() bool { return p.spki == "" }

// Scheme returns what the vault opens.
func (p Public) Scheme() Scheme { return p.scheme }

// String returns the text form: one line without its end.
func (p Public) String() string {
	if p.IsZero() {
		return ""
	}
	return publicPrefix + string(p.scheme) + ":" + base64.StdEncoding.EncodeToString([]byte(p.spki))
}

// MarshalText writes the text form.
func (p Public) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form; an empty text is no key.
func (p *Public) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*p = Public{}
		return nil
	}
	*p, err = ParsePublic(string(b))
	return err
}

// Fingerprint names the key to people, and in files: 125 bits of SHA-256 over scheme and key, in five groups of five
// letters and digits.
func (p Public) Fingerprint() string {
	h := sha256.Sum256(key.Framed([]byte("meterseal transport key 1"), []byte(p.scheme), []byte(p.spki)))
	s := base32.StdEncoding.EncodeToString(h[:])[:25]
	return strings.Join([]string{s[:5], s[5:10], s[10:15], s[15:20], s[20:]}, "-")
}

// RSA returns the key, for a token that wraps to it.
func (p Public) RSA() (*rsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey([]byte(p.spki))
	if err != nil {
		return nil, ErrPublic
	}
	k, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, ErrPublic
	}
	return k, nil
}
