package security

import (
	"errors"
	"fmt"
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
