package hdlc

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
)

// ErrPushes is returned when too many UI frames wait for the client to give the turn.
var ErrPushes = errors.New("hdlc: too many pushes wait for the client's turn")

// maxPushes is how many UI frames wait on one link.
const maxPushes = 8

// Push is an APDU that a server sends without being asked, in a UI frame (GB 8.4.5.4): a data notification or an
// event notification. It is acknowledged by nobody.
type Push struct {
	// Client is whom it is for; dlms.SAPAllStations is everybody on the line.
	Client dlms.SAP
	// Server is the logical device that sends it.
	Server dlms.SAP
	// APDU fits in one frame: UI frames have no segments.
	APDU []byte
}

// Push sends an APDU in a UI frame. While a link with that client is up it waits for the next turn that the client
// gives, so that it disturbs no exchange; it ends with the link. Without one it goes out at once: on a line that
// others use too, that is for the caller to judge.
func (s *Secondary) Push(p Push) error {
	info := append([]byte(llcResponse), p.APDU...)
	l := s.links[linkKey{p.Client, p.Server}]
	most := MaxInfo // nothing is negotiated without a link
	if l != nil {
		most = l.x.params.TransmitInfo
	}
	if len(info) > most {
		return fmt.Errorf("hdlc: push: %w: want at most %d bytes, got %d", ErrTooLong, most-llcSize, len(p.APDU))
	}
	if l != nil {
		if len(l.pushes) >= maxPushes {
			return ErrPushes
		}
		l.pushes = append(l.pushes, info)
		return nil
	}
	f := Frame{
		Destination: ClientAddress(p.Client), Source: ServerAddress(p.Server, s.cfg.Physical), Control: controlUI, Info: info,
	}
	if err := errors.Join(f.Destination.check(), f.Source.check()); err != nil {
		return fmt.Errorf("hdlc: push: %w", err)
	}
	s.emit(f)
	return nil
}

// sendPushes uses the turn for what waits. The frame with the final bit follows.
func (s *Secondary) sendPushes(l *serverLink) {
	for _, info := range l.pushes {
		s.respond(l, Frame{Control: controlUI, Info: info})
	}
	l.pushes = nil
}

// triggered answers the empty UI frame by which a client gives the turn for UI frames alone: with the oldest that
// waits, else with RR, so that the client need not wait for a timeout. Without a link nothing waits.
func (s *Secondary) triggered(key linkKey) {
	l := s.links[key]
	if l == nil || l.reject != nil {
		return
	}
	l.turn = false // used here; an answer under way waits for the next
	switch {
	case len(l.pushes) == 0:
		s.respond(l, Frame{Control: supervisory(controlRR, l.x.next, true)})
	default:
		s.respond(l, Frame{Control: controlUI | pollBit, Info: l.pushes[0]})
		l.pushes = l.pushes[1:]
	}
}
