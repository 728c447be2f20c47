package hdlc

import (
	"bytes"
	"fmt"
)

// The LLC header (GB 8.3.2) that begins every APDU: destination LSAP E6, source LSAP E6 in commands and E7 in
// responses, quality 00.
const (
	llcCommand  = "\xE6\xE6\x00"
	llcResponse = "\xE6\xE7\x00"
	llcSize     = 3
)

// DefaultMaxAPDU is the longest APDU taken where the configuration names no limit: a COSEM PDU size has 16 bits.
const DefaultMaxAPDU = 0xFFFF

// exchange is the numbered traffic of one link, the same for both ends: what goes out in I frames until it is
// acknowledged, and what has come in until it is whole.
type exchange struct {
	params  Params
	maxAPDU int
	llcIn   string // what a received APDU begins with

	acked uint8  // V(A): number of the first frame not acknowledged
	sent  int    // frames sent from V(A) on, so V(S) = acked + sent
	out   []byte // what frames from V(A) on carry; the last of them ends the APDU
	next  uint8  // V(R): number of the frame expected next
	in    []byte // the segments of an APDU that is not whole yet
}

// load takes the next APDU to send. The one before must have been acknowledged.
func (x *exchange) load(llc string, apdu []byte) {
	x.out = make([]byte, 0, llcSize+len(apdu))
	x.out = append(append(x.out, llc...), apdu...)
}

// window returns how many frames may go out now, counted from V(A).
func (x *exchange) window() int {
	segments := (len(x.out) + x.params.TransmitInfo - 1) / x.params.TransmitInfo
	return min(segments, x.params.TransmitWindow)
}

// frame fills f with segment i from V(A) on. final is the P/F bit.
func (x *exchange) frame(f *Frame, i int, final bool) {
	size := x.params.TransmitInfo
	end := min((i+1)*size, len(x.out))
	f.Info = x.out[i*size : end]
	f.Segmented = end < len(x.out)
	f.Control = information(x.acked+uint8(i), x.next, final)
}

// acknowledge takes N(R): all frames before it have arrived. It reports false for a number that was never sent.
func (x *exchange) acknowledge(nr uint8) bool {
	n := int((nr - x.acked) & 7)
	if n > x.sent {
		return false
	}
	x.acked = nr
	x.sent -= n
	x.out = x.out[min(n*x.params.TransmitInfo, len(x.out)):]
	return true
}

// idle reports that everything loaded was acknowledged.
func (x *exchange) idle() bool { return len(x.out) == 0 }

// receive takes the segment of an I frame that has the number expected, and returns the APDU when it is whole.
func (x *exchange) receive(f Frame) (apdu []byte, whole bool, err error) {
	if limit := x.maxAPDU + llcSize; len(x.in)+len(f.Info) > limit {
		return nil, false, fmt.Errorf("hdlc: apdu: %w: want at most %d bytes", ErrTooLong, x.maxAPDU)
	}
	x.next = (x.next + 1) & 7
	x.in = append(x.in, f.Info...)
	if f.Segmented {
		return nil, false, nil
	}
	apdu, x.in = x.in, nil
	apdu, err = stripLLC(apdu, x.llcIn)
	return apdu, err == nil, err
}

func stripLLC(b []byte, llc string) ([]byte, error) {
	if apdu, ok := bytes.CutPrefix(b, []byte(llc)); ok {
		return apdu, nil
	}
	return nil, fmt.Errorf("hdlc: llc: %w: want % x, got % x", ErrMalformed, llc, b[:min(len(b), llcSize)])
}

// The reasons of a frame reject (GB 8.4.3.8), as bits of its third octet.
const (
	rejectControl = 1 << iota // W: control field not defined
	rejectInfo                // X: information field not allowed
	rejectLength              // Y: information field too long
	rejectNumber              // Z: N(R) of a frame never sent
)

// RejectError is a frame reject (FRMR) of the other end: it got a frame that it can do nothing with.
type RejectError struct {
	// Control is the control field of the frame rejected.
	Control Control
	// Reason has the bits W (1), X (2), Y (4) and Z (8) of the standard.
	Reason byte
}

// Error names the frame and the reasons.
func (e *RejectError) Error() string {
	s := fmt.Sprintf("hdlc: frame %v rejected:", e.Control)
	for i, name := range []string{" control field", " information not allowed", " information too long", " number never sent"} {
		if e.Reason&(1<<i) != 0 {
			s += name
		}
	}
	return s
}

// info is the information field of FRMR: the control field, V(R) and V(S), the reasons.
func (e *RejectError) info(x *exchange) []byte {
	vs := (x.acked + uint8(x.sent)) & 7
	return []byte{byte(e.Control), x.next<<5 | vs<<1, e.Reason}
}

func parseReject(info []byte) *RejectError {
	e := &RejectError{}
	if len(info) >= 3 {
		e.Control, e.Reason = Control(info[0]), info[2]
	}
	return e
}
