package key

import (
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"strings"
)

// The texts under the two names of a key, for a token that computes the AES-CMAC itself. They never change: stored names
// would lose their keys.
const (
	CheckValueText  = "meterseal kcv 1"
	FingerprintText = "meterseal fp 1"
)

// CheckValue is the short public name of a key: the first 3 bytes of AES-CMAC(key, "meterseal kcv 1").
type CheckValue [3]byte

// Fingerprint is the long public name of a key: AES-CMAC(key, "meterseal fp 1"). Equal fingerprints mean equal
// keys, whatever their roles.
type Fingerprint [BlockSize]byte

// CheckValue returns the key's check value, zero for an unset key.
func (m material) CheckValue() CheckValue {
	mac := m.mac(CheckValueText)
	return CheckValue(mac[:3])
}

// Fingerprint returns the key's fingerprint, zero for an unset key.
func (m material) Fingerprint() Fingerprint { return m.mac(FingerprintText) }

// fingerprintOf is Fingerprint with the block cipher of the key.
func fingerprintOf(block cipher.Block) Fingerprint { return CMAC(block, []byte(FingerprintText)) }

func (m material) mac(text string) [BlockSize]byte {
	block, err := m.block()
	if err != nil {
		return [BlockSize]byte{}
	}
	return CMAC(block, []byte(text))
}

// ParseCheckValue reads 6 hexadecimal digits.
func ParseCheckValue(s string) (CheckValue, error) {
	var v CheckValue
	err := v.UnmarshalText([]byte(s))
	return v, err
}

// String returns 6 upper-case hexadecimal digits.
func (v CheckValue) String() string { return strings.ToUpper(hex.EncodeToString(v[:])) }

// MarshalText writes what String returns.
func (v CheckValue) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (v *CheckValue) UnmarshalText(b []byte) error {
	var got CheckValue
	if err := parseHex("check value", got[:], b); err != nil {
		return err
	}
	*v = got
	return nil
}

// ParseFingerprint reads 32 hexadecimal digits.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	err := f.UnmarshalText([]byte(s))
	return f, err
}

// IsZero reports whether the fingerprint is unset.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// String returns 32 upper-case hexadecimal digits.
func (f Fingerprint) String() string { return strings.ToUpper(hex.EncodeToString(f[:])) }

// MarshalText writes what String returns.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (f *Fingerprint) UnmarshalText(b []byte) error {
	var got Fingerprint
	if err := parseHex("fingerprint", got[:], b); err != nil {
		return err
	}
	*f = got
	return nil
}

// parseHex does not echo its input: what stands where a name is wanted may be a key.
func parseHex(what string, dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return fmt.Errorf("%s: want %d hexadecimal digits, got %d characters", what, 2*len(dst), len(text))
	}
	if _, err := hex.Decode(dst, text); err != nil {
		return fmt.Errorf("%s: want %d hexadecimal digits, got another character", what, 2*len(dst))
	}
	return nil
}
