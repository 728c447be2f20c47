package nvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A file is the format line and then frames:
//
//	length of the content  2 bytes, big-endian
//	flags                  1 byte: 1 durable
//	mark                   1 byte, 0xA5
//	check of the head      4 bytes: CRC-32C over the four bytes above and the offset of the frame in the file (8)
//	content
//	check of the frame     4 bytes: CRC-32C over all of the above; a check of 0 is written as 1
//
// The head has a check of its own so that a wrong length is told from the end of the file, and so that frames behind
// a damaged one are found.
const (
	formatLine = "meterseal meter memory 1\n"
	headSize   = 8
	checkSize  = 4
	mark       = 0xA5

	flagDurable = 1
)

// errTorn is returned for a last frame that was not written to its end.
var errTorn = errors.New("torn")

func table() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func headCheck(head []byte, offset int) uint32 {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, 12), head[:4]...), uint64(offset))
	return crc32.Checksum(b, table())
}

func frameCheck(frame []byte) uint32 {
	if sum := crc32.Checksum(frame, table()); sum != 0 {
		return sum
	}
	return 1
}

// appendFrame appends the frame that will stand at offset.
func appendFrame(dst []byte, offset int, content []byte, durable bool) ([]byte, error) {
	if len(content) == 0 || len(content) > MaxFrame {
		return dst, fmt.Errorf("%w: want 1 to %d bytes, got %d", ErrFrame, MaxFrame, len(content))
	}
	start := len(dst)
	flags := byte(0)
	if durable {
		flags = flagDurable
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(content)))
	dst = append(dst, flags, mark)
	dst = binary.BigEndian.AppendUint32(dst, headCheck(dst[start:], offset))
	dst = append(dst, content...)
	return binary.BigEndian.AppendUint32(dst, frameCheck(dst[start:])), nil
}

// frame is one frame as it stands in a file.
type frame struct {
	content []byte
	durable bool
	size    int
}

// headAt reads the head at offset, and reports whether it is one.
func headAt(b []byte, offset int) (length int, durable, ok bool) {
	if len(b)-offset < headSize {
		return 0, false, false
	}
	h := b[offset:]
	if h[3] != mark || binary.BigEndian.Uint32(h[4:]) != headCheck(h, offset) {
		return 0, false, false
	}
	return int(binary.BigEndian.Uint16(h)), h[2]&flagDurable != 0, true
}

// frameAt reads the frame at offset. It returns errTorn for one that looks as if its write had been cut, ErrDamaged
// for everything else that is not a frame.
func frameAt(b []byte, offset int) (frame, error) {
	length, durable, ok := headAt(b, offset)
	if !ok {
		if rest := b[offset:]; len(rest) < headSize || blank(rest[:headSize]) {
			return frame{}, errTorn
		}
		return frame{}, ErrDamaged
	}
	f := frame{durable: durable, size: headSize + length + checkSize}
	if len(b)-offset < f.size {
		return frame{}, errTorn
	}
	whole := b[offset : offset+f.size]
	body, check := whole[:headSize+length], whole[headSize+length:]
	if binary.BigEndian.Uint32(check) != frameCheck(body) {
		if blank(check) {
			return frame{}, errTorn
		}
		return frame{}, ErrDamaged
	}
	f.content = body[headSize:]
	return f, nil
}

// blank reports whether bytes are as a file system leaves what it allotted and did not write.
func blank(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// scan calls take for every frame of a file and returns where the good frames end. A torn end is no error, but for
// one case: a whole durable frame behind it proves that it is no end.
func scan(b []byte, take func([]byte) error) (end int, err error) {
	if len(b) < len(formatLine) || string(b[:len(formatLine)]) != formatLine {
		return 0, fmt.Errorf("%w: want a file that begins with %q", ErrVersion, formatLine)
	}
	for end = len(formatLine); end < len(b); {
		f, err := frameAt(b, end)
		if errors.Is(err, errTorn) && !durableAfter(b, end+1) {
			return end, nil
		}
		if err != nil {
			return end, fmt.Errorf("%w at byte %d of %d", ErrDamaged, end, len(b))
		}
		if err := take(f.content); err != nil {
			return end, err
		}
		end += f.size
	}
	return end, nil
}

// durableAfter reports whether a whole durable frame begins at or behind offset.
func durableAfter(b []byte, offset int) bool {
	for ; offset <= len(b)-headSize; offset++ {
		if f, err := frameAt(b, offset); err == nil && f.durable {
			return true
		}
	}
	return false
}
