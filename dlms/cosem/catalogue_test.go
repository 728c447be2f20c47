package cosem_test

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

func TestTheCatalogueSaysInWordsWhatAnObjectIs(t *testing.T) {
	for _, c := range []struct{ obis, want string }{
		{"1.0.1.8.0.255", "active energy import, total"},
		{"1.1.1.8.10.255", "active energy import, rate 10, channel 1"},
		{"1.0.2.8.0.255", "active energy export, total"},
		{"1.0.1.7.0.255", "active power import"},
		{"1.0.5.8.0.255", "reactive energy quadrant I, total"},
		{"1.0.9.6.0.255", "apparent power import, maximum, total"},
		{"1.0.32.7.0.255", "voltage L1"},
		{"1.0.71.7.0.255", "current L3"},
		{"1.0.52.7.3.255", "voltage L2, harmonic 3"},
		{"1.0.31.7.124.255", "current L1, total harmonic distortion"},
		{"1.0.41.29.0.255", "active energy import L2 in the interval, total"},
		{"1.0.1.8.0.1", "active energy import, total, billing period 1"},
		{"1.0.1.8.0.101", "active energy import, total, last billing period"},
		{"1.0.81.7.40.255", "phase angle I(L1) to U(L1)"},
		{"1.0.99.1.0.255", "load profile"},
		{"1.0.0.2.0.255", "active firmware identifier"},
		{"0.0.1.0.0.255", "clock"},
		{"0.0.42.0.0.255", "logical device name"},
		{"0.0.40.0.0.255", "current association"},
		{"0.0.40.0.3.255", "association 3"},
		{"0.0.43.1.2.255", "invocation counter 2"},
		{"0.0.44.0.0.255", "image transfer"},
		{"0.0.96.3.10.255", "disconnect control"},
		{"0.1.24.2.1.255", "M-Bus value 1, channel 1"},
		{"0.0.25.9.0.255", "push setup"},
		{"0.0.200.1.2.255", "manufacturer specific"},
		{"7.0.3.1.0.255", "gas meter"},
		{"0.0.77.7.7.255", ""},
		{"1.0.1.50.0.255", ""},
	} {
		o, err := dlms.ParseOBIS(c.obis)
		if err != nil {
			t.Fatal(err)
		}
		if got := cosem.ObjectName(o); got != c.want {
			t.Errorf("%s: want %q, got %q", c.obis, c.want, got)
		}
	}
	if got := cosem.Describe(3, dlms.OBIS{1, 0, 1, 8, 0, 255}); got != "Register: active energy import, total" {
		t.Errorf("describe: %q", got)
	}
	if got := cosem.Describe(3, dlms.OBIS{77}); got != "Register" {
		t.Errorf("describe: %q", got)
	}
}

func TestTheCatalogueNamesMembersOfClasses(t *testing.T) {
	for want, got := range map[string]string{
		"Profile generic":          cosem.ClassName(7),
		"class 9999":               cosem.ClassName(9999),
		"logical name":             cosem.AttributeName(9999, 1),
		"capture objects":          cosem.AttributeName(7, 3),
		"profile entries":          cosem.AttributeName(7, 8),
		"attribute 9":              cosem.AttributeName(7, 9),
		"attribute -1":             cosem.AttributeName(7, -1),
		"transfer key":             cosem.MethodName(64, 2),
		"method 0":                 cosem.MethodName(64, 0),
		"method 5":                 cosem.MethodName(7, 5),
		"emergency profile groups": cosem.AttributeName(71, 9),
		"actions":                  cosem.AttributeName(71, 11),
		"device address":           cosem.AttributeName(23, 9),
		"repetition delay":         cosem.AttributeName(40, 7),
		"clock base":               cosem.AttributeName(8, 9),
		"shift time":               cosem.MethodName(8, 6),
	} {
		if got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
	for class, want := range map[dlms.ClassID]int8{1: 2, 3: 3, 4: 5, 5: 9, 7: 8, 8: 9, 17: 2, 18: 7, 20: 10, 23: 9, 41: 6, 70: 4, 71: 11, 9999: 0} {
		if got := cosem.Attributes(class); got != want {
			t.Errorf("class %d: want %d attributes, got %d", class, want, got)
		}
	}
}

func TestUnitsHaveSymbolsAndNames(t *testing.T) {
	for _, c := range []struct {
		unit         cosem.Unit
		symbol, name string
	}{
		{cosem.UnitWattHour, "Wh", "watt-hour"},
		{cosem.UnitVolt, "V", "volt"},
		{cosem.UnitCount, "", "count"},
		{cosem.UnitPercent, "%", "percent"},
		{99, "unit 99", "unit 99"},
	} {
		if c.unit.String() != c.symbol || c.unit.Name() != c.name {
			t.Errorf("unit %d: got %q, %q", c.unit, c.unit, c.unit.Name())
		}
	}
}
