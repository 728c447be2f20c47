package dlms

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrOBIS is returned for a text that is not an OBIS code.
var ErrOBIS = errors.New("obis code: want six numbers A.B.C.D.E.F from 0 to 255")

// OBIS is a logical name: the six value groups A to F of IEC 62056-6-1.
type OBIS [6]byte

// ParseOBIS reads "1.0.1.8.0.255", and the written form "1-0:1.8.0*255".
func ParseOBIS(s string) (OBIS, error) {
	var o OBIS
	parts := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(".-:*&", r) })
	if len(parts) != len(o) {
		return OBIS{}, fmt.Errorf("%w, got %q", ErrOBIS, s)
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return OBIS{}, fmt.Errorf("%w, got %q", ErrOBIS, s)
		}
		o[i] = byte(n)
	}
	return o, nil
}

// OBISFromBytes takes a logical name out of an APDU; b must have 6 bytes.
func OBISFromBytes(b []byte) (OBIS, error) {
	var o OBIS
	if len(b) != len(o) {
		return o, fmt.Errorf("logical name: want %d bytes, got %d", len(o), len(b))
	}
	copy(o[:], b)
	return o, nil
}

// String returns the six numbers joined by points.
func (o OBIS) String() string {
	return fmt.Sprintf("%d.%d.%d.%d.%d.%d", o[0], o[1], o[2], o[3], o[4], o[5])
}

// MarshalText writes the code as String does, for JSON and YAML.
func (o OBIS) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what ParseOBIS reads.
func (o *OBIS) UnmarshalText(b []byte) error {
	p, err := ParseOBIS(string(b))
	if err != nil {
		return err
	}
	*o = p
	return nil
}
