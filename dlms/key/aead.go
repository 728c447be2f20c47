package key

import (
	"crypto/cipher"
	"fmt"
	"io"
	"log/slog"

	"github.com/meterseal/meterseal/dlms/internal/bare"
)

// TagSize is the size in bytes of a GCM authentication tag in DLMS (GB 9.2.3.3.7.2).
const TagSize = 12

// aead keeps the key schedule of a GCM inside a closure: printing a bare cipher.AEAD of the standard library
// prints its round keys, the first of which is the key.
type aead struct {
	name  func() string // made when it is asked for: a check value costs an AES-CMAC
	inner func() cipher.AEAD
}

func newAEAD(m material) (cipher.AEAD, error) {
	block, err := m.block()
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithTagSize(block, TagSize)
	if err != nil {
		return nil, fmt.Errorf("%s key: gcm: %w", m.role, err)
	}
	return &aead{
		name:  func() string { return "aes-gcm with " + m.String() },
		inner: func() cipher.AEAD { return gcm },
	}, nil
}

func (a *aead) NonceSize() int { return a.inner().NonceSize() }
func (a *aead) Overhead() int  { return a.inner().Overhead() }

func (a *aead) Seal(dst, nonce, plaintext, additionalData []byte) []byte {
	return a.inner().Seal(dst, nonce, plaintext, additionalData)
}

func (a *aead) Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	return a.inner().Open(dst, nonce, ciphertext, additionalData)
}

// Bare gives the cipher to the packages of this library, which hide it again.
func (a *aead) Bare(t bare.Token) cipher.AEAD {
	if !t.Valid() {
		return a
	}
	return a.inner()
}

func (a *aead) String() string               { return a.name() }
func (a *aead) Format(s fmt.State, _ rune)   { _, _ = io.WriteString(s, a.name()) }
func (a *aead) LogValue() slog.Value         { return slog.StringValue(a.name()) }
func (a *aead) MarshalText() ([]byte, error) { return nil, ErrRedacted }
