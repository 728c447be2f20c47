package enrol

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
)

// ErrSealed is the one answer to a sealed key that is damaged, forged, meant for somebody else, or put in another
// key's place.
var ErrSealed = errors.New("sealed key: refused: not sealed by the central system to this device for this meter and role")

// sealedText begins what the MAC of a sealed key covers.
const sealedText = "meterseal sealed key 1"

// derivedText begins it for a derived key, so that neither is taken for the other.
const derivedText = "meterseal sealed derived key 1"

// SealedKey is one long-term key of a meter on its way to one device: AES key wrap (RFC 3394) under the device's
// KEK, and an AES-CMAC under its MAC key over all the rest, because the wrap binds neither meter nor role.
//
// The counters FirstCounter to LastCounter are the holder's own under this key and its own system title. A holder
// that still has its counter for this version goes on with it, and takes LastCounter as its new end; one that does
// not starts at FirstCounter. At LastCounter it stops and asks to have the key sealed again.
//
// With a LastDay what is sealed is not the key itself but the one derived from it for the recipient until that day
// ([key.Unicast.Derive]): an association under it says the day in its AARQ, and the meter refuses it afterwards.
type SealedKey struct {
	Meter        dlms.SystemTitle       `json:"meter"`
	Role         role.Role              `json:"role"`
	Version      uint32                 `json:"version"`
	LastDay      dlms.Day               `json:"last_day,omitzero"`
	Recipient    dlms.SystemTitle       `json:"recipient"`
	FirstCounter dlms.InvocationCounter `json:"first_counter"`
	LastCounter  dlms.InvocationCounter `json:"last_counter"`
	Blob         []byte                 `json:"blob"`
	MAC          []byte                 `json:"mac"`
}

// Ref names the key.
func (s SealedKey) Ref() role.KeyRef {
	return role.KeyRef{Meter: s.Meter, Role: s.Role, Version: s.Version}
}

// Bound returns the parts that the MAC covers, as [key.MAC.Sum] and [key.Framed] take them.
func (s SealedKey) Bound() [][]byte {
	nums := binary.BigEndian.AppendUint32([]byte{byte(s.Role)}, s.Version)
	nums = binary.BigEndian.AppendUint32(nums, uint32(s.FirstCounter))
	nums = binary.BigEndian.AppendUint32(nums, uint32(s.LastCounter))
	if !s.LastDay.IsZero() {
		return [][]byte{[]byte(derivedText), s.Recipient[:], s.Meter[:], nums, s.LastDay[:], s.Blob}
	}
	return [][]byte{[]byte(sealedText), s.Recipient[:], s.Meter[:], nums, s.Blob}
}

// Seal fills Blob and MAC of s, whose other fields are set, with k. It has no LastDay.
func Seal(s SealedKey, kek key.Wrapping, mac key.MAC, k key.Unicast) (SealedKey, error) {
	if !s.LastDay.IsZero() {
		return SealedKey{}, fmt.Errorf("seal %s to %s: the key itself has no last day", s.Ref(), s.Recipient)
	}
	return seal(s, kek, mac, k)
}

// SealDerived fills Blob and MAC of s with the key that was derived for its recipient until its LastDay.
func SealDerived(s SealedKey, kek key.Wrapping, mac key.MAC, k key.Derived) (SealedKey, error) {
	if s.LastDay.IsZero() || s.Role != role.CCLOCALE {
		return SealedKey{}, fmt.Errorf("seal %s to %s: want %s and a last day for a derived key", s.Ref(), s.Recipient, role.CCLOCALE)
	}
	return seal(s, kek, mac, k)
}

func seal(s SealedKey, kek key.Wrapping, mac key.MAC, k key.Wrappable) (SealedKey, error) {
	if err := s.Check(); err != nil {
		return SealedKey{}, err
	}
	if mac.IsZero() {
		return SealedKey{}, fmt.Errorf("seal %s to %s: %w", s.Ref(), s.Recipient, key.ErrNoKey)
	}
	blob, err := kek.Wrap(k)
	if err != nil {
		return SealedKey{}, fmt.Errorf("seal %s to %s: %w", s.Ref(), s.Recipient, err)
	}
	s.Blob = blob
	sum := mac.Sum(s.Bound()...)
	s.MAC = sum[:]
	return s, nil
}

// Open returns the key, for the device with title own. The MAC is checked before the blob is touched.
// It does not open a derived key.
func (s SealedKey) Open(own dlms.SystemTitle, kek key.Wrapping, mac key.MAC) (key.Unicast, error) {
	if !s.LastDay.IsZero() || !s.genuine(own, mac) {
		return key.Unicast{}, ErrSealed
	}
	k, err := kek.UnwrapUnicast(s.Blob)
	if err != nil {
		return key.Unicast{}, ErrSealed
	}
	return k, nil
}

// OpenDerived returns the derived key, for the device with title own.
func (s SealedKey) OpenDerived(own dlms.SystemTitle, kek key.Wrapping, mac key.MAC) (key.Derived, error) {
	if s.LastDay.IsZero() || !s.genuine(own, mac) {
		return key.Derived{}, ErrSealed
	}
	k, err := kek.UnwrapDerived(s.Blob)
	if err != nil {
		return key.Derived{}, ErrSealed
	}
	return k, nil
}

func (s SealedKey) genuine(own dlms.SystemTitle, mac key.MAC) bool {
	return s.Check() == nil && s.Recipient == own && mac.Verify(s.MAC, s.Bound()...)
}

// Check refuses what is never sealed to anybody: CCC and CC_IS stay where they are (laws 1 and 7).
func (s SealedKey) Check() error {
	switch {
	case s.Role != role.CCLAN && s.Role != role.CCLOCALE:
		return fmt.Errorf("seal %s: a key of this role is never handed out", s.Ref())
	case s.Meter.IsZero() || s.Recipient.IsZero() || s.Version == 0:
		return fmt.Errorf("seal %s: want a meter, a recipient and a version", s.Ref())
	case s.FirstCounter == 0 || s.LastCounter < s.FirstCounter:
		return fmt.Errorf("seal %s: want a range of counters, got %d to %d", s.Ref(), s.FirstCounter, s.LastCounter)
	}
	return nil
}
