package hdlc

import (
	"bytes"
	"time"
)

// handle takes a good frame from the server.
func (p *Primary) handle(now time.Time, f Frame) {
	kind := f.Control.Kind()
	switch {
	case kind == KindUI:
		p.handleUI(now, f)
	case p.state == StateConnecting && kind == KindUA:
		p.connected(f)
	case p.state == StateConnecting && kind == KindDM:
		p.end(ErrRefused)
	case p.state == StateDisconnecting && (kind == KindUA || kind == KindDM):
		p.end(nil)
	case p.state == StateConnected && kind == KindDM:
		p.end(ErrDropped)
	case kind == KindFRMR && (p.state == StateConnected || p.state == StateConnecting):
		p.end(parseReject(f.Info))
	case p.state == StateConnected && (kind == KindI || kind == KindRR || kind == KindRNR):
		p.handleNumbered(now, f)
	}
	// What is left is late (a second UA) or not for a client. It changes nothing.
}

// connected settles the parameters. UA proposes what the server can; a server that says nothing has the defaults.
func (p *Primary) connected(ua Frame) {
	peer, err := parseParams(ua.Info)
	if err != nil {
		p.end(err)
		return
	}
	p.x = exchange{params: p.cfg.Params.settle(peer), maxAPDU: p.cfg.MaxAPDU, llcIn: llcResponse}
	p.state, p.tries = StateConnected, 0
	p.turn, p.peerBusy, p.wait = true, false, waitNothing
}

// handleUI takes an APDU that nobody asked for. It may come at any moment, with any P/F bit: only where the last word
// of this end was a trigger does it give the turn back.
func (p *Primary) handleUI(now time.Time, f Frame) {
	if apdu, err := stripLLC(f.Info, llcResponse); err == nil && !f.Segmented {
		p.notice(f.Source, bytes.Clone(apdu))
	}
	if p.triggered && f.Control.Poll() && p.state == StateConnected {
		p.takeTurn(now, true)
	}
}

func (p *Primary) notice(from Address, apdu []byte) {
	switch {
	case p.cfg.OnUnnumbered != nil:
		p.cfg.OnUnnumbered(from, apdu)
	case len(p.inbox)-p.numbered < maxInbox: // a UI frame promises nothing
		p.inbox = append(p.inbox, received{apdu: apdu})
	}
}

// handleNumbered takes I, RR and RNR: the acknowledgement first, then the information, then the turn.
func (p *Primary) handleNumbered(now time.Time, f Frame) {
	nr, kind := f.Control.receiveNumber(), f.Control.Kind()
	before := p.x.acked
	if !p.x.acknowledge(nr) {
		return // of another time; the timer asks again
	}
	progress := p.x.acked != before
	if kind == KindI {
		accepted := p.handleInfo(f)
		if p.state != StateConnected {
			return
		}
		progress = progress || accepted
	} else {
		p.peerBusy = kind == KindRNR
	}
	if progress {
		p.tries = 0
	}
	if f.Control.Poll() && !p.turn && !p.stale(progress) {
		p.takeTurn(now, progress)
	}
}

// handleInfo takes the information of an I frame if it is the one expected.
func (p *Primary) handleInfo(f Frame) (accepted bool) {
	if f.Control.sendNumber() != p.x.next || p.numbered >= maxInbox {
		return false
	}
	apdu, whole, err := p.x.receive(f)
	if err != nil {
		p.end(err)
		return false
	}
	if whole {
		p.inbox = append(p.inbox, received{apdu, true})
		p.numbered++
	}
	return true
}

// stale recognises the late answer to an earlier frame: it acknowledges nothing and brings nothing, although the
// turn was given away with I frames. The right answer is still to come; speaking now would make every answer from
// here on come twice. If it was the right one after all (the first of several frames was lost), the timer asks.
func (p *Primary) stale(progress bool) bool {
	return !progress && !p.mayRepeat && !p.peerBusy && !p.x.idle()
}

// takeTurn goes on after a final bit.
func (p *Primary) takeTurn(now time.Time, progress bool) {
	p.turn, p.wait, p.triggered = true, waitNothing, false
	switch {
	case p.x.idle() || p.peerBusy:
		p.tries = 0 // an answer with nothing missing is all that was asked for
	case !progress && p.x.sent > 0 && !p.try():
		return
	}
	if !progress && len(p.x.in) > 0 && p.x.idle() {
		p.pause(now) // a server that stops within an APDU is not asked in a tight loop
		return
	}
	p.advance(now)
}
