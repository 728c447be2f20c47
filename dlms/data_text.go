package dlms

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// String returns the value with its type for a person to read, for example structure{enum 4, octet-string 0A0B}.
func (d Data) String() string {
	switch d.tag {
	case TagArray, TagStructure:
		parts := make([]string, len(d.list))
		for i := range d.list {
			parts[i] = d.list[i].String()
		}
		return d.tag.String() + "{" + strings.Join(parts, ", ") + "}"
	case TagNull, TagDontCare:
		return d.tag.String()
	}
	return d.tag.String() + " " + d.content()
}

// content returns the value without its type.
func (d Data) content() string {
	switch d.tag {
	case TagBool:
		return strconv.FormatBool(d.n != 0)
	case TagVisibleString, TagUTF8String:
		return strconv.Quote(string(d.b))
	case TagOctetString, TagCompactArray:
		return strings.ToUpper(hex.EncodeToString(d.b))
	case TagBitString:
		return d.bits()
	case TagBCD:
		return fmt.Sprintf("%02X", uint8(d.n))
	case TagFloat32, TagFloat64:
		v, _ := d.Float() // the type was just checked
		return strconv.FormatFloat(v, 'g', -1, 64)
	case TagDateTime:
		return DateTime(d.b).String()
	case TagDate:
		return Date(d.b).String()
	case TagTime:
		return TimeOfDay(d.b).String()
	}
	if d.tag.signed() {
		return strconv.FormatInt(int64(d.n), 10)
	}
	return strconv.FormatUint(d.n, 10)
}

// bits returns a bit-string as zeros and ones, bit 0 first.
func (d Data) bits() string {
	var s strings.Builder
	for i := range int(d.n) {
		if d.Bit(i) {
			s.WriteByte('1')
		} else {
			s.WriteByte('0')
		}
	}
	return s.String()
}

// MarshalJSON writes the value as an object of one member named after its type: {"double-long-unsigned": 5009},
// {"octet-string": "0A0B"} in hexadecimal, {"structure": [...]}, {"null-data": null}.
func (d Data) MarshalJSON() ([]byte, error) {
	v, err := json.Marshal(d.jsonValue())
	if err != nil {
		return nil, fmt.Errorf("marshal data: %w", err)
	}
	return []byte(`{"` + d.tag.String() + `":` + string(v) + `}`), nil
}

func (d Data) jsonValue() any {
	switch d.tag {
	case TagNull, TagDontCare:
		return nil
	case TagArray, TagStructure:
		return append([]Data{}, d.list...)
	case TagBool:
		return d.n != 0
	case TagVisibleString, TagUTF8String:
		return string(d.b)
	case TagFloat32, TagFloat64:
		// JSON has no NaN and no infinity.
		if v, _ := d.Float(); !math.IsNaN(v) && !math.IsInf(v, 0) {
			return v
		}
	}
	if d.tag.signed() || d.tag.unsigned() {
		return json.RawMessage(d.content())
	}
	return d.content()
}
