package apdu

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
)

// FuzzShortCut holds that the short cut of the hot path gives what the reader of every form gives.
func FuzzShortCut(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.hex))
	}
	for _, n := range []int{0x79, 0x7A, 0x7B, 0xF9, 0xFA, 0xFB, 0xFC} {
		b, err := Ciphered{Tag: TagDedGetResponse, Content: make([]byte, n)}.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		short, err := ParseCiphered(in)
		whole, wholeErr := parseCiphered(in)
		if (err == nil) != (wholeErr == nil) || short.Tag != whole.Tag || short.Control != whole.Control ||
			short.Counter != whole.Counter || !bytes.Equal(short.Content, whole.Content) {
			t.Errorf("% X: %+v, %v; in full %+v, %v", in, short, err, whole, wholeErr)
		}
	})
}

func TestParseOverwritesWhatWasThere(t *testing.T) {
	old := GetResponse{Kind: GetResponseWithList, List: make([]GetResult, 3), Block: Block{Number: 7, Raw: []byte{1}}}
	if err := old.Parse(unhex(t, "C401C1 00 1105")); err != nil || old.List != nil || old.Block.Number != 0 || old.Block.Raw != nil {
		t.Errorf("got %+v, %v", old, err)
	}
	if err := old.Parse(unhex(t, "C401C1 00 1105 00")); err == nil || old.Kind != 0 || !old.Result.Data.IsNull() {
		t.Errorf("after an error: %+v, %v", old, err)
	}
	q := GetRequest{Kind: GetRequestWithList, List: make([]Attribute, 3)}
	if err := q.Parse(unhex(t, "C002C1 00000007")); err != nil || q.List != nil || q.Block != 7 {
		t.Errorf("got %+v, %v", q, err)
	}
	if err := q.Parse(unhex(t, "C002C1 000000")); err == nil || q.Kind != 0 {
		t.Errorf("after an error: %+v, %v", q, err)
	}
}

func TestPutHeaderWritesWhatAppendHeaderAppends(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := GeneralCiphered{Title: drawTitle(rt, "title"), Ciphered: Ciphered{
			Tag:     rapid.SampledFrom([]Tag{TagGloGetRequest, TagDedActionResponse, TagGeneralGlo, TagGeneralDed}).Draw(rt, "tag"),
			Control: rapid.Byte().Draw(rt, "control"), Counter: dlms.InvocationCounter(rapid.Uint32().Draw(rt, "counter")),
		}}
		n := rapid.SampledFrom([]int{0, 122, 123, 250, 251, 65530, 65531, 1 << 24}).Draw(rt, "n")
		want, err := g.Ciphered.AppendHeader(nil, n)
		if g.Tag.IsGeneral() {
			want, err = g.AppendHeader(nil, n)
		}
		if err != nil {
			rt.Fatal(err)
		}
		room := make([]byte, MaxHeader+rapid.IntRange(0, 3).Draw(rt, "more"))
		start, err := PutHeader(room, g.Tag, g.Title, g.Control, g.Counter, n)
		if err != nil || !bytes.Equal(room[start:], want) {
			rt.Fatalf("want % X, got % X, %v", want, room[start:], err)
		}
	})
	if _, err := PutHeader(make([]byte, 6), TagGloGetRequest, dlms.SystemTitle{}, 0, 0, 1); err == nil {
		t.Error("a header of seven bytes was put into six")
	}
	if _, err := PutHeader(make([]byte, MaxHeader), TagGetRequest, dlms.SystemTitle{}, 0, 0, 1); err == nil {
		t.Error("a plain tag was given a header")
	}
}
