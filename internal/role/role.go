// Package role names the roles that a long-term key of a meter has, and one version of one such key. It holds
// names only, never a key.
package role

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

// Role is what a long-term key is for. One key, one use (law 3).
type Role uint8

// The roles, in the words of the publication; CCIS is ours (profile hardened).
const (
	// CCC is the master key: it wraps new keys and does nothing else.
	CCC Role = 1 + iota
	// CCLAN opens associations on the LAN interface.
	CCLAN
	// CCLOCALE opens associations on the local interface.
	CCLOCALE
	// CCIS opens the central system's own association, end to end.
	CCIS
)

// Associations lists the roles that open associations and are rotated under CCC, in the order in which a
// rotation of a whole meter takes them.
func Associations() []Role { return []Role{CCIS, CCLAN, CCLOCALE} }

var names = map[Role]string{CCC: "CCC", CCLAN: "CC_LAN", CCLOCALE: "CC_LOCALE", CCIS: "CC_IS"}

// String returns the published name.
func (r Role) String() string {
	if s, ok := names[r]; ok {
		return s
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Parse reads what String returns.
func Parse(s string) (Role, error) {
	for r, n := range names {
		if n == s {
			return r, nil
		}
	}
	return 0, fmt.Errorf("key role: want CCC, CC_LAN, CC_LOCALE or CC_IS, got %q", s)
}

// MarshalText writes the published name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (r *Role) UnmarshalText(b []byte) error {
	p, err := Parse(string(b))
	if err != nil {
		return err
	}
	*r = p
	return nil
}

// Setup returns the logical name of the Security setup object (class 64) that receives this role's key by
// key_transfer. CCC has none: it is never transferred.
func (r Role) Setup() (dlms.OBIS, bool) {
	switch r {
	case CCLAN:
		return dlms.OBIS{0, 0, 43, 0, 1, 255}, true
	case CCLOCALE:
		return dlms.OBIS{0, 0, 43, 0, 2, 255}, true
	case CCIS:
		return dlms.OBIS{0, 0, 43, 0, 3, 255}, true
	default:
		return dlms.OBIS{}, false
	}
}

// CheckValueObject returns the logical name of the Data object that shows the check value of this role's key.
func (r Role) CheckValueObject() (dlms.OBIS, bool) {
	s, ok := r.Setup()
	return dlms.OBIS{0, 128, 43, 0, s[4], 255}, ok
}

// Meter key versions are named, never shown: by meter, role and version.

// KeyRef names one version of one key of one meter.
type KeyRef struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Role    Role             `json:"role"`
	Version uint32           `json:"version"`
}

// String returns "METER CC_LAN v3".
func (k KeyRef) String() string { return fmt.Sprintf("%s %s v%d", k.Meter, k.Role, k.Version) }

// The service access points of the profiles linky and hardened (docs/divergences.md: they are unpublished).
const (
	SAPServer    dlms.SAP = 1
	SAPReadWrite dlms.SAP = 32
	SAPBroadcast dlms.SAP = 48
	SAPIS        dlms.SAP = 64
	SAPTSP       dlms.SAP = 80
)
