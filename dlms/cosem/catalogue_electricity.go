package cosem

import (
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
)

// electricityName serves codes with A = 1: a quantity (C), what is made of it (D), a tariff or harmonic (E), and a
// billing period (F).
func electricityName(o dlms.OBIS) string {
	c, d, e := int(o[2]), int(o[3]), int(o[4])
	for _, k := range [...][3]int{{c, d, e}, {c, d, anything}, {c, anything, anything}} {
		if s, ok := electricityObjects[k]; ok {
			return numbered(o, s)
		}
	}
	q, ok := quantity(c)
	if !ok {
		if c >= 128 || d >= 128 && d <= 254 {
			return "manufacturer specific"
		}
		return ""
	}
	name := measured(q, d)
	if name == "" {
		return ""
	}
	return numbered(o, name+q.tariff(d, e)+billing(o[5]))
}

// electrical is a quantity of value group C.
type electrical struct {
	power  string // of the momentary value
	energy string // of its integral over time, "" where there is none
	phase  string
}

// quantity takes the value group C apart: 1 to 20 for all phases, then 20 each for L1, L2 and L3.
func quantity(c int) (electrical, bool) {
	if q, ok := singleQuantities[c]; ok {
		return q, true
	}
	if c < 1 || c > 80 {
		return electrical{}, false
	}
	q := phaseQuantities[(c-1)%20]
	if phase := (c - 1) / 20; phase > 0 {
		q.phase = " L" + strconv.Itoa(phase)
	}
	return q, true
}

var phaseQuantities = [20]electrical{
	{power: "active power import", energy: "active energy import"},
	{power: "active power export", energy: "active energy export"},
	{power: "reactive power import", energy: "reactive energy import"},
	{power: "reactive power export", energy: "reactive energy export"},
	{power: "reactive power quadrant I", energy: "reactive energy quadrant I"},
	{power: "reactive power quadrant II", energy: "reactive energy quadrant II"},
	{power: "reactive power quadrant III", energy: "reactive energy quadrant III"},
	{power: "reactive power quadrant IV", energy: "reactive energy quadrant IV"},
	{power: "apparent power import", energy: "apparent energy import"},
	{power: "apparent power export", energy: "apparent energy export"},
	{power: "current"},
	{power: "voltage"},
	{power: "power factor"},
	{power: "supply frequency"},
	{power: "active power import and export", energy: "active energy import and export"},
	{power: "active power import less export", energy: "active energy import less export"},
	{power: "active power quadrant I", energy: "active energy quadrant I"},
	{power: "active power quadrant II", energy: "active energy quadrant II"},
	{power: "active power quadrant III", energy: "active energy quadrant III"},
	{power: "active power quadrant IV", energy: "active energy quadrant IV"},
}

var singleQuantities = map[int]electrical{
	81: {power: "phase angle"}, 84: {power: "power factor export"}, 88: {power: "ampere-squared hours"},
	89: {power: "volt-squared hours"}, 90: {power: "sum of the currents"}, 91: {power: "neutral current"},
	92: {power: "neutral voltage"},
}

var processed = map[int]string{
	0: "billing period average", 1: "cumulative minimum", 2: "cumulative maximum", 3: "minimum",
	4: "current average", 5: "last average", 6: "maximum", 11: "cumulative minimum, second period",
	12: "cumulative maximum, second period", 13: "minimum, second period", 14: "current average, second period",
	15: "last average, second period", 16: "maximum, second period", 23: "minimum, third period",
	24: "current average, third period", 25: "last average, third period", 26: "maximum, third period",
	27: "current average, fifth period", 28: "current average, sixth period", 31: "threshold under limit",
	32: "occurrences under limit", 33: "duration under limit", 34: "magnitude under limit",
	35: "threshold over limit", 36: "occurrences over limit", 37: "duration over limit", 38: "magnitude over limit",
	39: "threshold missing", 40: "occurrences missing", 41: "duration missing", 42: "magnitude missing",
	43: "time threshold under limit", 44: "time threshold over limit", 45: "time threshold missing",
	55: "test average",
}

var integrals = map[int]string{
	8: "", 9: " in the billing period", 10: " in the third period", 17: " over the measured time",
	29: " in the interval", 30: " in the second interval", 58: " in test",
}

// measured joins a quantity with what is made of it.
func measured(q electrical, d int) string {
	if over, ok := integrals[d]; ok && q.energy != "" {
		return q.energy + q.phase + over
	}
	if d == 7 {
		return q.power + q.phase
	}
	if s, ok := processed[d]; ok {
		return q.power + q.phase + ", " + s
	}
	if d >= 128 && d <= 254 {
		return q.power + q.phase + ", manufacturer specific"
	}
	return ""
}

// tariff reads value group E: a rate for energies and demands, a harmonic for currents and voltages.
func (q electrical) tariff(d, e int) string {
	switch {
	case q.power == "phase angle":
		return fmt.Sprintf(" %s to %s", angleEnd(e/10), angleEnd(e%10))
	case q.energy == "" && d == 7 && e == 124:
		return ", total harmonic distortion"
	case q.energy == "" && d == 7 && e > 0 && e <= 120:
		return ", harmonic " + strconv.Itoa(e)
	case d == 7 && e == 0:
		return ""
	case e == 0 && q.energy != "":
		return ", total"
	case e == 0:
		return ""
	case e <= 63:
		return ", rate " + strconv.Itoa(e)
	}
	return ", " + strconv.Itoa(e)
}

// angleEnd names one of the two quantities between which an angle is measured.
func angleEnd(n int) string {
	if s, ok := angleEnds[n]; ok {
		return s
	}
	return strconv.Itoa(n)
}

var angleEnds = map[int]string{
	0: "U(L1)", 1: "U(L2)", 2: "U(L3)", 4: "I(L1)", 5: "I(L2)", 6: "I(L3)", 7: "I(N)",
}

// billing reads value group F.
func billing(f byte) string {
	switch {
	case f == 255:
		return ""
	case f <= 99:
		return ", billing period " + strconv.Itoa(int(f))
	case f == 101:
		return ", last billing period"
	case f > 101 && f <= 125:
		return fmt.Sprintf(", billing period %d before the last", f-101)
	}
	return ", some billing periods"
}

var electricityObjects = map[[3]int]string{
	{0, 0, anything}: "electricity identifier", {0, 1, 0}: "billing period counter",
	{0, 1, 1}: "number of billing periods available", {0, 1, 2}: "time of the last billing period",
	{0, 2, 0}: "active firmware identifier", {0, 2, 1}: "parameter record number",
	{0, 2, 2}: "time switch program number", {0, 2, 3}: "ripple control program number",
	{0, 2, 4}: "connection diagram identifier", {0, 2, 7}: "passive calendar name",
	{0, 2, 8}: "active firmware signature", {0, 3, 0}: "active energy pulses of the indicator",
	{0, 3, 1}: "reactive energy pulses of the indicator", {0, 3, 2}: "apparent energy pulses of the indicator",
	{0, 3, 3}: "active energy pulses of the output", {0, 3, 4}: "reactive energy pulses of the output",
	{0, 3, 5}: "apparent energy pulses of the output", {0, 4, 0}: "reading factor of power",
	{0, 4, 1}: "reading factor of energy", {0, 4, 2}: "current transformer ratio",
	{0, 4, 3}: "voltage transformer ratio", {0, 4, 4}: "overall transformer ratio",
	{0, 6, 0}: "nominal voltage", {0, 6, 1}: "nominal current", {0, 6, 2}: "nominal frequency",
	{0, 6, 3}: "maximum current", {0, 6, 4}: "reference voltage", {0, 8, 0}: "measurement period of averages 1",
	{0, 8, 1}: "measurement period of averages 2", {0, 8, 2}: "measurement period of averages 3",
	{0, 8, 3}: "measurement period of momentary values", {0, 8, 4}: "load profile period 1",
	{0, 8, 5}: "load profile period 2", {0, 8, 6}: "billing period length",
	{0, 9, 0}: "time since the end of the billing period", {0, 9, 1}: "local time", {0, 9, 2}: "local date",
	{94, anything, anything}: "country specific", {96, 1, anything}: "meter identifier",
	{96, 50, anything}: "manufacturer specific", {97, 97, anything}: "error register",
	{98, 1, anything}: "billing data", {98, 2, anything}: "billing data, second scheme",
	{98, 10, anything}: "register table", {99, 1, anything}: "load profile",
	{99, 2, anything}: "load profile, second period", {99, 3, anything}: "load profile in test",
	{99, 10, anything}: "profile of voltage dips", {99, 11, anything}: "profile of voltage swells",
	{99, 12, anything}: "profile of voltage cuts", {99, 13, anything}: "profile of voltage harmonics",
	{99, 14, anything}: "profile of current harmonics", {99, 15, anything}: "profile of voltage unbalance",
	{99, 97, anything}: "power failure log", {99, 98, anything}: "event log",
	{99, 99, anything}: "certification data log",
}
