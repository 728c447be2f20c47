package apdu

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func drawBlockTransfer(rt *rapid.T) BlockTransfer {
	return BlockTransfer{
		Last: rapid.Bool().Draw(rt, "last"), Streaming: rapid.Bool().Draw(rt, "streaming"),
		Window: rapid.Uint8Range(0, MaxWindow).Draw(rt, "window"),
		Number: rapid.Uint16().Draw(rt, "number"), Ack: rapid.Uint16().Draw(rt, "ack"),
		Data: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "data"),
	}
}

func TestBlockTransferGoesThereAndBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawBlockTransfer(rt)
		b, err := want.AppendBinary(nil)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := ParseBlockTransfer(b)
		if err != nil || !bytes.Equal(got.Data, want.Data) {
			rt.Fatalf("got %+v, %v", got, err)
		}
		got.Data, want.Data = nil, nil
		if got.Last != want.Last || got.Streaming != want.Streaming || got.Window != want.Window ||
			got.Number != want.Number || got.Ack != want.Ack {
			rt.Fatalf("want %+v, got %+v", want, got)
		}
	})
}

func TestBlockControlHasLastStreamingAndWindow(t *testing.T) {
	got, err := ParseBlockTransfer(unhex(t, "E0 C3 0102 0304 02 AABB"))
	if err != nil || !got.Last || !got.Streaming || got.Window != 3 || got.Number != 0x102 || got.Ack != 0x304 ||
		!bytes.Equal(got.Data, []byte{0xAA, 0xBB}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBlockTransferRefusesAWindowOfMoreThanSixBitsAndLies(t *testing.T) {
	if _, err := (BlockTransfer{Window: MaxWindow + 1}).AppendBinary(nil); !errors.Is(err, ErrValue) {
		t.Errorf("want ErrValue, got %v", err)
	}
	for in, want := range map[string]error{
		"E0 80 0001 0000 05 AA":       ErrTruncated,
		"E0 80 0001 0000 84 7FFFFFFF": ErrTruncated,
		"E0 80 0001 0000 80":          ErrLength,
		"E0 80 0001 0000 00 00":       ErrTrailing,
		"E1 80 0001 0000 00":          ErrTag,
	} {
		if _, err := ParseBlockTransfer(unhex(t, in)); !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v", in, want, err)
		}
	}
}

func TestWhatTheOverheadOfABlockTransferLeavesFits(t *testing.T) {
	for maxPDU := 8; maxPDU < 70000; maxPDU += 1 + maxPDU/100 {
		n := maxPDU - BlockTransferOverhead(maxPDU)
		b, err := BlockTransfer{Data: make([]byte, n)}.AppendBinary(nil)
		// Where the length of the data takes one octet less than that of the whole, one byte is left over.
		if err != nil || len(b) > maxPDU || len(b) < maxPDU-1 {
			t.Fatalf("%d bytes for an apdu of %d, %v", len(b), maxPDU, err)
		}
	}
}
