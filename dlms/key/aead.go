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
	var inner cipher.AEAD = roomy{gcm} // converted once, and not at each use
	return &aead{of: m, inner: func() cipher.AEAD { return inner }}, nil
}

// roomy gives a GCM with a short tag the room that it writes to. On amd64 the standard library (seen in Go 1.26.8) stores
// the last part of a plaintext as a whole block, and counts on a tag of 16 bytes behind it: with one of 12, and 1 to 3 bytes in
// the last block, it writes up to 3 bytes beyond the capacity of dst, into whatever lies there. That was another key.
type roomy struct{ cipher.AEAD }

// Seal appends as the inner one does. Where dst has too little room the answer is in new memory, as with append.
func (r roomy) Seal(dst, nonce, plaintext, additionalData []byte) []byte {
	last, need := len(plaintext)%BlockSize, len(plaintext)+BlockSize
	if 0 < last && last < BlockSize-TagSize && cap(dst)-len(dst) < need {
		dst = append(make([]byte, 0, len(dst)+need), dst...)
	}
	return r.AEAD.Seal(dst, nonce, plaintext, additionalData)
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

func (a *aead) String() string               { return "aes-gcm with " + a.of.String() }
func (a *aead) Format(s fmt.State, _ rune)   { _, _ = io.WriteString(s, a.String()) }
func (a *aead) LogValue() slog.Value         { return slog.StringValue(a.String()) }
func (a *aead) MarshalText() ([]byte, error) { return nil, ErrRedacted }
