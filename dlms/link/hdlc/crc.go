package hdlc

import "encoding/binary"

// checkSequence is the 16-bit check of HDLC (HCS and FCS; ISO/IEC 13239, CRC-16/X.25): polynomial 0x8408 bit-reversed,
// start and final XOR 0xFFFF.
//
// It goes by half octets. For this polynomial the table of sixteen remainders is i * 0x1081, so none is kept.
func checkSequence(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, o := range b {
		crc = crc>>4 ^ (crc^uint16(o))&0xF*0x1081
		crc = crc>>4 ^ (crc^uint16(o>>4))&0xF*0x1081
	}
	return ^crc
}

// appendCheck appends the check of dst[from:], low octet first.
func appendCheck(dst []byte, from int) []byte {
	return binary.LittleEndian.AppendUint16(dst, checkSequence(dst[from:]))
}

// checked reports whether the last two octets of b are the check of those before.
func checked(b []byte) bool {
	n := len(b) - 2
	return n >= 0 && binary.LittleEndian.Uint16(b[n:]) == checkSequence(b[:n])
}
