package hdlc

import "testing"

func TestCheckSequenceOfPublishedVectors(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint16
	}{
		{"123456789", 0x906E},            // CRC-16/X-25, catalogue of parametrised CRC algorithms (G. Cook)
		{"", 0x0000},                     // the start value, inverted
		{"\xA0\x07\x03\x21\x93", 0x010F}, // SNRM of client 16 to server 1
	} {
		if got := checkSequence([]byte(c.in)); got != c.want {
			t.Errorf("%x: got %#04x, want %#04x", c.in, got, c.want)
		}
	}
}

// byBits is the definition: one bit at a time.
func byBits(s string) uint16 {
	crc := uint16(0xFFFF)
	for _, o := range []byte(s) {
		crc ^= uint16(o)
		for range 8 {
			odd := crc&1 != 0
			crc >>= 1
			if odd {
				crc ^= 0x8408
			}
		}
	}
	return ^crc
}

func TestCheckSequenceEqualsItsDefinitionForEveryOctet(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			s := string([]byte{byte(a), byte(b)})
			if got, want := checkSequence([]byte(s)), byBits(s); got != want {
				t.Fatalf("%x: got %#04x, want %#04x", s, got, want)
			}
		}
	}
}
