package mbus

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

const (
	// MaxSegments is how many segments the four bits of their number tell apart.
	MaxSegments = 16
	// MaxSegmentData is how much of an APDU AppendSegments puts into one frame, ours: frames of the length that meters
	// use (L = 250).
	MaxSegmentData = 245

	maxCI      = 0x1F
	ciLast     = 0x10
	ciNumber   = 0x0F
	sizeSAPs   = 2
	maxSegment = MaxData - sizeSAPs
)

// DefaultMaxAPDU is the longest APDU that sixteen frames hold.
const DefaultMaxAPDU = MaxSegments * maxSegment

// Errors of segments.
var (
	// ErrNoSegment is returned for a frame that carries no part of a DLMS APDU.
	ErrNoSegment = errors.New("no dlms segment")
	// ErrSequence is returned for a segment that does not follow the one before.
	ErrSequence = errors.New("segment out of sequence")
)

// Segment is one part of a DLMS APDU (EN 13757-1, transport layer).
type Segment struct {
	// Number counts from 0 to 15.
	Number uint8
	// Last says that the APDU ends with it.
	Last bool
	// Source and Destination are one octet each on the wire: STSAP and DTSAP.
	Source, Destination dlms.SAP
	// Data aliases the frame after parsing.
	Data []byte
}

// ParseSegment takes the segment out of a long frame.
func ParseSegment(f Frame) (Segment, error) {
	if f.Kind != KindLong || f.CI > maxCI {
		return Segment{}, fmt.Errorf("mbus: segment: %w: %s with ci %02x", ErrNoSegment, f.Kind, f.CI)
	}
	if len(f.Data) < sizeSAPs {
		return Segment{}, fmt.Errorf("mbus: segment: %w: want two saps, got %d bytes", ErrCut, len(f.Data))
	}
	return Segment{
		Number:      f.CI & ciNumber,
		Last:        f.CI&ciLast != 0,
		Source:      dlms.SAP(f.Data[0]),
		Destination: dlms.SAP(f.Data[1]),
		Data:        f.Data[sizeSAPs:],
	}, nil
}

// Frame returns the long frame that carries the segment.
func (s Segment) Frame(control, address byte) (Frame, error) {
	switch {
	case s.Number >= MaxSegments:
		return Frame{}, fmt.Errorf("mbus: segment: %w: want a number below %d, got %d", ErrMalformed, MaxSegments, s.Number)
	case s.Source > 0xFF || s.Destination > 0xFF:
		return Frame{}, fmt.Errorf("mbus: segment: %w: want saps of one octet, got %s and %s", ErrMalformed, s.Source, s.Destination)
	case len(s.Data) > maxSegment:
		return Frame{}, fmt.Errorf("mbus: segment: %w: want at most %d bytes, got %d", ErrTooLong, maxSegment, len(s.Data))
	}
	ci := s.Number
	if s.Last {
		ci |= ciLast
	}
	data := append([]byte{byte(s.Source), byte(s.Destination)}, s.Data...)
	return Frame{Kind: KindLong, Control: control, Address: address, CI: ci, Data: data}, nil
}

// AppendSegments appends the frames that carry an APDU from source to destination.
func AppendSegments(dst []byte, control, address byte, source, destination dlms.SAP, apdu []byte) ([]byte, error) {
	if len(apdu) > MaxSegments*MaxSegmentData {
		return nil, fmt.Errorf("mbus: apdu: %w: want at most %d bytes, got %d", ErrTooLong, MaxSegments*MaxSegmentData, len(apdu))
	}
	for number, last := uint8(0), false; !last; number++ {
		n := min(len(apdu), MaxSegmentData)
		last = n == len(apdu)
		f, err := Segment{Number: number, Last: last, Source: source, Destination: destination, Data: apdu[:n]}.Frame(control, address)
		if err != nil {
			return nil, err
		}
		if dst, err = f.AppendBinary(dst); err != nil {
			return nil, err
		}
		apdu = apdu[n:]
	}
	return dst, nil
}

// Assembler puts the segments of APDUs together. After an error it waits for the next first segment. The zero value
// is ready.
type Assembler struct {
	// MaxAPDU bounds what is kept; 0 means DefaultMaxAPDU.
	MaxAPDU int

	apdu    []byte
	next    uint8
	running bool
	source  dlms.SAP
	dest    dlms.SAP
}

// Add takes the next segment. It returns the APDU with its last one, nil before. The APDU is the caller's.
func (a *Assembler) Add(s Segment) ([]byte, error) {
	if s.Number == 0 { // whatever came before, a first segment begins anew
		*a = Assembler{MaxAPDU: a.MaxAPDU, running: true, source: s.Source, dest: s.Destination}
	}
	limit := a.MaxAPDU
	if limit == 0 {
		limit = DefaultMaxAPDU
	}
	switch {
	case !a.running || s.Number != a.next || s.Source != a.source || s.Destination != a.dest:
		want := a.next
		a.reset()
		return nil, fmt.Errorf("mbus: %w: want number %d, got %d", ErrSequence, want, s.Number)
	case len(a.apdu)+len(s.Data) > limit:
		a.reset()
		return nil, fmt.Errorf("mbus: apdu: %w: want at most %d bytes", ErrTooLong, limit)
	}
	a.apdu = append(a.apdu, s.Data...)
	a.next++
	if !s.Last {
		return nil, nil
	}
	apdu := a.apdu
	if apdu == nil {
		apdu = []byte{}
	}
	a.reset()
	return apdu, nil
}

// Pending reports whether an APDU has begun and is not complete.
func (a *Assembler) Pending() bool { return a.running }

func (a *Assembler) reset() { *a = Assembler{MaxAPDU: a.MaxAPDU} }
