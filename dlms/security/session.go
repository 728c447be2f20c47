package security

import (
	"crypto/cipher"
	"fmt"
)

// Session returns a Cipher under another AEAD, that of a dedicated key, with the authentication key of c in its
// additional data: the authentication key belongs to the security setup, not to one key (GB 9.2.3.3.7).
func (c *Cipher) Session(aead cipher.AEAD) (*Cipher, error) {
	if aead == nil || aead.NonceSize() != IVSize || aead.Overhead() != TagSize {
		return nil, fmt.Errorf("security: session cipher: want an aead with %d-byte nonce and %d-byte tag", IVSize, TagSize)
	}
	s := c.state()
	return newCipher(aead, s.aad[:s.head]), nil
}
