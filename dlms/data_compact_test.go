package dlms

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

func expand(t *testing.T, in string) (Data, error) {
	t.Helper()
	d, rest, err := ParseData(unhex(t, in))
	if err != nil || len(rest) != 0 {
		t.Fatalf("%s: rest % X, %v", in, rest, err)
	}
	return d.Expand()
}

func TestExpandFollowsTheTypeDescription(t *testing.T) {
	for in, want := range map[string]Data{
		"13 12 04 0001 0002": Array(Uint16(1), Uint16(2)),
		"13 12 00":           Array(),
		"13 02 02 11 09 07 01 02 AAAA 02 01 BB": Array(
			Structure(Uint8(1), OctetString([]byte{0xAA, 0xAA})), Structure(Uint8(2), OctetString([]byte{0xBB}))),
		"13 01 0002 0F 04 01 FF 02 FE":  Array(Array(Int8(1), Int8(-1)), Array(Int8(2), Int8(-2))),
		"13 02 03 00 04 03 03 03 A0 01": Array(Structure(Null(), BitString([]byte{0xA0}, 3), Bool(true))),
	} {
		if got, err := expand(t, in); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
	if got, err := Uint8(1).Expand(); err != nil || !got.Equal(Uint8(1)) {
		t.Errorf("a value that is no compact-array was changed: %s, %v", got, err)
	}
}

func TestACompactArrayTravelsUnchanged(t *testing.T) {
	in := unhex(t, "02 02 13 02 02 11 12 06 01 0001 02 0002 11 05")
	d, rest, err := ParseData(in)
	if err != nil || len(rest) != 0 {
		t.Fatal(err)
	}
	if d.At(0).Tag() != TagCompactArray || !d.At(1).Equal(Uint8(5)) {
		t.Errorf("got %s", d)
	}
	if out, err := d.AppendBinary(nil); err != nil || !bytes.Equal(out, in) {
		t.Errorf("got % X, %v", out, err)
	}
}

func TestExpandRefusesMoreThanTheContentsCanBear(t *testing.T) {
	for in, want := range map[string]error{
		"13 00 01 00":           wire.ErrValue,     // null-data for ever
		"13 01 FFFF 00 01 00":   wire.ErrValue,     // 65,535 of null-data
		"13 01 FFFF 11 02 0101": wire.ErrTruncated, // 65,535 of unsigned in two bytes
		"13 12 03 000102":       wire.ErrTruncated, // half an element
		"13 02 00 01 01":        wire.ErrValue,     // an empty structure
		"13 02 82 0100" + strings.Repeat("00", 255) + "11 82 0200" + strings.Repeat("01", 512): wire.ErrLength,
		"13 02 82 0500" + strings.Repeat("11", 1280) + "00":                                    wire.ErrLength,
	} {
		if got, err := expand(t, in); !errors.Is(err, want) {
			t.Errorf("%.40s: want %v, got %s, %v", in, want, got, err)
		}
	}
}

func TestALongDescriptionIsNotPaidForEveryByteOfTheContents(t *testing.T) {
	cost := func(description []byte) time.Duration {
		const contents = 1 << 17
		b := append([]byte{byte(TagCompactArray)}, description...)
		b = append(wire.AppendLength(b, contents), make([]byte, contents)...)
		d, _, err := ParseData(b)
		if err != nil {
			t.Fatal(err)
		}
		best := time.Hour
		for range 3 { // the machine may be at other work
			start := time.Now()
			if e, err := d.Expand(); err != nil || e.Len() != contents {
				t.Fatalf("%d elements, %v", e.Len(), err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	// A structure of an array without elements, of something small or of something large, and one byte.
	of := func(inside ...byte) []byte {
		return append(append([]byte{byte(TagStructure), 2, byte(TagArray), 0, 0}, inside...), byte(TagUint8))
	}
	wide := append([]byte{byte(TagStructure), 0x82, 0x03, 0xE0}, bytes.Repeat([]byte{byte(TagUint8)}, 0x3E0)...)
	small, large := cost(of(byte(TagUint8))), cost(of(wide...))
	if large > 3*small+50*time.Millisecond { // once in proportion to the description
		t.Errorf("%s with a short description, %s with a long one", small, large)
	}
}
