package hdlc

import (
	"errors"
	"fmt"
)

const (
	// Flag begins and ends every frame; one flag may end one frame and begin the next.
	Flag = 0x7E
	// MaxInfo is the longest information field (GB 8.4.5.3, parameter 05/06).
	MaxInfo = 2030
	// maxLength is the largest value of the 11-bit length field: octets between the flags.
	maxLength = 0x7FF
	// minLength is a frame of two one-octet addresses and no information field.
	minLength = 7

	formatType    = 0xA0 // frame format type 3 in the upper half of the first octet
	formatSegment = 0x08 // more segments follow
)

// Errors of the codec. The text around them says what came.
var (
	ErrMalformed = errors.New("malformed")
	ErrCheck     = errors.New("check sequence is wrong")
	ErrTooLong   = errors.New("too long")
)

// Frame is one HDLC frame of type 3 (GB 8.4.1):
//
//	flag | format, S, length (2) | destination | source | control | HCS (2) | information | FCS (2) | flag
//
// Without an information field there is no HCS.
type Frame struct {
	// Destination and Source are the two ends, Control the kind of the frame with its numbers.
	Destination, Source Address
	Control             Control
	// Segmented says that the next frame continues the information field of this one.
	Segmented bool
	// Info is the information field, empty if there is none.
	Info []byte
}

// AppendFrame appends f with both flags to dst.
func AppendFrame(dst []byte, f Frame) ([]byte, error) {
	if err := errors.Join(f.Destination.check(), f.Source.check()); err != nil {
		return dst, err
	}
	length := 2 + f.Destination.Size + f.Source.Size + 1 + 2
	if len(f.Info) > 0 {
		length += 2 + len(f.Info)
	}
	if length > maxLength {
		return dst, fmt.Errorf("hdlc: frame: %w: want at most %d bytes, got %d", ErrTooLong, maxLength, length)
	}
	format := byte(formatType)
	if f.Segmented {
		format |= formatSegment
	}
	dst = append(dst, Flag)
	from := len(dst)
	dst = append(dst, format|byte(length>>8), byte(length))
	dst = f.Destination.append(dst)
	dst = f.Source.append(dst)
	dst = append(dst, byte(f.Control))
	if len(f.Info) > 0 {
		dst = appendCheck(dst, from)
		dst = append(dst, f.Info...)
	}
	dst = appendCheck(dst, from)
	return append(dst, Flag), nil
}

// ParseFrame reads b as exactly one frame with both flags. Info aliases b.
func ParseFrame(b []byte) (Frame, error) {
	if len(b) == 0 || b[0] != Flag {
		return Frame{}, fmt.Errorf("hdlc: frame: %w: want a flag first", ErrMalformed)
	}
	f, size, err := scan(b)
	if err != nil {
		return Frame{}, err
	}
	if size != len(b) {
		return Frame{}, fmt.Errorf("hdlc: frame: %w: its length does not fit %d bytes", ErrMalformed, len(b))
	}
	return f, nil
}

// scan reads the frame that the flag b[0] begins. Size is the number of octets with both flags, 0 while more are
// needed. It refuses as early as it can: what the header check covers is judged before the rest has come, so that a
// lying length does not swallow the frames after it.
func scan(b []byte) (f Frame, size int, err error) {
	if len(b) < 3 {
		if len(b) == 2 && b[1]&0xF0 != formatType {
			return f, 0, formatError(b[1])
		}
		return f, 0, nil
	}
	if b[1]&0xF0 != formatType {
		return f, 0, formatError(b[1])
	}
	length := int(b[1]&7)<<8 | int(b[2])
	if length < minLength {
		return f, 0, fmt.Errorf("hdlc: length: %w: want at least %d, got %d", ErrMalformed, minLength, length)
	}
	f.Segmented = b[1]&formatSegment != 0
	header, err := f.scanHeader(b)
	if header == 0 || err != nil {
		return f, 0, err
	}
	hasInfo := length > header+1
	if err := checkHeader(b, header, length, hasInfo); err != nil || hasInfo && len(b) < header+2 {
		return f, 0, err
	}
	if len(b) < length+2 {
		return f, 0, nil
	}
	if b[length+1] != Flag {
		return f, 0, fmt.Errorf("hdlc: frame: %w: no flag at the end that its length tells", ErrMalformed)
	}
	if !checked(b[1 : length+1]) {
		return f, 0, fmt.Errorf("hdlc: fcs: %w", ErrCheck)
	}
	if hasInfo {
		f.Info = b[header+2 : length-1 : length-1]
	}
	return f, length + 2, nil
}

// scanHeader reads addresses and control field, and returns the offset after them; 0 while more octets are needed.
func (f *Frame) scanHeader(b []byte) (next int, err error) {
	next = 3
	for _, a := range []*Address{&f.Destination, &f.Source} {
		if *a, err = parseAddress(b[next:]); err != nil || a.Size == 0 {
			return 0, err
		}
		next += a.Size
	}
	if len(b) <= next {
		return 0, nil
	}
	f.Control = Control(b[next])
	return next + 1, nil
}

// checkHeader judges length and header check once the header is there. header counts the first flag, length does
// not: without an information field the frame is the header and the FCS, length = header + 1.
func checkHeader(b []byte, header, length int, hasInfo bool) error {
	switch {
	case !hasInfo && length != header+1, hasInfo && length < header+4:
		return fmt.Errorf("hdlc: length: %w: %d does not fit the header", ErrMalformed, length)
	case hasInfo && len(b) >= header+2 && !checked(b[1:header+2]):
		return fmt.Errorf("hdlc: hcs: %w", ErrCheck)
	}
	return nil
}

func formatError(b byte) error {
	return fmt.Errorf("hdlc: format: %w: want type 3 (0xA_), got 0x%02x", ErrMalformed, b)
}
