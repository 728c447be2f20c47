package hdlc_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

// hostile is a line that loses, flips, cuts, repeats, delays and dribbles frames.
type hostile struct {
	r    *rand.Rand
	held map[bool][]byte // by direction: what comes after the next frame
	junk bool
}

// pass is the medium. A frame does not outlive its link: numbers have three bits and say nothing of the link, so that
// HDLC cannot tell an old frame behind a new SNRM. What travels in it is ciphered and numbered for that.
func (h *hostile) pass(toServer bool, frame []byte) (out []byte) {
	if f, err := hdlc.ParseFrame(frame); err == nil && (f.Control.Kind() == hdlc.KindSNRM || f.Control.Kind() == hdlc.KindUA) {
		clear(h.held)
	}
	switch h.r.IntN(14) {
	case 0:
		return nil
	case 1:
		frame[h.r.IntN(len(frame))] ^= 1 << h.r.IntN(8)
	case 2:
		return frame[:h.r.IntN(len(frame))]
	case 3, 4: // twice
		out = append(out, frame...)
	case 5: // after the next one
		if h.held[toServer] == nil {
			h.held[toServer] = bytes.Clone(frame)
			return nil
		}
	case 6:
		if h.junk {
			out = append(out, []byte{0x7E, 0xA7, 0xFF, 0x03}[:h.r.IntN(5)]...)
		}
	}
	out = append(append(out, frame...), h.held[toServer]...)
	delete(h.held, toServer)
	return out
}

// A whole APDU or an error: whatever the line does, nothing else may come out at either end. An answer that comes late
// on a link that began anew is whole too; which request it answers is for the layer above to tell (invoke-id,
// counters).
func TestOnAHostileLineAnAPDUArrivesWholeOrAnErrorIsTold(t *testing.T) {
	whole, failed := 0, 0
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w, f := besiege(t, seed)
			whole, failed = whole+w, failed+f
		})
	}
	t.Logf("%d answers arrived whole, %d times an error was told", whole, failed)
	if whole < 1000 || failed < 10 {
		t.Errorf("%d answers, %d errors: the line was not hostile enough, or too much", whole, failed)
	}
}

func besiege(t *testing.T, seed uint64) (whole, failed int) {
	h := &hostile{r: rand.New(rand.NewPCG(seed, 2)), held: map[bool][]byte{}, junk: seed%3 == 0}
	window := 1 + int(seed%7)
	p := hdlc.Params{TransmitWindow: window, ReceiveWindow: window, TransmitInfo: 48, ReceiveInfo: 48}
	c := hdlc.Config{Client: 16, Server: 1, Physical: []uint16{0, 17, 8000}[seed%3], Params: p, Retries: 4}
	l := newLine(t, c, hdlc.ServerConfig{Params: p, Physical: c.Physical, InactivityTimeout: 24 * time.Hour})
	l.medium = h.pass
	asked := map[string]bool{}
	for i := range 12 {
		l.delay = time.Duration(h.r.IntN(8)) * time.Second
		apdu := append([]byte{byte(i)}, pattern(h.r.IntN(600))...)
		asked[string(apdu)] = true
		got := l.tryAsk(apdu)
		if got == nil {
			failed++
			continue
		}
		request, ok := bytes.CutPrefix(got, []byte("re:"))
		if !ok || !asked[string(request)] {
			t.Fatalf("got %d bytes that nobody sent", len(got))
		}
		whole++
	}
	for _, r := range l.requests {
		if !asked[string(r)] {
			t.Fatalf("the server got %d bytes that nobody sent", len(r))
		}
	}
	return whole, failed
}

// tryAsk is ask on a link that may fail, in which case it returns nil.
func (l *line) tryAsk(apdu []byte) (got []byte) {
	l.t.Helper()
	down := func() bool { return l.p.State() == hdlc.StateDisconnected }
	for tries := 0; l.p.State() != hdlc.StateConnected; tries++ {
		if tries > 50 {
			l.t.Fatal("never connects")
		}
		if err := l.p.Connect(l.now); err != nil {
			l.t.Fatal(err)
		}
		l.until("connect", func() bool { return down() || l.p.State() == hdlc.StateConnected })
	}
	defer l.p.Listen(l.now, false)
	for l.p.Listen(l.now, true); ; {
		l.until("idle", func() bool { return down() || l.p.Idle() })
		if down() {
			return l.told()
		}
		if apdu != nil {
			if err := l.p.Send(l.now, apdu); err != nil {
				l.t.Fatal(err)
			}
			apdu = nil
			continue
		}
		l.until("answer", func() bool {
			if got == nil {
				got, _ = l.p.APDU()
			}
			return got != nil || down()
		})
		if got == nil {
			return l.told()
		}
		return got
	}
}

// told checks that a link that ended says why.
func (l *line) told() []byte {
	l.t.Helper()
	if l.p.Err() == nil {
		l.t.Error("the link ended and does not say why")
	}
	return nil
}

func TestEveryFormOfAddressIsAnsweredInTheSameForm(t *testing.T) {
	for _, c := range []hdlc.Config{
		{Client: 16, Server: 1},
		{Client: 1, Server: 1},
		{Client: 127 - 1, Server: 126},
		{Client: 16, Server: 1, Physical: 17},
		{Client: 16, Server: 1, Physical: 17, AddressSize: 4},
		{Client: 16, Server: 1, AddressSize: 2},
		{Client: 16, Server: 1, AddressSize: 4},
		{Client: 16, Server: 0x3FFE, Physical: 0x3FFE},
	} {
		l := newLine(t, c, hdlc.ServerConfig{Physical: c.Physical})
		l.medium = func(toServer bool, frame []byte) []byte {
			f, err := hdlc.ParseFrame(frame)
			if err != nil {
				t.Fatal(err)
			}
			client, server := f.Source, f.Destination
			if !toServer {
				client, server = server, client
			}
			want := hdlc.ServerAddress(c.Server, c.Physical)
			if c.AddressSize != 0 {
				want.Size = c.AddressSize
			}
			if client != hdlc.ClientAddress(c.Client) || server != want {
				t.Errorf("%+v: client %v, server %+v", c, client, server)
			}
			return frame
		}
		l.connect()
		l.wantEcho(500)
	}
}

func TestTheAllStationAddressIsThatOfItsSize(t *testing.T) {
	for _, c := range []struct {
		physical uint16
		size     int
		want     string
	}{{0, 1, "FF"}, {17, 2, "FE 23"}, {8000, 4, "FE FE 7C 81"}, {0x3FFF, 4, "FE FE FE FF"}} {
		a := hdlc.ServerAddress(dlms.SAPAllStations, c.physical)
		b := mustAppend(t, hdlc.Frame{Destination: a, Source: hdlc.ClientAddress(16), Control: 0x03})
		if got := b[3 : 3+a.Size]; a.Size != c.size || !a.Broadcast() || !bytes.Equal(got, fromHex(c.want)) {
			t.Errorf("physical %d: got %d octets, % X, want %s", c.physical, a.Size, got, c.want)
		}
	}
}

func TestNobodyListensAtTheNoStationAddress(t *testing.T) {
	s, err := hdlc.NewSecondary(hdlc.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(start, mustAppend(t, hdlc.Frame{Destination: hdlc.ServerAddress(0, 0), Source: hdlc.ClientAddress(16), Control: 0x93}))
	wantSays(t, s.Output())
}
