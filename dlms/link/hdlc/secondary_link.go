package hdlc

import "errors"

// handleLinked takes a frame of a client that is connected. A link with a rejected frame answers FRMR to everything
// until SNRM or DISC (ISO/IEC 13239).
func (s *Secondary) handleLinked(l *serverLink, f Frame) {
	if l.reject == nil {
		l.reject = l.judge(f)
	}
	keepTurn := false
	if l.reject == nil {
		switch f.Control.Kind() {
		case KindI:
			keepTurn = s.handleInfo(l, f)
		case KindRR, KindRNR:
			l.peerBusy = f.Control.Kind() == KindRNR
		default:
			return // a response, which no client sends
		}
	}
	switch {
	case !f.Control.Poll():
	case l.reject != nil:
		s.respond(l, Frame{Control: controlFRMR | pollBit, Info: l.reject.info(&l.x)})
	default:
		l.turn = true
		if !keepTurn {
			s.speak(l)
		}
	}
}

// judge finds what makes a frame impossible (GB 8.4.3.8). N(R) is taken when it is possible.
func (l *serverLink) judge(f Frame) *RejectError {
	e := &RejectError{Control: f.Control}
	switch f.Control.Kind() {
	case KindUnknown:
		e.Reason = rejectControl
	case KindI:
		if len(f.Info) > l.x.params.ReceiveInfo {
			e.Reason = rejectLength
		}
	case KindRR, KindRNR:
		if len(f.Info) > 0 {
			e.Reason = rejectControl | rejectInfo
		}
	default:
		return nil
	}
	if e.Reason == 0 && !l.x.acknowledge(f.Control.receiveNumber()) {
		e.Reason = rejectNumber
	}
	if e.Reason == 0 {
		return nil
	}
	return e
}

// handleInfo takes the segment of an I frame. One request is open at a time: while it is, and until its answer has
// arrived, no further information is taken; the client repeats it. It reports that the turn is to be kept for the
// answer: this frame, or the one it repeats, made the request.
func (s *Secondary) handleInfo(l *serverLink, f Frame) (keepTurn bool) {
	if f.Control.sendNumber() != l.x.next {
		return l.request != 0 // repeated, or after a gap: N(R) of the answer tells
	}
	if l.request != 0 || !l.x.idle() {
		l.refused = true
		return false
	}
	apdu, whole, err := l.x.receive(f)
	switch {
	case errors.Is(err, ErrTooLong): // the link cannot go on
		l.reject = &RejectError{Control: f.Control, Reason: rejectLength}
	case whole:
		s.lastID++
		l.request = s.lastID
		s.events = append(s.events, Event{
			Kind: EventRequest, ID: l.request, Client: l.client.Upper, Server: l.server.Upper, APDU: apdu,
		})
	}
	// An APDU with a wrong LLC header was acknowledged and is not served: nobody knows what it is.
	return whole
}

// speak uses the turn: the frames of the answer, again from the first that the client lacks, or RR, or RNR if an
// I frame could not be taken.
func (s *Secondary) speak(l *serverLink) {
	if !l.turn || l.reject != nil {
		return
	}
	l.turn = false
	s.sendPushes(l)
	n := l.x.window()
	if n == 0 || l.peerBusy {
		c := Control(controlRR)
		if l.refused && l.request != 0 {
			c = controlRNR
		}
		l.refused = false
		s.respond(l, Frame{Control: supervisory(c, l.x.next, true)})
		return
	}
	l.refused = false
	l.x.sent = n
	for i := range n {
		var f Frame
		l.x.frame(&f, i, i == n-1)
		s.respond(l, f)
	}
}

func (s *Secondary) respond(l *serverLink, f Frame) {
	f.Destination, f.Source = l.client, l.server
	s.emit(f)
}
