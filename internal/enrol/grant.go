package enrol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
)

// Errors of a grant in the terminal's hand.
var (
	// ErrGrant is returned for a grant that is damaged, forged or another terminal's.
	ErrGrant = errors.New("grant: refused: not given by the central system to this terminal")
	// ErrGrantTime is returned for a grant before or after its time.
	ErrGrantTime = errors.New("grant: not in force")
	// ErrNotGranted is returned for a meter that the grant does not name.
	ErrNotGranted = errors.New("grant: does not cover this meter")
)

// GrantSchema names the form of a grant.
const GrantSchema = "meterseal grant 1"

// MaxGrantKeys bounds the meters of one grant.
const MaxGrantKeys = 10_000

// Grant allows one terminal to open associations with some meters on their local port, from NotBefore until
// NotAfter. An honest terminal refuses it outside its time.
//
// Of meters of the profile linky it holds CC_LOCALE, sealed to the terminal: that the meters refuse a dishonest one, too,
// rests on the change of their CC_LOCALE after the end. Of meters of the profile hardened it holds what is derived from
// CC_LOCALE for this terminal until the day of NotAfter: they refuse it themselves when that day has passed by their
// own clocks, and nothing has to change.
type Grant struct {
	Schema    string           `json:"schema"`
	ID        string           `json:"id"`
	Terminal  dlms.SystemTitle `json:"terminal"`
	NotBefore time.Time        `json:"not_before"`
	NotAfter  time.Time        `json:"not_after"`
	Keys      []SealedKey      `json:"keys"`
	MAC       []byte           `json:"mac"`
}

// Bound returns the parts that the grant's MAC covers: all of it, and each key by its own MAC.
func (g Grant) Bound() [][]byte {
	times := binary.BigEndian.AppendUint64(nil, uint64(g.NotBefore.UnixMicro()))
	times = binary.BigEndian.AppendUint64(times, uint64(g.NotAfter.UnixMicro()))
	parts := [][]byte{[]byte(g.Schema), []byte(g.ID), g.Terminal[:], times}
	for _, k := range g.Keys {
		parts = append(parts, k.MAC)
	}
	return parts
}

// SealGrant completes a grant, whose keys are sealed already.
func SealGrant(g Grant, mac key.MAC) (Grant, error) {
	if mac.IsZero() {
		return Grant{}, fmt.Errorf("seal grant %s: %w", g.ID, key.ErrNoKey)
	}
	g = g.Prepared()
	sum := mac.Sum(g.Bound()...)
	g.MAC = sum[:]
	return g, nil
}

// Prepared returns the grant as its MAC covers it: schema and times in their one form.
func (g Grant) Prepared() Grant {
	g.Schema = GrantSchema
	g.NotBefore, g.NotAfter = g.NotBefore.UTC().Truncate(time.Microsecond), g.NotAfter.UTC().Truncate(time.Microsecond)
	return g
}

// Verify says whether the grant is genuine and this terminal's. It does not look at the time.
func (g Grant) Verify(own dlms.SystemTitle, mac key.MAC) error {
	if g.Schema != GrantSchema || len(g.Keys) > MaxGrantKeys || g.Terminal != own || !mac.Verify(g.MAC, g.Bound()...) {
		return ErrGrant
	}
	return nil
}

// Check says whether the grant is in force at now.
func (g Grant) Check(now time.Time) error {
	if now.Before(g.NotBefore) || now.After(g.NotAfter) {
		return fmt.Errorf("%w: from %s to %s, now %s", ErrGrantTime,
			g.NotBefore.Format(time.RFC3339), g.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// For returns the sealed key of one meter.
func (g Grant) For(meter dlms.SystemTitle) (SealedKey, error) {
	for _, k := range g.Keys {
		if k.Meter == meter && k.Role == role.CCLOCALE {
			return k, nil
		}
	}
	return SealedKey{}, fmt.Errorf("%w: %s", ErrNotGranted, meter)
}
