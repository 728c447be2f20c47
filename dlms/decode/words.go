package decode

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

func objectName(o dlms.OBIS) string { return cosem.ObjectName(o) }

// attributeWords says in words what an attribute is.
func attributeWords(class dlms.ClassID, o dlms.OBIS, attribute int8) string {
	return cosem.Describe(class, o) + "; " + cosem.AttributeName(class, attribute)
}

func methodWords(class dlms.ClassID, o dlms.OBIS, method int8) string {
	return cosem.Describe(class, o) + "; " + cosem.MethodName(class, method)
}

// secretAttribute reports whether an attribute is a password or key in clear (BB 4.4.4, 4.7.1, 4.7.2).
func secretAttribute(ref dlms.AttributeRef) bool {
	const localPortSetup = 19
	switch ref.Class {
	case dlms.ClassAssociationLN:
		return ref.Attribute == 7
	case localPortSetup:
		return ref.Attribute >= 7 && ref.Attribute <= 9
	}
	return false
}

// secretMethod reports whether a method takes a password or key in clear: change_HLS_secret (BB 4.4.4).
func secretMethod(ref dlms.MethodRef) bool {
	return ref.Class == dlms.ClassAssociationLN && ref.Method == 2
}

// explain says in words what the elements of a list mean together: an object's name and its value, with scaler and
// unit where they follow, which is how most pushes are built; a capture object definition; scaler and unit.
func explain(n *Node) {
	if s, ok := scalerUnit(n); ok {
		n.Value = s
		return
	}
	if s, ok := captureObject(n); ok {
		n.Note = s
		return
	}
	for i := 0; i+1 < len(n.Children); i++ {
		name, value := n.Children[i], n.Children[i+1]
		o, err := name.data.LogicalName()
		if err != nil || !value.hasData {
			continue
		}
		said := value.Value
		if i+2 < len(n.Children) {
			if s, ok := scaled(value, n.Children[i+2]); ok {
				said, value.Note = s, s
			}
		}
		if i == 0 && len(n.Children) <= 3 && said != "" {
			n.Value = o.String() + " = " + said
			n.Note = objectName(o)
		}
	}
}

// scalerUnit reads a structure {scaler integer, unit enum} (BB 4.3.2).
func scalerUnit(n *Node) (string, bool) {
	scale, unit, ok := scalerAndUnit(n)
	if !ok {
		return "", false
	}
	s := unit.String()
	if s == "" {
		s = unit.Name()
	}
	if scale == 0 {
		return s, true
	}
	return fmt.Sprintf("10^%d %s", scale, s), true
}

func scalerAndUnit(n *Node) (scale int64, unit cosem.Unit, ok bool) {
	if len(n.Children) != 2 || n.Children[0].data.Tag() != dlms.TagInt8 || n.Children[1].data.Tag() != dlms.TagEnum {
		return 0, 0, false
	}
	scale, err := n.Children[0].data.Int()
	u, err2 := n.Children[1].data.Uint()
	return scale, cosem.Unit(u), err == nil && err2 == nil
}

// scaled shows a number with its scaler and unit, exactly.
func scaled(value, with *Node) (string, bool) {
	scale, unit, ok := scalerAndUnit(with)
	const most = 20
	if !ok || value.Number == "" || value.data.Tag() == dlms.TagEnum || scale > most || scale < -most {
		return "", false
	}
	return strings.TrimSpace(shift(value.Number, int(scale)) + " " + unit.String()), true
}

// shift moves the decimal point of a whole number.
func shift(number string, scale int) string {
	digits, negative := strings.CutPrefix(number, "-")
	switch {
	case scale >= 0 && digits != "0":
		digits += strings.Repeat("0", scale)
	case scale < 0:
		if short := 1 - scale - len(digits); short > 0 {
			digits = strings.Repeat("0", short) + digits
		}
		digits = digits[:len(digits)+scale] + "." + digits[len(digits)+scale:]
	}
	if negative {
		return "-" + digits
	}
	return digits
}

// captureObject reads a capture object definition (BB 4.3.6).
func captureObject(n *Node) (string, bool) {
	if len(n.Children) != 4 || n.Children[0].data.Tag() != dlms.TagUint16 || n.Children[2].data.Tag() != dlms.TagInt8 {
		return "", false
	}
	class, err := n.Children[0].data.Uint()
	o, err2 := n.Children[1].data.LogicalName()
	attribute, err3 := n.Children[2].data.Int()
	if err != nil || err2 != nil || err3 != nil {
		return "", false
	}
	return strconv.FormatUint(class, 10) + "/" + o.String() + "/" + strconv.FormatInt(attribute, 10) + " " +
		attributeWords(dlms.ClassID(class), o, int8(attribute)), true
}

// plain is the text of an error without the words that only a program needs.
func plain(err error) string {
	s := err.Error()
	for _, p := range []string{"parse data: ", "expand compact-array: ", "hdlc: ", "mbus: ", "wrapper: ", "security: "} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}
