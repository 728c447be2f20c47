package hdlc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/internal/linktest"
)

// noted is where a Primary's UI frames go.
type noted struct{ got []string }

func (n *noted) take(from hdlc.Address, apdu []byte) {
	n.got = append(n.got, from.String()+" "+string(apdu))
}

func (n *noted) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, n.got); diff != "" {
		t.Error(diff)
	}
}

func push(t *testing.T, s *hdlc.Secondary, client dlms.SAP, apdu string) {
	t.Helper()
	if err := s.Push(hdlc.Push{Client: client, Server: 1, APDU: []byte(apdu)}); err != nil {
		t.Fatal(err)
	}
}

func TestAPushWaitsForTheTurnAndDisturbsNoExchange(t *testing.T) {
	for window := 1; window <= 7; window++ {
		var n noted
		p := hdlc.Params{TransmitInfo: 64, ReceiveInfo: 64, TransmitWindow: window, ReceiveWindow: window}
		l := newLine(t, hdlc.Config{Params: p, OnUnnumbered: n.take}, hdlc.ServerConfig{Params: p})
		l.connect()
		push(t, l.s, 16, "before")
		l.settle()
		n.want(t) // the server has no turn
		once := true
		l.answer = func(apdu []byte) []byte {
			if once {
				once = false
				push(t, l.s, 16, "while it works")
			}
			return append([]byte("re:"), apdu...)
		}
		l.wantEcho(1000)
		n.want(t, "1 before", "1 while it works")
		l.wantEcho(1000)
		n.want(t, "1 before", "1 while it works")
	}
}

func TestAPushWithoutALinkGoesOutAtOnceToOneClientOrToAll(t *testing.T) {
	for _, to := range []dlms.SAP{16, dlms.SAPAllStations} {
		var n noted
		l := newLine(t, hdlc.Config{Client: 16, Server: 1, Physical: 17, OnUnnumbered: n.take}, hdlc.ServerConfig{Physical: 17})
		push(t, l.s, to, strings.Repeat("x", 500))
		l.settle()
		n.want(t, "1/17 "+strings.Repeat("x", 500))
	}
}

func TestAListenerHearsThePushesOfEveryServer(t *testing.T) {
	p := newPrimary(t, hdlc.Config{Client: 16, Server: dlms.SAPAllStations})
	for _, from := range []hdlc.Address{hdlc.ServerAddress(1, 0), hdlc.ServerAddress(1, 17), address4(1, 8000)} {
		p.Receive(start, mustAppend(t, hdlc.Frame{Destination: hdlc.ClientAddress(16), Source: from, Control: 0x13, Info: fromHex("E6E700 0F")}))
		if apdu, ok := p.APDU(); !ok || !bytes.Equal(apdu, []byte{0x0F}) {
			t.Errorf("from %v: got % X", from, apdu)
		}
	}
	for name, f := range map[string]hdlc.Frame{
		"for another client": {Destination: hdlc.ClientAddress(17), Source: hdlc.ServerAddress(1, 0), Control: 0x13, Info: fromHex("E6E700 0F")},
		"a command's LLC":    fromServer(0x13, "E6E600 0F"),
		"a segment":          {Destination: hdlc.ClientAddress(16), Source: hdlc.ServerAddress(1, 0), Control: 0x13, Segmented: true, Info: fromHex("E6E700 0F")},
	} {
		p.Receive(start, mustAppend(t, f))
		if apdu, ok := p.APDU(); ok {
			t.Errorf("%s: got % X", name, apdu)
		}
	}
	wantSays(t, p.Output())
}

func TestUIFramesInTheMiddleOfAnAnswerChangeNothing(t *testing.T) {
	var n noted
	p := newPrimary(t, hdlc.Config{OnUnnumbered: n.take})
	connectTo(t, p, nil)
	if err := p.Send(start, []byte("x")); err != nil {
		t.Fatal(err)
	}
	p.Output()
	first := fromServer(0x30, "E6E700 01")
	first.Segmented = true
	p.Receive(start, mustAppend(t, fromServer(0x13, "E6E700 41"), first, fromServer(0x13, "E6E700 42"), fromServer(0x32, "02"), fromServer(0x03, "E6E700 43")))
	wantSays(t, p.Output(), "RR r=1 P")
	if apdu, _ := p.APDU(); !bytes.Equal(apdu, []byte{1, 2}) || !p.Idle() {
		t.Errorf("got % X", apdu)
	}
	if _, ok := p.APDU(); ok {
		t.Error("a push came out as an answer as well")
	}
	n.want(t, "1 A", "1 B", "1 C")
}

func TestATriggerFetchesOnePushAndGivesTheTurnBack(t *testing.T) {
	var n noted
	l := newLine(t, hdlc.Config{OnUnnumbered: n.take}, hdlc.ServerConfig{})
	if err := l.p.Trigger(l.now); !errors.Is(err, hdlc.ErrState) {
		t.Errorf("without a link: got %v", err)
	}
	l.connect()
	push(t, l.s, 16, "one")
	push(t, l.s, 16, "two")
	began := l.now
	for range 3 { // the third finds nothing
		if err := l.p.Trigger(l.now); err != nil {
			t.Fatal(err)
		}
		l.until("trigger", l.p.Idle)
	}
	if l.now != began {
		t.Errorf("took %v", l.now.Sub(began))
	}
	n.want(t, "1 one", "1 two")
	l.wantEcho(100)
}

func TestATriggerThatTheServerDoesNotKnowCostsOneTimeoutAndNoLink(t *testing.T) {
	l := newLine(t, hdlc.Config{}, hdlc.ServerConfig{})
	l.connect()
	l.medium = func(_ bool, frame []byte) []byte {
		if f, _ := hdlc.ParseFrame(frame); f.Control.Kind() == hdlc.KindUI {
			return nil
		}
		return frame
	}
	began := l.now
	if err := l.p.Trigger(l.now); err != nil {
		t.Fatal(err)
	}
	l.until("trigger", l.p.Idle)
	if took := l.now.Sub(began); took != 5*time.Second {
		t.Errorf("took %v", took)
	}
	l.wantEcho(100)
}

func TestPushRefusesWhatDoesNotFitOrHasNoPlace(t *testing.T) {
	s := secondary(t, hdlc.ServerConfig{})
	if err := s.Push(hdlc.Push{Client: 16, Server: 1, APDU: make([]byte, 126)}); !errors.Is(err, hdlc.ErrTooLong) {
		t.Errorf("more than the link's frames hold: got %v", err)
	}
	if err := s.Push(hdlc.Push{Client: 17, Server: 1, APDU: make([]byte, 2028)}); !errors.Is(err, hdlc.ErrTooLong) {
		t.Errorf("more than a frame holds: got %v", err)
	}
	if err := s.Push(hdlc.Push{Client: 200, Server: 1}); err == nil {
		t.Error("client 200 has no address of one octet: want an error")
	}
	for range 8 {
		push(t, s, 16, "x")
	}
	if err := s.Push(hdlc.Push{Client: 16, Server: 1}); !errors.Is(err, hdlc.ErrPushes) {
		t.Errorf("got %v", err)
	}
	wantSays(t, s.Output())
	s.Receive(start, mustAppend(t, fromClient(0x53, ""), fromClient(0x93, ""), fromClient(0x11, "")))
	wantSays(t, s.Output(), "UA P", "UA P", "RR r=0 P") // what waited ended with the link
}

func TestServeConnPushesToAClientThatListens(t *testing.T) {
	a, b := net.Pipe()
	pushes := make(chan hdlc.Push, 2)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- hdlc.ServeConn(ctx, b, &linktest.Echo{}, hdlc.Options{Push: pushes}) }()
	events := make(chan string, 4)
	c, err := hdlc.NewConn(a, hdlc.Config{Client: 16, Server: 1, OnUnnumbered: func(from hdlc.Address, apdu []byte) {
		events <- fmt.Sprintf("%v %s", from, apdu)
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, c, 16, 1, 10)
	pushes <- hdlc.Push{Client: 16, Server: 1, APDU: []byte("event")}
	pushes <- hdlc.Push{Client: 16, Server: 1, APDU: make([]byte, 3000)} // logged, and harmless
	close(pushes)
	listening, stop := context.WithTimeout(ctx, 30*time.Second)
	heard := make(chan string, 1)
	go func() { heard <- <-events; stop() }()
	if _, err := c.Receive(listening); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := <-heard; got != "1 event" {
		t.Errorf("got %q", got)
	}
	wantEcho(t, c, 16, 1, 10)
	cancel()
	if err := errors.Join(<-served, c.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
