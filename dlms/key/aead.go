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
	of    material // its name is made when it is asked for: a check value costs an AES-CMAC
	inner func() cipher.AEAD
}

func newAEAD(m material) (cipher.AEAD, error) {
	block, err := m.block()
	if err != nil {
		return nil, err
	}
	return m.aeadOf(block)
}

// aeadOf is the AEAD under the block cipher of m.
func (m material) aeadOf(block cipher.Block) (cipher.AEAD, error) {
	gcm, err := cipher.NewGCMWithTagSize(block, TagSize)
	if err != nil {
		return nil, fmt.Errorf("%s key: gcm: %w", m.role, err)
	}
	return &aead{of: m, inner: func() cipher.AEAD { return gcm }}, nil
}

func (a *aead) NonceSize() int { return a.inner().NonceSize() }
func (a *aead) Overhead() int  { return a.inner().Overhead() }

func (a *aead) Seal(dst, nonce, plaintext, additionalData []byte) []byte {
	return a.inner().Seal(bare.Room(dst, len(plaintext)), nonce, plaintext, additionalData)
}

func (a *aead) Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	return a.inner().Open(dst, nonce, ciphertext, additionalData)
}

// Bare gives the cipher to the packages of this library, which hide it again, and give it room ([bare.Room]).
func (a *aead) Bare(t bare.Token) cipher.AEAD {
	if !t.Valid() {
		return a
	}
	return a.inner()
}

func (a *aead) String() string               { return "aes-gcm with " + a.of.String() }
func (a *aead) Format(s fmt.State, _ rune)   { _, _ = io.WriteString(s, a.String()) }
func (a *aead) LogValue() slog.Value         { return slog.StringValue(a.String()) }
func (a *aead) MarshalText() ([]byte, error) { return nil, ErrRedacted }
