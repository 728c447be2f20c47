package dlms

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// level is a type that says itself what it is.
type level uint8

func (l level) MarshalData() (Data, error) {
	if l > 9 {
		return Data{}, ErrDataRange
	}
	return VisibleString(string('0' + rune(l))), nil
}

func (l *level) UnmarshalData(d Data) error {
	if s := d.Text(); len(s) == 1 && s[0] >= '0' && s[0] <= '9' {
		*l = level(s[0] - '0')
		return nil
	}
	return ErrDataRange
}

type (
	kilowatt int32
	code     uint8
	flag     bool
	name     string
)

type inner struct {
	A int8
	B string
}

// everything has a field of every type that Marshal takes, plain and tagged.
type everything struct {
	Bool       bool
	I8         int8
	I16        int16
	I32        int32
	I64        int64
	Int        int
	U8         uint8
	U16        uint16
	U32        uint32
	U64        uint64
	Uint       uint
	F32        float32
	F64        float64
	Text       string
	Bytes      []byte
	OBIS       OBIS
	Title      SystemTitle
	DateTime   DateTime
	Date       Date
	TimeOfDay  TimeOfDay
	Moment     time.Time
	Named      kilowatt
	Code       code
	Flag       flag
	Name       name
	Level      level
	Levels     []level
	Pointer    *inner
	Nested     [3]inner
	Many       []inner
	Words      []string
	Numbers    []int32
	Codes      []code
	Moments    []time.Time
	Table      [][]uint16
	Any        any
	Skipped    int `dlms:"-"`
	skipped    int
	AsEnum     uint8     `dlms:"enum"`
	AsBCD      uint8     `dlms:"bcd"`
	AsUint32   int       `dlms:"double-long-unsigned"`
	AsInt16s   []int     `dlms:"int16"`
	AsBits     []bool    `dlms:"bit-string"`
	AsDateTime time.Time `dlms:"date-time"`
	AsOctets   string    `dlms:"octet-string"`
	AsVisible  []byte    `dlms:"visible-string"`
	AsCompact  []inner   `dlms:"compact-array"`
	AsNumbers  []byte    `dlms:"uint16"`
	AsTime     TimeOfDay `dlms:"time"`
	AsFloat    int8      `dlms:"float32"`
}

func drawMoment(rt *rapid.T, label string) time.Time {
	zone := time.FixedZone("", 60*rapid.IntRange(-840, 840).Draw(rt, label+" zone"))
	s := rapid.Int64Range(-60000000000, 250000000000).Draw(rt, label)
	return time.Unix(s, 10_000_000*rapid.Int64Range(0, 99).Draw(rt, label+" hundredths")).In(zone)
}

func drawInner(rt *rapid.T) inner {
	return inner{A: rapid.Int8().Draw(rt, "a"), B: rapid.StringMatching(`[ -~]{0,9}`).Draw(rt, "b")}
}

func drawEverything(rt *rapid.T) everything {
	blob := rapid.SliceOfN(rapid.Byte(), 0, 20)
	e := everything{
		Bool: rapid.Bool().Draw(rt, "bool"), I8: rapid.Int8().Draw(rt, "i8"), I16: rapid.Int16().Draw(rt, "i16"),
		I32: rapid.Int32().Draw(rt, "i32"), I64: rapid.Int64().Draw(rt, "i64"), Int: rapid.Int().Draw(rt, "int"),
		U8: rapid.Uint8().Draw(rt, "u8"), U16: rapid.Uint16().Draw(rt, "u16"), U32: rapid.Uint32().Draw(rt, "u32"),
		U64: rapid.Uint64().Draw(rt, "u64"), Uint: rapid.Uint().Draw(rt, "uint"), F32: rapid.Float32().Draw(rt, "f32"),
		F64: rapid.Float64().Draw(rt, "f64"), Text: rapid.String().Draw(rt, "text"), Bytes: blob.Draw(rt, "bytes"),
		Moment: drawMoment(rt, "moment"), Named: kilowatt(rapid.Int32().Draw(rt, "named")),
		Code: code(rapid.Uint8().Draw(rt, "code")), Flag: flag(rapid.Bool().Draw(rt, "flag")),
		Name: name(rapid.String().Draw(rt, "name")), Level: level(rapid.Uint8Range(0, 9).Draw(rt, "level")),
		Many: rapid.SliceOfN(rapid.Custom(drawInner), 0, 4).Draw(rt, "many"), Words: rapid.SliceOfN(rapid.String(), 0, 4).Draw(rt, "words"),
		Numbers: rapid.SliceOfN(rapid.Int32(), 0, 4).Draw(rt, "numbers"),
		Moments: []time.Time{drawMoment(rt, "m1"), drawMoment(rt, "m2")},
		Table:   rapid.SliceOfN(rapid.SliceOfN(rapid.Uint16(), 0, 3), 0, 3).Draw(rt, "table"),
		AsEnum:  rapid.Uint8().Draw(rt, "enum"), AsBCD: rapid.Uint8().Draw(rt, "bcd"),
		AsUint32: rapid.IntRange(0, math.MaxInt32).Draw(rt, "uint32"), AsInt16s: rapid.SliceOfN(rapid.IntRange(-32768, 32767), 0, 4).Draw(rt, "int16s"),
		AsBits: rapid.SliceOfN(rapid.Bool(), 0, 20).Draw(rt, "bits"), AsDateTime: drawMoment(rt, "date-time"),
		AsOctets: rapid.String().Draw(rt, "octets"), AsVisible: []byte(rapid.StringMatching(`[ -~]{0,9}`).Draw(rt, "visible")),
		AsCompact: rapid.SliceOfN(rapid.Custom(drawInner), 1, 4).Draw(rt, "compact"), AsNumbers: blob.Draw(rt, "as numbers"),
		AsFloat: rapid.Int8().Draw(rt, "as float"),
	}
	copy(e.OBIS[:], blob.Draw(rt, "obis"))
	copy(e.Title[:], blob.Draw(rt, "title"))
	copy(e.DateTime[:], blob.Draw(rt, "datetime"))
	copy(e.Date[:], blob.Draw(rt, "date"))
	copy(e.TimeOfDay[:], blob.Draw(rt, "time"))
	copy(e.AsTime[:], blob.Draw(rt, "as time"))
	for i := range e.Nested {
		e.Nested[i] = drawInner(rt)
		e.Levels = append(e.Levels, level(i))
		e.Codes = append(e.Codes, code(i))
	}
	if rapid.Bool().Draw(rt, "has pointer") {
		p := drawInner(rt)
		e.Pointer = &p
	}
	e.Any = rapid.SampledFrom([]any{
		nil, true, int8(-1), int16(-2), int32(-3), int64(-4), uint8(5), uint16(6), uint32(7),
		uint64(8), float32(1.5), 2.5, "text",
		[]byte{1, 2},
		[]any{uint8(1), "x"},
	}).Draw(rt, "any")
	return e
}

// there takes a value over the wire.
func there(t interface{ Fatalf(string, ...any) }, v any) Data {
	d, err := Marshal(v)
	if err != nil {
		t.Fatalf("marshal %T: %v", v, err)
	}
	b, err := d.AppendBinary(nil)
	if err != nil {
		t.Fatalf("append %T: %v", v, err)
	}
	got, rest, err := ParseData(b)
	if err != nil || len(rest) != 0 || !got.Equal(d) {
		t.Fatalf("parse %T: %s, % X, %v", v, got, rest, err)
	}
	return got
}

func TestAnyValueWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawEverything(rt)
		got := everything{Skipped: 5, skipped: 6}
		if err := Unmarshal(there(rt, want), &got); err != nil || got.Skipped != 5 || got.skipped != 6 {
			rt.Fatal(got.Skipped, got.skipped, err)
		}
		got.Skipped = want.Skipped
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs(), cmpopts.IgnoreUnexported(everything{})); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// readBack holds it for one type on the fast path and for the same behind a pointer.
func readBack[T any](t *testing.T, values ...T) {
	t.Helper()
	for _, want := range values {
		var got T
		if err := Unmarshal(there(t, want), &got); err != nil || !cmp.Equal(want, got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()) {
			t.Errorf("%T: want %v, got %v, %v", want, want, got, err)
		}
		var p *T
		if err := Unmarshal(there(t, &want), &p); err != nil || p == nil || !cmp.Equal(want, *p, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()) {
			t.Errorf("*%T: want %v, got %v, %v", want, want, p, err)
		}
	}
	if err := Unmarshal(there(t, values), &values); err != nil {
		t.Errorf("%T: %v", values, err)
	}
}

func TestEveryScalarAndSliceIsReadBack(t *testing.T) {
	readBack(t, true, false)
	readBack(t, int8(math.MinInt8), math.MaxInt8)
	readBack(t, int16(math.MinInt16), math.MaxInt16)
	readBack(t, int32(math.MinInt32), math.MaxInt32)
	readBack(t, int64(math.MinInt64), math.MaxInt64)
	readBack(t, math.MinInt, math.MaxInt)
	readBack(t, uint8(0), math.MaxUint8)
	readBack(t, uint16(0), math.MaxUint16)
	readBack(t, uint32(0), math.MaxUint32)
	readBack(t, uint64(0), math.MaxUint64)
	readBack(t, uint(0), math.MaxUint)
	readBack(t, float32(0.1), float32(math.Inf(1)), math.MaxFloat32, float32(math.NaN()))
	readBack(t, 0.1, math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, math.NaN())
	readBack(t, "", "text", "é", strings.Repeat("x", 300))
	readBack(t, []byte{}, []byte{0, 255})
	readBack(t, OBIS{1, 0, 1, 8, 0, 255})
	readBack(t, SystemTitle{1, 2, 3, 4, 5, 6, 7, 8})
	readBack(t, DateTimeUnspecified(), DateTime{})
	readBack(t, Date{7, 228, 1, 6, 1})
	readBack(t, TimeOfDay{23, 59, 58, 99})
	readBack(t, time.Unix(0, 0).UTC(), time.Unix(1700000000, 0).In(time.FixedZone("", -3600)))
	readBack(t, [4]byte{1, 2, 3, 4})
	readBack(t, [2]bool{true, false})
	readBack(t, []bool{true, false}, nil)
	readBack(t, []int8{1, -1})
	readBack(t, [][]byte{{1}, {}})
	readBack(t, []float32{1, 2})
	readBack(t, level(0), level(9))
	readBack(t, struct{}{})
	readBack(t, Structure(Null(), Array(Enum(7), Enum(8))))
}

func TestMarshalGivesTheTypesThatItSays(t *testing.T) {
	moment := time.Date(2021, 6, 3, 14, 9, 23, 120_000_000, time.FixedZone("", 3600))
	for _, c := range []struct {
		v    any
		want Data
	}{
		{nil, Null()},
		{(*int)(nil), Null()},
		{(*level)(nil), Null()},
		{int(1), Int64(1)},
		{uint(1), Uint64(1)},
		{"A", VisibleString("A")},
		{"é", UTF8String("é")},
		{[]byte{1}, OctetString([]byte{1})},
		{[2]byte{1, 2}, OctetString([]byte{1, 2})},
		{[]code{1, 2}, OctetString([]byte{1, 2})},
		{OBIS{1, 2, 3, 4, 5, 6}, OctetString([]byte{1, 2, 3, 4, 5, 6})},
		{moment, DateTimeOf(moment, 0).Octets()},
		{[]int32{1}, Array(Int32(1))},
		{[]any{nil, true}, Array(Null(), Bool(true))},
		{inner{1, "x"}, Structure(Int8(1), VisibleString("x"))},
		{&inner{1, "x"}, Structure(Int8(1), VisibleString("x"))},
		{level(7), VisibleString("7")},
		{kilowatt(-1), Int32(-1)},
		{struct {
			A int       `dlms:"uint16"`
			B []int     `dlms:"enum"`
			C []bool    `dlms:"bit-string"`
			D []uint8   `dlms:"compact-array"`
			E string    `dlms:"utf8-string"`
			F []byte    `dlms:"array"`
			G time.Time `dlms:"date-time"`
			H *int8     `dlms:"int64"`
		}{A: 1, B: []int{2}, C: []bool{true}, D: []byte{3}, E: "e", F: []byte{4}, G: moment}, Structure(
			Uint16(1), Array(Enum(2)), BitString([]byte{0x80}, 1), Data{tag: TagCompactArray, b: []byte{0x11, 1, 3}},
			UTF8String("e"), Array(Uint8(4)), DateTimeData(DateTimeOf(moment, 0)), Null())},
	} {
		if got, err := Marshal(c.v); err != nil || !got.Equal(c.want) {
			t.Errorf("%#v: want %s, got %s, %v", c.v, c.want, got, err)
		}
	}
}

// A zone that no date-time can say gives way to UTC, and the moment stays.
func TestMarshalKeepsTheMomentWhateverTheZone(t *testing.T) {
	for _, offset := range []int{561, -561, 3600 * 15, -3600 * 20, 3600, 0} {
		want := time.Unix(1700000000, 0).In(time.FixedZone("", offset))
		var got time.Time
		if err := Unmarshal(there(t, want), &got); err != nil || !got.Equal(want) {
			t.Errorf("offset %d: want %s, got %s, %v", offset, want, got, err)
		}
	}
}

type loop struct{ Next *loop }

func TestMarshalRefusesWhatHasNoPlaceInData(t *testing.T) {
	endless := &loop{}
	endless.Next = endless
	for name, c := range map[string]struct {
		v    any
		want error
	}{
		"map":         {map[string]int{}, ErrDataType},
		"chan":        {make(chan int), ErrDataType},
		"func":        {func() {}, ErrDataType},
		"complex":     {complex(1, 1), ErrDataType},
		"uintptr":     {uintptr(1), ErrDataType},
		"inside":      {struct{ A []any }{[]any{1, map[int]int{}}}, ErrDataType},
		"not utf-8":   {"\xFF", ErrDataRange},
		"a year":      {time.Date(70000, 1, 1, 0, 0, 0, 0, time.UTC), ErrDataRange},
		"endless":     {endless, ErrDataDepth},
		"own refusal": {level(10), ErrDataRange},
		"too big": {struct {
			A int `dlms:"uint8"`
		}{256}, ErrDataRange},
		"negative": {struct {
			A int `dlms:"uint64"`
		}{-1}, ErrDataRange},
		"rounded": {struct {
			A float64 `dlms:"float32"`
		}{0.1}, ErrDataRange},
		"rounded int": {struct {
			A int64 `dlms:"float64"`
		}{1<<53 + 1}, ErrDataRange},
		"not ascii": {struct {
			A string `dlms:"visible-string"`
		}{"é"}, ErrDataRange},
		"not a date": {struct {
			A []byte `dlms:"date"`
		}{[]byte{1}}, ErrDataRange},
		"another type": {struct {
			A string `dlms:"uint8"`
		}{"1"}, ErrDataType},
		"no bits": {struct {
			A []int `dlms:"bit-string"`
		}{[]int{1}}, ErrDataType},
		"empty compact": {struct {
			A []int `dlms:"compact-array"`
		}{}, ErrDataType},
		"unknown tag": {struct {
			A int `dlms:"uint7"`
		}{}, ErrDataType},
		"array of a tag": {struct {
			A []string `dlms:"uint8"`
		}{[]string{"1"}}, ErrDataType},
	} {
		if got, err := Marshal(c.v); !errors.Is(err, c.want) || !got.IsNull() {
			t.Errorf("%s: want %v, got %s, %v", name, c.want, got, err)
		}
	}
}

func TestUnmarshalRefusesWhatDoesNotFit(t *testing.T) {
	var (
		i8     int8
		u8     uint8
		f32    float32
		f64    float64
		s      string
		b      []byte
		four   [4]byte
		obis   OBIS
		moment time.Time
		in     inner
		list   []int32
		bits   []bool
		k      kilowatt
		err    error
		fn     func()
		level  level
	)
	for _, c := range []struct {
		d    Data
		v    any
		want error
	}{
		{Int16(128), &i8, ErrDataRange},
		{Int8(-1), &u8, ErrDataRange},
		{Uint16(256), &u8, ErrDataRange},
		{Uint64(math.MaxUint64), &i8, ErrDataRange},
		{VisibleString("1"), &u8, ErrDataType},
		{Null(), &u8, ErrDataType},
		{Float64(0.1), &f32, ErrDataRange},
		{Int64(1<<53 + 1), &f64, ErrDataRange},
		{Bool(true), &f64, ErrDataType},
		{Uint8(1), &s, ErrDataType},
		{Uint8(1), &b, ErrDataType},
		{OctetString([]byte{1, 2, 3}), &four, ErrDataRange},
		{OctetString([]byte{1, 2, 3}), &obis, ErrDataRange},
		{DateTimeUnspecified().Octets(), &moment, ErrNoDeviation},
		{OctetString(nil), &moment, ErrDateTime},
		{Structure(Int8(1)), &in, ErrDataRange},
		{Array(Int8(1), VisibleString("")), &in, ErrDataType},
		{Structure(Int8(1), Int8(1)), &in, ErrDataType},
		{Structure(Int32(1)), &list, ErrDataType},
		{Array(Int32(1), Null()), &list, ErrDataType},
		{Array(Uint8(1)), &bits, ErrDataType},
		{Int64(1 << 40), &k, ErrDataRange},
		{Uint8(1), &err, ErrDataType},
		{Uint8(1), &fn, ErrDataType},
		{Uint8(1), u8, ErrDataType},
		{Uint8(1), nil, ErrDataType},
		{Uint8(1), (*uint8)(nil), ErrDataType},
		{Uint8(1), (*inner)(nil), ErrDataType},
		{VisibleString("x"), &level, ErrDataRange},
		{Data{tag: TagCompactArray, b: []byte{0, 1, 0}}, &list, nil},
	} {
		got := Unmarshal(c.d, c.v)
		if got == nil || (c.want != nil && !errors.Is(got, c.want)) {
			t.Errorf("%s into %T: want %v, got %v", c.d, c.v, c.want, got)
		}
	}
}

func TestUnmarshalCopiesBytes(t *testing.T) {
	wire := []byte{9, 2, 1, 2}
	d, _, err := ParseData(wire)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	var v any
	if err := errors.Join(Unmarshal(d, &b), Unmarshal(d, &v)); err != nil {
		t.Fatal(err)
	}
	wire[2] = 9
	if !cmp.Equal(b, []byte{1, 2}) || !cmp.Equal(v, []byte{1, 2}) {
		t.Errorf("got %v, %v", b, v)
	}
}

func TestMarshalOfScalarsDoesNotUseTheHeapForItself(t *testing.T) {
	var v any = uint32(70000)
	var out uint32
	if n := testing.AllocsPerRun(100, func() {
		d, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := Unmarshal(d, &out); err != nil {
			t.Fatal(err)
		}
	}); n > 1 { // the value that Unmarshal reads from
		t.Errorf("%v allocations", n)
	}
}

// FuzzUnmarshal holds that no data of any shape makes Unmarshal panic, and that what it took is written and read back.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range samples {
		f.Add(unhex(f, s.hex))
	}
	d, err := Marshal(everything{AsCompact: []inner{{1, "x"}}, Moment: time.Unix(0, 0), AsDateTime: time.Unix(0, 0)})
	if err != nil {
		f.Fatal(err)
	}
	seed, err := d.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, in []byte) {
		d, _, err := ParseData(in)
		if err != nil {
			return
		}
		for _, v := range []any{new(any), new(everything), new(inner), new([]inner), new([]string), new(map[int]int), new(*[3]code), new([]time.Time), new(level)} {
			if err := Unmarshal(d, v); err != nil {
				continue
			}
			if again, err := Marshal(v); err != nil && !errors.Is(err, ErrDataRange) && !errors.Is(err, ErrDataType) && !errors.Is(err, ErrDataDepth) {
				t.Errorf("%s became %T, which cannot be written: %s, %v", d, v, again, err)
			}
		}
	})
}
