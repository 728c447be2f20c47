package hdlc

import "fmt"

// Kind is what a control field says (GB 8.4.3).
type Kind uint8

// The frames of the profile; everything else is KindUnknown.
const (
	KindUnknown Kind = iota
	KindI            // information, numbered
	KindRR           // receive ready
	KindRNR          // receive not ready
	KindSNRM         // set normal response mode: connect
	KindDISC         // disconnect
	KindUA           // unnumbered acknowledge
	KindDM           // disconnected mode
	KindFRMR         // frame reject
	KindUI           // unnumbered information
)

// String returns the name of the standard.
func (k Kind) String() string {
	names := [...]string{"unknown", "I", "RR", "RNR", "SNRM", "DISC", "UA", "DM", "FRMR", "UI"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// pollBit is P in commands and F in responses.
const pollBit = 0x10

// Control fields without their poll bit and numbers.
const (
	controlRR   = 0x01
	controlRNR  = 0x05
	controlSNRM = 0x83
	controlDISC = 0x43
	controlUA   = 0x63
	controlDM   = 0x0F
	controlFRMR = 0x87
	controlUI   = 0x03
)

// Control is the control field of a frame.
type Control byte

// Kind tells what the frame is.
func (c Control) Kind() Kind {
	if c&1 == 0 {
		return KindI
	}
	switch c & 0x0F {
	case controlRR:
		return KindRR
	case controlRNR:
		return KindRNR
	}
	switch c &^ pollBit {
	case controlSNRM:
		return KindSNRM
	case controlDISC:
		return KindDISC
	case controlUA:
		return KindUA
	case controlDM:
		return KindDM
	case controlFRMR:
		return KindFRMR
	case controlUI:
		return KindUI
	}
	return KindUnknown
}

// Poll reports the P/F bit: in a command, that an answer is asked for; in a response, that it is the last one.
func (c Control) Poll() bool { return c&pollBit != 0 }

// sendNumber is N(S) of an I frame.
func (c Control) sendNumber() uint8 { return uint8(c) >> 1 & 7 }

// receiveNumber is N(R) of an I, RR or RNR frame: the number of the frame expected next.
func (c Control) receiveNumber() uint8 { return uint8(c) >> 5 }

// String names the frame, with its numbers and its poll bit: "I s=1 r=2 P".
func (c Control) String() string {
	s := c.Kind().String()
	switch c.Kind() {
	case KindI:
		s = fmt.Sprintf("I s=%d r=%d", c.sendNumber(), c.receiveNumber())
	case KindRR, KindRNR:
		s = fmt.Sprintf("%s r=%d", s, c.receiveNumber())
	case KindUnknown:
		s = fmt.Sprintf("0x%02x", byte(c))
	}
	if c.Poll() {
		s += " P"
	}
	return s
}

func unnumbered(c Control, poll bool) Control {
	if poll {
		return c | pollBit
	}
	return c
}

func supervisory(c Control, nr uint8, poll bool) Control {
	return unnumbered(c|Control(nr&7)<<5, poll)
}

func information(ns, nr uint8, poll bool) Control {
	return unnumbered(Control(nr&7)<<5|Control(ns&7)<<1, poll)
}
