package hdlc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// ErrNoRequest is returned for a reply to a request that is no longer open: the link has ended or begun anew.
var ErrNoRequest = errors.New("hdlc: no such request is open")

// Reasons of an EventDisconnected.
var (
	ErrPeerDisconnected = errors.New("hdlc: DISC from the client")
	ErrReconnected      = errors.New("hdlc: SNRM from the client")
	ErrInactive         = errors.New("hdlc: inactivity timeout")
)

// ServerConfig describes the server's end of a line. The zero value serves every logical device address, without a
// lower address.
type ServerConfig struct {
	// Servers are the upper addresses served; none means all. Frames for others are not answered.
	Servers []dlms.SAP
	// Physical is the lower address of this device. A frame whose address has no lower part is for it as well, as
	// on a line with one device.
	Physical uint16
	// Params are what this end can; the client's SNRM may lower them.
	Params Params
	// MaxAPDU is the longest APDU taken. Default 65,535.
	MaxAPDU int
	// MaxLinks is how many links, by client and server address, are up at once. One more gets DM. Default 8.
	MaxLinks int
	// InactivityTimeout ends a link from which nothing comes for so long (GB 8.4.5.5). Default 120 s.
	InactivityTimeout time.Duration
	// InterOctetTimeout ends a frame in which nothing comes for so long. Default 1 s.
	InterOctetTimeout time.Duration
}

func (c ServerConfig) withDefaults() (ServerConfig, error) {
	var err error
	if c.Params, err = c.Params.withDefaults(); err != nil {
		return c, err
	}
	if c.Physical > maxLong {
		return c, fmt.Errorf("hdlc: physical address: want at most %d, got %d", maxLong, c.Physical)
	}
	if c.MaxAPDU <= 0 {
		c.MaxAPDU = DefaultMaxAPDU
	}
	if c.MaxLinks <= 0 {
		c.MaxLinks = 8
	}
	c.InactivityTimeout = orDefault(c.InactivityTimeout, 120*time.Second)
	c.InterOctetTimeout = orDefault(c.InterOctetTimeout, time.Second)
	return c, nil
}

// EventKind tells what happened on a line.
type EventKind uint8

// The events of the server's end.
const (
	// EventConnected: a client has connected.
	EventConnected EventKind = iota + 1
	// EventDisconnected: a link has ended; Err tells why. It is no reason to end an association (package comment).
	EventDisconnected
	// EventRequest: an APDU has come. Answer with Reply, with nil if there is no answer.
	EventRequest
	// EventUnnumbered: an APDU has come in a UI frame. Reply if ID is not 0.
	EventUnnumbered
)

// Event is what a Secondary has to tell.
type Event struct {
	// Kind says what has happened; which of the other fields count follows from it.
	Kind EventKind
	// Client and Server are the two ends of the link that it happened on.
	Client, Server dlms.SAP
	// ID names a request towards Reply.
	ID uint64
	// APDU is what a request carries; it is the caller's.
	APDU []byte
	// Err says why a link ended.
	Err error
}

// maxOutput bounds what waits to be written. Frames beyond are dropped, as a line would, and repeated when the
// client asks: else a few octets of polls could ask for megabytes.
const maxOutput = 1 << 16

type linkKey struct{ client, server dlms.SAP }

// Secondary is the server's end of a line as a state machine. It holds one link for each pair of client and server
// address: octets and the time go in (Receive, Tick), octets and events come out (Output, Event), and an answer
// goes in with Reply. After every call take Output and the events, and call Tick at Deadline.
//
// It is not safe for concurrent use.
type Secondary struct {
	cfg     ServerConfig
	decoder Decoder
	heard   time.Time
	out     []byte
	events  []Event
	links   map[linkKey]*serverLink
	lastID  uint64
	// ui is the last UI frame with P, which may be answered with one UI frame.
	ui struct {
		id             uint64
		client, server Address
	}
}

// serverLink is the link with one client.
type serverLink struct {
	x              exchange
	client, server Address // as the client writes them
	heard          time.Time
	turn           bool
	peerBusy       bool
	refused        bool   // an I frame was not taken, because a request is open
	request        uint64 // the request that is open, 0 for none
	reject         *RejectError
	pushes         [][]byte // information fields of UI frames that wait for a turn
}

// NewSecondary returns the server's end of a line on which nobody is connected.
func NewSecondary(c ServerConfig) (*Secondary, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Secondary{cfg: c, links: map[linkKey]*serverLink{}}, nil
}

// Output returns the octets to write, valid until the next call of any method.
func (s *Secondary) Output() []byte {
	out := s.out
	s.out = s.out[:0]
	return out
}

// Event returns the next event.
func (s *Secondary) Event() (Event, bool) {
	if len(s.events) == 0 {
		return Event{}, false
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, true
}

// Clients returns the clients that have a link, each once.
func (s *Secondary) Clients() []dlms.SAP {
	var out []dlms.SAP
	for k := range s.links {
		out = append(out, k.client)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Deadline is when Tick is due, if at all.
func (s *Secondary) Deadline() (at time.Time, ok bool) {
	for _, l := range s.links {
		if t := l.heard.Add(s.cfg.InactivityTimeout); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Tick tells the time: links from which nothing came for too long end.
func (s *Secondary) Tick(now time.Time) {
	for k, l := range s.links {
		if !now.Before(l.heard.Add(s.cfg.InactivityTimeout)) {
			s.drop(k, ErrInactive)
		}
	}
}

// Receive takes octets that have come, and reports how many frames for this device were in them.
func (s *Secondary) Receive(now time.Time, b []byte) (frames int) {
	if now.Sub(s.heard) > s.cfg.InterOctetTimeout {
		s.decoder.Abandon()
	}
	s.heard = now
	s.decoder.Feed(b)
	for {
		f, ok := s.decoder.Next()
		if !ok {
			return frames
		}
		if s.hears(f) {
			frames++
			s.handle(now, f)
		}
	}
}

// hears tells whether a frame is for this device, from an address that a client can have.
func (s *Secondary) hears(f Frame) bool {
	if f.Source.Size != 1 || f.Source.Broadcast() || f.Source.none() || f.Destination.none() {
		return false
	}
	to := f.Destination
	all := to.Size == 2 && to.Lower == maxShort || to.Size == 4 && to.Lower == allLong
	if to.Size > 1 && to.Lower != s.cfg.Physical && !all {
		return false
	}
	return to.Broadcast() || len(s.cfg.Servers) == 0 || slices.Contains(s.cfg.Servers, to.Upper)
}

func (s *Secondary) handle(now time.Time, f Frame) {
	kind := f.Control.Kind()
	if kind == KindUI {
		s.handleUI(f)
		return
	}
	if f.Destination.Broadcast() {
		return // a broadcast carries UI frames only, and nobody answers it
	}
	key := linkKey{f.Source.Upper, f.Destination.Upper}
	l := s.links[key]
	if l != nil {
		l.heard = now
	}
	switch {
	case kind == KindSNRM:
		s.handleSNRM(now, key, f)
	case kind == KindDISC:
		s.handleDISC(key, f)
	case l != nil:
		s.handleLinked(l, f)
	case f.Control.Poll() && (kind == KindI || kind == KindRR || kind == KindRNR):
		s.answer(f, controlDM)
	}
}

// answer answers an unnumbered command that has P; one without P gives no turn to answer with.
func (s *Secondary) answer(f Frame, c Control) {
	if f.Control.Poll() {
		s.emit(Frame{Destination: f.Source, Source: f.Destination, Control: c | pollBit})
	}
}

func (s *Secondary) handleSNRM(now time.Time, key linkKey, f Frame) {
	peer, err := parseParams(f.Info)
	_, again := s.links[key]
	if err != nil || !f.Control.Poll() || !again && len(s.links) >= s.cfg.MaxLinks {
		s.answer(f, controlDM)
		return
	}
	if again {
		s.drop(key, ErrReconnected)
	}
	l := &serverLink{client: f.Source, server: f.Destination, heard: now}
	l.x = exchange{params: s.cfg.Params.settle(peer), maxAPDU: s.cfg.MaxAPDU, llcIn: llcCommand}
	s.links[key] = l
	s.events = append(s.events, Event{Kind: EventConnected, Client: key.client, Server: key.server})
	s.emit(Frame{Destination: l.client, Source: l.server, Control: controlUA | pollBit, Info: l.x.params.append(nil)})
}

func (s *Secondary) handleDISC(key linkKey, f Frame) {
	if _, ok := s.links[key]; !ok {
		s.answer(f, controlDM)
		return
	}
	s.drop(key, ErrPeerDisconnected)
	s.answer(f, controlUA)
}

func (s *Secondary) drop(key linkKey, reason error) {
	delete(s.links, key)
	s.events = append(s.events, Event{Kind: EventDisconnected, Client: key.client, Server: key.server, Err: reason})
}

func (s *Secondary) handleUI(f Frame) {
	if len(f.Info) == 0 && f.Control.Poll() {
		s.triggered(linkKey{f.Source.Upper, f.Destination.Upper})
		return
	}
	apdu, err := stripLLC(f.Info, llcCommand)
	if err != nil || f.Segmented {
		return // a UI frame promises nothing
	}
	e := Event{Kind: EventUnnumbered, Client: f.Source.Upper, Server: f.Destination.Upper, APDU: bytes.Clone(apdu)}
	if f.Destination.Broadcast() {
		e.Server = dlms.SAPAllStations // one name for it, whatever the size of the address
	} else if f.Control.Poll() {
		s.lastID++
		e.ID, s.ui.id, s.ui.client, s.ui.server = s.lastID, s.lastID, f.Source, f.Destination
	}
	s.events = append(s.events, e)
}

// Reply answers the request id; nil says that there is no answer. The answer goes out when the client gives the
// turn.
func (s *Secondary) Reply(id uint64, apdu []byte) error {
	if id != 0 && id == s.ui.id {
		return s.replyUI(apdu)
	}
	for _, l := range s.links {
		if id == 0 || l.request != id {
			continue
		}
		l.request = 0
		if apdu != nil {
			l.x.load(llcResponse, apdu)
		}
		s.speak(l)
		return nil
	}
	return ErrNoRequest
}

func (s *Secondary) replyUI(apdu []byte) error {
	s.ui.id = 0
	if apdu == nil {
		return nil
	}
	if len(apdu) > s.cfg.Params.TransmitInfo-llcSize {
		return fmt.Errorf("hdlc: reply in a UI frame: %w: want at most %d bytes, got %d",
			ErrTooLong, s.cfg.Params.TransmitInfo-llcSize, len(apdu))
	}
	info := append([]byte(llcResponse), apdu...)
	s.emit(Frame{Destination: s.ui.client, Source: s.ui.server, Control: controlUI | pollBit, Info: info})
	return nil
}

func (s *Secondary) emit(f Frame) {
	if len(s.out) < maxOutput {
		// Addresses came from a frame and the information field is within MaxInfo, so this cannot fail.
		s.out, _ = AppendFrame(s.out, f)
	}
}
