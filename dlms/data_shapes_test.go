package dlms

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms/internal/wire"
)

// drawScalar draws a value of a type that has its place in a compact-array.
func drawScalar(rt *rapid.T, tag Tag) Data {
	blob := rapid.SliceOfN(rapid.Byte(), 0, 12)
	switch tag {
	case TagNull:
		return Null()
	case TagOctetString:
		return OctetString(blob.Draw(rt, "octets"))
	case TagVisibleString:
		return VisibleString(string(rapid.SliceOfN(rapid.ByteRange(0x20, 0x7E), 0, 12).Draw(rt, "visible characters")))
	case TagUTF8String:
		return UTF8String(rapid.StringN(0, 12, 12).Draw(rt, "characters"))
	case TagBitString:
		b := blob.Draw(rt, "bits")
		return BitString(b, rapid.IntRange(0, 8*len(b)).Draw(rt, "number of bits"))
	case TagDateTime, TagDate, TagTime:
		n := tag.fixedSize()
		return Data{tag: tag, b: rapid.SliceOfN(rapid.Byte(), n, n).Draw(rt, "date")}
	case TagBool:
		return Bool(rapid.Bool().Draw(rt, "bool"))
	case TagFloat32:
		return Float32(rapid.Float32().Draw(rt, "float32"))
	case TagBCD:
		return BCD(rapid.Uint8().Draw(rt, "bcd"))
	}
	n := rapid.Uint64().Draw(rt, "number")
	shift := 64 - 8*tag.fixedSize()
	if tag.signed() {
		return Data{tag: tag, n: uint64(int64(n) >> shift)}
	}
	return Data{tag: tag, n: n >> shift}
}

var scalarTags = []Tag{
	TagNull, TagBool, TagBitString, TagInt32, TagUint32, TagOctetString, TagVisibleString, TagUTF8String, TagBCD, TagInt8,
	TagInt16, TagUint8, TagUint16, TagInt64, TagUint64, TagEnum, TagFloat32, TagFloat64, TagDateTime, TagDate, TagTime,
}

// drawType draws a function that draws values of one type, lists included.
func drawType(rt *rapid.T, depth int) func(*rapid.T) Data {
	switch kind := rapid.IntRange(0, 9).Draw(rt, "kind"); {
	case kind < 2 && depth < 3:
		var fields []func(*rapid.T) Data
		for range rapid.IntRange(0, 4).Draw(rt, "fields") {
			fields = append(fields, drawType(rt, depth+1))
		}
		return func(rt *rapid.T) Data {
			d := Data{tag: TagStructure, list: make([]Data, len(fields))}
			for i, f := range fields {
				d.list[i] = f(rt)
			}
			return d
		}
	case kind == 2 && depth < 3:
		n, of := rapid.IntRange(0, 3).Draw(rt, "length"), drawType(rt, depth+1)
		return func(rt *rapid.T) Data {
			d := Data{tag: TagArray, list: make([]Data, n)}
			for i := range d.list {
				d.list[i] = of(rt)
			}
			return d
		}
	}
	tag := rapid.SampledFrom(scalarTags).Draw(rt, "tag")
	return func(rt *rapid.T) Data { return drawScalar(rt, tag) }
}

func TestACompactArrayExpandsToWhatItWasMadeOf(t *testing.T) {
	made := 0
	rapid.Check(t, func(rt *rapid.T) {
		draw := drawType(rt, 0)
		elements := make([]Data, rapid.IntRange(1, 6).Draw(rt, "elements"))
		for i := range elements {
			elements[i] = draw(rt)
		}
		d, err := CompactArray(elements...)
		if errors.Is(err, ErrDataType) || errors.Is(err, ErrDataRange) {
			return // an element without bytes, or more values than anybody expands
		}
		if err != nil {
			rt.Fatal(err)
		}
		made++
		b, err := d.AppendBinary(nil)
		if err != nil {
			rt.Fatal(err)
		}
		came, rest, err := ParseData(b)
		if err != nil || len(rest) != 0 {
			rt.Fatalf("% X: %v", b, err)
		}
		if got, err := came.Expand(); err != nil || !got.Equal(Array(elements...)) {
			rt.Fatalf("%s became %s, %v", Array(elements...), got, err)
		}
	})
	if made == 0 {
		t.Error("no compact-array was made at all")
	}
}

func TestCompactArrayRefusesWhatItCannotTellApart(t *testing.T) {
	deep := Uint8(1)
	for range MaxDataDepth + 2 {
		deep = Structure(deep)
	}
	wide := make([]Data, 2000)
	for name, c := range map[string]struct {
		elements []Data
		want     error
	}{
		"nothing":              {nil, ErrDataType},
		"two types":            {[]Data{Uint8(1), Uint16(1)}, ErrDataType},
		"null-data":            {[]Data{Null()}, ErrDataType},
		"no fields":            {[]Data{Structure()}, ErrDataType},
		"other fields":         {[]Data{Structure(Uint8(1)), Structure(Uint8(1), Uint8(2))}, ErrDataType},
		"other types inside":   {[]Data{Structure(Uint8(1)), Structure(Enum(1))}, ErrDataType},
		"other length":         {[]Data{Array(Uint8(1)), Array(Uint8(1), Uint8(2))}, ErrDataType},
		"types in an array":    {[]Data{Array(Uint8(1), Enum(1))}, ErrDataType},
		"null-data in arrays":  {[]Data{Structure(Uint8(1), Array(Null()))}, ErrDataType},
		"one inside the other": {[]Data{Structure(Data{tag: TagCompactArray, b: []byte{0x11, 0}})}, ErrDataType},
		"dont-care":            {[]Data{DontCare()}, ErrDataType},
		"too deep":             {[]Data{deep}, ErrDataDepth},
		"too many columns":     {[]Data{Structure(wide...)}, ErrDataRange},
	} {
		if got, err := CompactArray(c.elements...); !errors.Is(err, c.want) || !got.IsNull() {
			t.Errorf("%s: want %v, got %s, %v", name, c.want, got, err)
		}
	}
	sparse := make([]Data, 100)
	for i := range sparse {
		sparse[i] = Structure(append([]Data{Uint8(1)}, make([]Data, 50)...)...)
	}
	if _, err := CompactArray(sparse...); !errors.Is(err, ErrDataRange) {
		t.Errorf("more values than Expand makes: got %v", err)
	}
}

func TestNullsExpandToWhatWasCompressed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		columns := rapid.IntRange(0, 4).Draw(rt, "columns")
		rows := make([]Data, rapid.IntRange(0, 8).Draw(rt, "rows"))
		for i := range rows {
			list := make([]Data, columns)
			for c := range list {
				list[c] = Uint8(rapid.Uint8Range(0, 2).Draw(rt, "value"))
			}
			rows[i] = Structure(list...)
		}
		short, err := CompressNulls(rows)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := ExpandNulls(short)
		if err != nil || !Array(got...).Equal(Array(rows...)) {
			rt.Fatalf("%v became %v, then %v, %v", rows, short, got, err)
		}
		for i := 1; i < len(rows); i++ {
			for c := range columns {
				if same := rows[i].At(c).Equal(rows[i-1].At(c)); same != short[i].At(c).IsNull() {
					rt.Fatalf("row %d, column %d: %s after %s became %s", i, c, rows[i], rows[i-1], short[i])
				}
			}
		}
	})
}

// A load curve: the clock goes on by half an hour, the status stays for long, the value changes.
func TestNullsOfALoadCurveStandForTheNextPeriod(t *testing.T) {
	start := time.Date(2021, 6, 3, 0, 0, 0, 0, time.UTC)
	at := func(i int) Data { return DateTimeOf(start.Add(time.Duration(i)*30*time.Minute), 0).Octets() }
	next := func(column int, before Data) (Data, error) {
		if column != 0 {
			return before, nil
		}
		var m time.Time
		if err := Unmarshal(before, &m); err != nil {
			return Data{}, err
		}
		return Marshal(m.Add(30 * time.Minute))
	}
	rows := []Data{
		Structure(at(0), Uint8(8), Uint32(100)), Structure(at(1), Uint8(8), Uint32(100)),
		Structure(at(2), Uint8(8), Uint32(107)), Structure(at(7), Uint8(0), Uint32(107)),
	}
	want := []Data{
		rows[0], Structure(Null(), Null(), Null()), Structure(Null(), Null(), Uint32(107)), Structure(at(7), Uint8(0), Null()),
	}
	short, err := CompressNullsFunc(rows, next)
	if err != nil || !Array(short...).Equal(Array(want...)) {
		t.Fatalf("got %v, %v", short, err)
	}
	if got, err := ExpandNullsFunc(short, next); err != nil || !Array(got...).Equal(Array(rows...)) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNullsAreRefusedWhereTheyAreAmbiguousOrRowsDiffer(t *testing.T) {
	if got, err := CompressNulls([]Data{Structure(Uint8(1)), Structure(Null())}); !errors.Is(err, ErrNull) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := CompressNulls([]Data{Structure(Null()), Structure(Null()), Structure(Uint8(1))}); err != nil || !got[2].At(0).Equal(Uint8(1)) {
		t.Errorf("got %v, %v", got, err)
	}
	for name, rows := range map[string][]Data{
		"no structure": {Uint8(1)}, "null-data": {Structure(Uint8(1)), Null()}, "another width": {Structure(Uint8(1)), Structure()},
		"an array": {Array(Uint8(1))},
	} {
		if got, err := ExpandNulls(rows); err == nil {
			t.Errorf("%s: expanded to %v", name, got)
		}
		if got, err := CompressNulls(rows); err == nil {
			t.Errorf("%s: compressed to %v", name, got)
		}
	}
}

func TestAsConvertsWithoutLossOrRefuses(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := drawScalar(rt, rapid.SampledFrom(scalarTags).Draw(rt, "from"))
		tag := rapid.SampledFrom(append([]Tag{TagArray, TagStructure, TagCompactArray, TagDontCare}, scalarTags...)).Draw(rt, "to")
		as, err := d.As(tag)
		if err != nil {
			if !errors.Is(err, ErrDataRange) && !errors.Is(err, ErrDataType) {
				rt.Fatal(err)
			}
			return
		}
		if as.Tag() != tag {
			rt.Fatalf("%s as %s became %s", d, tag, as)
		}
		if tag == TagFloat32 || tag == TagFloat64 {
			return // a float does not become an integer again
		}
		if back, err := as.As(d.Tag()); err != nil || !back.Equal(d) {
			rt.Fatalf("%s as %s is %s, and back %s, %v", d, tag, as, back, err)
		}
	})
}

// Null-data is one byte on the wire: however long the input is, what is made of it stays within a bound.
func TestMoreElementsThanTheBoundAreRefusedBeforeThereIsRoomForThem(t *testing.T) {
	array := func(n int) []byte {
		return append(wire.AppendLength([]byte{byte(TagArray)}, n), make([]byte, n)...)
	}
	half := array(MaxDataElements / 2)
	for name, in := range map[string][]byte{
		"an array":       array(MaxDataElements + 1),
		"arrays, nested": append(append([]byte{byte(TagStructure), 2}, half...), half...),
	} {
		before := testing.AllocsPerRun(1, func() {
			if _, _, err := ParseData(in); !errors.Is(err, wire.ErrLength) {
				t.Errorf("%s: %v", name, err)
			}
		})
		if before > 20 {
			t.Errorf("%s: %v allocations", name, before)
		}
	}
	// One APDU with several values has one bound for all of them.
	r := wire.NewReader(append(append([]byte{}, half...), array(MaxDataElements/2+1)...))
	if ReadData(&r); r.Err() != nil {
		t.Errorf("the first: %v", r.Err())
	}
	if d := ReadData(&r); !errors.Is(r.Err(), wire.ErrLength) || !d.IsNull() {
		t.Errorf("the second: %v", r.Err())
	}
	description := append([]byte{byte(TagCompactArray), byte(TagStructure), 4, byte(TagUint8), byte(TagNull), byte(TagNull), byte(TagNull)}, wire.AppendOctetString(nil, make([]byte, MaxDataElements/4+1))...)
	d, _, err := ParseData(description)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Expand(); !errors.Is(err, wire.ErrLength) {
		t.Errorf("expand: %v", err)
	}
}
