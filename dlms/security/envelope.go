package security

import (
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
)

// Reserve is the room in bytes that [Cipher.SealInPlace] wants before the plaintext, for the longest header.
const Reserve = apdu.MaxHeader

// ErrReserve is returned by [Cipher.SealInPlace] for a buffer without the room for the header.
var ErrReserve = errors.New("security: seal in place: no room for the header")

// Envelope is what [Cipher.SealInPlace] writes before the content of a ciphered APDU.
type Envelope struct {
	// Tag is the tag outside: one that [apdu.CipheredTag] gives, or TagGeneralGlo or TagGeneralDed.
	Tag apdu.Tag
	// Control is the security control byte.
	Control Control
	// Title is the sender's. Of the two general forms it is also sent.
	Title dlms.SystemTitle
	// Counter is fresh from the sender's [SendCounter].
	Counter dlms.InvocationCounter
}

// SealInPlace makes the ciphered APDU of a plaintext where it stands, without copying it: b is [Reserve] bytes of any
// content and behind them the plaintext, and should have room for TagSize bytes more. The APDU that it returns lies
// in the memory of b, which is not to be used again before the APDU is sent.
//
//	buf := make([]byte, security.Reserve, 512)
//	buf, err = response.AppendBinary(buf)
//	out, err := cipher.SealInPlace(buf, envelope)
func (c *Cipher) SealInPlace(b []byte, e Envelope) ([]byte, error) {
	return c.sealInPlace(b, e.Tag, e.Control, e.Title, e.Counter)
}

// sealInPlace takes the envelope apart, so that it is not copied from small stores by a wide load on the hot path.
func (c *Cipher) sealInPlace(b []byte, tag apdu.Tag, ctl Control, title dlms.SystemTitle, ic dlms.InvocationCounter) ([]byte, error) {
	if len(b) < Reserve {
		return nil, fmt.Errorf("%w: want %d bytes before the plaintext, got %d", ErrReserve, Reserve, len(b))
	}
	b = slices.Grow(b, key.BlockSize) // more than the tag: with less room the cipher would not stay in place
	plain := b[Reserve:]
	start, err := apdu.PutHeader(b[:Reserve], tag, title, byte(ctl), ic, len(plain)+TagSize)
	if err != nil {
		return nil, err
	}
	if _, err = c.Seal(plain[:0], ctl, title, ic, plain); err != nil {
		return nil, err
	}
	return b[start : len(b)+TagSize], nil
}
