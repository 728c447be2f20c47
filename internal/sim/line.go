package sim

import (
	"context"
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/internal/concentrator"
)

// errSilence is what a line gets where nothing came back.
var errSilence = errors.New("sim: no answer from the meter")

// How long a concentrator waits for a meter: its line, and, a moment longer, its association. No two of them may end at
// one instant, or a seed would not replay.
const (
	lineTimeout    = 7 * time.Second
	stationTimeout = 8 * time.Second
)

// line is the power line between one concentrator and one meter: slow, lossy, and hostile.
type line struct {
	w    *World
	dc   *station
	unit *unit
}

var _ concentrator.Line = (*line)(nil)

// Address implements concentrator.Line.
func (l *line) Address() string { return "line of " + l.unit.title.String() }

// Close implements concentrator.Line.
func (*line) Close() {}

// Exchange implements concentrator.Line.
func (l *line) Exchange(ctx context.Context, client, server dlms.SAP, apdu []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	if !l.w.calm {
		l.w.sleep(ctx, 50*time.Millisecond, time.Second)
	}
	e := exchange{client, server, append([]byte(nil), apdu...)}
	l.w.note("%s to %s: client %s, %d bytes %x", l.dc.title, l.unit.title, client, len(apdu), apdu[:min(len(apdu), 3)])
	l.unit.hear(e)
	if l.w.calm {
		return l.answered(ctx, l.unit.handle(ctx, e))
	}
	return l.hostile(ctx, e)
}

// hostile is one exchange on a line that may do anything with it.
func (l *line) hostile(ctx context.Context, e exchange) ([]byte, error) {
	u, w := l.unit, l.w
	u.arrive(ctx)
	switch f := w.draw(lineFaults); f {
	case "":
	case "request lost":
		return l.answered(ctx, nil)
	case "request late":
		u.late = append(u.late, e)
		return l.answered(ctx, nil)
	case "request repeated":
		u.handle(ctx, e)
	case "request altered":
		u.handle(ctx, w.altered(e))
		return l.answered(ctx, nil)
	case "old request replayed before it":
		u.handle(ctx, u.heard[w.IntN(len(u.heard))])
	case "refusal forged":
		return w.forged(e.apdu), nil
	case "answer lost":
		u.handle(ctx, e)
		return l.answered(ctx, nil)
	case "answer altered":
		b := u.handle(ctx, e)
		if len(b) > 0 {
			b = append([]byte(nil), b...)
			b[w.IntN(len(b))] ^= 1 << w.IntN(8)
		}
		return l.answered(ctx, b)
	case "counter forged":
		u.handle(ctx, w.highCounter(e))
	case "power fails at a write":
		u.memory.cutIn, u.memory.after = 1+w.IntN(3), w.one(2)
	}
	return l.answered(ctx, u.handle(ctx, e))
}

func (l *line) answered(ctx context.Context, b []byte) ([]byte, error) {
	if len(b) == 0 {
		<-ctx.Done()
		return nil, errSilence
	}
	return b, nil
}

// Broadcast implements concentrator.Line.
func (l *line) Broadcast(ctx context.Context, client dlms.SAP, apdu []byte) error {
	l.unit.handle(ctx, exchange{client, dlms.SAPAllStations, append([]byte(nil), apdu...)})
	return nil
}

// hearable bounds what is kept of a line, for replays.
const hearable = 400

func (u *unit) hear(e exchange) {
	if len(u.heard) == hearable {
		u.heard = u.heard[1:]
	}
	u.heard = append(u.heard, e)
}

// arrive lets a request that is still on the line come in, perhaps.
func (u *unit) arrive(ctx context.Context) {
	if len(u.late) == 0 || !u.w.one(3) {
		return
	}
	i := u.w.IntN(len(u.late))
	e := u.late[i]
	u.late = append(u.late[:i], u.late[i+1:]...)
	u.w.note("late request arrives at %s", u.title)
	u.handle(ctx, e)
}

// altered flips a bit.
func (w *World) altered(e exchange) exchange {
	e.apdu = append([]byte(nil), e.apdu...)
	e.apdu[w.IntN(len(e.apdu))] ^= 1 << w.IntN(8)
	return e
}

// highCounter makes a forgery of an AARQ whose ciphered InitiateRequest claims a far higher counter, within the jump that
// a meter allows: what would lock the honest out of a meter that counts before it authenticates. Other requests are
// altered anywhere.
func (w *World) highCounter(e exchange) exchange {
	q, err := apdu.ParseAARQ(e.apdu)
	if err != nil || len(q.UserInformation) < counterAt+4 {
		return w.altered(e)
	}
	q.UserInformation = append([]byte(nil), q.UserInformation...)
	q.UserInformation[counterAt+1] |= 0x70 // some 2^22 further
	b, err := q.AppendBinary(nil)
	if err != nil {
		return w.altered(e)
	}
	e.apdu = b
	return e
}

// counterAt is where the counter of a short glo- APDU begins: behind tag, length and security control.
const counterAt = 3

// forged is a refusal in the meter's name, which anybody on the line can say.
func (w *World) forged(request []byte) []byte {
	if len(request) > 0 && apdu.Tag(request[0]) == apdu.TagAARQ {
		b, err := apdu.AARE{
			Context: apdu.ContextLNCiphered, Result: apdu.AssociationRejectedPermanent, Diagnostic: apdu.DiagnosticNoReason,
		}.AppendBinary(nil)
		if err == nil {
			return b
		}
	}
	b, err := apdu.ExceptionResponse{StateError: apdu.StateServiceNotAllowed, ServiceError: apdu.ServiceOperationNotPossible}.AppendBinary(nil)
	if err != nil {
		return nil
	}
	return b
}
