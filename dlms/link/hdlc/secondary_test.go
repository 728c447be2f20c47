package hdlc_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

// secondary is a Secondary with client 16 connected.
func secondary(t testing.TB, c hdlc.ServerConfig) *hdlc.Secondary {
	t.Helper()
	s, err := hdlc.NewSecondary(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(start, mustAppend(t, fromClient(0x93, "")))
	wantSays(t, s.Output(), "UA P")
	if e, _ := s.Event(); e.Kind != hdlc.EventConnected {
		t.Fatalf("got %+v", e)
	}
	return s
}

func TestSecondaryAnswersDMWhileDisconnected(t *testing.T) {
	for _, c := range []hdlc.Control{0x10, 0x11, 0x15, 0x53} {
		s, err := hdlc.NewSecondary(hdlc.ServerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		s.Receive(start, mustAppend(t, fromClient(c, "")))
		wantSays(t, s.Output(), "DM P")
		s.Receive(start, mustAppend(t, fromClient(c&^0x10, "")))
		wantSays(t, s.Output())
	}
}

func TestSecondaryRejectsImpossibleFramesUntilSNRM(t *testing.T) {
	long := fromClient(0x10, "")
	long.Info = make([]byte, 129)
	segment := fromClient(0x10, "E6E600 01020304050607080910")
	segment.Segmented = true
	more := fromClient(0x12, "11")
	for name, c := range map[string]struct {
		frames []hdlc.Frame
		reason byte
	}{
		"unknown control field":  {[]hdlc.Frame{fromClient(0xFF, "")}, 1},
		"information in RR":      {[]hdlc.Frame{fromClient(0x11, "00")}, 3},
		"information too long":   {[]hdlc.Frame{long}, 4},
		"APDU too long":          {[]hdlc.Frame{segment, more}, 4},
		"number that never was":  {[]hdlc.Frame{fromClient(0x31, "")}, 8},
		"the same in an I frame": {[]hdlc.Frame{fromClient(0x30, "E6E600 01")}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			s := secondary(t, hdlc.ServerConfig{MaxAPDU: 10})
			for _, f := range c.frames {
				s.Output()
				s.Receive(start, mustAppend(t, f))
			}
			last := c.frames[len(c.frames)-1]
			checkReject(t, s.Output(), last.Control, c.reason)
			s.Receive(start, mustAppend(t, fromClient(0x11, ""))) // whatever comes now
			checkReject(t, s.Output(), last.Control, c.reason)
			s.Receive(start, mustAppend(t, fromClient(0x93, "")))
			wantSays(t, s.Output(), "UA P")
			s.Receive(start, mustAppend(t, fromClient(0x11, "")))
			wantSays(t, s.Output(), "RR r=0 P")
		})
	}
}

func checkReject(t *testing.T, out []byte, c hdlc.Control, reason byte) {
	t.Helper()
	f, err := hdlc.ParseFrame(out)
	if err != nil {
		t.Fatalf("% X: %v", out, err)
	}
	if f.Control != 0x97 || len(f.Info) != 3 || f.Info[0] != byte(c) || f.Info[2] != reason {
		t.Errorf("got %v % X, want FRMR of %v for %d", f.Control, f.Info, c, reason)
	}
}

func TestSecondaryHoldsTheTurnForTheAnswerAndYieldsItWhenAsked(t *testing.T) {
	s := secondary(t, hdlc.ServerConfig{})
	request := mustAppend(t, fromClient(0x10, "E6E600 01"))
	s.Receive(start, request)
	e, _ := s.Event()
	s.Receive(start, request) // repeated by an impatient client: still the same request
	wantSays(t, s.Output())
	if _, ok := s.Event(); ok {
		t.Fatal("the repeated frame made a second request")
	}
	s.Receive(start, mustAppend(t, fromClient(0x11, "")))
	wantSays(t, s.Output(), "RR r=1 P")
	s.Receive(start, mustAppend(t, fromClient(0x12, "E6E600 02"))) // the next request, too early
	wantSays(t, s.Output(), "RNR r=1 P")
	if err := s.Reply(e.ID, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	wantSays(t, s.Output()) // no turn
	s.Receive(start, mustAppend(t, fromClient(0x11, "")))
	wantSays(t, s.Output(), "I s=0 r=1 P")
	s.Receive(start, mustAppend(t, fromClient(0x32, "E6E600 02"))) // I s=1 r=1
	if e, _ := s.Event(); e.Kind != hdlc.EventRequest || !bytes.Equal(e.APDU, []byte{2}) {
		t.Errorf("got %+v", e)
	}
}

func TestSecondarySendsNothingButRRToABusyClient(t *testing.T) {
	s := secondary(t, hdlc.ServerConfig{})
	s.Receive(start, mustAppend(t, fromClient(0x00, "E6E600 01")))
	e, _ := s.Event()
	if err := s.Reply(e.ID, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	s.Receive(start, mustAppend(t, fromClient(0x15, "")))
	wantSays(t, s.Output(), "RR r=1 P")
	s.Receive(start, mustAppend(t, fromClient(0x11, "")))
	wantSays(t, s.Output(), "I s=0 r=1 P")
}

func TestSNRMAndDISCEndTheLinkAndTheReplyUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		frame hdlc.Control
		want  error
	}{"SNRM": {0x93, hdlc.ErrReconnected}, "DISC": {0x53, hdlc.ErrPeerDisconnected}} {
		s := secondary(t, hdlc.ServerConfig{})
		s.Receive(start, mustAppend(t, fromClient(0x10, "E6E600 01")))
		request, _ := s.Event()
		s.Receive(start, mustAppend(t, fromClient(c.frame, "")))
		wantSays(t, s.Output(), "UA P")
		if e, _ := s.Event(); e.Kind != hdlc.EventDisconnected || e.Client != 16 || !errors.Is(e.Err, c.want) {
			t.Errorf("%s: got %+v", name, e)
		}
		if err := s.Reply(request.ID, []byte("late")); !errors.Is(err, hdlc.ErrNoRequest) {
			t.Errorf("%s: got %v", name, err)
		}
		wantSays(t, s.Output())
	}
}

func TestSecondaryBoundsItsLinks(t *testing.T) {
	s, err := hdlc.NewSecondary(hdlc.ServerConfig{MaxLinks: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"UA P", "UA P", "DM P", "DM P"} {
		f := fromClient(0x93, "")
		f.Source = hdlc.ClientAddress(dlms.SAP(16 + i))
		s.Receive(start, mustAppend(t, f))
		wantSays(t, s.Output(), want)
	}
	f := fromClient(0x53, "")
	s.Receive(start, mustAppend(t, f))
	f = fromClient(0x93, "")
	f.Source = hdlc.ClientAddress(18)
	s.Receive(start, mustAppend(t, f))
	wantSays(t, s.Output(), "UA P", "UA P")
}

func TestSecondaryHearsOnlyWhatIsForIt(t *testing.T) {
	for name, c := range map[string]struct {
		destination hdlc.Address
		source      hdlc.Address
		want        int
	}{
		"its logical device":    {hdlc.ServerAddress(1, 0), hdlc.ClientAddress(16), 1},
		"and physical device":   {hdlc.ServerAddress(1, 17), hdlc.ClientAddress(16), 1},
		"in four octets":        {address4(1, 17), hdlc.ClientAddress(16), 1},
		"other logical device":  {hdlc.ServerAddress(2, 17), hdlc.ClientAddress(16), 0},
		"other physical device": {hdlc.ServerAddress(1, 18), hdlc.ClientAddress(16), 0},
		"client of two octets":  {hdlc.ServerAddress(1, 17), hdlc.ServerAddress(16, 1), 0},
		"client 0":              {hdlc.ServerAddress(1, 17), hdlc.ClientAddress(0), 0},
		"client 127":            {hdlc.ServerAddress(1, 17), hdlc.ClientAddress(127), 0},
	} {
		s, err := hdlc.NewSecondary(hdlc.ServerConfig{Servers: []dlms.SAP{1}, Physical: 17})
		if err != nil {
			t.Fatal(err)
		}
		got := s.Receive(start, mustAppend(t, hdlc.Frame{Destination: c.destination, Source: c.source, Control: 0x93}))
		if out := says(t, s.Output()); got != c.want || len(out) != c.want {
			t.Errorf("%s: got %d frames, says %v", name, got, out)
		}
	}
}

func TestSecondaryAnswersUIWithPByOneUIFrame(t *testing.T) {
	s, err := hdlc.NewSecondary(hdlc.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(start, mustAppend(t, fromClient(0x13, "E6E600 01")))
	e, _ := s.Event()
	if e.Kind != hdlc.EventUnnumbered || e.ID == 0 {
		t.Fatalf("got %+v", e)
	}
	if err := s.Reply(e.ID, make([]byte, 126)); !errors.Is(err, hdlc.ErrTooLong) {
		t.Errorf("got %v", err)
	}
	s.Receive(start, mustAppend(t, fromClient(0x13, "E6E600 01")))
	e, _ = s.Event()
	if err := s.Reply(e.ID, []byte{2}); err != nil {
		t.Fatal(err)
	}
	if f, err := hdlc.ParseFrame(s.Output()); err != nil || f.Control.String() != "UI P" || !bytes.Equal(f.Info, fromHex("E6E700 02")) {
		t.Errorf("got %+v, %v", f, err)
	}
	if err := s.Reply(e.ID, []byte{2}); !errors.Is(err, hdlc.ErrNoRequest) {
		t.Errorf("a second reply: got %v", err)
	}
}

func TestSecondaryRefusesMalformedParameters(t *testing.T) {
	for name, info := range map[string]string{
		"other format":        "8080 00",
		"lying group length":  "8180 05 050180",
		"lying value length":  "8180 03 050280",
		"no length":           "8180 01 05",
		"value of zero":       "8180 03 050100",
		"value of five bytes": "8180 07 05050000000001",
		"half a header":       "8180",
	} {
		s, err := hdlc.NewSecondary(hdlc.ServerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		s.Receive(start, mustAppend(t, fromClient(0x93, info)))
		if out := says(t, s.Output()); len(out) != 1 || out[0] != "DM P" {
			t.Errorf("%s: got %v", name, out)
		}
	}
}

func TestSecondaryPassesOverParametersItDoesNotKnow(t *testing.T) {
	s, err := hdlc.NewSecondary(hdlc.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(start, mustAppend(t, fromClient(0x93, "8180 07 0901FF 06020040 F000 AABB")))
	f, err := hdlc.ParseFrame(s.Output())
	if err != nil || !bytes.Equal(f.Info, fromHex("818012 050140 060180 070400000001 080400000001")) {
		t.Errorf("got %v % X, %v", f.Control, f.Info, err)
	}
}

// Polls are short and their answers long: a flood of them must not fill the memory.
func TestSecondaryBoundsWhatAFloodOfPollsMakesItWrite(t *testing.T) {
	p := hdlc.Params{TransmitInfo: 2030, ReceiveInfo: 2030, TransmitWindow: 7, ReceiveWindow: 7}
	s, err := hdlc.NewSecondary(hdlc.ServerConfig{Params: p})
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(start, mustAppend(t, fromClient(0x93, "8180 14 050207EE 060207EE 070400000007 080400000007")))
	s.Receive(start, mustAppend(t, fromClient(0x10, "E6E600 01")))
	s.Event()
	e, _ := s.Event()
	if err := s.Reply(e.ID, make([]byte, 60_000)); err != nil {
		t.Fatal(err)
	}
	s.Output()
	s.Receive(start, bytes.Repeat(mustAppend(t, fromClient(0x11, "")), 10_000))
	if n := len(s.Output()); n > 1<<16+2100 {
		t.Errorf("got %d bytes to write", n)
	}
}
