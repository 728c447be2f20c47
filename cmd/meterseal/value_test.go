package main

import (
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

func TestValuesReadAsTheirTypesSay(t *testing.T) {
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.FixedZone("", 3600))
	for text, want := range map[string]dlms.Data{
		"null":               {},
		"bool:true":          dlms.Bool(true),
		"int8:-128":          dlms.Int8(-128),
		"int16:-5":           dlms.Int16(-5),
		"int32:-70000":       dlms.Int32(-70000),
		"int64:-5000000000":  dlms.Int64(-5000000000),
		"uint8:255":          dlms.Uint8(255),
		"uint16:5":           dlms.Uint16(5),
		"uint32:70000":       dlms.Uint32(70000),
		"uint64:5000000000":  dlms.Uint64(5000000000),
		"enum:2":             dlms.Enum(2),
		"float32:1.5":        dlms.Float32(1.5),
		"float64:-0.25":      dlms.Float64(-0.25),
		"octets:":            dlms.OctetString([]byte{}),
		"octets:0102fF":      dlms.OctetString([]byte{1, 2, 255}),
		"text:a:b":           dlms.VisibleString("a:b"),
		"utf8:é":             dlms.UTF8String("é"),
		"bits:010000001":     dlms.BitString([]byte{0x40, 0x80}, 9),
		"obis:1.0.1.8.0.255": dlms.OctetString([]byte{1, 0, 1, 8, 0, 255}),
		"datetime:now":       dlms.DateTimeOf(noon, 0).Octets(),
		"raw:0202110512FFFE": dlms.Structure(dlms.Uint8(5), dlms.Uint16(0xFFFE)),

		"datetime:2026-01-31T12:00:00+01:00": dlms.DateTimeOf(noon, 0).Octets(),
	} {
		got, err := parseValue(text, func() time.Time { return noon })
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: got %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestValuesOutOfRangeOrFormAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "5", "uint16", "uint16:", "uint16:65536", "uint16:-1", "int8:128", "uint7:1", "uint08:1", "int128:1", "bool:2",
		"enum:256", "octets:0", "octets:zz", "text:é", "bits:012", "obis:1.2.3", "datetime:today", "raw:", "raw:1105FF",
		"raw:0201", "bogus:1",
	} {
		if got, err := parseValue(text, time.Now); err == nil {
			t.Errorf("%q: got %s, want a refusal", text, got)
		}
	}
}

func TestRegistersShowTheirScaledValueExactly(t *testing.T) {
	for _, c := range []struct {
		value  dlms.Data
		scaler int8
		unit   cosem.Unit
		want   string
	}{
		{dlms.Uint32(1234), 0, 30, "1234 Wh"},
		{dlms.Uint32(1234), 3, 30, "1234000 Wh"},
		{dlms.Uint32(0), 3, 27, "0 W"},
		{dlms.Uint32(1234), -1, 35, "123.4 V"},
		{dlms.Int32(-5), -3, 33, "-0.005 A"},
		{dlms.Uint64(5), -1, 255, "0.5"},
		{dlms.Uint64(1<<64 - 1), -3, 30, "18446744073709551.615 Wh"},
		{dlms.Uint32(7), 0, 200, "7 unit 200"},
		{dlms.VisibleString("x"), 0, 30, `visible-string "x"`},
		{dlms.Uint32(7), 100, 30, "double-long-unsigned 7"},
	} {
		got := scaled(c.value, dlms.Structure(dlms.Int8(c.scaler), dlms.Enum(uint8(c.unit))))
		if got != c.want {
			t.Errorf("%s x 10^%d: got %q, want %q", c.value, c.scaler, got, c.want)
		}
	}
}

func TestARowWithoutItsTimeIsOnePeriodAfterTheOneAbove(t *testing.T) {
	p := &profileRead{PeriodSeconds: 1800, definitions: []apdu.Column{
		{Class: dlms.ClassClock, Attribute: 2}, {Class: dlms.ClassRegister, Attribute: 2},
	}}
	above := p.cell(0, dlms.DateTimeOf(time.Date(2026, 1, 31, 23, 45, 0, 0, time.UTC), 0).Octets())
	if got, want := p.implied(0, above), "2026-02-01 00:15:00 +00:00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := p.implied(1, "5"); got != "5" {
		t.Errorf("a value that did not change: got %q, want 5", got)
	}
}
