package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// describe shows the value of an attribute to a person. scaler reads attribute 3 of the same object, should it be
// wanted.
func describe(ref dlms.AttributeRef, v dlms.Data, scaler func() (dlms.Data, error)) string {
	switch {
	case ref.Attribute == 1:
		if o, err := v.LogicalName(); err == nil {
			return o.String()
		}
	case ref.Class == dlms.ClassClock && ref.Attribute == 2:
		if t, err := v.DateTime(); err == nil {
			return t.String()
		}
	case ref.Class == dlms.ClassAssociationLN && ref.Attribute == 2:
		if s, ok := objectList(v); ok {
			return s
		}
	case (ref.Class == dlms.ClassRegister || ref.Class == dlms.ClassExtendedRegister) && ref.Attribute == 2:
		if s, err := scaler(); err == nil {
			return scaled(v, s)
		}
	}
	return plainText(v)
}

// plainText is a value with its type, and what an octet-string spells if it spells something.
func plainText(v dlms.Data) string {
	if v.Tag() != dlms.TagOctetString || v.Len() == 0 {
		return v.String()
	}
	for _, r := range v.Text() {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return v.String()
		}
	}
	return v.String() + " " + strconv.Quote(v.Text())
}

// scaled shows value x 10^scaler with its unit, exactly (BB 4.3.2).
func scaled(v, scalerUnit dlms.Data) string {
	n, err := v.Int()
	scale, err2 := scalerUnit.At(0).Int()
	unit, err3 := scalerUnit.At(1).Uint()
	const most = 20
	if err != nil || err2 != nil || err3 != nil || scale > most || scale < -most {
		return v.String()
	}
	return strings.TrimSpace(shift(n, int(scale)) + " " + unitName(cosem.Unit(unit)))
}

func shift(n int64, scale int) string {
	digits := strconv.FormatInt(n, 10)
	if scale >= 0 {
		if n == 0 {
			return digits
		}
		return digits + strings.Repeat("0", scale)
	}
	digits, negative := strings.CutPrefix(digits, "-")
	if short := 1 - scale - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	at := len(digits) + scale
	digits = digits[:at] + "." + digits[at:]
	if negative {
		digits = "-" + digits
	}
	return digits
}

// unitName is the symbol of the usual units (BB 4.3.2, table of units); the others keep their number.
func unitName(u cosem.Unit) string {
	const count = 255
	switch u {
	case 9:
		return "°C"
	case 27:
		return "W"
	case 28:
		return "VA"
	case 29:
		return "var"
	case 30:
		return "Wh"
	case 31:
		return "VAh"
	case 32:
		return "varh"
	case 33:
		return "A"
	case 35:
		return "V"
	case 44:
		return "Hz"
	case count:
		return ""
	}
	return fmt.Sprintf("(unit %d)", u)
}

// objectList shows the objects of an association (BB 4.4.4, class 15 attribute 2).
func objectList(v dlms.Data) (string, bool) {
	if v.Expect(dlms.TagArray, -1) != nil {
		return "", false
	}
	rows := [][]string{{"CLASS", "OBIS", "VERSION"}}
	for _, o := range v.Elements() {
		class, err := o.At(0).Uint()
		version, err2 := o.At(1).Uint()
		name, err3 := o.At(2).LogicalName()
		if err != nil || err2 != nil || err3 != nil {
			return "", false
		}
		rows = append(rows, []string{strconv.FormatUint(class, 10), name.String(), strconv.FormatUint(version, 10)})
	}
	var s strings.Builder
	if err := table(&s, rows); err != nil {
		return "", false
	}
	return s.String(), true
}
