package mbus

import (
	"errors"
	"fmt"
	"strconv"
)

// Octets of the link layer (EN 13757-2, 5.4).
const (
	StartLong  = 0x68
	StartShort = 0x10
	Stop       = 0x16
	Ack        = 0xE5
)

const (
	// MaxData is the longest data of a long frame: the length octet counts three octets besides it.
	MaxData = 0xFF - overhead

	overhead  = 3 // C, A and CI, which the length counts
	envelope  = 6 // four octets before what the length counts, two after
	sizeShort = 5
)

// Errors of the codec. The text around them says what came.
var (
	ErrMalformed = errors.New("malformed")
	ErrCheck     = errors.New("check sum is wrong")
	ErrCut       = errors.New("cut short")
	ErrTrailing  = errors.New("trailing bytes")
	ErrTooLong   = errors.New("too long")
)

// Kind is the form of a frame.
type Kind uint8

// Forms of a frame (EN 13757-2, 5.4). A control frame is a long one without data.
const (
	KindLong Kind = iota
	KindControl
	KindShort
	KindAck
)

// String returns the name that the standard gives the form.
func (k Kind) String() string {
	names := [...]string{"long frame", "control frame", "short frame", "acknowledge"}
	if int(k) < len(names) {
		return names[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// Frame is one frame. Which fields count depends on the kind: an acknowledge has none, a short frame Control and
// Address, a control frame CI as well.
type Frame struct {
	// Kind is which of the four forms.
	Kind Kind
	// Control is the C field.
	Control byte
	// Address is the primary address; 0xFF is a broadcast that nobody answers.
	Address byte
	// CI is the control information, what Data is.
	CI byte
	// Data aliases the input after parsing.
	Data []byte
}

// ParseFrame reads b as exactly one frame. Data aliases b.
func ParseFrame(b []byte) (Frame, error) {
	f, size, err := scan(b)
	switch {
	case err != nil:
		return Frame{}, err
	case size == 0:
		return Frame{}, fmt.Errorf("mbus: frame: %w: got %d bytes", ErrCut, len(b))
	case size < len(b):
		return Frame{}, fmt.Errorf("mbus: frame: %w: %d", ErrTrailing, len(b)-size)
	}
	return f, nil
}

// scan reads the frame at the start of b. Size is the number of octets that it takes, 0 while more are needed.
func scan(b []byte) (f Frame, size int, err error) {
	if len(b) == 0 {
		return f, 0, nil
	}
	switch b[0] {
	case Ack:
		return Frame{Kind: KindAck}, 1, nil
	case StartShort:
		return scanShort(b)
	case StartLong:
		return scanLong(b)
	}
	return f, 0, fmt.Errorf("mbus: start: %w: want 68, 10 or e5, got %02x", ErrMalformed, b[0])
}

func scanShort(b []byte) (f Frame, size int, err error) {
	if len(b) < sizeShort {
		return f, 0, nil
	}
	if err := checkEnd(b[1:sizeShort]); err != nil {
		return f, 0, err
	}
	return Frame{Kind: KindShort, Control: b[1], Address: b[2]}, sizeShort, nil
}

// scanLong judges the length, which stands there twice, before the rest has come.
func scanLong(b []byte) (f Frame, size int, err error) {
	if len(b) > 2 && b[2] != b[1] || len(b) > 3 && b[3] != StartLong {
		return f, 0, fmt.Errorf("mbus: header: %w: want 68 L L 68, got % x", ErrMalformed, b[:min(len(b), 4)])
	}
	if len(b) < 2 {
		return f, 0, nil
	}
	n := int(b[1])
	if n < overhead {
		return f, 0, fmt.Errorf("mbus: length: %w: want at least %d, got %d", ErrMalformed, overhead, n)
	}
	if len(b) < n+envelope {
		return f, 0, nil
	}
	if err := checkEnd(b[4 : n+envelope]); err != nil {
		return f, 0, err
	}
	f = Frame{Kind: KindLong, Control: b[4], Address: b[5], CI: b[6], Data: b[7 : 4+n : 4+n]}
	if n == overhead {
		f.Kind, f.Data = KindControl, nil
	}
	return f, n + envelope, nil
}

// checkEnd checks the last two octets of b, sum and stop.
func checkEnd(b []byte) error {
	body, end := b[:len(b)-2], b[len(b)-2:]
	if end[1] != Stop {
		return fmt.Errorf("mbus: stop: %w: want 16, got %02x", ErrMalformed, end[1])
	}
	if got := sum(body); got != end[0] {
		return fmt.Errorf("mbus: %w: want %02x, got %02x", ErrCheck, got, end[0])
	}
	return nil
}

func sum(b []byte) (s byte) {
	for _, o := range b {
		s += o
	}
	return s
}

// AppendBinary appends the frame. A long frame without data is written as a control frame, which is the same.
func (f Frame) AppendBinary(dst []byte) ([]byte, error) {
	switch f.Kind {
	case KindAck:
		return append(dst, Ack), nil
	case KindShort:
		return append(dst, StartShort, f.Control, f.Address, f.Control+f.Address, Stop), nil
	case KindLong, KindControl:
	default:
		return nil, fmt.Errorf("mbus: frame: %w: %s", ErrMalformed, f.Kind)
	}
	if f.Kind == KindControl && len(f.Data) > 0 {
		return nil, fmt.Errorf("mbus: control frame: %w: want no data, got %d bytes", ErrMalformed, len(f.Data))
	}
	if len(f.Data) > MaxData {
		return nil, fmt.Errorf("mbus: data: %w: want at most %d bytes, got %d", ErrTooLong, MaxData, len(f.Data))
	}
	n := byte(overhead + len(f.Data))
	dst = append(dst, StartLong, n, n, StartLong)
	from := len(dst)
	dst = append(append(dst, f.Control, f.Address, f.CI), f.Data...)
	return append(dst, sum(dst[from:]), Stop), nil
}

// ControlName says what the control field of a primary station's frame asks (EN 13757-2, 5.7.2), "" for others.
func ControlName(c byte) string {
	const countBits = 0x30 // frame count bit, and whether it counts
	switch c &^ countBits {
	case 0x40:
		return "SND-NKE"
	case 0x43:
		return "SND-UD"
	case 0x4A:
		return "REQ-UD1"
	case 0x4B:
		return "REQ-UD2"
	case 0x08:
		return "RSP-UD"
	}
	return ""
}
