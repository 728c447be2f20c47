package mbus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Frames of the customer interface of Netz Niederoesterreich, whose interface description publishes them.
var (
	pushFirst = unhex("68FAFA6853FF000167DB084B464D675000000981F8200000002388D5AB4F97515AAFC6B88D2F85DAA7A0E3C0C40D004535C397C9D037AB7DBDA329107615444894A1A0DD7E85F02D496CECD3FF46AF5FB3C9229CFE8F3EE4606AB2E1F409F36AAD2E50900A4396FC6C2E083F373233A69616950758BFC7D63A9E9B6E99E21B2CBC2B934772CA51FD4D69830711CAB1F8CFF25F0A329337CBA51904F0CAED88D61968743C8454BA922EB00038182C22FE316D16F2A9F544D6F75D51A4E92A1C4EF8AB19A2B7FEAA32D0726C0ED80229AE6C0F7621A4209251ACE2B2BC66FF0327A653BB686C756BE033C7A281F1D2A7E1FA31C3983E15F8FD16CC5787E6F51716")
	pushLast  = unhex("6814146853FF110167419A3CFDA44BE438C96F0E38BF83D98316")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestPublishedPushOfTwoFramesIsOneAPDU(t *testing.T) {
	var d Decoder
	var a Assembler
	var apdu []byte
	for _, b := range append(bytes.Clone(pushFirst), pushLast...) { // one octet at a time
		d.Feed([]byte{b})
		for f, ok := d.Next(); ok; f, ok = d.Next() {
			s, err := ParseSegment(f)
			if err != nil {
				t.Fatal(err)
			}
			if s.Source != 0x01 || s.Destination != 0x67 || f.Control != 0x53 || f.Address != 0xFF {
				t.Errorf("got saps %s to %s, control %02x, address %02x", s.Source, s.Destination, f.Control, f.Address)
			}
			if apdu, err = a.Add(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The first frame holds 245 bytes of the APDU and the second one the other 15.
	if len(apdu) != 260 || apdu[0] != 0xDB || !bytes.HasSuffix(apdu, pushLast[9:24]) {
		t.Fatalf("got %d bytes: %x", len(apdu), apdu)
	}
	if d.Damaged() != 0 || d.Pending() || a.Pending() {
		t.Errorf("got damaged %d, pending %t %t", d.Damaged(), d.Pending(), a.Pending())
	}
	again, err := AppendSegments(nil, 0x53, 0xFF, 0x01, 0x67, apdu)
	if err != nil || !bytes.Equal(again, append(bytes.Clone(pushFirst), pushLast...)) {
		t.Errorf("written again it differs: %v\n%x", err, again)
	}
}

func TestFramesOfEveryKindAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Frame{Kind: Kind(rapid.IntRange(0, 3).Draw(t, "kind"))}
		if f.Kind != KindAck {
			f.Control, f.Address = rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "a")
		}
		if f.Kind == KindLong || f.Kind == KindControl {
			f.CI = rapid.Byte().Draw(t, "ci")
		}
		if f.Kind == KindLong {
			f.Data = rapid.SliceOfN(rapid.Byte(), 1, MaxData).Draw(t, "data")
		}
		b, err := f.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseFrame(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(f, got); d != "" {
			t.Error(d)
		}
	})
}

func TestSegmentsOfAnyAPDUAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		apdu := rapid.SliceOfN(rapid.Byte(), 0, 3*MaxSegmentData).Draw(t, "apdu")
		b, err := AppendSegments(nil, 0x53, 0xFF, 1, 103, apdu)
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		var a Assembler
		d.Feed(b)
		var got []byte
		for f, ok := d.Next(); ok; f, ok = d.Next() {
			s, err := ParseSegment(f)
			if err != nil {
				t.Fatal(err)
			}
			if got, err = a.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		if got == nil || !bytes.Equal(got, apdu) {
			t.Errorf("got %x, want %x", got, apdu)
		}
	})
}

func TestParseFrameRefusesWhatIsNotOneFrame(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"nothing":          {"", ErrCut},
		"other start":      {"7EA0", ErrMalformed},
		"lengths differ":   {"68 03 04 68 53 FF 00 52 16", ErrMalformed},
		"no second start":  {"68 03 03 67 53 FF 00 52 16", ErrMalformed},
		"length too small": {"68 02 02 68 53 FF 52 16", ErrMalformed},
		"sum":              {"68 03 03 68 53 FF 00 53 16", ErrCheck},
		"stop":             {"68 03 03 68 53 FF 00 52 17", ErrMalformed},
		"cut":              {"68 03 03 68 53 FF 00 52", ErrCut},
		"cut header":       {"68", ErrCut},
		"short cut":        {"10 5B FE", ErrCut},
		"short sum":        {"10 5B FE 58 16", ErrCheck},
		"trailing":         {"E5 00", ErrTrailing},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFrame(unhex(string(bytes.ReplaceAll([]byte(c.in), []byte(" "), nil))))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestAppendBinaryRefusesWhatNoFrameHolds(t *testing.T) {
	for name, f := range map[string]Frame{
		"long":         {Data: make([]byte, MaxData+1)},
		"control":      {Kind: KindControl, Data: []byte{1}},
		"unknown kind": {Kind: 9},
	} {
		if _, err := f.AppendBinary(nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := AppendSegments(nil, 0x53, 0xFF, 1, 103, make([]byte, MaxSegments*MaxSegmentData+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v, want %v", err, ErrTooLong)
	}
	if _, err := AppendSegments(nil, 0x53, 0xFF, 256, 103, nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want %v", err, ErrMalformed)
	}
}

func TestDecoderFindsTheFrameAfterADamagedOne(t *testing.T) {
	damaged := bytes.Clone(pushFirst)
	damaged[100] ^= 1
	var d Decoder
	d.Feed([]byte{0xE5})
	d.Feed(append(append([]byte{0, 0xE5, 0x68}, damaged...), pushLast...))
	var kinds []Kind
	for f, ok := d.Next(); ok; f, ok = d.Next() {
		kinds = append(kinds, f.Kind)
	}
	if diff := cmp.Diff([]Kind{KindAck, KindLong}, kinds); diff != "" {
		t.Error(diff)
	}
	if d.Damaged() == 0 {
		t.Error("no damage counted")
	}
	d.Feed([]byte{0x68, 0x10, 0x10})
	if _, ok := d.Next(); ok || !d.Pending() {
		t.Error("want a frame that has begun")
	}
	d.Abandon()
	d.Feed(pushLast)
	for _, ok := d.Next(); ok; _, ok = d.Next() {
		return
	}
	t.Error("the frame after an abandoned one was lost")
}

func TestAssemblerRefusesSegmentsOutOfSequence(t *testing.T) {
	seg := func(n uint8, last bool) Segment {
		return Segment{Number: n, Last: last, Source: 1, Destination: 103, Data: []byte{n}}
	}
	var a Assembler
	if _, err := a.Add(seg(1, true)); !errors.Is(err, ErrSequence) {
		t.Errorf("a last segment without the first: got %v", err)
	}
	for _, s := range []Segment{seg(0, false), seg(0, false), seg(1, false)} { // a first segment begins anew
		if _, err := a.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Add(seg(3, true)); !errors.Is(err, ErrSequence) || a.Pending() {
		t.Errorf("a gap: got %v, pending %t", err, a.Pending())
	}
	if _, err := a.Add(seg(0, false)); err != nil {
		t.Fatal(err)
	}
	other := seg(1, true)
	other.Source = 2
	if _, err := a.Add(other); !errors.Is(err, ErrSequence) {
		t.Errorf("another source: got %v", err)
	}
	a.MaxAPDU = 1
	if _, err := a.Add(Segment{Data: []byte{1, 2}, Last: true}); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: got %v", err)
	}
	if _, err := ParseSegment(Frame{Kind: KindLong, CI: 0x72, Data: []byte{1, 2, 3}}); !errors.Is(err, ErrNoSegment) {
		t.Errorf("another ci: got %v", err)
	}
	if _, err := ParseSegment(Frame{Kind: KindLong, CI: 0x10, Data: []byte{1}}); !errors.Is(err, ErrCut) {
		t.Errorf("no saps: got %v", err)
	}
}

func TestControlNameKnowsTheServicesOfEN13757(t *testing.T) {
	for c, want := range map[byte]string{0x53: "SND-UD", 0x73: "SND-UD", 0x40: "SND-NKE", 0x5B: "REQ-UD2", 0x7A: "REQ-UD1", 0x08: "RSP-UD", 0xFF: ""} {
		if got := ControlName(c); got != want {
			t.Errorf("%02x: got %q, want %q", c, got, want)
		}
	}
	if got := Kind(9).String(); got != "kind 9" {
		t.Errorf("got %q", got)
	}
}

// FuzzDecoder feeds arbitrary octets in two parts: what ParseFrame and ParseSegment take is written back as it came,
// and memory stays bounded.
func FuzzDecoder(f *testing.F) {
	f.Add(append(bytes.Clone(pushFirst), pushLast...), 7)
	f.Add([]byte{0xE5, 0x10, 0x5B, 0xFE, 0x59, 0x16}, 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut = max(cut, 0); len(b) > 0 {
			cut %= len(b)
		} else {
			cut = 0
		}
		var d Decoder
		var a Assembler
		for _, part := range [][]byte{b[:cut], b[cut:]} {
			d.Feed(part)
			for fr, ok := d.Next(); ok; fr, ok = d.Next() {
				out, err := fr.AppendBinary(nil)
				if err != nil {
					t.Fatal(err)
				}
				again, err := ParseFrame(out)
				if err != nil || !cmp.Equal(again, fr) {
					t.Fatalf("got %v, %v, want %v", again, err, fr)
				}
				if s, err := ParseSegment(fr); err == nil {
					if apdu, err := a.Add(s); err == nil && len(apdu) > DefaultMaxAPDU {
						t.Fatalf("%d bytes", len(apdu))
					}
				}
			}
			if len(d.buf)-d.start > 0xFF+envelope {
				t.Fatalf("keeps %d bytes", len(d.buf)-d.start)
			}
		}
	})
}
