package wire

import "encoding/binary"

// Split takes apart what is a tag, a length in its shortest form and exactly that many bytes of content, as nearly
// everything on the wire is. It is a short cut for the hot path: for everything else ok is false, and a [Reader] says
// what is wrong, or reads the longer form.
func Split(b []byte) (tag byte, content []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, false
	}
	switch first := b[1]; {
	case first < 0x80:
		return b[0], b[2:], int(first) == len(b)-2
	case first == 0x81 && len(b) > 2:
		return b[0], b[3:], b[2] >= 0x80 && int(b[2]) == len(b)-3
	case first == 0x82 && len(b) > 3:
		return b[0], b[4:], b[2] != 0 && int(binary.BigEndian.Uint16(b[2:])) == len(b)-4
	}
	return 0, nil, false
}

// Header takes one byte and a number of four bytes from the front of b.
func Header(b []byte) (first byte, number uint32, rest []byte, ok bool) {
	if len(b) < 5 {
		return 0, 0, nil, false
	}
	return b[0], binary.BigEndian.Uint32(b[1:]), b[5:], true
}
