package shipment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
)

// The profiles that are shipped. The profile linky has no CC_IS.
const (
	ProfileHardened = "hardened"
	ProfileLinky    = "linky"
)

// maxSerial is the largest serial number that fits the five bytes of a system title behind the maker's letters.
const maxSerial = 1<<40 - 1

// Meter is one meter of a shipment, with its first keys.
type Meter struct {
	Title   dlms.SystemTitle
	Suite   uint8
	Profile string
	CCC     key.Master
	LAN     key.Unicast
	Locale  key.Unicast
	IS      key.Unicast // unset in the profile linky
}

// RoleKey is one key of a meter and its role.
type RoleKey struct {
	Role role.Role
	Key  key.Wrappable
}

// Keys lists the keys that the meter has, CCC first.
func (m Meter) Keys() []RoleKey {
	keys := []RoleKey{{role.CCC, m.CCC}, {role.CCLAN, m.LAN}, {role.CCLOCALE, m.Locale}}
	if !m.IS.IsZero() {
		keys = append(keys, RoleKey{role.CCIS, m.IS})
	}
	return keys
}

// String names the meter and none of its keys.
func (m Meter) String() string { return fmt.Sprintf("meter %s, profile %s", m.Title, m.Profile) }

// Format prints String for every verb.
func (m Meter) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, m.String()) }

// MarshalJSON refuses: a row leaves memory through Write alone.
func (Meter) MarshalJSON() ([]byte, error) { return nil, key.ErrRedacted }

// check refuses what no central system would take. It does not look at keys already in use.
func (m Meter) check(maker string) *Refusal {
	if string(m.Title[:3]) != maker {
		return refuse(Foreign, "its system title is not of maker "+maker)
	}
	if m.Suite != 0 {
		return refuse(Unsupported, fmt.Sprintf("security suite %d", m.Suite))
	}
	if m.Profile != ProfileHardened && m.Profile != ProfileLinky {
		return refuse(Unsupported, "profile")
	}
	if m.IS.IsZero() != (m.Profile == ProfileLinky) {
		return refuse(Damaged, "CC_IS belongs to profile "+ProfileHardened+" alone")
	}
	seen := map[key.Fingerprint]role.Role{}
	for _, k := range m.Keys() {
		if k.Key.Weak() {
			return refuse(WeakKey, k.Role.String())
		}
		fp := k.Key.Fingerprint()
		if other, twice := seen[fp]; twice {
			return refuse(DuplicateKey, fmt.Sprintf("%s is its %s", k.Role, other))
		}
		seen[fp] = k.Role
	}
	return nil
}

// checkMaker wants the three letters of a manufacturer (FLAG).
func checkMaker(maker string) error {
	if len(maker) != 3 {
		return fmt.Errorf("maker: want 3 capital letters, got %d characters", len(maker))
	}
	for _, c := range []byte(maker) {
		if c < 'A' || c > 'Z' {
			return errors.New("maker: want 3 capital letters")
		}
	}
	return nil
}

// Title returns the system title of the maker's meter with a serial number.
func Title(maker string, serial uint64) (dlms.SystemTitle, error) {
	if err := checkMaker(maker); err != nil {
		return dlms.SystemTitle{}, err
	}
	if serial == 0 || serial > maxSerial {
		return dlms.SystemTitle{}, fmt.Errorf("serial number: want 1 to %d, got %d", uint64(maxSerial), serial)
	}
	var t dlms.SystemTitle
	binary.BigEndian.PutUint64(t[:], serial)
	copy(t[:], maker)
	return t, nil
}

// Generate makes count meters of a maker (three letters), with serial numbers from first on and keys from rand.
func Generate(rand io.Reader, maker string, count int, profile string, first uint64) ([]Meter, error) {
	if count < 1 || count > MaxCount {
		return nil, fmt.Errorf("make shipment: want 1 to %d meters, got %d", MaxCount, count)
	}
	if profile != ProfileHardened && profile != ProfileLinky {
		return nil, fmt.Errorf("make shipment: profile: want %s or %s, got %q", ProfileHardened, ProfileLinky, profile)
	}
	meters := make([]Meter, count)
	for i := range meters {
		title, err := Title(maker, first+uint64(i))
		if err != nil {
			return nil, fmt.Errorf("make shipment: %w", err)
		}
		if meters[i], err = generate(rand, title, profile); err != nil {
			return nil, fmt.Errorf("make shipment: %w", err)
		}
	}
	return meters, nil
}

func generate(rand io.Reader, title dlms.SystemTitle, profile string) (m Meter, err error) {
	m.Title, m.Profile = title, profile
	if m.CCC, err = key.GenerateMaster(rand); err != nil {
		return m, err
	}
	for _, k := range []*key.Unicast{&m.LAN, &m.Locale, &m.IS} {
		if k == &m.IS && profile == ProfileLinky {
			break
		}
		if *k, err = key.GenerateUnicast(rand); err != nil {
			return m, err
		}
	}
	return m, nil
}
