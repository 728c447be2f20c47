package wire

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestLengthTakesTheShortestForm(t *testing.T) {
	for _, c := range []struct {
		n    int
		want []byte
	}{
		{0, []byte{0}},
		{127, []byte{0x7F}},
		{128, []byte{0x81, 0x80}},
		{255, []byte{0x81, 0xFF}},
		{256, []byte{0x82, 1, 0}},
		{65536, []byte{0x83, 1, 0, 0}},
		{1 << 24, []byte{0x84, 1, 0, 0, 0}},
	} {
		got := AppendLength(nil, c.n)
		if !bytes.Equal(got, c.want) {
			t.Errorf("length %d: got %x, want %x", c.n, got, c.want)
		}
		r := NewReader(got)
		if n := r.Length(); n != c.n || r.Done() != nil || r.Lax() {
			t.Errorf("length %d: read back %d, %v, lax %v", c.n, n, r.Err(), r.Lax())
		}
	}
}

func TestLengthRefusesWhatNoAPDUUses(t *testing.T) {
	for _, b := range [][]byte{{0x80}, {0x85, 0, 0, 0, 0, 1}, {0xFF}, {0x84, 0xFF, 0xFF, 0xFF, 0xFF}} {
		r := NewReader(b)
		if r.Length(); !errors.Is(r.Err(), ErrLength) {
			t.Errorf("%x: want ErrLength, got %v", b, r.Err())
		}
	}
	r := NewReader([]byte{0x82, 1})
	if r.Length(); !errors.Is(r.Err(), ErrTruncated) {
		t.Errorf("want ErrTruncated, got %v", r.Err())
	}
}

func TestReaderMarksALongLengthAsLax(t *testing.T) {
	r := NewReader([]byte{0x82, 0, 1, 'x'})
	if got := r.OctetString(); string(got) != "x" || r.Done() != nil || !r.Lax() {
		t.Errorf("got %q, %v, lax %v", got, r.Err(), r.Lax())
	}
}

func TestReaderKeepsItsFirstError(t *testing.T) {
	r := NewReader([]byte{1, 2, 3})
	if r.In("first").Uint16(); r.Err() != nil {
		t.Fatal(r.Err())
	}
	r.In("second").Uint32()
	r.In("third").Uint8()
	want := "second: byte 2: truncated: want 4 bytes, got 1"
	if r.Err() == nil || r.Err().Error() != want {
		t.Errorf("got %v, want %q", r.Err(), want)
	}
	if r.Uint8() != 0 || r.Uint16() != 0 || r.Uint32() != 0 || r.Uint64() != 0 || r.Rest() != nil || r.Len() != 0 {
		t.Error("reads after an error must return zero values")
	}
	if r.OctetString() != nil || r.Length() != 0 || r.Bool() {
		t.Error("reads after an error must return zero values")
	}
}

func TestReaderReadsBigEndian(t *testing.T) {
	r := NewReader([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	if r.Uint8() != 1 || r.Uint16() != 0x0203 || r.Uint32() != 0x04050607 || r.Uint64() != 0x08090A0B0C0D0E0F {
		t.Error("wrong value")
	}
	if r.Offset() != 15 || r.Done() != nil {
		t.Errorf("offset %d, %v", r.Offset(), r.Err())
	}
}

func TestDoneRefusesTrailingBytes(t *testing.T) {
	r := NewReader([]byte{1, 2})
	r.Uint8()
	if err := r.Done(); !errors.Is(err, ErrTrailing) {
		t.Errorf("want ErrTrailing, got %v", err)
	}
}

func TestCountRefusesMoreElementsThanBytes(t *testing.T) {
	r := NewReader([]byte{0x84, 0x7F, 0xFF, 0xFF, 0xFF, 0})
	if n := r.Count(1); n != 0 || !errors.Is(r.Err(), ErrLength) {
		t.Errorf("got %d, %v", n, r.Err())
	}
	r = NewReader([]byte{2, 0, 0, 0, 0})
	if n := r.Count(2); n != 2 || r.Err() != nil {
		t.Errorf("got %d, %v", n, r.Err())
	}
}

func TestExpectNamesBothValues(t *testing.T) {
	r := NewReader([]byte{0xC4})
	r.In("tag").Expect(0xC0)
	if want := "tag: byte 0: bad value: want 0xc0, got 0xc4"; r.Err() == nil || r.Err().Error() != want {
		t.Errorf("got %v, want %q", r.Err(), want)
	}
}

func TestIntegerTakesTheShortestForm(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 127, 128, -128, -129, 255, 256, 65535, math.MaxInt64, math.MinInt64} {
		b := AppendInteger(nil, TagInteger, v)
		r := NewReader(b)
		body := r.Expected(TagInteger)
		if got := body.Integer(); got != v || body.Lax() {
			t.Errorf("%d: read back %d from %x", v, got, b)
		}
		if r.Join(&body); r.Done() != nil {
			t.Error(r.Err())
		}
	}
	for _, b := range [][]byte{{}, make([]byte, 9)} {
		r := NewReader(b)
		if r.Integer(); !errors.Is(r.Err(), ErrLength) {
			t.Errorf("%x: want ErrLength, got %v", b, r.Err())
		}
	}
}

func TestElementKeepsTheOffsetOfTheOutermostInput(t *testing.T) {
	r := NewReader([]byte{0xA1, 0x04, 0x06, 0x02, 0x60})
	if r.Element(); r.Err() == nil {
		t.Error("a length beyond the input must be refused")
	}
	r = NewReader([]byte{0xA1, 0x03, 0x06, 0x02, 0x60})
	_, body := r.Element()
	body.Explicit(TagOID)
	r.Join(&body)
	if want := "byte 4: truncated: want 2 bytes, got 1"; r.Err() == nil || r.Err().Error() != want {
		t.Errorf("got %v, want %q", r.Err(), want)
	}
}

func TestEndMovesContentForALongLength(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 255, 256, 70000} {
		content := bytes.Repeat([]byte{0xAB}, n)
		dst, mark := Begin([]byte{0xEE}, 0x60)
		dst = End(append(dst, content...), mark)
		want := AppendElement([]byte{0xEE}, 0x60, content)
		if !bytes.Equal(dst, want) {
			t.Errorf("%d bytes: Begin and End differ from AppendElement", n)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0x82, 0, 1, 'x'}, 3)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		r := NewReader(b)
		p := r.OctetString()
		if r.Err() == nil && !r.Lax() && !bytes.HasPrefix(b, AppendOctetString(nil, p)) {
			t.Errorf("%x: octet string %x", b, p)
		}
		_, body := r.Element()
		body.Integer()
		r.Join(&body)
		r.Bytes(n)
		if r.Offset() > len(b) {
			t.Errorf("offset %d beyond %d bytes", r.Offset(), len(b))
		}
	})
}
