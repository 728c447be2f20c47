package iec62056

import (
	"fmt"
	"strings"
)

// MeterConfig describes a port from the meter's side.
type MeterConfig struct {
	// Identification is what the meter says. Its Escapes get the "2" of HDLC if they have none.
	Identification Identification
	// Address is the device address; a request for another one is not answered, one without is.
	Address string
}

// Meter answers openings at a meter's port. Write Output, feed what comes to Receive until Done, and call Timeout when
// nothing came for long (the standard has 60 to 120 s) to begin anew.
//
// It is not safe for concurrent use.
type Meter struct {
	address string
	offer   []byte
	id      Identification
	out     []byte
	buf     []byte
	offered bool
	answer  Acknowledgement
	done    bool
}

// NewMeter returns a port at which nobody has asked yet.
func NewMeter(c MeterConfig) (*Meter, error) {
	if !c.Identification.HDLC() {
		c.Identification.Escapes += "2"
	}
	offer, err := c.Identification.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if c.Identification.Baud.Rate() == 0 {
		return nil, fmt.Errorf("iec62056: speed: want '0' to '9', got %q", byte(c.Identification.Baud))
	}
	if err := checkAddress(c.Address); err != nil {
		return nil, err
	}
	return &Meter{address: c.Address, offer: offer, id: c.Identification}, nil
}

// Output returns the octets to write, valid until the next call of any method.
func (m *Meter) Output() []byte {
	out := m.out
	m.out = m.out[:0]
	return out
}

// Done reports that a reader asked for HDLC: when Output is written, change to Rate.
func (m *Meter) Done() bool { return m.done }

// Rate is the speed agreed on, in bits per second.
func (m *Meter) Rate() int { return m.answer.Baud.Rate() }

// Timeout begins anew.
func (m *Meter) Timeout() {
	m.offered, m.done, m.answer, m.buf = false, false, Acknowledgement{}, m.buf[:0]
}

// Receive takes octets that have come. After Done it takes none.
func (m *Meter) Receive(b []byte) {
	for _, o := range b {
		if m.done {
			return
		}
		m.buf = appendLine(m.buf, o)
		if o == '\n' {
			m.line()
			m.buf = m.buf[:0]
		}
	}
}

// line judges a whole line. What is neither a request for this meter nor an acknowledgement of its offer is noise.
func (m *Meter) line() {
	if r, err := ParseRequest(m.buf); err == nil {
		if m.means(r.Address) {
			m.offered = true
			m.out = append(m.out, m.offer...)
		}
		return
	}
	a, err := ParseAcknowledgement(m.buf)
	if err != nil || !m.offered {
		return
	}
	m.offered = false
	if rate := a.Baud.Rate(); !a.HDLC() || rate == 0 || rate > m.id.Baud.Rate() {
		m.out = append(m.out, nak) // readout and programming are not for this port, nor a speed above the offer
		return
	}
	m.answer, m.done = a, true
	m.out = append(m.out, m.buf...)
}

func (m *Meter) means(address string) bool {
	return address == "" || strings.TrimLeft(address, "0") == strings.TrimLeft(m.address, "0")
}
