// Package wrapper is the COSEM wrapper over TCP and UDP (IEC 62056-47; GB 7.3.3): eight octets before each APDU.
//
//	version            uint16  0x0001
//	source wPort       uint16  SAP of the sender
//	destination wPort  uint16  SAP of the receiver
//	length             uint16  octets of the APDU that follows
//
// All numbers are big-endian. [Frame], [AppendFrame], [ParseFrame] and [Decoder] are the codec and touch no socket;
// [Conn] and [UDPConn] are the client's ends, [Serve] and [ServeUDP] the server's. The registered port is 4059.
package wrapper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
)

const (
	// Version is the one version of the wrapper.
	Version = 0x0001
	// HeaderSize is the number of octets before the APDU.
	HeaderSize = 8
	// MaxAPDU is the largest APDU that the length field can tell.
	MaxAPDU = 0xFFFF
	// Port is the TCP and UDP port registered for DLMS/COSEM.
	Port = 4059
)

// Errors of the codec. The text around them says what came.
var (
	ErrVersion  = errors.New("wrong version")
	ErrTooLong  = errors.New("too long")
	ErrCut      = errors.New("cut short")
	ErrTrailing = errors.New("trailing bytes")
)

// Frame is one APDU with its addresses.
type Frame struct {
	// Source and Destination are the two wPorts.
	Source, Destination dlms.SAP
	// APDU has at most MaxAPDU bytes.
	APDU []byte
}

// AppendFrame appends f to dst.
func AppendFrame(dst []byte, f Frame) ([]byte, error) {
	if err := checkLength(len(f.APDU)); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = slices.Grow(dst, HeaderSize+len(f.APDU))
	dst = append(appendHeader(dst, f.Source, f.Destination), f.APDU...)
	return dst, setLength(dst[start:])
}

func checkLength(n int) error {
	if n > MaxAPDU {
		return fmt.Errorf("wrapper: apdu: %w: want at most %d bytes, got %d", ErrTooLong, MaxAPDU, n)
	}
	return nil
}

// appendHeader appends a header without its length.
func appendHeader(dst []byte, source, destination dlms.SAP) []byte {
	return append(dst, Version>>8, Version&0xFF, byte(source>>8), byte(source),
		byte(destination>>8), byte(destination), 0, 0)
}

// setLength writes the length of the APDU into the header before it.
func setLength(frame []byte) error {
	n := len(frame) - HeaderSize
	if err := checkLength(n); err != nil {
		return err
	}
	binary.BigEndian.PutUint16(frame[6:], uint16(n))
	return nil
}

// ParseFrame reads b as exactly one frame, as a datagram carries it. The APDU aliases b.
func ParseFrame(b []byte) (Frame, error) {
	f, size, err := parse(b, MaxAPDU)
	switch {
	case err != nil:
		return Frame{}, err
	case size == 0 || size > len(b):
		return Frame{}, fmt.Errorf("wrapper: frame: %w: want %d bytes, got %d", ErrCut, max(size, HeaderSize), len(b))
	case size < len(b):
		return Frame{}, fmt.Errorf("wrapper: frame: %w: want %d bytes, got %d", ErrTrailing, size, len(b))
	}
	return f, nil
}

// parse reads the frame at the start of b and returns the size it has or will have; 0 while the header is not
// complete. The frame is set only when it is complete.
func parse(b []byte, maxAPDU int) (f Frame, size int, err error) {
	if len(b) >= 2 {
		if v := binary.BigEndian.Uint16(b); v != Version {
			return Frame{}, 0, versionError(v)
		}
	}
	if len(b) < HeaderSize {
		return Frame{}, 0, nil
	}
	n := int(binary.BigEndian.Uint16(b[6:]))
	if n > maxAPDU {
		return Frame{}, 0, fmt.Errorf("wrapper: length: %w: want at most %d, got %d", ErrTooLong, maxAPDU, n)
	}
	size = HeaderSize + n
	if len(b) < size {
		return Frame{}, size, nil
	}
	return Frame{
		Source:      dlms.SAP(binary.BigEndian.Uint16(b[2:])),
		Destination: dlms.SAP(binary.BigEndian.Uint16(b[4:])),
		APDU:        b[HeaderSize:size:size],
	}, size, nil
}

func versionError(v uint16) error {
	hint := ""
	if v>>4 == 0x7EA { // an HDLC flag and frame format 3: the commonest mistake at a TCP port
		hint = " (this looks like HDLC)"
	}
	return fmt.Errorf("wrapper: %w: want 0x%04x, got 0x%04x%s", ErrVersion, Version, v, hint)
}
