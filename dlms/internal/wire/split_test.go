package wire

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestSplitTakesShortestLengthsAndExactContentAlone(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 129, 255, 256, 257, 65535} {
		content := bytes.Repeat([]byte{7}, n)
		b := AppendElement(nil, 0xC8, content)
		tag, got, ok := Split(b)
		if !ok || tag != 0xC8 || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), ok)
		}
		if _, _, ok := Split(append(b, 0)); ok {
			t.Errorf("%d bytes and one more", n)
		}
		if _, _, ok := Split(b[:len(b)-1]); ok {
			t.Errorf("%d bytes less one", n)
		}
	}
	for _, lax := range []string{"\xC8\x81\x01x", "\xC8\x82\x00\x01x", "\xC8\x80", "\xC8\x83\x01\x00\x00", "", "\xC8", "\xC8\x81", "\xC8\x82\x01"} {
		if _, _, ok := Split([]byte(lax)); ok {
			t.Errorf("% X is in the shortest form", lax)
		}
	}
}

func TestTheShortPathsOfTheReaderReadWhatTheLongOnesRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.ByteRange(0, 8), rapid.ByteRange(0x80, 0x85)), 0, 20).Draw(rt, "in")
		short, long := NewReader(in), NewReader(in)
		got, want := short.OctetString(), long.Bytes(long.Length())
		if !bytes.Equal(got, want) || short.Offset() != long.Offset() || (short.Err() == nil) != (long.Err() == nil) || short.Lax() != long.Lax() {
			rt.Fatalf("% X: %X at %d, %v; want %X at %d, %v", in, got, short.Offset(), short.Err(), want, long.Offset(), long.Err())
		}
	})
	r := NewReader([]byte{1, 2, 3, 4})
	if _, _, ok := r.Triple(9); ok || r.Offset() != 0 {
		t.Error("a triple was read for another first byte")
	}
	if b, c, ok := r.Triple(1); !ok || b != 2 || c != 3 || r.Offset() != 3 {
		t.Errorf("got %d, %d, %v", b, c, ok)
	}
	if _, _, ok := r.Triple(4); ok {
		t.Error("a triple of one byte")
	}
}

func TestNothingIsReadAfterAnError(t *testing.T) {
	r := NewReader([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	r.Uint8()
	r.Fail(ErrValue)
	if r.Len() != 0 || r.Uint8() != 0 || r.Uint32() != 0 || r.Bytes(0) != nil || r.Rest() != nil || r.OctetString() != nil || r.Exact() {
		t.Error("something is read after an error")
	}
	if _, ok := r.Peek(); ok || r.Offset() != 1 {
		t.Error("something is left after an error")
	}
}
