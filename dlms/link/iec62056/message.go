package iec62056

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ErrMalformed is wrapped by what is no message of the opening.
var ErrMalformed = errors.New("malformed")

// Control characters.
const (
	ack = 0x06
	nak = 0x15
)

// Limits of the standard (IEC 62056-21, 6.3.2), and one of ours for what may come before a message.
const (
	maxAddress        = 32
	maxIdentification = 16
	maxEscapes        = 8
	maxLine           = 64
)

const lineEnd = "\r\n"

// InitialBaud is the speed at which every opening begins.
const InitialBaud = 300

// Baud is a speed as one character, '0' to '9' (IEC 62056-21, 6.3.14 for 0 to 6; BB class 19, default_baud, for all).
type Baud byte

// speeds is the speed of each character, '0' first.
var speeds = [...]int{300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200}

// Rate is the speed in bits per second, 0 for a character that means none.
func (b Baud) Rate() int {
	if i := int(b) - '0'; i >= 0 && i < len(speeds) {
		return speeds[i]
	}
	return 0
}

// BaudAtMost is the fastest speed that is not above rate.
func BaudAtMost(rate int) (Baud, error) {
	for i := len(speeds) - 1; i >= 0; i-- {
		if speeds[i] <= rate {
			return Baud('0' + i), nil
		}
	}
	return 0, fmt.Errorf("iec62056: speed: want at least %d, got %d", InitialBaud, rate)
}

// Request is the request message: "/?", the device address, "!". Leading zeros of the address do not count; without
// one every meter at the port answers.
type Request struct {
	// Address is up to 32 digits, letters and spaces.
	Address string
}

// AppendBinary appends the message.
func (r Request) AppendBinary(dst []byte) ([]byte, error) {
	if err := checkAddress(r.Address); err != nil {
		return dst, err
	}
	return append(append(append(dst, "/?"...), r.Address...), "!"+lineEnd...), nil
}

// ParseRequest reads b as exactly one request message.
func ParseRequest(b []byte) (Request, error) {
	text, ok := strings.CutPrefix(string(b), "/?")
	address, ok2 := strings.CutSuffix(text, "!"+lineEnd)
	if !ok || !ok2 {
		return Request{}, fmt.Errorf("iec62056: request: %w: want /? first and ! last", ErrMalformed)
	}
	return Request{address}, checkAddress(address)
}

func checkAddress(s string) error {
	if len(s) > maxAddress {
		return fmt.Errorf("iec62056: device address: %w: want at most %d characters, got %d", ErrMalformed, maxAddress, len(s))
	}
	for _, r := range []byte(s) {
		if r != ' ' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return fmt.Errorf("iec62056: device address: %w: want digits, letters and spaces", ErrMalformed)
		}
	}
	return nil
}

// Identification is the identification message: "/", the maker's three letters, the fastest speed, escape sequences of
// a backslash and one character, the maker's own text.
type Identification struct {
	// Maker is the maker's identification (FLAG); a third letter in lower case means 20 ms of reaction time.
	Maker string
	// Baud is the fastest speed that the meter offers.
	Baud Baud
	// Escapes are the enhanced capabilities, one character each; "2" is HDLC.
	Escapes string
	// Text is up to 16 printable characters, without "/" and "!", that begin with no backslash.
	Text string
}

// HDLC reports whether the meter says that it can mode E.
func (i Identification) HDLC() bool { return strings.Contains(i.Escapes, "2") }

// AppendBinary appends the message.
func (i Identification) AppendBinary(dst []byte) ([]byte, error) {
	if err := i.check(); err != nil {
		return dst, err
	}
	dst = append(append(append(dst, '/'), i.Maker...), byte(i.Baud))
	for _, e := range []byte(i.Escapes) {
		dst = append(dst, '\\', e)
	}
	return append(append(dst, i.Text...), lineEnd...), nil
}

// ParseIdentification reads b as exactly one identification message.
func ParseIdentification(b []byte) (i Identification, err error) {
	line, ok := bytes.CutSuffix(b, []byte(lineEnd))
	if !ok || len(line) < 5 || line[0] != '/' {
		return i, fmt.Errorf("iec62056: identification: %w: want / and at least four characters", ErrMalformed)
	}
	i.Maker, i.Baud, line = string(line[1:4]), Baud(line[4]), line[5:]
	for len(line) >= 2 && line[0] == '\\' {
		i.Escapes += string(line[1:2])
		line = line[2:]
	}
	i.Text = string(line)
	return i, i.check()
}

func (i Identification) check() error {
	what := ""
	switch {
	case len(i.Maker) != 3 || !letters(i.Maker):
		what = "the maker: want three letters"
	case !printable(string(rune(i.Baud))):
		what = "the speed: want one printable character"
	case len(i.Escapes) > maxEscapes || !printable(i.Escapes):
		what = "the escape sequences: want at most 8 of one printable character"
	case len(i.Text) > maxIdentification || !printable(i.Text) || strings.HasPrefix(i.Text, "\\"):
		what = "the text: want at most 16 printable characters, without / and !"
	default:
		return nil
	}
	return fmt.Errorf("iec62056: identification: %w: %s", ErrMalformed, what)
}

func letters(s string) bool {
	for _, r := range []byte(s) {
		if (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return true
}

// printable excludes what begins and ends messages.
func printable(s string) bool {
	for _, r := range []byte(s) {
		if r < ' ' || r > '~' || r == '/' || r == '!' {
			return false
		}
	}
	return true
}

// The option select of mode E: protocol control "HDLC" and mode "binary".
const (
	controlHDLC = '2'
	modeBinary  = '2'
)

// Acknowledgement is the acknowledgement and option select message: ACK, protocol control, speed, mode.
type Acknowledgement struct {
	// Control is '0' normal, '1' secondary, '2' HDLC.
	Control byte
	// Baud is the speed that follows.
	Baud Baud
	// Mode is '0' data readout, '1' programming, '2' binary (HDLC).
	Mode byte
}

// ModeE is the acknowledgement that asks for HDLC at a speed.
func ModeE(b Baud) Acknowledgement { return Acknowledgement{controlHDLC, b, modeBinary} }

// HDLC reports whether it asks for HDLC.
func (a Acknowledgement) HDLC() bool { return a.Control == controlHDLC && a.Mode == modeBinary }

// AppendBinary appends the message.
func (a Acknowledgement) AppendBinary(dst []byte) ([]byte, error) {
	if err := a.check(); err != nil {
		return dst, err
	}
	return append(dst, ack, a.Control, byte(a.Baud), a.Mode, '\r', '\n'), nil
}

// ParseAcknowledgement reads b as exactly one acknowledgement message.
func ParseAcknowledgement(b []byte) (a Acknowledgement, err error) {
	if len(b) != 6 || b[0] != ack || string(b[4:]) != lineEnd {
		return a, fmt.Errorf("iec62056: acknowledgement: %w: want ACK and three characters", ErrMalformed)
	}
	a = Acknowledgement{b[1], Baud(b[2]), b[3]}
	return a, a.check()
}

func (a Acknowledgement) check() error {
	if !printable(string([]byte{a.Control, byte(a.Baud), a.Mode})) {
		return fmt.Errorf("iec62056: acknowledgement: %w: want printable characters", ErrMalformed)
	}
	return nil
}
