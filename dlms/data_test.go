package dlms

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// samples are one value of every type, with its encoding by GB 9.5 and its form in JSON.
var samples = []struct {
	data Data
	hex  string
	json string
}{
	{Null(), "00", `{"null-data":null}`},
	{DontCare(), "FF", `{"dont-care":null}`},
	{Bool(true), "03 01", `{"boolean":true}`},
	{Bool(false), "03 00", `{"boolean":false}`},
	{BitString([]byte{0xA0}, 3), "04 03 A0", `{"bit-string":"101"}`},
	{BitString([]byte{0x80, 0x01}, 16), "04 10 80 01", `{"bit-string":"1000000000000001"}`},
	{BitString(nil, 0), "04 00", `{"bit-string":""}`},
	{Int32(-2), "05 FF FF FF FE", `{"double-long":-2}`},
	{Uint32(5009), "06 00 00 13 91", `{"double-long-unsigned":5009}`},
	{OctetString([]byte{1, 0xFF}), "09 02 01 FF", `{"octet-string":"01FF"}`},
	{VisibleString("ISK\"1"), "0A 05 49 53 4B 22 31", `{"visible-string":"ISK\"1"}`},
	{UTF8String("é"), "0C 02 C3 A9", `{"utf8-string":"é"}`},
	{BCD(0x97), "0D 97", `{"bcd":"97"}`},
	{Int8(-128), "0F 80", `{"integer":-128}`},
	{Int16(-32768), "10 80 00", `{"long":-32768}`},
	{Uint8(255), "11 FF", `{"unsigned":255}`},
	{Uint16(65535), "12 FF FF", `{"long-unsigned":65535}`},
	{Int64(math.MinInt64), "14 80 00 00 00 00 00 00 00", `{"long64":-9223372036854775808}`},
	{Uint64(math.MaxUint64), "15 FF FF FF FF FF FF FF FF", `{"long64-unsigned":18446744073709551615}`},
	{Enum(30), "16 1E", `{"enum":30}`},
	{Float32(1.5), "17 3F C0 00 00", `{"float32":1.5}`},
	{Float64(-0.25), "18 BF D0 00 00 00 00 00 00", `{"float64":-0.25}`},
	{Float64(math.Inf(1)), "18 7F F0 00 00 00 00 00 00", `{"float64":"+Inf"}`},
	{
		DateTimeData(DateTime{0x07, 0xE4, 1, 6, 0xFF, 0, 3, 0, 0, 0xFF, 0xC4, 0}),
		"19 07E4 01 06 FF 00 03 00 00 FFC4 00", `{"date-time":"2020-01-06 * 00:03:00.00 -60 status 00"}`,
	},
	{DateData(Date{0x07, 0xE4, 1, 6, 1}), "1A 07E4 01 06 01", `{"date":"2020-01-06 Mon"}`},
	{TimeData(TimeOfDay{23, 59, 58, 99}), "1B 17 3B 3A 63", `{"time":"23:59:58.99"}`},
	{Array(), "01 00", `{"array":[]}`},
	{
		Structure(Enum(4), Array(Uint8(1), Uint8(2)), OctetString(nil)), "02 03 16 04 01 02 11 01 11 02 09 00",
		`{"structure":[{"enum":4},{"array":[{"unsigned":1},{"unsigned":2}]},{"octet-string":""}]}`,
	},
}

func TestEveryTypeOfDataGoesThereAndBack(t *testing.T) {
	for _, s := range samples {
		want := unhex(t, s.hex)
		got, err := s.data.AppendBinary([]byte{0xEE})
		if err != nil || !bytes.Equal(got[1:], want) {
			t.Errorf("%s: appended % X, %v, want %s", s.data, got, err, s.hex)
		}
		back, rest, err := ParseData(append(want, 0xEE))
		if err != nil || !back.Equal(s.data) || len(rest) != 1 {
			t.Errorf("%s: parsed %s, rest % X, %v", s.hex, back, rest, err)
		}
	}
}

func TestDataIsReadableAsJSON(t *testing.T) {
	for _, s := range samples {
		got, err := json.Marshal(s.data)
		if err != nil || string(got) != s.json {
			t.Errorf("got %s, %v, want %s", got, err, s.json)
		}
	}
}

func TestDataIsReadableAsText(t *testing.T) {
	d := Structure(Enum(4), OctetString([]byte{0x0A, 0x0B}), Array(Null(), Bool(true)), VisibleString("a\n"))
	want := `structure{enum 4, octet-string 0A0B, array{null-data, boolean true}, visible-string "a\n"}`
	if d.String() != want {
		t.Errorf("got %s, want %s", d, want)
	}
}

func TestParseDataRefusesEveryTruncation(t *testing.T) {
	for _, s := range samples {
		whole := unhex(t, s.hex)
		for n := range whole {
			if d, _, err := ParseData(whole[:n]); err == nil {
				t.Errorf("%s cut to %d bytes: parsed as %s", s.hex, n, d)
			}
		}
	}
}

func TestParseDataRefusesLyingLengths(t *testing.T) {
	for in, want := range map[string]error{
		"01 84 7FFFFFFF 00":               wire.ErrLength,    // an array of 2^31-1 elements in one byte
		"01 84 FFFFFFFF 00":               wire.ErrLength,    // more than an int holds on some machines
		"02 82 FFFF 00":                   wire.ErrLength,    // a structure of 65,535
		"09 84 7FFFFFFF 00":               wire.ErrTruncated, // an octet-string of 2 GiB
		"09 80 00":                        wire.ErrLength,    // the indefinite form
		"09 88 0000000000000001 00":       wire.ErrLength,    // a length of eight octets
		"04 84 7FFFFFFF 00":               wire.ErrTruncated, // a bit-string of 256 MiB
		"01 02 01 7F 00":                  wire.ErrLength,    // a lie one level down
		"13 06 84 7FFFFFFF 00":            wire.ErrTruncated, // a compact-array with a lie in its contents
		"13 02 84 7FFFFFFF 00":            wire.ErrLength,    // and in its type description
		"07":                              ErrDataTag,
		"13 07 00":                        ErrDataTag,
		"13 13 00":                        ErrDataTag, // a compact-array does not nest
		"02 01 0B":                        ErrDataTag,
		strings.Repeat("0101", 17) + "00": ErrDataDepth,
	} {
		if _, _, err := ParseData(unhex(t, in)); !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v", in, want, err)
		}
	}
}

func TestDataNestsToItsLimitAndNoFurther(t *testing.T) {
	deepest := unhex(t, strings.Repeat("0201", MaxDataDepth)+"00")
	d, rest, err := ParseData(deepest)
	if err != nil || len(rest) != 0 {
		t.Fatal(err)
	}
	if out, err := d.AppendBinary(nil); err != nil || !bytes.Equal(out, deepest) {
		t.Errorf("got % X, %v", out, err)
	}
	if _, err := Structure(d).AppendBinary(nil); !errors.Is(err, ErrDataDepth) {
		t.Errorf("want ErrDataDepth, got %v", err)
	}
	if _, _, err := ParseData(bytes.Repeat([]byte{1, 1}, 1<<20)); !errors.Is(err, ErrDataDepth) {
		t.Errorf("want ErrDataDepth, got %v", err)
	}
}

func TestParseDataAllocatesInProportionToItsInput(t *testing.T) {
	// Each level claims as many elements as bytes are left, and only the innermost has them.
	var hostile []byte
	for range MaxDataDepth {
		hostile = append(hostile, 1, 0x82, 0x3F, 0xFF)
	}
	hostile = append(hostile, make([]byte, 0x4000)...)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, _, err := ParseData(hostile); err == nil {
				b.Fatal("hostile data was parsed")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > int64(len(hostile)) {
		t.Errorf("%d bytes allocated for %d", allocated, len(hostile))
	}
}

func TestParseDataAliasesItsInput(t *testing.T) {
	in := unhex(t, "02 01 09 02 01 02")
	d, _, err := ParseData(in)
	if err != nil {
		t.Fatal(err)
	}
	in[4] = 0xEE
	if d.At(0).Bytes()[0] != 0xEE {
		t.Error("the octet-string was copied: the documentation says that it aliases")
	}
	if got := append(d.At(0).Bytes(), 0x55); &got[0] == &in[4] {
		t.Error("append to a parsed string writes into the input")
	}
}

func TestScalarsAreParsedAndAppendedWithoutAllocation(t *testing.T) {
	in := unhex(t, "09 0C 07E4 01 06 FF 00 03 00 00 FFC4 00")
	dst := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		d, _, err := ParseData(in)
		if err != nil {
			t.Error(err)
		}
		if dst, err = d.AppendBinary(dst[:0]); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAListIsParsedWithOneAllocation(t *testing.T) {
	in, err := Array(Structure(Uint32(1), Uint16(2)), Structure(Uint32(3), Uint16(4))).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := ParseData(in); err != nil {
			t.Error(err)
		}
	}); n != 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}

func TestIntegersAreReadByValueWhateverTheirType(t *testing.T) {
	for _, d := range []Data{Int8(7), Int16(7), Int32(7), Int64(7), Uint8(7), Uint16(7), Uint32(7), Uint64(7), Enum(7)} {
		i, err := d.Int()
		u, err2 := d.Uint()
		f, err3 := d.Float()
		if i != 7 || u != 7 || f != 7 || err != nil || err2 != nil || err3 != nil {
			t.Errorf("%s: %d, %d, %g, %v, %v, %v", d, i, u, f, err, err2, err3)
		}
	}
	if v, err := Int8(-1).Int(); v != -1 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
	if _, err := Int8(-1).Uint(); !errors.Is(err, ErrDataRange) {
		t.Errorf("want ErrDataRange, got %v", err)
	}
	if _, err := Uint64(math.MaxUint64).Int(); !errors.Is(err, ErrDataRange) {
		t.Errorf("want ErrDataRange, got %v", err)
	}
}

func TestAccessorsRefuseOtherTypes(t *testing.T) {
	d := Bool(true)
	_, err1 := d.Int()
	_, err2 := d.Uint()
	_, err3 := d.Float()
	_, err4 := d.OctetString()
	_, err5 := d.LogicalName()
	_, err6 := d.DateTime()
	_, err7 := d.Date()
	_, err8 := d.Time()
	_, err9 := d.BCD()
	_, err10 := Null().Bool()
	for i, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8, err9, err10} {
		if !errors.Is(err, ErrDataType) {
			t.Errorf("accessor %d: want ErrDataType, got %v", i+1, err)
		}
	}
	if d.Text() != "" || d.Bytes() != nil || d.Len() != 0 || d.Elements() != nil || d.Bit(0) {
		t.Error("a boolean has no content of other types")
	}
}

func TestAccessorsReadTheirType(t *testing.T) {
	if v, err := Bool(true).Bool(); !v || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := BCD(0x97).BCD(); v != 0x97 || err != nil {
		t.Errorf("%x, %v", v, err)
	}
	if v, err := Float32(1.5).Float(); v != 1.5 || err != nil {
		t.Errorf("%g, %v", v, err)
	}
	name := OBIS{0, 0, 40, 0, 0, 255}
	if v, err := LogicalNameData(name).LogicalName(); v != name || err != nil {
		t.Errorf("%s, %v", v, err)
	}
	if _, err := OctetString(make([]byte, 5)).LogicalName(); err == nil {
		t.Error("a logical name of five bytes was accepted")
	}
	if d := VisibleString("EDF"); d.Text() != "EDF" || d.Len() != 3 {
		t.Errorf("%q, %d", d.Text(), d.Len())
	}
	bits := BitString([]byte{0xA0}, 3)
	if !bits.Bit(0) || bits.Bit(1) || !bits.Bit(2) || bits.Bit(3) || bits.Bit(-1) || bits.Len() != 3 {
		t.Errorf("wrong bits in %s", bits)
	}
}

func TestAtReturnsNullBeyondTheEnd(t *testing.T) {
	d := Structure(Uint8(1))
	if !d.At(1).IsNull() || !d.At(-1).IsNull() || !Null().At(0).IsNull() || d.At(0).IsNull() {
		t.Error("want null-data beyond the end, and only there")
	}
}

func TestEqualLooksAtTypeAndContent(t *testing.T) {
	for i, a := range samples {
		for j, b := range samples {
			if a.data.Equal(b.data) != (i == j) {
				t.Errorf("%s and %s", a.data, b.data)
			}
		}
	}
	odd, _, err := ParseData([]byte{3, 0xFF})
	if err != nil || !odd.Equal(Bool(true)) {
		t.Errorf("boolean FF is true: %v", err)
	}
	if Array(Uint8(1)).Equal(Array(Uint8(2))) || Structure(Null()).Equal(Structure()) {
		t.Error("lists with other elements are equal")
	}
}

func TestBitStringDoesNotReachBeyondItsBytes(t *testing.T) {
	for bits, want := range map[int]int{-1: 0, 0: 0, 8: 8, 9: 8, math.MaxInt: 8} {
		if d := BitString([]byte{0xFF}, bits); d.Len() != want {
			t.Errorf("%d bits of one byte: got %d", bits, d.Len())
		}
	}
}

// FuzzParseData holds Append(Parse(x)) == x but for lengths in a longer form than needed.
func FuzzParseData(f *testing.F) {
	for _, s := range samples {
		f.Add(unhex(f, s.hex))
	}
	f.Add(unhex(f, "13 02 02 11 12 06 01 0001 02 0002"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := wire.NewReader(b)
		d := ReadData(&r)
		rest := r.Rest()
		if r.Err() != nil {
			return
		}
		got, err := d.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Lax() && !bytes.Equal(got, b[:len(b)-len(rest)]) {
			t.Errorf("% X became % X", b[:len(b)-len(rest)], got)
		}
		again, rest, err := ParseData(got)
		if err != nil || len(rest) != 0 || !again.Equal(d) {
			t.Errorf("% X: parsed again as %s, %v", got, again, err)
		}
		checkReadable(t, d)
	})
}

// checkReadable sees that no parsed value breaks what is made of it.
func checkReadable(t *testing.T, d Data) {
	if d.String() == "" {
		t.Error("no text")
	}
	if j, err := json.Marshal(d); err != nil || !json.Valid(j) {
		t.Errorf("%s: json %s, %v", d, j, err)
	}
	if e, err := d.Expand(); err == nil {
		if _, err := e.AppendBinary(nil); err != nil {
			t.Errorf("%s: expanded to what cannot be sent: %v", d, err)
		}
	}
}
