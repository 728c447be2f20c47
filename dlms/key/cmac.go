package key

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// BlockSize is the size in bytes of an AES block.
const BlockSize = 16

// CMAC computes AES-CMAC (RFC 4493, NIST SP 800-38B) of msg. The block cipher must have 16-byte blocks.
func CMAC(block cipher.Block, msg []byte) [BlockSize]byte {
	var state struct{ k1, mac [BlockSize]byte } // one piece of memory: what is given to an interface lives on the heap
	k1, mac := &state.k1, &state.mac
	block.Encrypt(k1[:], k1[:])
	double(k1)

	for len(msg) > BlockSize {
		subtle.XORBytes(mac[:], mac[:], msg[:BlockSize])
		block.Encrypt(mac[:], mac[:])
		msg = msg[BlockSize:]
	}
	if len(msg) < BlockSize {
		double(k1)
		mac[len(msg)] ^= 0x80
	}
	subtle.XORBytes(mac[:], mac[:], k1[:])
	subtle.XORBytes(mac[:], mac[:], msg)
	block.Encrypt(mac[:], mac[:])
	clear(k1[:])
	return *mac
}

// double multiplies by x in GF(2^128) (RFC 4493 2.3) without a branch on the secret.
func double(b *[BlockSize]byte) {
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	carry := -(hi >> 63) & 0x87
	binary.BigEndian.PutUint64(b[:8], hi<<1|lo>>63)
	binary.BigEndian.PutUint64(b[8:], lo<<1^carry)
}

// Framed joins parts, each after its length in 4 bytes, so that no two lists of parts give the same bytes. It is
// what [MAC.Sum] authenticates; a token that computes the AES-CMAC itself is given this.
func Framed(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += 4 + len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// Sum returns the AES-CMAC of [Framed] parts. An unset key gives zeros, which Verify never accepts.
func (k MAC) Sum(parts ...[]byte) [BlockSize]byte {
	block, err := k.block()
	if err != nil {
		return [BlockSize]byte{}
	}
	return CMAC(block, Framed(parts...))
}

// Verify reports in constant time whether mac is the Sum of parts. With an unset key nothing verifies.
func (k MAC) Verify(mac []byte, parts ...[]byte) bool {
	if k.IsZero() {
		return false
	}
	want := k.Sum(parts...)
	return subtle.ConstantTimeCompare(mac, want[:]) == 1
}
