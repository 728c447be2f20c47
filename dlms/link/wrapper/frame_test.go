package wrapper_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

// get is a get-request for the clock, from client 16 to server 1.
var get = wrapper.Frame{Source: 16, Destination: 1, APDU: fromHex("C001C100080000010000FF0200")}

const getHex = "0001 0010 0001 000D C001C100080000010000FF0200"

func fromHex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func mustAppend(t testing.TB, frames ...wrapper.Frame) []byte {
	t.Helper()
	var b []byte
	for _, f := range frames {
		var err error
		if b, err = wrapper.AppendFrame(b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestAppendFrameWritesTheHeaderOfTheStandard(t *testing.T) {
	if got, want := mustAppend(t, get), fromHex(getHex); !bytes.Equal(got, want) {
		t.Errorf("got % X, want % X", got, want)
	}
}

func TestParseFrameReadsWhatAppendFrameWrote(t *testing.T) {
	got, err := wrapper.ParseFrame(fromHex(getHex))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(get, got); diff != "" {
		t.Error(diff)
	}
}

func TestAppendFrameRefusesAnAPDULongerThanTheLengthField(t *testing.T) {
	if _, err := wrapper.AppendFrame(nil, wrapper.Frame{APDU: make([]byte, 65536)}); !errors.Is(err, wrapper.ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
	mustAppend(t, wrapper.Frame{APDU: make([]byte, 65535)})
}

func TestParseFrameRefusesBadFrames(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
		text string
	}{
		"nothing":          {"", wrapper.ErrCut, "want 8 bytes, got 0"},
		"half a header":    {"0001 0010", wrapper.ErrCut, "want 8 bytes, got 4"},
		"lying length":     {"0001 0010 0001 0005 C001", wrapper.ErrCut, "want 13 bytes, got 10"},
		"trailing byte":    {"0001 0010 0001 0001 C001", wrapper.ErrTrailing, "want 9 bytes, got 10"},
		"wrong version":    {"0002 0010 0001 0001 C0", wrapper.ErrVersion, "want 0x0001, got 0x0002"},
		"hdlc by accident": {"7EA0 0703 2193 0F01 7E", wrapper.ErrVersion, "got 0x7ea0 (this looks like HDLC)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wrapper.ParseFrame(fromHex(c.in))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %q", err, c.text)
			}
		})
	}
}

func frames(n int) []wrapper.Frame {
	var out []wrapper.Frame
	for i := range n {
		out = append(out, wrapper.Frame{Source: 16, Destination: 1, APDU: bytes.Repeat([]byte{byte(i)}, i*i)})
	}
	return out
}

func TestDecoderFindsFramesHoweverTheyAreCut(t *testing.T) {
	want := frames(40)
	in := mustAppend(t, want...)
	for _, step := range []int{1, 2, 3, 7, 8, 9, 1000, len(in)} {
		d := wrapper.NewDecoder(0)
		var got []wrapper.Frame
		for rest := in; len(rest) > 0; {
			n := min(step, len(rest))
			d.Feed(rest[:n])
			rest = rest[n:]
			got = append(got, drain(t, d)...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in steps of %d: %s", step, diff)
		}
	}
}

func drain(t testing.TB, d *wrapper.Decoder) []wrapper.Frame {
	t.Helper()
	var out []wrapper.Frame
	for {
		f, ok, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		f.APDU = append([]byte{}, f.APDU...)
		out = append(out, f)
	}
}

func TestDecoderReadsFromAStreamThatDribbles(t *testing.T) {
	want := frames(30)
	r := iotest.OneByteReader(bytes.NewReader(mustAppend(t, want...)))
	d := wrapper.NewDecoder(0)
	for i := range want {
		f, err := d.ReadFrame(r)
		if err != nil || !bytes.Equal(f.APDU, want[i].APDU) {
			t.Fatalf("frame %d: %v %v", i, f, err)
		}
	}
	if _, err := d.ReadFrame(r); err != io.EOF {
		t.Errorf("got %v, want EOF", err)
	}
}

func TestDecoderSaysWhenTheStreamEndsWithinAFrame(t *testing.T) {
	in := mustAppend(t, get)
	d := wrapper.NewDecoder(0)
	if _, err := d.ReadFrame(bytes.NewReader(in[:len(in)-1])); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v, want unexpected EOF", err)
	}
}

func TestDecoderGoesOnAfterAnInterruptedRead(t *testing.T) {
	in := mustAppend(t, get)
	d := wrapper.NewDecoder(0)
	broken := io.MultiReader(bytes.NewReader(in[:5]), iotest.ErrReader(errors.New("interrupted")))
	if _, err := d.ReadFrame(broken); err == nil {
		t.Fatal("want an error")
	}
	f, err := d.ReadFrame(bytes.NewReader(in[5:]))
	if err != nil || !bytes.Equal(f.APDU, get.APDU) {
		t.Errorf("got %v %v", f, err)
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

func TestDecoderDoesNotSpinOnAReaderThatGivesNothing(t *testing.T) {
	if _, err := wrapper.NewDecoder(0).ReadFrame(emptyReader{}); err != io.ErrNoProgress {
		t.Errorf("got %v", err)
	}
}

func TestDecoderRefusesALengthAboveItsLimitBeforeTheAPDUComes(t *testing.T) {
	d := wrapper.NewDecoder(100)
	d.Feed(fromHex("0001 0010 0001 0065"))
	if _, _, err := d.Next(); !errors.Is(err, wrapper.ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestDecoderStaysAtItsError(t *testing.T) {
	d := wrapper.NewDecoder(0)
	d.Feed([]byte{0xFF, 0xFF})
	for range 2 {
		if _, _, err := d.Next(); !errors.Is(err, wrapper.ErrVersion) {
			t.Fatalf("got %v", err)
		}
		d.Feed(mustAppend(t, get))
	}
}

func TestDecoderAndAppendFrameDoNotAllocateOnceWarm(t *testing.T) {
	d := wrapper.NewDecoder(0)
	apdu := make([]byte, 1000)
	var out []byte
	turn := func() {
		out, _ = wrapper.AppendFrame(out[:0], wrapper.Frame{Source: 16, Destination: 1, APDU: apdu})
		d.Feed(out)
		if f, ok, _ := d.Next(); !ok || len(f.APDU) != len(apdu) {
			t.Fatal("frame lost")
		}
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkDecoder(b *testing.B) {
	in := mustAppend(b, wrapper.Frame{Source: 16, Destination: 1, APDU: make([]byte, 1000)})
	d := wrapper.NewDecoder(0)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		d.Feed(in)
		if _, ok, err := d.Next(); !ok || err != nil {
			b.Fatal("frame lost")
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(fromHex(getHex))
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 2, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := wrapper.ParseFrame(b)
		if err != nil {
			return
		}
		if got := mustAppend(t, frame); !bytes.Equal(got, b) {
			t.Errorf("got % X, want % X", got, b)
		}
	})
}

// FuzzDecoder holds that the frames found do not depend on how the stream is cut, and that what was found, written
// again, is what came.
func FuzzDecoder(f *testing.F) {
	f.Add(mustAppend(f, frames(5)...), uint8(3))
	f.Add(append(mustAppend(f, get), 0xFF, 0xFF), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		whole, dribbled := decodeAll(b, len(b)), decodeAll(b, int(step))
		if !bytes.Equal(whole, dribbled) {
			t.Errorf("whole % X, dribbled % X", whole, dribbled)
		}
		if !bytes.HasPrefix(b, whole) {
			t.Errorf("% X is not how % X begins", whole, b)
		}
	})
}

func decodeAll(b []byte, step int) (out []byte) {
	d := wrapper.NewDecoder(300)
	for step = max(step, 1); len(b) > 0; {
		n := min(step, len(b))
		d.Feed(b[:n])
		b = b[n:]
		for {
			f, ok, err := d.Next()
			if err != nil {
				return out
			}
			if !ok {
				break
			}
			out, _ = wrapper.AppendFrame(out, f)
		}
	}
	return out
}
