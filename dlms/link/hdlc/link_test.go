package hdlc_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

func TestConnectAndAskSendsTheFramesEverybodySends(t *testing.T) {
	l := newLine(t, hdlc.Config{}, hdlc.ServerConfig{})
	var sent [][]byte
	l.medium = func(_ bool, frame []byte) []byte {
		sent = append(sent, bytes.Clone(frame))
		return frame
	}
	l.connect()
	l.wantEcho(5)
	if err := l.p.Disconnect(l.now); err != nil {
		t.Fatal(err)
	}
	l.until("disconnect", func() bool { return l.p.State() == hdlc.StateDisconnected })
	client, server := hdlc.ClientAddress(16), hdlc.ServerAddress(1, 0)
	want := [][]byte{
		fromHex(published["snrm"].bytes),
		fromHex(published["ua"].bytes),
		mustAppend(t, hdlc.Frame{Destination: server, Source: client, Control: 0x10, Info: append(fromHex("E6E600"), pattern(5)...)}),
		mustAppend(t, hdlc.Frame{Destination: client, Source: server, Control: 0x30, Info: append(fromHex("E6E700"), "re:"+string(pattern(5))...)}),
		mustAppend(t, hdlc.Frame{Destination: server, Source: client, Control: 0x53}),
		mustAppend(t, hdlc.Frame{Destination: client, Source: server, Control: 0x73}),
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Error(diff)
	}
}

func TestLongAPDUsTravelInSegmentsBothWaysWithEveryWindow(t *testing.T) {
	for window := 1; window <= 7; window++ {
		for _, info := range []int{1, 16, 128, 2030} {
			t.Run(fmt.Sprintf("window %d info %d", window, info), func(t *testing.T) {
				p := hdlc.Params{TransmitInfo: info, ReceiveInfo: info, TransmitWindow: window, ReceiveWindow: window}
				l := newLine(t, hdlc.Config{Params: p}, hdlc.ServerConfig{Params: p})
				l.connect()
				if got := l.p.Params(); got != p {
					t.Errorf("got %+v, want %+v", got, p)
				}
				for _, n := range []int{0, 1, info, 10_000} {
					l.wantEcho(n)
				}
			})
		}
	}
}

func TestAWindowLetsSeveralFramesPassInOneTurn(t *testing.T) {
	turns := func(window int) (n int) {
		p := hdlc.Params{TransmitWindow: window, ReceiveWindow: window}
		l := newLine(t, hdlc.Config{Params: p}, hdlc.ServerConfig{Params: p})
		l.medium = func(toServer bool, frame []byte) []byte {
			if f, _ := hdlc.ParseFrame(frame); toServer && f.Control.Poll() {
				n++
			}
			return frame
		}
		l.connect()
		l.wantEcho(10_000)
		return n
	}
	if one, seven := turns(1), turns(7); seven*6 > one {
		t.Errorf("got %d turns with window 7, %d with window 1", seven, one)
	}
}

func TestParametersSettleOnWhatBothSidesCan(t *testing.T) {
	l := newLine(t,
		hdlc.Config{Params: hdlc.Params{TransmitInfo: 500, ReceiveInfo: 2030, TransmitWindow: 7, ReceiveWindow: 2}},
		hdlc.ServerConfig{Params: hdlc.Params{TransmitInfo: 300, ReceiveInfo: 100, TransmitWindow: 5, ReceiveWindow: 3}})
	l.connect()
	want := hdlc.Params{TransmitInfo: 100, ReceiveInfo: 300, TransmitWindow: 3, ReceiveWindow: 2}
	if got := l.p.Params(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	l.wantEcho(10_000)
}

func TestAServerThatNamesNoParametersGetsTheDefaults(t *testing.T) {
	p := newPrimary(t, hdlc.Config{Params: hdlc.Params{TransmitInfo: 1000, TransmitWindow: 7, ReceiveInfo: 64}})
	connectTo(t, p, nil)
	if got, want := p.Params(), (hdlc.Params{TransmitInfo: 128, ReceiveInfo: 64, TransmitWindow: 1, ReceiveWindow: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Whatever single frame is lost, in either direction, every APDU arrives once and in order.
func TestNoSingleLostFrameLosesOrRepeatsAnAPDU(t *testing.T) {
	for _, window := range []int{1, 3, 7} {
		for lost := 1; ; lost++ {
			if lossless(t, window, lost) {
				break
			}
		}
	}
}

// lossless runs three exchanges with frame number lost missing, and reports that there was no such frame.
func lossless(t *testing.T, window, lost int) bool {
	t.Helper()
	p := hdlc.Params{TransmitWindow: window, ReceiveWindow: window}
	l := newLine(t, hdlc.Config{Params: p}, hdlc.ServerConfig{Params: p})
	hit := false
	l.medium = func(_ bool, frame []byte) []byte {
		if l.frames == lost {
			hit = true
			return nil
		}
		return frame
	}
	l.connect()
	for i := range 3 {
		l.wantEcho(i * 500)
		if len(l.requests) != i+1 {
			t.Fatalf("window %d, frame %d lost: server got %d requests, want %d", window, lost, len(l.requests), i+1)
		}
	}
	return !hit
}

func TestALineThatLosesDamagesAndDelaysStillCarriesEachAPDUOnce(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { noisy(t, seed) })
	}
}

func noisy(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	window := 1 + int(seed%7)
	p := hdlc.Params{TransmitWindow: window, ReceiveWindow: window, TransmitInfo: 64, ReceiveInfo: 64}
	l := newLine(t, hdlc.Config{Params: p, Retries: 100}, hdlc.ServerConfig{Params: p, InactivityTimeout: 24 * time.Hour})
	l.medium = func(_ bool, frame []byte) []byte {
		switch r.IntN(10) {
		case 0:
			return nil
		case 1:
			frame[r.IntN(len(frame))] ^= 1 << r.IntN(8)
		case 2:
			return frame[:r.IntN(len(frame))]
		}
		return frame
	}
	l.connect()
	for i := range 15 {
		l.delay = time.Duration(r.IntN(12)) * time.Second // often longer than the client waits
		l.wantEcho(r.IntN(1000))
		if len(l.requests) != i+1 {
			t.Fatalf("server got %d requests, want %d", len(l.requests), i+1)
		}
	}
}

func TestASlowServerIsAskedUntilItHasTheAnswer(t *testing.T) {
	l := newLine(t, hdlc.Config{}, hdlc.ServerConfig{})
	l.delay = 30 * time.Second
	l.connect()
	start := l.now
	l.wantEcho(300)
	if took := l.now.Sub(start); took < l.delay || took > l.delay+time.Second {
		t.Errorf("took %v", took)
	}
	if len(l.requests) != 1 {
		t.Errorf("server got %d requests", len(l.requests))
	}
}

func TestAServerWithoutAnAnswerGivesTheTurnBack(t *testing.T) {
	l := newLine(t, hdlc.Config{}, hdlc.ServerConfig{})
	l.answer = func([]byte) []byte { return nil }
	l.connect()
	for i := range 10 {
		if err := l.p.Send(l.now, []byte("unconfirmed")); err != nil {
			t.Fatal(err)
		}
		l.until("send", l.p.Idle)
		if len(l.requests) != i+1 {
			t.Fatalf("server got %d requests, want %d", len(l.requests), i+1)
		}
	}
}

func TestASilentServerEndsTheLinkAfterTheRetries(t *testing.T) {
	l := newLine(t, hdlc.Config{Retries: 2, ResponseTimeout: time.Second}, hdlc.ServerConfig{})
	dead := false
	l.medium = func(_ bool, frame []byte) []byte {
		if dead {
			return nil
		}
		return frame
	}
	l.connect()
	dead = true
	start := l.now
	if err := l.p.Send(l.now, []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.until("fail", func() bool { return l.p.State() == hdlc.StateDisconnected })
	if !errors.Is(l.p.Err(), hdlc.ErrNoAnswer) || l.now.Sub(start) != 3*time.Second {
		t.Errorf("got %v after %v", l.p.Err(), l.now.Sub(start))
	}
	if _, ok := l.p.Deadline(); ok {
		t.Error("a timer still runs")
	}
	dead = false
	l.connect() // and it can be taken up again
	l.wantEcho(100)
}

func TestConnectGivesUpOnASilentServer(t *testing.T) {
	l := newLine(t, hdlc.Config{}, hdlc.ServerConfig{})
	l.medium = func(bool, []byte) []byte { return nil }
	if err := l.p.Connect(l.now); err != nil {
		t.Fatal(err)
	}
	l.until("fail", func() bool { return l.p.State() == hdlc.StateDisconnected })
	if !errors.Is(l.p.Err(), hdlc.ErrNoAnswer) || l.frames != 4 {
		t.Errorf("got %v after %d SNRM", l.p.Err(), l.frames)
	}
}

func TestAnInactiveLinkEndsAtTheServerAndTheClientLearnsIt(t *testing.T) {
	l := newLine(t, hdlc.Config{}, hdlc.ServerConfig{InactivityTimeout: time.Minute})
	l.connect()
	l.now = l.now.Add(time.Minute)
	l.s.Tick(l.now)
	l.serve()
	last := l.events[len(l.events)-1]
	if last.Kind != hdlc.EventDisconnected || last.Client != 16 || !errors.Is(last.Err, hdlc.ErrInactive) {
		t.Fatalf("got %+v", last)
	}
	if err := l.p.Send(l.now, []byte("x")); err != nil {
		t.Fatal(err)
	}
	l.until("learn", func() bool { return l.p.State() == hdlc.StateDisconnected })
	if !errors.Is(l.p.Err(), hdlc.ErrDropped) {
		t.Errorf("got %v", l.p.Err())
	}
}

func TestTwoClientsHaveTheirOwnLinksOnOneLine(t *testing.T) {
	l := newLine(t, hdlc.Config{}, hdlc.ServerConfig{})
	other := newPrimary(t, hdlc.Config{Client: 32, Server: 1})
	l.connect()
	if err := other.Connect(l.now); err != nil {
		t.Fatal(err)
	}
	l.s.Receive(l.now, other.Output())
	l.serve()
	both := bytes.Clone(l.s.Output())
	l.p.Receive(l.now, both) // on one line each hears what is for the other
	other.Receive(l.now, both)
	if other.State() != hdlc.StateConnected {
		t.Fatalf("got %v", other.State())
	}
	if diff := cmp.Diff([]dlms.SAP{16, 32}, l.s.Clients()); diff != "" {
		t.Error(diff)
	}
	l.wantEcho(500)
	if err := other.Disconnect(l.now); err != nil {
		t.Fatal(err)
	}
	l.s.Receive(l.now, other.Output())
	l.wantEcho(500)
}

func TestABroadcastReachesTheServerAndIsNotAnswered(t *testing.T) {
	for _, c := range []hdlc.Config{
		{Client: 48, Server: dlms.SAPAllStations},
		{Client: 48, Server: 0x3FFF, Physical: 0x3FFF},
		{Client: 48, Server: 1, Physical: 0x7F, AddressSize: 2},
	} {
		l := newLine(t, c, hdlc.ServerConfig{Physical: 17, Servers: []dlms.SAP{1}})
		if err := l.p.SendUnnumbered([]byte("to all")); err != nil {
			t.Fatal(err)
		}
		l.settle()
		if len(l.events) != 1 || l.events[0].Kind != hdlc.EventUnnumbered || string(l.events[0].APDU) != "to all" ||
			l.events[0].Server != dlms.SAPAllStations || l.events[0].ID != 0 {
			t.Errorf("got %+v", l.events)
		}
		if l.frames != 1 {
			t.Errorf("got %d frames on the line, want the broadcast alone", l.frames)
		}
		if err := l.p.Connect(l.now); !errors.Is(err, hdlc.ErrState) {
			t.Errorf("connect to all: got %v", err)
		}
	}
}

func TestAPrimaryKeepsAtMostEightAPDUsOfEachKindForASlowCaller(t *testing.T) {
	p := newPrimary(t, hdlc.Config{})
	connectTo(t, p, nil)
	p.Listen(time.Unix(0, 0), true)
	for i := range 100 {
		p.Receive(time.Unix(0, 0), mustAppend(t, fromServer(hdlc.Control(i%8)<<1, "E6E700 AA")))
		p.Receive(time.Unix(0, 0), mustAppend(t, fromServer(0x03, "E6E700 BB")))
	}
	var got []byte
	for apdu, ok := p.APDU(); ok; apdu, ok = p.APDU() {
		got = append(got, apdu...)
	}
	if want := bytes.Repeat([]byte{0xAA, 0xBB}, 8); !bytes.Equal(got, want) {
		t.Errorf("got % X, want eight of each as they came", got)
	}
}
