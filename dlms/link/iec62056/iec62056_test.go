package iec62056_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms/link/iec62056"
)

func TestMessagesAreReadAndWritten(t *testing.T) {
	for text, want := range map[string]any{
		"/?!\r\n":                                iec62056.Request{},
		"/?00012345 Ab!\r\n":                     iec62056.Request{Address: "00012345 Ab"},
		"/MSL5\\2METER 1\r\n":                    iec62056.Identification{Maker: "MSL", Baud: '5', Escapes: "2", Text: "METER 1"},
		"/LGZ4\\2\\3ZMD4104407.B32\r\n":          iec62056.Identification{Maker: "LGZ", Baud: '4', Escapes: "23", Text: "ZMD4104407.B32"},
		"/ISk6ME162-0010\r\n":                    iec62056.Identification{Maker: "ISk", Baud: '6', Text: "ME162-0010"},
		"/XXXZ\r\n":                              iec62056.Identification{Maker: "XXX", Baud: 'Z'},
		"\x06252\r\n":                            iec62056.ModeE('5'),
		"\x06000\r\n":                            iec62056.Acknowledgement{Control: '0', Baud: '0', Mode: '0'},
		"/?" + strings.Repeat("9", 32) + "!\r\n": iec62056.Request{Address: strings.Repeat("9", 32)},
	} {
		got, err := parseAny([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if b := appendAny(t, got); string(b) != text {
			t.Errorf("got %q, want %q", b, text)
		}
	}
}

func parseAny(b []byte) (any, error) {
	if bytes.HasPrefix(b, []byte("/?")) {
		return iec62056.ParseRequest(b)
	}
	if bytes.HasPrefix(b, []byte("/")) {
		return iec62056.ParseIdentification(b)
	}
	return iec62056.ParseAcknowledgement(b)
}

func appendAny(t testing.TB, v any) []byte {
	t.Helper()
	b, err := v.(interface {
		AppendBinary([]byte) ([]byte, error)
	}).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "/", "/?", "/?!", "/?!\r", "/?!\n", "/?" + strings.Repeat("9", 33) + "!\r\n", "/?12.3!\r\n", "/?!\r\n\r\n",
		"/MS\r\n", "/MSL\r\n", "/M1L5\r\n", "/MSL\x015x\r\n", "/MSL5" + strings.Repeat("x", 17) + "\r\n", "/MSL5a/b\r\n", "/MSL5a!b\r\n",
		"/MSL5\\\r\n", "/MSL5" + strings.Repeat("\\2", 9) + "\r\n", "/MSL5x\n", "\x06252\n", "\x0625\r\n", "\x06 52\x00\r\n", "\x062\x0052\r\n", "x252\r\n",
	} {
		if got, err := parseAny([]byte(text)); err == nil {
			t.Errorf("%q: got %+v", text, got)
		} else if !errors.Is(err, iec62056.ErrMalformed) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	for _, v := range []interface {
		AppendBinary([]byte) ([]byte, error)
	}{
		iec62056.Request{Address: "a!"},
		iec62056.Identification{Maker: "MSL"},
		iec62056.Identification{Maker: "MSL", Baud: '5', Text: "\\2"},
		iec62056.Identification{Maker: "MS", Baud: '5'},
		iec62056.Acknowledgement{},
	} {
		if b, err := v.AppendBinary(nil); err == nil {
			t.Errorf("got %q", b)
		}
	}
}

func TestSpeedsHaveTheirCharacters(t *testing.T) {
	for rate, want := range map[int]iec62056.Baud{300: '0', 599: '0', 9600: '5', 19200: '6', 115200: '9', 1 << 30: '9'} {
		b, err := iec62056.BaudAtMost(rate)
		if err != nil || b != want || b.Rate() > rate {
			t.Errorf("%d: got %q, %v", rate, byte(b), err)
		}
	}
	if _, err := iec62056.BaudAtMost(299); err == nil {
		t.Error("299: want an error")
	}
	if iec62056.Baud('A').Rate() != 0 || iec62056.Baud('/').Rate() != 0 {
		t.Error("a letter is no speed of mode E")
	}
}

var msl = iec62056.Identification{Maker: "MSL", Baud: '6', Text: "METER"}

// port joins a reader and a meter.
type port struct {
	t      testing.TB
	reader *iec62056.Reader
	meter  *iec62056.Meter
	echo   bool // the head gives back what the reader sends
	step   int  // octets that pass at a time
	noise  string
	said   []string
}

func newPort(t testing.TB, rc iec62056.ReaderConfig, mc iec62056.MeterConfig) *port {
	t.Helper()
	if mc.Identification.Maker == "" {
		mc.Identification = msl
	}
	r, err := iec62056.NewReader(rc)
	if err != nil {
		t.Fatal(err)
	}
	m, err := iec62056.NewMeter(mc)
	if err != nil {
		t.Fatal(err)
	}
	return &port{t: t, reader: r, meter: m, step: 1000}
}

func (p *port) feed(b []byte, to func([]byte)) {
	for len(b) > 0 {
		n := min(p.step, len(b))
		to(b[:n])
		b = b[n:]
	}
}

// run moves octets until both are silent.
func (p *port) run() {
	for {
		out := bytes.Clone(p.reader.Output())
		if len(out) > 0 {
			p.said = append(p.said, string(out))
			if p.echo {
				p.feed(out, p.reader.Receive)
			}
			p.feed(append([]byte(p.noise), out...), p.meter.Receive)
		}
		in := bytes.Clone(p.meter.Output())
		if len(in) > 0 {
			p.said = append(p.said, string(in))
			p.feed(append([]byte(p.noise), in...), p.reader.Receive)
		}
		if len(out) == 0 && len(in) == 0 {
			return
		}
	}
}

func TestReaderAndMeterAgreeOnHDLCHoweverTheOctetsCome(t *testing.T) {
	for _, step := range []int{1, 2, 1000} {
		for _, echo := range []bool{false, true} {
			for _, noise := range []string{"", "\x00\xFF", "/?garbage\r\n\x06000", strings.Repeat("x", 200)} {
				p := newPort(t, iec62056.ReaderConfig{}, iec62056.MeterConfig{})
				p.step, p.echo, p.noise = step, echo, noise
				p.run()
				if !p.reader.Done() || p.reader.Err() != nil || !p.meter.Done() {
					t.Fatalf("step %d, echo %t, noise %q: %v, said %q", step, echo, noise, p.reader.Err(), p.said)
				}
				if p.reader.Rate() != 19200 || p.meter.Rate() != 19200 || p.reader.Echoing() != echo || !p.reader.Confirmed() {
					t.Errorf("echo %t: rates %d and %d, echo seen %t", echo, p.reader.Rate(), p.meter.Rate(), p.reader.Echoing())
				}
				want := []string{"/?!\r\n", "/MSL6\\2METER\r\n", "\x06262\r\n", "\x06262\r\n"}
				if diff := cmp.Diff(want, p.said); diff != "" {
					t.Error(diff)
				}
				if id := p.reader.Identification(); !id.HDLC() || id.Text != "METER" {
					t.Errorf("got %+v", id)
				}
			}
		}
	}
}

func TestTheReaderTakesNoMoreThanItsOwnSpeed(t *testing.T) {
	for most, want := range map[int]int{300: 300, 9600: 9600, 14400: 9600, 115200: 19200} {
		p := newPort(t, iec62056.ReaderConfig{MaxRate: most}, iec62056.MeterConfig{})
		p.run()
		if p.reader.Rate() != want || p.meter.Rate() != want {
			t.Errorf("at most %d: got %d and %d", most, p.reader.Rate(), p.meter.Rate())
		}
	}
}

func TestAMeterAnswersItsOwnAddressAlone(t *testing.T) {
	for address, want := range map[string]bool{"": true, "12345": true, "00012345": true, "12346": false, "123450": false} {
		p := newPort(t, iec62056.ReaderConfig{Address: address}, iec62056.MeterConfig{Address: "0012345"})
		p.run()
		if p.meter.Done() != want {
			t.Errorf("%q: answered %t", address, !want)
		}
	}
}

func TestASilentMeterIsAskedAgainAndThenGivenUp(t *testing.T) {
	r, err := iec62056.NewReader(iec62056.ReaderConfig{Tries: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := string(r.Output()); got != "/?!\r\n" || r.Done() {
			t.Fatalf("got %q", got)
		}
		r.Timeout()
	}
	if !r.Done() || !errors.Is(r.Err(), iec62056.ErrSilent) || len(r.Output()) != 0 {
		t.Errorf("got %v", r.Err())
	}
}

// reading is a reader that got an identification and said what it wants.
func reading(t *testing.T, identification string) *iec62056.Reader {
	t.Helper()
	r, err := iec62056.NewReader(iec62056.ReaderConfig{Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.Output()
	r.Receive([]byte(identification))
	return r
}

func TestAMeterThatDoesNotConfirmIsSpokenToAllTheSame(t *testing.T) {
	r := reading(t, "/LGZ5\\2ZMD\r\n")
	if got := string(r.Output()); got != "\x06252\r\n" {
		t.Fatalf("got %q", got)
	}
	r.Timeout()
	if !r.Done() || r.Err() != nil || r.Confirmed() || r.Rate() != 9600 {
		t.Errorf("got %v at %d", r.Err(), r.Rate())
	}
}

func TestAMeterWithoutModeEIsNamed(t *testing.T) {
	r := reading(t, "/LGZ5ZMD\r\n")
	r.Timeout()
	if !errors.Is(r.Err(), iec62056.ErrNotOffered) || !strings.Contains(r.Err().Error(), `LGZ "ZMD"`) {
		t.Errorf("got %v", r.Err())
	}
	if r = reading(t, "/LGZ5ZMD\r\n"); r.Done() {
		t.Error("a meter that can more than it says is given no chance")
	}
	r.Receive([]byte("\x06252\r\n"))
	if !r.Done() || r.Err() != nil {
		t.Errorf("confirmed: got %v", r.Err())
	}
	if r = reading(t, "/LGZBZMD\r\n"); !errors.Is(r.Err(), iec62056.ErrNotOffered) || len(r.Output()) != 0 {
		t.Errorf("mode B: got %v", r.Err())
	}
}

func TestARefusalIsTold(t *testing.T) {
	for _, answer := range []string{"\x15", "\x06050\r\n", "\x06242\r\n"} {
		r := reading(t, "/LGZ5\\2ZMD\r\n")
		r.Receive([]byte(answer))
		if !r.Done() || !errors.Is(r.Err(), iec62056.ErrRefused) {
			t.Errorf("%q: got %v", answer, r.Err())
		}
	}
}

func TestAMeterRefusesWhatIsNotHDLCAndGoesOn(t *testing.T) {
	m, err := iec62056.NewMeter(iec62056.MeterConfig{Identification: msl})
	if err != nil {
		t.Fatal(err)
	}
	m.Receive([]byte("\x06262\r\n")) // nobody asked
	if out := m.Output(); len(out) != 0 || m.Done() {
		t.Fatalf("got %q", out)
	}
	for _, wrong := range []string{"\x06060\r\n", "\x06061\r\n", "\x06272\r\n", "\x062A2\r\n"} {
		m.Receive([]byte("/?!\r\n" + wrong))
		if got := string(m.Output()); got != "/MSL6\\2METER\r\n\x15" || m.Done() {
			t.Errorf("%q: got %q", wrong, got)
		}
	}
	m.Receive([]byte("/?!\r\n"))
	m.Timeout()
	m.Receive([]byte("\x06262\r\n"))
	if m.Done() {
		t.Error("an acknowledgement counts after the timeout")
	}
	m.Receive([]byte("/?!\r\n\x06202\r\n/?!\r\n")) // slower than offered, and what follows is HDLC's
	if !m.Done() || m.Rate() != 300 {
		t.Errorf("got %t at %d", m.Done(), m.Rate())
	}
	for _, c := range []iec62056.MeterConfig{{}, {Identification: iec62056.Identification{Maker: "MSL", Baud: 'A'}}, {Identification: msl, Address: "!"}} {
		if _, err := iec62056.NewMeter(c); err == nil {
			t.Errorf("%+v: want an error", c)
		}
	}
	for _, c := range []iec62056.ReaderConfig{{Address: "!"}, {MaxRate: 200}} {
		if _, err := iec62056.NewReader(c); err == nil {
			t.Errorf("%+v: want an error", c)
		}
	}
}

func TestAnEchoIsTakenOutHoweverItComes(t *testing.T) {
	sent := []byte("one two three")
	for step := 1; step <= 20; step++ {
		var e iec62056.Echo
		e.Sent(sent[:4])
		e.Sent(sent[4:])
		var got []byte
		for in := []byte("one two threefour one"); len(in) > 0; {
			n := min(step, len(in))
			got = append(got, e.Strip(in[:n])...)
			in = in[n:]
		}
		if string(got) != "four one" {
			t.Errorf("in steps of %d: got %q", step, got)
		}
	}
	var e iec62056.Echo
	e.Sent([]byte("abc"))
	if got := string(e.Strip([]byte("abXabc"))); got != "Xabc" {
		t.Errorf("a line that does not echo: got %q", got)
	}
}

// FuzzReader holds that whatever a port gives, a reader ends after finitely many timeouts, keeps its bounds and says
// only what the standard has.
func FuzzReader(f *testing.F) {
	f.Add([]byte("/?!\r\n/MSL5\\2METER\r\n\x06252\r\n\x06252\r\n"))
	f.Add([]byte("/MSL5METER\r\n\x15"))
	f.Fuzz(func(t *testing.T, b []byte) {
		one := play(t, b, len(b))
		if two := play(t, b, 1); one != two {
			t.Errorf("whole %q, dribbled %q", one, two)
		}
	})
}

func play(t *testing.T, b []byte, step int) (said string) {
	r, err := iec62056.NewReader(iec62056.ReaderConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for ; len(b) > 0; b = b[min(max(step, 1), len(b)):] {
		r.Receive(b[:min(max(step, 1), len(b))])
		said += string(r.Output())
	}
	for range 4 {
		r.Timeout()
		said += string(r.Output())
	}
	if !r.Done() || r.Err() == nil && r.Rate() == 0 {
		t.Errorf("done %t, rate %d", r.Done(), r.Rate())
	}
	for line := range strings.SplitAfterSeq(said, "\r\n") {
		if line != "" && line != "/?!\r\n" && (len(line) != 6 || !strings.HasPrefix(line, "\x062")) {
			t.Errorf("said %q", line)
		}
	}
	return said
}

// FuzzMeter holds that a meter says its identification, NAK and confirmations alone, and serves the next honest reader.
func FuzzMeter(f *testing.F) {
	f.Add([]byte("/?!\r\n\x06252\r\n"))
	f.Add([]byte("/?0!\r\n\x06000\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newPort(t, iec62056.ReaderConfig{}, iec62056.MeterConfig{})
		p.meter.Receive(b)
		if n := len(p.meter.Output()); n > 3*len(b)+6 {
			t.Errorf("%d octets for %d", n, len(b))
		}
		p.meter.Timeout()
		p.run()
		if !p.meter.Done() || p.reader.Err() != nil {
			t.Errorf("the next reader: %v", p.reader.Err())
		}
	})
}

// FuzzParse holds that what is read is written again as it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte("/?12!\r\n"))
	f.Add([]byte("/MSL5\\2METER\r\n"))
	f.Add([]byte("\x06252\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseAny(b)
		if err != nil {
			return
		}
		if got := appendAny(t, v); !bytes.Equal(got, b) {
			t.Errorf("got %q, want %q", got, b)
		}
	})
}
