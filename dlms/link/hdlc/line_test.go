package hdlc_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

// line joins the two ends on virtual time. What each end writes passes through the medium, frame by frame.
type line struct {
	t   testing.TB
	now time.Time
	p   *hdlc.Primary
	s   *hdlc.Secondary
	// medium returns what becomes of a frame on the line; nil loses it. toServer tells the direction.
	medium func(toServer bool, frame []byte) []byte
	// answer is the server, which takes delay for it. A request is remembered in requests.
	answer   func(apdu []byte) []byte
	delay    time.Duration
	requests [][]byte
	events   []hdlc.Event
	replies  []reply
	frames   int // frames that were sent, both ways
}

type reply struct {
	at   time.Time
	id   uint64
	apdu []byte
}

func newLine(t testing.TB, c hdlc.Config, sc hdlc.ServerConfig) *line {
	t.Helper()
	if c.Client == 0 {
		c.Client, c.Server = 16, 1
	}
	p, err := hdlc.NewPrimary(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := hdlc.NewSecondary(sc)
	if err != nil {
		t.Fatal(err)
	}
	return &line{
		t: t, p: p, s: s, now: time.Unix(1_700_000_000, 0),
		medium: func(_ bool, frame []byte) []byte { return frame },
		answer: func(apdu []byte) []byte { return append([]byte("re:"), apdu...) },
	}
}

// pass gives every frame of out to the medium.
func (l *line) pass(toServer bool, out []byte) (in []byte) {
	var d hdlc.Decoder
	d.Feed(out)
	for f, ok := d.Next(); ok; f, ok = d.Next() {
		l.frames++
		in = append(in, l.medium(toServer, mustAppend(l.t, f))...)
	}
	return in
}

// settle moves octets until both ends are silent.
func (l *line) settle() {
	for {
		toServer := l.pass(true, l.p.Output())
		if len(toServer) > 0 {
			l.s.Receive(l.now, toServer)
		}
		l.serve()
		toClient := l.pass(false, l.s.Output())
		if len(toClient) > 0 {
			l.p.Receive(l.now, toClient)
		}
		if len(toServer) == 0 && len(toClient) == 0 {
			return
		}
	}
}

// serve takes the server's events and hands in the replies that are due.
func (l *line) serve() {
	for e, ok := l.s.Event(); ok; e, ok = l.s.Event() {
		l.events = append(l.events, e)
		switch e.Kind {
		case hdlc.EventRequest, hdlc.EventUnnumbered:
			l.requests = append(l.requests, e.APDU)
			if e.ID != 0 {
				l.replies = append(l.replies, reply{l.now.Add(l.delay), e.ID, l.answer(e.APDU)})
			}
		}
	}
	for len(l.replies) > 0 && !l.now.Before(l.replies[0].at) {
		r := l.replies[0]
		l.replies = l.replies[1:]
		if err := l.s.Reply(r.id, r.apdu); err != nil && err != hdlc.ErrNoRequest {
			l.t.Errorf("reply: %v", err)
		}
	}
}

// until runs the line until done, letting time pass to whatever is due next.
func (l *line) until(what string, done func() bool) {
	l.t.Helper()
	for range 100_000 {
		l.settle()
		if done() {
			return
		}
		at, ok := l.p.Deadline()
		if len(l.replies) > 0 && (!ok || l.replies[0].at.Before(at)) {
			at, ok = l.replies[0].at, true
		}
		if !ok {
			l.t.Fatalf("%s: the line stands still: %v, %v", what, l.p.State(), l.p.Err())
		}
		l.now = at
		l.p.Tick(l.now)
		l.s.Tick(l.now)
	}
	l.t.Fatalf("%s: does not end: %v", what, l.p.State())
}

func (l *line) connect() {
	l.t.Helper()
	if err := l.p.Connect(l.now); err != nil {
		l.t.Fatal(err)
	}
	l.until("connect", func() bool { return l.p.State() != hdlc.StateConnecting })
	if l.p.State() != hdlc.StateConnected {
		l.t.Fatalf("connect: %v", l.p.Err())
	}
}

// ask sends apdu and returns the answer.
func (l *line) ask(apdu []byte) []byte {
	l.t.Helper()
	if err := l.p.Send(l.now, apdu); err != nil {
		l.t.Fatal(err)
	}
	l.p.Listen(l.now, true)
	var got []byte
	l.until(fmt.Sprintf("ask %d bytes", len(apdu)), func() bool {
		if l.p.State() != hdlc.StateConnected {
			l.t.Fatalf("the link ended: %v", l.p.Err())
		}
		if got == nil {
			got, _ = l.p.APDU()
		}
		return got != nil && l.p.Idle()
	})
	l.p.Listen(l.now, false)
	return got
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func (l *line) wantEcho(n int) {
	l.t.Helper()
	apdu := pattern(n)
	got := l.ask(apdu)
	if want := l.answer(apdu); !bytes.Equal(got, want) {
		l.t.Fatalf("got %d bytes, want the %d of the answer", len(got), len(want))
	}
}
