package hdlc_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

// The tests of this file speak to one end with frames made by hand.

func newPrimary(t testing.TB, c hdlc.Config) *hdlc.Primary {
	t.Helper()
	if c.Client == 0 {
		c.Client, c.Server = 16, 1
	}
	p, err := hdlc.NewPrimary(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fromServer(c hdlc.Control, info string) hdlc.Frame {
	return hdlc.Frame{Destination: hdlc.ClientAddress(16), Source: hdlc.ServerAddress(1, 0), Control: c, Info: fromHex(info)}
}

func fromClient(c hdlc.Control, info string) hdlc.Frame {
	return hdlc.Frame{Destination: hdlc.ServerAddress(1, 0), Source: hdlc.ClientAddress(16), Control: c, Info: fromHex(info)}
}

var start = time.Unix(0, 0)

// connectTo connects p to a server that answers UA with info.
func connectTo(t testing.TB, p *hdlc.Primary, info []byte) {
	t.Helper()
	if err := p.Connect(start); err != nil {
		t.Fatal(err)
	}
	ua := fromServer(0x73, "")
	ua.Info = info
	p.Receive(start, mustAppend(t, ua))
	if p.State() != hdlc.StateConnected {
		t.Fatalf("got %v, %v", p.State(), p.Err())
	}
	p.Output()
}

// says returns the control fields that an end has written.
func says(t testing.TB, out []byte) (controls []string) {
	t.Helper()
	var d hdlc.Decoder
	d.Feed(out)
	for f, ok := d.Next(); ok; f, ok = d.Next() {
		controls = append(controls, f.Control.String())
	}
	return controls
}

func wantSays(t testing.TB, out []byte, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, says(t, out)); diff != "" {
		t.Error(diff)
	}
}

func TestPrimaryRepeatsAfterRNROnlyWhenTheServerIsReady(t *testing.T) {
	p := newPrimary(t, hdlc.Config{})
	connectTo(t, p, nil)
	if err := p.Send(start, []byte("x")); err != nil {
		t.Fatal(err)
	}
	wantSays(t, p.Output(), "I s=0 r=0 P")
	now := start
	for range 10 { // longer than the retries, since the server does answer
		p.Receive(now, mustAppend(t, fromServer(0x15, ""))) // RNR r=0 F
		if out := p.Output(); len(out) != 0 {
			t.Fatalf("got %v at once", says(t, out))
		}
		now = now.Add(100 * time.Millisecond)
		p.Tick(now)
		wantSays(t, p.Output(), "RR r=0 P")
	}
	p.Receive(now, mustAppend(t, fromServer(0x11, ""))) // RR r=0 F
	wantSays(t, p.Output(), "I s=0 r=0 P")
	p.Receive(now, mustAppend(t, fromServer(0x31, ""))) // RR r=1 F
	if !p.Idle() {
		t.Error("want idle")
	}
}

func TestPrimaryIgnoresALateAnswerInsteadOfDoublingTheTraffic(t *testing.T) {
	p := newPrimary(t, hdlc.Config{})
	connectTo(t, p, nil)
	if err := p.Send(start, []byte("one")); err != nil {
		t.Fatal(err)
	}
	answer := mustAppend(t, fromServer(0x30, "E6E700 01")) // I s=0 r=1 F
	p.Receive(start, answer)
	if err := p.Send(start, []byte("two")); err != nil {
		t.Fatal(err)
	}
	wantSays(t, p.Output(), "I s=0 r=0 P", "I s=1 r=1 P")
	p.Receive(start, answer) // once more
	if out := p.Output(); len(out) != 0 {
		t.Errorf("got %v", says(t, out))
	}
	p.Receive(start, mustAppend(t, fromServer(0x52, "E6E700 02"))) // I s=1 r=2 F
	var got []byte
	for apdu, ok := p.APDU(); ok; apdu, ok = p.APDU() {
		got = append(got, apdu...)
	}
	if !bytes.Equal(got, []byte{1, 2}) || !p.Idle() {
		t.Errorf("got % X", got)
	}
}

func TestPrimaryIgnoresWhatIsNotForItOrImpossible(t *testing.T) {
	for name, f := range map[string]hdlc.Frame{
		"other client":      {Destination: hdlc.ClientAddress(17), Source: hdlc.ServerAddress(1, 0), Control: 0x0F},
		"other server":      {Destination: hdlc.ClientAddress(16), Source: hdlc.ServerAddress(2, 0), Control: 0x0F},
		"second UA":         fromServer(0x73, ""),
		"number never sent": fromServer(0xB1, ""),
		"command":           fromServer(0x93, ""),
		"unknown":           fromServer(0xFF, ""),
		"UI without LLC":    fromServer(0x13, "01"),
	} {
		p := newPrimary(t, hdlc.Config{})
		connectTo(t, p, nil)
		if err := p.Send(start, []byte("x")); err != nil {
			t.Fatal(err)
		}
		p.Output()
		p.Receive(start, mustAppend(t, f))
		if out := p.Output(); p.State() != hdlc.StateConnected || p.Idle() || len(out) != 0 {
			t.Errorf("%s: got %v, says %v", name, p.State(), says(t, out))
		}
		p.Receive(start, mustAppend(t, fromServer(0x31, "")))
		if !p.Idle() {
			t.Errorf("%s: the right answer does not count any more", name)
		}
	}
}

func TestPrimaryEndsTheLinkWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		frame hdlc.Frame
		want  error
		text  string
	}{
		"DM":        {fromServer(0x1F, ""), hdlc.ErrDropped, ""},
		"FRMR":      {fromServer(0x97, "10 00 04"), nil, "hdlc: frame I s=0 r=0 P rejected: information too long"},
		"wrong LLC": {fromServer(0x30, "E6E600 01"), hdlc.ErrMalformed, "hdlc: llc: malformed: want e6 e7 00, got e6 e6 00"},
		"too long":  {fromServer(0x30, "E6E700 0102030405060708091011"), hdlc.ErrTooLong, "hdlc: apdu: too long: want at most 10 bytes"},
	} {
		p := newPrimary(t, hdlc.Config{MaxAPDU: 10})
		connectTo(t, p, nil)
		if err := p.Send(start, []byte("x")); err != nil {
			t.Fatal(err)
		}
		p.Receive(start, mustAppend(t, c.frame))
		err := p.Err()
		if p.State() != hdlc.StateDisconnected || err == nil || c.want != nil && !errors.Is(err, c.want) || c.text != "" && err.Error() != c.text {
			t.Errorf("%s: got %v, %v", name, p.State(), err)
		}
	}
}

func TestPrimaryRefusesABadConfiguration(t *testing.T) {
	for name, c := range map[string]hdlc.Config{
		"client of two octets": {Client: 128, Server: 1},
		"server too large":     {Client: 16, Server: 0x4000},
		"address size":         {Client: 16, Server: 1, AddressSize: 3},
		"lower in one octet":   {Client: 16, Server: 1, Physical: 17, AddressSize: 1},
		"window":               {Client: 16, Server: 1, Params: hdlc.Params{TransmitWindow: 8}},
		"information field":    {Client: 16, Server: 1, Params: hdlc.Params{ReceiveInfo: 2031}},
	} {
		if _, err := hdlc.NewPrimary(c); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestPrimaryPausesWhenAServerStopsWithinAnAPDU(t *testing.T) {
	p := newPrimary(t, hdlc.Config{})
	connectTo(t, p, nil)
	if err := p.Send(start, []byte("x")); err != nil {
		t.Fatal(err)
	}
	p.Output()
	segment := fromServer(0x30, "E6E700 01")
	segment.Segmented = true
	p.Receive(start, mustAppend(t, segment))
	wantSays(t, p.Output(), "RR r=1 P") // the rest is asked for at once
	p.Receive(start, mustAppend(t, fromServer(0x31, "")))
	wantSays(t, p.Output()) // and not in a tight loop
	now := start.Add(100 * time.Millisecond)
	p.Tick(now)
	wantSays(t, p.Output(), "RR r=1 P")
	p.Receive(now, mustAppend(t, fromServer(0x32, "02")))
	if apdu, _ := p.APDU(); !bytes.Equal(apdu, []byte{1, 2}) {
		t.Errorf("got % X", apdu)
	}
}

func TestPrimaryGivesUpAFrameAfterALongPause(t *testing.T) {
	p := newPrimary(t, hdlc.Config{})
	connectTo(t, p, nil)
	if err := p.Send(start, []byte("x")); err != nil {
		t.Fatal(err)
	}
	long := fromServer(0x30, "")
	long.Info = make([]byte, 100)
	p.Receive(start, mustAppend(t, long)[:50])
	p.Receive(start.Add(2*time.Second), mustAppend(t, fromServer(0x30, "E6E700 01")))
	if apdu, _ := p.APDU(); !bytes.Equal(apdu, []byte{1}) {
		t.Errorf("got % X, want the answer after the pause", apdu)
	}
}
