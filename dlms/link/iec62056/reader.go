package iec62056

import (
	"errors"
	"fmt"
)

// Errors of an opening.
var (
	// ErrSilent: nothing that is an identification has come.
	ErrSilent = errors.New("iec62056: the meter does not answer")
	// ErrNotOffered: the meter has identified itself, offers no HDLC and has not confirmed it either.
	ErrNotOffered = errors.New("iec62056: the meter offers no mode E")
	// ErrRefused: the meter has confirmed something else, or has answered NAK.
	ErrRefused = errors.New("iec62056: the meter refused mode E")
)

// ReaderConfig describes an opening from the reader's side. The zero value takes any meter and its own speed.
type ReaderConfig struct {
	// Address is the device address, empty for whoever is there.
	Address string
	// MaxRate is the fastest speed that the reader wants, 0 for the meter's.
	MaxRate int
	// Tries is how often the request is sent. Default 3.
	Tries int
}

// Reader opens a port from the reader's side. Write Output, feed what comes to Receive, and call Timeout when nothing
// came for about 2 s (the standard gives a meter 1.5 s), until Done.
//
// It is not safe for concurrent use.
type Reader struct {
	tries int
	ask   []byte
	out   []byte
	buf   []byte // a line under way
	limit Baud

	id        Identification
	answer    Acknowledgement
	acked     bool // the acknowledgement is out
	echoing   bool // the head gave the request back
	echoes    int  // copies of the acknowledgement that are echo
	confirmed bool
	done      bool
	err       error
}

// NewReader begins an opening: the request is in Output.
func NewReader(c ReaderConfig) (*Reader, error) {
	ask, err := Request{c.Address}.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	r := &Reader{tries: c.Tries, ask: ask, limit: '9'}
	if r.tries <= 0 {
		r.tries = 3
	}
	if c.MaxRate != 0 {
		if r.limit, err = BaudAtMost(c.MaxRate); err != nil {
			return nil, err
		}
	}
	r.request()
	return r, nil
}

func (r *Reader) request() {
	r.tries--
	r.buf = r.buf[:0]
	r.out = append(r.out, r.ask...)
}

// Output returns the octets to write, valid until the next call of any method.
func (r *Reader) Output() []byte {
	out := r.out
	r.out = r.out[:0]
	return out
}

// Done reports that the opening has ended. If Err is nil, change to Rate and speak HDLC.
func (r *Reader) Done() bool { return r.done }

// Err tells why an opening that has ended failed.
func (r *Reader) Err() error { return r.err }

// Rate is the speed agreed on, in bits per second.
func (r *Reader) Rate() int { return r.answer.Baud.Rate() }

// Identification is what the meter says of itself, the zero value before it has.
func (r *Reader) Identification() Identification { return r.id }

// Confirmed reports that the meter confirmed the speed; not every meter does.
func (r *Reader) Confirmed() bool { return r.confirmed }

// Echoing reports that the head gives back what is sent: wrap what follows in an [Echo].
func (r *Reader) Echoing() bool { return r.echoing }

// Receive takes octets that have come. After Done it takes none.
func (r *Reader) Receive(b []byte) {
	for _, o := range b {
		if r.done {
			return
		}
		r.buf = appendLine(r.buf, o)
		switch {
		case o == nak && r.acked:
			r.end(ErrRefused)
		case o == '\n':
			r.line()
			r.buf = r.buf[:0]
		}
	}
}

// appendLine adds an octet to a line under way. What begins a message begins the line; a line that is too long is none.
func appendLine(buf []byte, o byte) []byte {
	if o == '/' || o == ack || len(buf) >= maxLine {
		buf = buf[:0]
	}
	return append(buf, o)
}

// line judges a whole line. Before the acknowledgement the identification counts, after it the confirmation; anything
// else is noise of the head, or an echo.
func (r *Reader) line() {
	switch {
	case string(r.buf) == string(r.ask):
		r.echoing = true
	case !r.acked:
		if id, err := ParseIdentification(r.buf); err == nil {
			r.identified(id)
		}
	default:
		if a, err := ParseAcknowledgement(r.buf); err == nil {
			r.confirm(a)
		}
	}
}

func (r *Reader) identified(id Identification) {
	r.id = id
	if id.Baud.Rate() == 0 { // a letter is mode B, which has no acknowledgement
		r.end(fmt.Errorf("%w: its speed is %q", ErrNotOffered, byte(id.Baud)))
		return
	}
	r.answer, r.acked = ModeE(min(id.Baud, r.limit)), true
	if r.echoing {
		r.echoes = 1
	}
	r.out, _ = r.answer.AppendBinary(r.out) // its characters are ours
}

func (r *Reader) confirm(a Acknowledgement) {
	switch {
	case r.echoes > 0 && a == r.answer:
		r.echoes--
	case a != r.answer:
		r.end(fmt.Errorf("%w: it confirmed protocol %q, speed %q, mode %q", ErrRefused, a.Control, byte(a.Baud), a.Mode))
	default:
		r.confirmed = true
		r.end(nil)
	}
}

// Timeout says that the caller has waited long enough. Before the identification the request is repeated, as often as
// the configuration says. After the acknowledgement the opening is done: some meters confirm at the new speed or not at
// all, and HDLC will tell. A meter that neither offered HDLC nor confirmed it has refused.
func (r *Reader) Timeout() {
	switch {
	case r.done:
	case !r.acked && r.tries > 0:
		r.request()
	case !r.acked:
		r.end(ErrSilent)
	case !r.id.HDLC():
		r.end(fmt.Errorf("%w: it is %s %q", ErrNotOffered, r.id.Maker, r.id.Text))
	default:
		r.end(nil)
	}
}

func (r *Reader) end(err error) {
	r.done, r.err = true, err
}
