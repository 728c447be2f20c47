package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

const valueHelp = `VALUE is TYPE:CONTENT:
  null                                no value
  bool:true                           boolean
  int8: int16: int32: int64:          integers, as in int16:-5
  uint8: uint16: uint32: uint64:      integers without sign, as in uint16:5
  enum:2                              enum
  float32:1.5  float64:1.5            floating point numbers
  octets:0102FF                       octet-string, in hexadecimal
  text:hello  utf8:hello              visible-string, utf8-string
  bits:0101                           bit-string
  obis:1.0.1.8.0.255                  a logical name, as octet-string
  datetime:2026-01-31T12:00:00+01:00  a date-time, as octet-string of 12 bytes
  datetime:now                        the clock of this machine
  raw:0203...                         any value, encoded in A-XDR, in hexadecimal`

// errValue is returned for a text that is no VALUE.
var errValue = errors.New("value: want TYPE:CONTENT, for example uint16:5, octets:0102 or null")

// parseValue reads a VALUE of the command line.
func parseValue(s string, now func() time.Time) (dlms.Data, error) {
	if s == "null" {
		return dlms.Null(), nil
	}
	kind, content, ok := strings.Cut(s, ":")
	if !ok {
		return dlms.Null(), fmt.Errorf("%w, got %q", errValue, s)
	}
	d, known, err := parseNumber(kind, content)
	if !known {
		d, known, err = parseString(kind, content, now)
	}
	if !known {
		return dlms.Null(), fmt.Errorf("%w; there is no type %q", errValue, kind)
	}
	if err != nil {
		return dlms.Null(), fmt.Errorf("value %s: %w", kind, err)
	}
	return d, nil
}

func parseNumber(kind, content string) (d dlms.Data, known bool, err error) {
	if sign, bits, ok := integerKind(kind); ok {
		d, err = parseInteger(sign, bits, content)
		return d, true, err
	}
	switch kind {
	case "bool":
		v, err := strconv.ParseBool(content)
		return dlms.Bool(v), true, err
	case "enum":
		v, err := strconv.ParseUint(content, 10, 8)
		return dlms.Enum(uint8(v)), true, err
	case "float32":
		v, err := strconv.ParseFloat(content, 32)
		return dlms.Float32(float32(v)), true, err
	case "float64":
		v, err := strconv.ParseFloat(content, 64)
		return dlms.Float64(v), true, err
	}
	return dlms.Null(), false, nil
}

func integerKind(kind string) (signed bool, bits int, ok bool) {
	digits, unsigned := strings.CutPrefix(kind, "uint")
	if !unsigned {
		if digits, ok = strings.CutPrefix(kind, "int"); !ok {
			return false, 0, false
		}
	}
	switch digits {
	case "8", "16", "32", "64":
		bits, _ = strconv.Atoi(digits) // it is one of these
		return !unsigned, bits, true
	}
	return false, 0, false
}

func parseInteger(signed bool, bits int, content string) (dlms.Data, error) {
	if signed {
		v, err := strconv.ParseInt(content, 10, bits)
		switch bits {
		case 8:
			return dlms.Int8(int8(v)), err
		case 16:
			return dlms.Int16(int16(v)), err
		case 32:
			return dlms.Int32(int32(v)), err
		}
		return dlms.Int64(v), err
	}
	v, err := strconv.ParseUint(content, 10, bits)
	switch bits {
	case 8:
		return dlms.Uint8(uint8(v)), err
	case 16:
		return dlms.Uint16(uint16(v)), err
	case 32:
		return dlms.Uint32(uint32(v)), err
	}
	return dlms.Uint64(v), err
}

func parseString(kind, content string, now func() time.Time) (d dlms.Data, known bool, err error) {
	switch kind {
	case "octets":
		b, err := hex.DecodeString(content)
		return dlms.OctetString(b), true, err
	case "text":
		return dlms.VisibleString(content), true, ascii(content)
	case "utf8":
		return dlms.UTF8String(content), true, nil
	case "bits":
		d, err := parseBits(content)
		return d, true, err
	case "obis":
		o, err := dlms.ParseOBIS(content)
		return dlms.LogicalNameData(o), true, err
	case "datetime":
		d, err := parseDateTime(content, now)
		return d, true, err
	case "raw":
		d, err := parseRaw(content)
		return d, true, err
	}
	return dlms.Null(), false, nil
}

func ascii(s string) error {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return fmt.Errorf("want printable ASCII, got byte %#02x at %d; utf8: takes all", s[i], i)
		}
	}
	return nil
}

func parseBits(s string) (dlms.Data, error) {
	b := make([]byte, (len(s)+7)/8)
	for i, r := range []byte(s) {
		switch r {
		case '1':
			b[i/8] |= 0x80 >> (i % 8)
		case '0':
		default:
			return dlms.Null(), fmt.Errorf("want 0 and 1, got %q", r)
		}
	}
	return dlms.BitString(b, len(s)), nil
}

func parseDateTime(s string, now func() time.Time) (dlms.Data, error) {
	if s == "now" {
		return dlms.DateTimeOf(now(), 0).Octets(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return dlms.Null(), fmt.Errorf("want now or for example 2026-01-31T12:00:00+01:00, got %q", s)
	}
	return dlms.DateTimeOf(t, 0).Octets(), nil
}

func parseRaw(s string) (dlms.Data, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return dlms.Null(), err
	}
	d, rest, err := dlms.ParseData(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the value", len(rest))
	}
	return d, err
}
