package security

import (
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms/key"
)

// ErrLongTerm is returned for a LongTerm with a part missing.
var ErrLongTerm = errors.New("security: long-term key: incomplete")

// LongTerm is one version of a long-term key as one end holds it: what protects, and the two counters that go
// with this version and with no other. An association is opened and closed under it.
type LongTerm struct {
	// Cipher protects under the key. Its user clones it.
	Cipher *Cipher
	// Send hands out the counters that are spent under the holder's own title.
	Send SendCounter
	// Floor holds the counters of the peers.
	Floor ReceiveFloor
	// Generation tells versions of the key apart for its holder, so that what was opened under a replaced key can be
	// closed. An end that knows one version leaves it 0.
	Generation uint32
	// Over, if set, says why the key may be used no more, and nil while it may: a key with an end in time. A server asks
	// it before each APDU, and ends an association whose key is over.
	Over func() error
}

// NewMemoryLongTerm returns one end's half of a key, with an authentication key or, where that is unset, without.
// Its counters live in memory and start at 1: for a key that the process has drawn itself, and for trials.
//
// A key that outlives the process must not be held so. After a restart the same initialization vectors would come
// again, and who recorded them reads and forges; and every APDU of before would be taken once more. Such a key has a
// [BlockCounter] and a [FloorTable] that write.
func NewMemoryLongTerm(aead cipher.AEAD, ak key.Authentication) (LongTerm, error) {
	c, err := NewCipher(aead, ak)
	if err != nil {
		return LongTerm{}, err
	}
	floor, err := NewFloorTable(FloorConfig{Persist: func(Floor) error { return nil }})
	return LongTerm{Cipher: c, Send: NewMemoryCounter(), Floor: floor}, err
}

// Check returns ErrLongTerm when a part is missing.
func (k LongTerm) Check() error {
	switch {
	case k.Cipher == nil:
		return fmt.Errorf("%w: no cipher", ErrLongTerm)
	case k.Send == nil:
		return fmt.Errorf("%w: no sending counter", ErrLongTerm)
	case k.Floor == nil:
		return fmt.Errorf("%w: no receive floor", ErrLongTerm)
	}
	return nil
}
