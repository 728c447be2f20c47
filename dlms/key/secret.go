package key

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// MaxSecretSize is the size in bytes of the longest secret: that of a challenge (GB 9.2.7.4).
const MaxSecretSize = 64

// ErrSecret is returned for a secret of no bytes, or of too many.
var ErrSecret = errors.New("key: secret refused")

// Secret is what two ends share that is not a key: the password of low level security, the HLS secret of the
// mechanisms that hash (GB 9.2.7.4; BB 4.4.4, attribute secret). 1 to 64 bytes. Like a key it prints, logs and
// marshals as nothing, is not compared with ==, and is not found by reflection; unlike a key it has no check value:
// a password may be weak enough to be found from one.
type Secret struct {
	reveal func() []byte
}

// NewSecret copies b, which has 1 to 64 bytes.
func NewSecret(b []byte) (Secret, error) {
	if len(b) == 0 || len(b) > MaxSecretSize {
		return Secret{}, fmt.Errorf("%w: want 1 to %d bytes, got %d", ErrSecret, MaxSecretSize, len(b))
	}
	held := bytes.Clone(b)
	return Secret{reveal: func() []byte { return held }}, nil
}

// RevealSecret returns a copy of the bytes of s, or nil for the zero value. Low level security sends them; the caller
// overwrites the copy when it is done.
func RevealSecret(s Secret) []byte {
	if s.IsZero() {
		return nil
	}
	return bytes.Clone(s.reveal())
}

// IsZero reports whether the secret is unset.
func (s Secret) IsZero() bool { return s.reveal == nil }

// Equal compares in constant time, whatever the lengths. An unset secret equals nothing.
func (s Secret) Equal(o Secret) bool {
	if s.IsZero() || o.IsZero() {
		return false
	}
	return s.Matches(o.reveal())
}

// Matches reports in constant time whether b is the secret, whatever the lengths: what a server does with a password
// (GB 9.2.7.4, LLS). Nothing matches an unset secret.
func (s Secret) Matches(b []byte) bool {
	if s.IsZero() {
		return false
	}
	want, got := sha256.Sum256(s.reveal()), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// String says that there is one, or that there is none.
func (s Secret) String() string {
	if s.IsZero() {
		return "secret(not set)"
	}
	return "secret"
}

// Format prints String for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue logs String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText refuses, and with it encoding/json and encoding/xml.
func (Secret) MarshalText() ([]byte, error) { return nil, ErrRedacted }

// MarshalBinary refuses, and with it encoding/gob.
func (Secret) MarshalBinary() ([]byte, error) { return nil, ErrRedacted }

// UnmarshalText refuses: a secret does not come out of a configuration file.
func (*Secret) UnmarshalText([]byte) error { return ErrRedacted }

// UnmarshalBinary refuses.
func (*Secret) UnmarshalBinary([]byte) error { return ErrRedacted }
