package hdlc_test

import (
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

// script cuts fuzz input into pieces: a length octet, a pause octet in tenths of a second, the piece.
func script(b []byte, feed func(piece []byte, pause time.Duration)) {
	for len(b) >= 2 {
		n, pause := min(int(b[0]), len(b)-2), time.Duration(b[1])*100*time.Millisecond
		feed(b[2:2+n], pause)
		b = b[2+n:]
	}
}

func play(pieces ...[]byte) (b []byte) {
	for _, p := range pieces {
		b = append(append(b, byte(len(p)), 1), p...)
	}
	return b
}

// wellFormed fails unless out is nothing but good frames.
func wellFormed(t *testing.T, out []byte) {
	t.Helper()
	var d hdlc.Decoder
	if got := decode(t, &d, out, len(out)); string(got) != string(out) {
		t.Fatalf("not only frames: % X", out)
	}
}

// FuzzSecondary holds that whatever comes, the server writes good frames only, keeps its bounds, and serves the
// next honest client.
func FuzzSecondary(f *testing.F) {
	snrm, disc := mustAppend(f, fromClient(0x93, "")), mustAppend(f, fromClient(0x53, ""))
	f.Add(play(snrm, mustAppend(f, fromClient(0x10, "E6E600 C0")), mustAppend(f, fromClient(0x31, "")), disc))
	f.Add(play(snrm, mustAppend(f, fromClient(0xFF, "")), mustAppend(f, fromClient(0x13, "E6E600 C0"))))
	f.Add(play(mustAppend(f, fromClient(0x93, "818012 050101 060101 070400000007 080400000007"))))
	f.Add(play(snrm, mustAppend(f, fromClient(0x13, "")), mustAppend(f, fromClient(0x10, "E6E600 C0")), mustAppend(f, fromClient(0x13, ""))))
	f.Add(play(snrm, mustAppend(f, hdlc.Frame{Destination: address4(1, 0x3FFF), Source: hdlc.ClientAddress(16), Control: 0x03, Info: fromHex("E6E600 0F")})))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The client that follows the noise has an address of any size, taken from the noise.
		size := []int{1, 2, 4}[len(b)%3]
		l := newLine(t, hdlc.Config{Client: 16, Server: 1, AddressSize: size, Retries: 20}, hdlc.ServerConfig{Servers: []dlms.SAP{1}, MaxLinks: 130})
		script(b, func(piece []byte, pause time.Duration) {
			l.now = l.now.Add(pause)
			l.s.Tick(l.now)
			l.s.Receive(l.now, piece)
			if len(piece) > 0 {
				p := hdlc.Push{Client: dlms.SAP(piece[0]), Server: 1, APDU: piece}
				if err := l.s.Push(p); err != nil && p.Client == 16 && len(piece) < 60 && !errors.Is(err, hdlc.ErrPushes) && !errors.Is(err, hdlc.ErrTooLong) {
					t.Fatal(err)
				}
			}
			l.serve()
			wellFormed(t, l.s.Output())
		})
		if n := len(l.s.Clients()); n > 126 {
			t.Errorf("%d clients", n)
		}
		l.now = l.now.Add(2 * time.Second) // a pause: else the first flag may end a frame that the noise began
		l.connect()
		l.wantEcho(300)
	})
}

// FuzzPrimary holds that whatever comes, the client writes good frames only, keeps its bounds, never waits for
// ever, and can connect to an honest server afterwards.
func FuzzPrimary(f *testing.F) {
	ua := mustAppend(f, fromServer(0x73, "818012 050140 060180 070400000007 080400000001"))
	f.Add(play(ua, mustAppend(f, fromServer(0x30, "E6E700 C4")), mustAppend(f, fromServer(0x1F, ""))))
	f.Add(play(ua, mustAppend(f, fromServer(0x15, "")), mustAppend(f, fromServer(0x97, "100004"))))
	f.Add(play(mustAppend(f, fromServer(0x73, "818003 070101"))))
	f.Add(play(ua, mustAppend(f, fromServer(0x13, "E6E700 0F")), mustAppend(f, fromServer(0x03, "E6E700 C2"), fromServer(0x30, "E6E700 C4"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := hdlc.Config{Client: 16, Server: 1, Params: hdlc.Params{TransmitWindow: 7, TransmitInfo: 2030}}
		c.AddressSize = []int{1, 2, 4}[len(b)%3]
		if len(b)%2 == 1 {
			c.OnUnnumbered = func(from hdlc.Address, apdu []byte) {
				if from != (hdlc.Address{Upper: 1, Size: c.AddressSize}) || len(apdu) > hdlc.MaxInfo {
					t.Errorf("got %d bytes from %v", len(apdu), from)
				}
			}
		}
		l := newLine(t, c, hdlc.ServerConfig{})
		if err := l.p.Connect(l.now); err != nil {
			t.Fatal(err)
		}
		script(b, func(piece []byte, pause time.Duration) {
			l.now = l.now.Add(pause)
			l.p.Tick(l.now)
			l.p.Receive(l.now, piece)
			if l.p.Idle() && len(piece)%3 == 0 {
				if err := l.p.Trigger(l.now); err != nil {
					t.Fatal(err)
				}
			} else if l.p.Idle() {
				if err := l.p.Send(l.now, pattern(int(pause/time.Millisecond))); err != nil {
					t.Fatal(err)
				}
			}
			l.p.Listen(l.now, len(piece)%2 == 0)
			wellFormed(t, l.p.Output())
		})
		n := 0
		for _, ok := l.p.APDU(); ok; _, ok = l.p.APDU() {
			n++
		}
		if n > 16 {
			t.Errorf("%d APDUs were kept", n)
		}
		recoverFrom(t, l)
	})
}

// recoverFrom brings the client to an honest server that knows nothing of what was before: it notices (DM), or
// gives up, and connects anew.
func recoverFrom(t *testing.T, l *line) {
	t.Helper()
	l.now = l.now.Add(2 * time.Second) // a pause: else the first flag may end a frame that the noise began
	l.p.Tick(l.now)
	l.p.Listen(l.now, true)
	l.until("notice", func() bool { return l.p.State() == hdlc.StateDisconnected || l.p.Idle() && len(l.s.Clients()) == 1 })
	if l.p.State() == hdlc.StateDisconnected {
		l.connect()
	}
	l.wantEcho(3000)
}
