package dlms

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// SystemTitleSize is the size of a system title in bytes (GB 4.3.4).
const SystemTitleSize = 8

// ErrSystemTitle is returned for a system title that is not 8 bytes of hexadecimal.
var ErrSystemTitle = errors.New("system title: want 16 hexadecimal digits")

// SystemTitle names one DLMS end for ever: three letters of the manufacturer and five bytes of its choice
// (GB 4.3.4). It is the fixed part of every initialization vector, so no two ends that ever share a key may
// share one.
type SystemTitle [SystemTitleSize]byte

// ParseSystemTitle reads 16 hexadecimal digits.
func ParseSystemTitle(s string) (SystemTitle, error) {
	var t SystemTitle
	if len(s) != 2*SystemTitleSize {
		return t, fmt.Errorf("%w, got %d characters", ErrSystemTitle, len(s))
	}
	if _, err := hex.Decode(t[:], []byte(s)); err != nil {
		return SystemTitle{}, fmt.Errorf("%w: %w", ErrSystemTitle, err)
	}
	return t, nil
}

// SystemTitleFromBytes takes a system title out of an APDU; b must have 8 bytes.
func SystemTitleFromBytes(b []byte) (SystemTitle, error) {
	var t SystemTitle
	if len(b) != SystemTitleSize {
		return t, fmt.Errorf("system title: want %d bytes, got %d", SystemTitleSize, len(b))
	}
	copy(t[:], b)
	return t, nil
}

// IsZero reports whether the title is unset.
func (t SystemTitle) IsZero() bool { return t == SystemTitle{} }

// String returns 16 upper-case hexadecimal digits.
func (t SystemTitle) String() string { return strings.ToUpper(hex.EncodeToString(t[:])) }

// MarshalText writes the title as String does, for JSON and YAML.
func (t SystemTitle) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (t *SystemTitle) UnmarshalText(b []byte) error {
	p, err := ParseSystemTitle(string(b))
	if err != nil {
		return err
	}
	*t = p
	return nil
}
