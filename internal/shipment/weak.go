package shipment

import "github.com/meterseal/meterseal/dlms/key"

// published are keys that stand in books: the examples of the Green Book and of test suites, which makers have shipped.
var published = [][]byte{
	{0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF}, // GB, examples
	{0x2B, 0x7E, 0x15, 0x16, 0x28, 0xAE, 0xD2, 0xA6, 0xAB, 0xF7, 0x15, 0x88, 0x09, 0xCF, 0x4F, 0x3C}, // FIPS 197, SP 800-38
	{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF}, // RFC 3394
	{0xFE, 0xFF, 0xE9, 0x92, 0x86, 0x65, 0x73, 0x1C, 0x6D, 0x6A, 0x8F, 0x94, 0x67, 0x30, 0x83, 0x08}, // GCM
	[]byte("0123456789abcdef"), []byte("0123456789ABCDEF"), []byte("1234567890123456"), []byte("abcdefghijklmnop"),
}

// WeakKeys returns the fingerprints of keys that nobody should have: 16 equal bytes, 16 bytes that count up or down, and
// keys that were published. A vault on a token knows a key by its fingerprint alone.
func WeakKeys() (map[key.Fingerprint]bool, error) {
	out := map[key.Fingerprint]bool{}
	add := func(b []byte) error {
		k, err := key.NewUnicast(b)
		if err == nil {
			out[k.Fingerprint()] = true
		}
		return err
	}
	for _, b := range published {
		if err := add(b); err != nil {
			return nil, err
		}
	}
	for first := range 256 {
		for _, step := range []int{0, 1, -1} {
			b := make([]byte, key.Size)
			for i := range b {
				b[i] = byte(first + i*step)
			}
			if err := add(b); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
