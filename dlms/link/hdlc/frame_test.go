package hdlc_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
)

func fromHex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// Published frames. Those named "kmethy" are from "Examples for DLMS/COSEM information exchange" by Gyozo Kmethy
// (DLMS UA); the others are the ones that meters and tools show everywhere: client 16, server 1.
var published = map[string]struct {
	bytes string
	frame hdlc.Frame
}{
	"kmethy snrm": {
		"7EA00A00020023219318717E",
		hdlc.Frame{Destination: address4(1, 17), Source: hdlc.ClientAddress(16), Control: 0x93},
	},
	"kmethy ua": {
		"7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E",
		hdlc.Frame{
			Destination: hdlc.ClientAddress(16), Source: address4(1, 17), Control: 0x73,
			Info: fromHex("8180140502008006020080070400000001080400000001"),
		},
	},
	"kmethy aarq": {
		"7EA02E0002002321107ECBE6E600601DA109060760857405080101BE10040E01000000065F1F040000301DFFFFD4C57E",
		hdlc.Frame{
			Destination: address4(1, 17), Source: hdlc.ClientAddress(16), Control: 0x10,
			Info: fromHex("E6E600601DA109060760857405080101BE10040E01000000065F1F040000301DFFFF"),
		},
	},
	"snrm": {
		"7EA0070321930F017E",
		hdlc.Frame{Destination: hdlc.ServerAddress(1, 0), Source: hdlc.ClientAddress(16), Control: 0x93},
	},
	"ua": {
		"7EA01E210373C37A81801205018006018007040000000108040000000153 3B7E",
		hdlc.Frame{
			Destination: hdlc.ClientAddress(16), Source: hdlc.ServerAddress(1, 0), Control: 0x73,
			Info: fromHex("818012050180060180070400000001080400000001"),
		},
	},
	"aare from 1/32 to client 16": {
		"7EA038210241 30D1B1E6E7006129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000101004000007 36E37E",
		hdlc.Frame{
			Destination: hdlc.ClientAddress(16), Source: hdlc.Address{Upper: 1, Lower: 32, Size: 2}, Control: 0x30,
			Info: fromHex("E6E7006129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000101004000007"),
		},
	},
}

func address4(upper dlms.SAP, lower uint16) hdlc.Address {
	return hdlc.Address{Upper: upper, Lower: lower, Size: 4}
}

func mustAppend(t testing.TB, frames ...hdlc.Frame) []byte {
	t.Helper()
	var b []byte
	for _, f := range frames {
		var err error
		if b, err = hdlc.AppendFrame(b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestPublishedFramesAreReadAndWritten(t *testing.T) {
	for name, c := range published {
		t.Run(name, func(t *testing.T) {
			got, err := hdlc.ParseFrame(fromHex(c.bytes))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.frame, got); diff != "" {
				t.Error(diff)
			}
			if b := mustAppend(t, c.frame); !bytes.Equal(b, fromHex(c.bytes)) {
				t.Errorf("got % X", b)
			}
		})
	}
}

func TestEveryDamagedBitOfAFrameIsNoticed(t *testing.T) {
	for name, c := range published {
		good := fromHex(c.bytes)
		for bit := range len(good) * 8 {
			b := bytes.Clone(good)
			b[bit/8] ^= 1 << (bit % 8)
			if f, err := hdlc.ParseFrame(b); err == nil {
				t.Errorf("%s, bit %d: got %+v, want an error", name, bit, f)
			}
		}
	}
}

func TestEveryCutOfAFrameIsNoticed(t *testing.T) {
	for name, c := range published {
		good := fromHex(c.bytes)
		for n := range len(good) {
			if _, err := hdlc.ParseFrame(good[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes were taken as a frame", name, n, len(good))
			}
		}
		if _, err := hdlc.ParseFrame(append(good, 0)); err == nil {
			t.Errorf("%s: a trailing byte was taken", name)
		}
	}
}

func TestParseFrameSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
		text string
	}{
		"nothing":             {"", hdlc.ErrMalformed, "want a flag first"},
		"no flag":             {"A007", hdlc.ErrMalformed, "want a flag first"},
		"format type 2":       {"7E 9007 03 21 93 0F01 7E", hdlc.ErrMalformed, "got 0x90"},
		"length too small":    {"7E A006 03 21 93 0F01 7E", hdlc.ErrMalformed, "want at least 7, got 6"},
		"length too large":    {"7E A008 03 21 93 0F01 7E", hdlc.ErrMalformed, "does not fit the header"},
		"address of 3 octets": {"7E A009 02 02 03 21 93 0F01 7E", hdlc.ErrMalformed, "got 3"},
		"address without end": {"7E A00A 02 02 02 02 21 93 0F01 7E", hdlc.ErrMalformed, "no end within 4"},
		"wrong fcs":           {"7E A007 03 21 93 0F02 7E", hdlc.ErrCheck, "fcs"},
		"no flag at the end":  {"7E A007 03 21 93 0F01 00", hdlc.ErrMalformed, "no flag at the end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hdlc.ParseFrame(fromHex(c.in))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %q", err, c.text)
			}
		})
	}
}

func TestAppendFrameRefusesWhatAFrameCannotHold(t *testing.T) {
	good := hdlc.Frame{Destination: hdlc.ServerAddress(1, 0), Source: hdlc.ClientAddress(16), Control: 0x10}
	for name, change := range map[string]func(f *hdlc.Frame){
		"upper of one octet": func(f *hdlc.Frame) { f.Destination.Upper = 128 },
		"lower of one octet": func(f *hdlc.Frame) { f.Destination.Lower = 1 },
		"lower of two":       func(f *hdlc.Frame) { f.Destination = hdlc.Address{Upper: 1, Lower: 128, Size: 2} },
		"upper of four":      func(f *hdlc.Frame) { f.Destination = address4(0x4000, 1) },
		"three octets":       func(f *hdlc.Frame) { f.Source.Size = 3 },
		"no address":         func(f *hdlc.Frame) { f.Source = hdlc.Address{} },
		"information":        func(f *hdlc.Frame) { f.Info = make([]byte, 2039) },
	} {
		f := good
		change(&f)
		if b, err := hdlc.AppendFrame(nil, f); err == nil {
			t.Errorf("%s: got % X, want an error", name, b)
		}
	}
	good.Info = make([]byte, hdlc.MaxInfo)
	good.Destination = address4(0x3FFF, 0x3FFF)
	mustAppend(t, good)
}

func TestServerAddressTakesTheFewestOctets(t *testing.T) {
	for _, c := range []struct {
		upper dlms.SAP
		lower uint16
		want  int
	}{{1, 0, 1}, {127, 0, 1}, {1, 17, 2}, {127, 127, 2}, {128, 0, 4}, {1, 128, 4}} {
		if got := hdlc.ServerAddress(c.upper, c.lower).Size; got != c.want {
			t.Errorf("%d/%d: got %d octets, want %d", c.upper, c.lower, got, c.want)
		}
	}
}

func someFrames(n int) []hdlc.Frame {
	out := make([]hdlc.Frame, n)
	for i := range out {
		out[i] = hdlc.Frame{
			Destination: hdlc.ServerAddress(dlms.SAP(1+i*100), uint16(i)), Source: hdlc.ClientAddress(16),
			Control: hdlc.Control(i * 16), Segmented: i%2 == 1,
		}
		if i > 0 {
			out[i].Info = bytes.Repeat([]byte{0x7E}, i*i) // as many flags within a frame as there can be
		}
	}
	return out
}

// decode feeds b in steps and writes the frames found again.
func decode(t testing.TB, d *hdlc.Decoder, b []byte, step int) (out []byte) {
	t.Helper()
	for step = max(step, 1); len(b) > 0; {
		n := min(step, len(b))
		d.Feed(b[:n])
		b = b[n:]
		for f, ok := d.Next(); ok; f, ok = d.Next() {
			var err error
			if out, err = hdlc.AppendFrame(out, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func TestDecoderFindsFramesHoweverTheyAreCut(t *testing.T) {
	in := mustAppend(t, someFrames(30)...)
	for _, step := range []int{1, 2, 3, 10, 100, len(in)} {
		var d hdlc.Decoder
		if got := decode(t, &d, in, step); !bytes.Equal(got, in) || d.Damaged() != 0 {
			t.Errorf("in steps of %d: got %d of %d bytes, %d damaged", step, len(got), len(in), d.Damaged())
		}
	}
}

func TestDecoderTakesOneFlagBetweenFramesAndManyFlags(t *testing.T) {
	a, b := fromHex(published["kmethy snrm"].bytes), fromHex(published["kmethy ua"].bytes)
	want := append(bytes.Clone(a), b...)
	one := append(bytes.Clone(a), b[1:]...)
	many := append(append(append([]byte{0x7E, 0x7E, 0x7E}, a...), 0x7E, 0x7E, 0x7E, 0x7E), b...)
	for _, in := range [][]byte{one, many} {
		for _, step := range []int{1, len(in)} {
			var d hdlc.Decoder
			if got := decode(t, &d, in, step); !bytes.Equal(got, want) || d.Damaged() != 0 {
				t.Errorf("got % X, %d damaged", got, d.Damaged())
			}
		}
	}
}

// The frame after a damaged one is found whatever the damage was: a bit, octets lost, octets added.
func TestDecoderFindsTheFrameAfterADamagedOne(t *testing.T) {
	bad, good := fromHex(published["kmethy aarq"].bytes), fromHex(published["kmethy ua"].bytes)
	// What ends up after a cut frame is taken for its rest until the length is used up, so more must follow.
	tail := bytes.Repeat(good, 3)
	var damages [][]byte
	for i := range bad {
		flipped := bytes.Clone(bad)
		flipped[i] ^= 0x81
		cut := append(bytes.Clone(bad[:i]), bad[i+1:]...)
		added := append(append(bytes.Clone(bad[:i]), 0x7E), bad[i:]...)
		damages = append(damages, flipped, cut, added)
	}
	for i, damaged := range damages {
		for _, step := range []int{1, 5, 1000} {
			var d hdlc.Decoder
			got := decode(t, &d, append(bytes.Clone(damaged), tail...), step)
			if !bytes.HasSuffix(got, tail) {
				t.Errorf("damage %d, steps of %d: got % X, want all frames after it", i, step, got)
			}
		}
	}
}

func TestDecoderAbandonsAFrameThatStops(t *testing.T) {
	var d hdlc.Decoder
	whole := fromHex(published["kmethy aarq"].bytes)
	snrm := fromHex(published["snrm"].bytes)
	d.Feed(whole[:20])
	if _, ok := d.Next(); ok || !d.Pending() {
		t.Fatal("want a frame under way")
	}
	d.Abandon()
	if got := decode(t, &d, snrm, 100); !bytes.Equal(got, snrm) {
		t.Errorf("got % X, want the frame after the pause", got)
	}
}

func BenchmarkDecoder(b *testing.B) {
	in := mustAppend(b, hdlc.Frame{Destination: hdlc.ServerAddress(1, 17), Source: hdlc.ClientAddress(16), Control: 0x10, Info: make([]byte, 1000)})
	var d hdlc.Decoder
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		d.Feed(in)
		if _, ok := d.Next(); !ok {
			b.Fatal("frame lost")
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, c := range published {
		f.Add(fromHex(c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := hdlc.ParseFrame(b)
		if err != nil {
			return
		}
		if got := mustAppend(t, frame); !bytes.Equal(got, b) {
			t.Errorf("got % X, want % X", got, b)
		}
	})
}

// FuzzDecoder holds that the frames found do not depend on how the stream is cut, and that a good frame at the end
// is found after whatever came before, at the latest when it is repeated often enough to fill a frame that lied.
func FuzzDecoder(f *testing.F) {
	good := fromHex(published["ua"].bytes)
	f.Add(mustAppend(f, someFrames(6)...), uint8(3))
	f.Add([]byte{0x7E, 0xA7, 0xFF}, uint8(1))
	f.Add(good[:12], uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		b = append(bytes.Clone(b), bytes.Repeat(good, 2049/len(good)+2)...)
		var one, two hdlc.Decoder
		whole, dribbled := decode(t, &one, b, len(b)), decode(t, &two, b, int(step))
		if !bytes.Equal(whole, dribbled) {
			t.Errorf("whole % X, dribbled % X", whole, dribbled)
		}
		if !bytes.HasSuffix(whole, good) {
			t.Error("the good frame at the end was not found")
		}
	})
}
