package key

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Size is the size in bytes of every key of security suite 0 (AES-128).
const Size = 16

// Errors of this package. None of them carries a byte of a key.
var (
	// ErrNoKey is returned when the zero value of a key type is put to use.
	ErrNoKey = errors.New("key: not set")
	// ErrRedacted is returned by every attempt to marshal or unmarshal a key.
	ErrRedacted = errors.New("key: a key is not marshalled; wrap it under another key")
	// ErrWeak is returned when a source of randomness yields a key of 16 equal bytes.
	ErrWeak = errors.New("key: 16 equal bytes; the source of randomness is broken")
	// ErrUnwrap is returned for a wrapped key that is damaged or was wrapped under another key (RFC 3394 2.2.3).
	// It does not say which.
	ErrUnwrap = errors.New("key: unwrap: integrity check failed")
	// ErrRole is returned for a key that its master key may not wrap.
	ErrRole = errors.New("key: role may not be wrapped under a master key")
)

// material is what every role is made of. The bytes are captured by reveal alone: no field of the struct holds
// them, and reflection does not see into a closure.
type material struct {
	role   string
	reveal func() []byte
}

// Key is any of this package's key types. No type outside this package implements it.
type Key interface {
	// CheckValue is the short public name of the key.
	CheckValue() CheckValue
	// Fingerprint is the long one.
	Fingerprint() Fingerprint
	// IsZero reports whether the key is unset.
	IsZero() bool
	// Weak reports whether the key is unset or consists of 16 equal bytes.
	Weak() bool
	String() string

	secret() material
}

// Reveal returns a copy of the bytes of k, or nil for the zero value. Few packages have a reason to call it; a
// session key that goes into an InitiateRequest is one. The caller overwrites the copy when it is done.
func Reveal(k Key) []byte {
	m := k.secret()
	if m.IsZero() {
		return nil
	}
	return bytes.Clone(m.reveal())
}

func newMaterial(role string, b []byte) (material, error) {
	if len(b) != Size {
		return material{}, fmt.Errorf("%s key: want %d bytes, got %d", role, Size, len(b))
	}
	held := [Size]byte(b)
	return material{role: role, reveal: func() []byte { return held[:] }}, nil
}

func generateMaterial(role string, rand io.Reader) (material, error) {
	var held [Size]byte
	if _, err := io.ReadFull(rand, held[:]); err != nil {
		return material{}, fmt.Errorf("%s key: read randomness: %w", role, err)
	}
	m := material{role: role, reveal: func() []byte { return held[:] }}
	if m.Weak() {
		return material{}, fmt.Errorf("%s: %w", role, ErrWeak)
	}
	return m, nil
}

func (m material) secret() material { return m }

// IsZero reports whether the key is unset.
func (m material) IsZero() bool { return m.reveal == nil }

// Weak reports whether the key is unset or consists of 16 equal bytes: what a blank memory or a lazy maker gives.
func (m material) Weak() bool {
	if m.IsZero() {
		return true
	}
	b, diff := m.reveal(), byte(0)
	for _, x := range b {
		diff |= x ^ b[0]
	}
	return subtle.ConstantTimeByteEq(diff, 0) == 1
}

// equal compares in constant time. Two unset keys are not equal: nothing may be proved with no key.
func (m material) equal(o material) bool {
	if m.IsZero() || o.IsZero() {
		return false
	}
	return subtle.ConstantTimeCompare(m.reveal(), o.reveal()) == 1
}

func (m material) block() (cipher.Block, error) {
	if m.IsZero() {
		return nil, ErrNoKey
	}
	return aes.NewCipher(m.reveal())
}

// String names the key by role and check value.
func (m material) String() string {
	if m.IsZero() {
		return "key(not set)"
	}
	return m.role + " key " + m.CheckValue().String()
}

// Format prints String for every verb and flag.
func (m material) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, m.String()) }

// LogValue logs String.
func (m material) LogValue() slog.Value { return slog.StringValue(m.String()) }

// MarshalText refuses, and with it encoding/json and encoding/xml.
func (material) MarshalText() ([]byte, error) { return nil, ErrRedacted }

// MarshalBinary refuses, and with it encoding/gob.
func (material) MarshalBinary() ([]byte, error) { return nil, ErrRedacted }

// UnmarshalText refuses: a key does not come out of a configuration file.
func (*material) UnmarshalText([]byte) error { return ErrRedacted }

// UnmarshalBinary refuses.
func (*material) UnmarshalBinary([]byte) error { return ErrRedacted }
