package cosem

import "strconv"

// Unit is the physical unit of a register (BB 4.3.2, enum of units).
type Unit uint8

// Units of the registers of an electricity meter. The others have their names too: see [Unit.Name].
const (
	UnitSecond        Unit = 7
	UnitDegree        Unit = 8
	UnitDegreeCelsius Unit = 9
	UnitCubicMetre    Unit = 13
	UnitWatt          Unit = 27
	UnitVoltAmpere    Unit = 28
	UnitVar           Unit = 29
	UnitWattHour      Unit = 30
	UnitVoltAmpereH   Unit = 31
	UnitVarHour       Unit = 32
	UnitAmpere        Unit = 33
	UnitVolt          Unit = 35
	UnitHertz         Unit = 44
	UnitPercent       Unit = 56
	// UnitOther is a unit that the table does not have.
	UnitOther Unit = 254
	// UnitCount is a number without unit.
	UnitCount Unit = 255
)

type unitName struct{ symbol, name string }

var unitNames = map[Unit]unitName{
	1: {"a", "year"}, 2: {"mo", "month"}, 3: {"wk", "week"}, 4: {"d", "day"}, 5: {"h", "hour"}, 6: {"min", "minute"},
	7: {"s", "second"}, 8: {"°", "degree"}, 9: {"°C", "degree Celsius"}, 10: {"currency", "local currency"},
	11: {"m", "metre"}, 12: {"m/s", "metre per second"}, 13: {"m³", "cubic metre"},
	14: {"m³", "cubic metre, corrected"}, 15: {"m³/h", "cubic metre per hour"},
	16: {"m³/h", "cubic metre per hour, corrected"}, 17: {"m³/d", "cubic metre per day"},
	18: {"m³/d", "cubic metre per day, corrected"}, 19: {"l", "litre"}, 20: {"kg", "kilogram"}, 21: {"N", "newton"},
	22: {"Nm", "newton metre"}, 23: {"Pa", "pascal"}, 24: {"bar", "bar"}, 25: {"J", "joule"},
	26: {"J/h", "joule per hour"}, 27: {"W", "watt"}, 28: {"VA", "volt-ampere"}, 29: {"var", "var"},
	30: {"Wh", "watt-hour"}, 31: {"VAh", "volt-ampere-hour"}, 32: {"varh", "var-hour"}, 33: {"A", "ampere"},
	34: {"C", "coulomb"}, 35: {"V", "volt"}, 36: {"V/m", "volt per metre"}, 37: {"F", "farad"}, 38: {"Ω", "ohm"},
	39: {"Ωm", "ohm metre"}, 40: {"Wb", "weber"}, 41: {"T", "tesla"}, 42: {"A/m", "ampere per metre"},
	43: {"H", "henry"}, 44: {"Hz", "hertz"}, 45: {"1/Wh", "pulses per watt-hour"},
	46: {"1/varh", "pulses per var-hour"}, 47: {"1/VAh", "pulses per volt-ampere-hour"},
	48: {"V²h", "volt-squared hour"}, 49: {"A²h", "ampere-squared hour"}, 50: {"kg/s", "kilogram per second"},
	51: {"S", "siemens"}, 52: {"K", "kelvin"}, 53: {"1/V²h", "pulses per volt-squared hour"},
	54: {"1/A²h", "pulses per ampere-squared hour"}, 55: {"1/m³", "pulses per cubic metre"}, 56: {"%", "percent"},
	57: {"Ah", "ampere-hour"}, 60: {"Wh/m³", "watt-hour per cubic metre"}, 61: {"J/m³", "joule per cubic metre"},
	62: {"mol%", "mole percent"}, 63: {"g/m³", "gram per cubic metre"}, 64: {"Pa s", "pascal second"},
	65: {"J/kg", "joule per kilogram"}, 66: {"g/cm²", "gram per square centimetre"}, 67: {"atm", "atmosphere"},
	70: {"dBm", "decibel over a milliwatt"}, 71: {"dBµV", "decibel over a microvolt"}, 72: {"dB", "decibel"},
	253: {"reserved", "reserved"}, 254: {"other", "other unit"}, 255: {"", "count"},
}

// String returns the symbol, "Wh", and "" for a count.
func (u Unit) String() string {
	if n, ok := unitNames[u]; ok {
		return n.symbol
	}
	return "unit " + strconv.Itoa(int(u))
}

// Name returns the unit in words, "watt-hour", and "count" where there is none.
func (u Unit) Name() string {
	if n, ok := unitNames[u]; ok {
		return n.name
	}
	return "unit " + strconv.Itoa(int(u))
}
