package key

import (
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

// ErrDerive is returned for a key that cannot be derived for nobody, or for no day.
var ErrDerive = errors.New("key: derive: want a system title and a day")

type derivedRole struct{}

// Derived is a key that one holder has until the end of one day, made of a [Unicast] key that the holder does not
// have: AES-CMAC(key, system title || last day) (ours). It opens and closes associations like the key that it is made
// of, for this title alone. It is no long-term key: after the day the other end refuses it.
type Derived struct {
	_ derivedRole
	material
}

// NewDerived copies the 16 bytes of b, which somebody has derived: a token that computes the AES-CMAC itself.
func NewDerived(b []byte) (Derived, error) {
	m, err := newMaterial("derived", b)
	return Derived{material: m}, err
}

// DerivedText is what the AES-CMAC is over, 12 bytes: the 8 bytes of the title and the 4 of the day. The check value and
// the fingerprint of the same key are over 15 and 14 bytes, so that no choice of title and day gives either of them: an
// AES-CMAC tells messages of different lengths apart (RFC 4493; NIST SP 800-38B).
func DerivedText(title dlms.SystemTitle, last dlms.Day) ([]byte, error) {
	if title.IsZero() || last.IsZero() {
		return nil, ErrDerive
	}
	return append(title[:], last[:]...), nil
}

// Derive makes the key of the holder with that system title, until the end of the day last.
func (k Unicast) Derive(title dlms.SystemTitle, last dlms.Day) (Derived, error) {
	text, err := DerivedText(title, last)
	if err != nil {
		return Derived{}, err
	}
	block, err := k.block()
	if err != nil {
		return Derived{}, fmt.Errorf("derive: %w", err)
	}
	mac := CMAC(block, text)
	defer clear(mac[:])
	return NewDerived(mac[:])
}

// Equal compares in constant time. An unset key equals nothing.
func (k Derived) Equal(o Derived) bool { return k.equal(o.material) }

// AEAD returns AES-128-GCM with the 12-byte tag of DLMS (GB 9.2.3.3.7) under the key.
func (k Derived) AEAD() (cipher.AEAD, error) { return newAEAD(k.material) }

func (k Derived) wrappable() material { return k.material }

// UnwrapDerived opens a wrapped key of 24 bytes as a derived key.
func (k Wrapping) UnwrapDerived(blob []byte) (Derived, error) {
	m, err := unwrap(k.material, "derived", blob)
	return Derived{material: m}, err
}
