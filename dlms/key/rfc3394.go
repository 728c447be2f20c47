package key

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// WrapOverhead is what a key wrap adds to a key, in bytes (RFC 3394 2.2.1). A wrapped key of suite 0 has 24 bytes.
const WrapOverhead = 8

const (
	semiblock = 8
	minBlob   = 2 * semiblock
	maxBlob   = 4096 // ours: a bound on what is worth wrapping; keys have 16 or 32 bytes
)

// wrapIV is the default initial value (RFC 3394 2.2.3.1).
const wrapIV uint64 = 0xA6A6A6A6A6A6A6A6

// WrapBlob wraps blob, 16 to 4096 bytes in multiples of 8, under a 16-byte block cipher (RFC 3394 2.2.1).
func WrapBlob(block cipher.Block, blob []byte) ([]byte, error) {
	if err := checkBlob(len(blob)); err != nil {
		return nil, fmt.Errorf("key wrap: %w", err)
	}
	out := make([]byte, WrapOverhead+len(blob))
	r := out[WrapOverhead:]
	copy(r, blob)

	var b [BlockSize]byte
	defer clear(b[:])
	a, t := wrapIV, uint64(0)
	for range 6 {
		for i := 0; i < len(r); i += semiblock {
			t++
			binary.BigEndian.PutUint64(b[:], a)
			copy(b[semiblock:], r[i:i+semiblock])
			block.Encrypt(b[:], b[:])
			a = binary.BigEndian.Uint64(b[:]) ^ t
			copy(r[i:], b[semiblock:])
		}
	}
	binary.BigEndian.PutUint64(out, a)
	return out, nil
}

// UnwrapBlob undoes WrapBlob (RFC 3394 2.2.2). It returns ErrUnwrap, and no bytes, for a blob that does not verify.
func UnwrapBlob(block cipher.Block, wrapped []byte) ([]byte, error) {
	if err := checkBlob(len(wrapped) - WrapOverhead); err != nil {
		return nil, fmt.Errorf("key unwrap: after %d bytes of check: %w", WrapOverhead, err)
	}
	r := make([]byte, len(wrapped)-WrapOverhead)
	copy(r, wrapped[WrapOverhead:])

	var b [BlockSize]byte
	defer clear(b[:])
	a, t := binary.BigEndian.Uint64(wrapped), uint64(6*len(r)/semiblock)
	for range 6 {
		for i := len(r) - semiblock; i >= 0; i -= semiblock {
			binary.BigEndian.PutUint64(b[:], a^t)
			copy(b[semiblock:], r[i:i+semiblock])
			block.Decrypt(b[:], b[:])
			a = binary.BigEndian.Uint64(b[:])
			copy(r[i:], b[semiblock:])
			t--
		}
	}
	binary.BigEndian.PutUint64(b[:], a)
	binary.BigEndian.PutUint64(b[semiblock:], wrapIV)
	if subtle.ConstantTimeCompare(b[:semiblock], b[semiblock:]) != 1 {
		clear(r)
		return nil, ErrUnwrap
	}
	return r, nil
}

func checkBlob(n int) error {
	if n < minBlob || n > maxBlob || n%semiblock != 0 {
		return fmt.Errorf("want %d to %d bytes in multiples of %d, got %d", minBlob, maxBlob, semiblock, n)
	}
	return nil
}
