package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/link/iec62056"
)

// describe shows the value of an attribute to a person. scaler reads scaler_unit of the same object, should it be
// wanted.
func describe(ref dlms.AttributeRef, v dlms.Data, scaler func() (dlms.Data, error)) string {
	if s, ok := meaning(ref, v, scaler); ok {
		return s
	}
	return plainText(v)
}

// place is one attribute of a class.
type place struct {
	class     dlms.ClassID
	attribute int8
}

// scalerOf is where the scaler and unit of an attribute are, 0 for one without.
func scalerOf(ref dlms.AttributeRef) int8 {
	switch (place{ref.Class, ref.Attribute}) {
	case place{dlms.ClassRegister, 2}, place{dlms.ClassExtendedRegister, 2}:
		return 3
	case place{dlms.ClassDemandRegister, 2}, place{dlms.ClassDemandRegister, 3}:
		return 4
	}
	return 0
}

// meaning is what a value says, where the class tells.
func meaning(ref dlms.AttributeRef, v dlms.Data, scaler func() (dlms.Data, error)) (string, bool) {
	if ref.Attribute == 1 {
		o, err := v.LogicalName()
		return o.String(), err == nil
	}
	if scalerOf(ref) != 0 {
		s, err := scaler()
		if err != nil {
			return "", false
		}
		return scaled(v, s), true
	}
	at := place{ref.Class, ref.Attribute}
	if names, ok := enumNames[at]; ok {
		return enumName(v, names)
	}
	if show, ok := shown[at]; ok {
		return show(v)
	}
	return "", false
}

// enumNames are the values of attributes from 0 on, "" where the standard has none (BB 4).
var enumNames = map[place][]string{
	{dlms.ClassProfileGeneric, 5}: {
		"", "first in, first out", "last in, first out", "largest first", "smallest first", "nearest to zero first", "farthest from zero first",
	},
	{dlms.ClassClock, 9}:             {"not defined", "internal crystal", "mains, 50 Hz", "mains, 60 Hz", "GPS", "radio"},
	{dlms.ClassAssociationLN, 8}:     {"not associated", "association pending", "associated"},
	{dlms.ClassImageTransfer, 6}:     {"not initiated", "initiated", "verification initiated", "verified", "verification failed", "activation initiated", "activated", "activation failed"},
	{dlms.ClassSecuritySetup, 2}:     {"nothing required", "authentication", "encryption", "authentication and encryption"},
	{dlms.ClassSecuritySetup, 3}:     {"0: AES-GCM-128", "1: AES-GCM-128, P-256", "2: AES-GCM-256, P-384"},
	{dlms.ClassDisconnectControl, 3}: {"disconnected", "connected", "ready for reconnection"},
	{dlms.ClassDisconnectControl, 4}: {"0: always connected", "1", "2", "3", "4", "5", "6"},
}

func enumName(v dlms.Data, names []string) (string, bool) {
	n, err := v.Uint()
	if err != nil || n >= uint64(len(names)) || names[n] == "" {
		return "", false
	}
	return names[n], true
}

// shown are attributes with a form of their own.
var shown = map[place]func(dlms.Data) (string, bool){
	{dlms.ClassRegister, 3}:          unitText,
	{dlms.ClassExtendedRegister, 3}:  unitText,
	{dlms.ClassExtendedRegister, 5}:  moment,
	{dlms.ClassDemandRegister, 4}:    unitText,
	{dlms.ClassDemandRegister, 6}:    moment,
	{dlms.ClassDemandRegister, 7}:    moment,
	{dlms.ClassDemandRegister, 8}:    seconds,
	{dlms.ClassProfileGeneric, 3}:    columns,
	{dlms.ClassProfileGeneric, 4}:    seconds,
	{dlms.ClassProfileGeneric, 6}:    column,
	{dlms.ClassClock, 2}:             moment,
	{dlms.ClassClock, 3}:             minutes,
	{dlms.ClassClock, 5}:             moment,
	{dlms.ClassClock, 6}:             moment,
	{dlms.ClassClock, 7}:             minutes,
	{dlms.ClassAssociationLN, 2}:     objectList,
	{dlms.ClassAssociationLN, 3}:     partners,
	{dlms.ClassAssociationLN, 4}:     contextName,
	{dlms.ClassAssociationLN, 5}:     contextInfo,
	{dlms.ClassAssociationLN, 6}:     contextName,
	{dlms.ClassAssociationLN, 9}:     name,
	{dlms.ClassSecuritySetup, 4}:     title,
	{dlms.ClassSecuritySetup, 5}:     title,
	{dlms.ClassIECHDLCSetup, 2}:      speed,
	{dlms.ClassDisconnectControl, 2}: output,
}

func moment(v dlms.Data) (string, bool) {
	t, err := v.DateTime()
	if t == dlms.DateTimeUnspecified() {
		return "not specified", err == nil
	}
	return t.String(), err == nil
}

func seconds(v dlms.Data) (string, bool) {
	n, err := v.Uint()
	return fmt.Sprintf("%d s", n), err == nil
}

func minutes(v dlms.Data) (string, bool) {
	n, err := v.Int()
	return fmt.Sprintf("%d min", n), err == nil
}

func columns(v dlms.Data) (string, bool) {
	list, err := apdu.ParseColumns(v)
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = columnName(d)
	}
	return strings.Join(names, ", "), err == nil
}

// column is a capture object by itself; class 0 is none.
func column(v dlms.Data) (string, bool) {
	list, err := apdu.ParseColumns(dlms.Array(v))
	if err != nil {
		return "", false
	}
	if list[0].Class == 0 {
		return "none", true
	}
	return columnName(list[0]), true
}

func partners(v dlms.Data) (string, bool) {
	p, err := cosem.ParsePartners(v)
	return fmt.Sprintf("client %d, server %d", p.Client, p.Server), err == nil
}

// contextName is an application context or an authentication mechanism.
func contextName(v dlms.Data) (string, bool) {
	n, err := cosem.ParseName(v)
	if err != nil {
		return "", false
	}
	const mechanism = 2
	if n.Arc == mechanism {
		return apdu.Mechanism(n.ID).String(), true
	}
	contexts := [...]string{"", "logical names, no ciphering", "short names, no ciphering", "logical names, with ciphering", "short names, with ciphering"}
	if n.Arc != 1 || int(n.ID) >= len(contexts) || n.ID == 0 {
		return "", false
	}
	return contexts[n.ID], true
}

func contextInfo(v dlms.Data) (string, bool) {
	i, err := cosem.ParseContextInfo(v)
	return fmt.Sprintf("%s; at most %d bytes in, %d out", i.Conformance, i.MaxReceive, i.MaxSend), err == nil
}

func name(v dlms.Data) (string, bool) {
	o, err := v.LogicalName()
	return o.String(), err == nil
}

func title(v dlms.Data) (string, bool) {
	var t dlms.SystemTitle
	b, err := v.OctetString()
	if err != nil || len(b) != len(t) {
		return "", false
	}
	copy(t[:], b)
	return t.String(), true
}

func speed(v dlms.Data) (string, bool) {
	n, err := v.Uint()
	if err != nil || n > 9 {
		return "", false
	}
	return fmt.Sprintf("%d baud", iec62056.Baud('0'+byte(n)).Rate()), true
}

func output(v dlms.Data) (string, bool) {
	on, err := v.Bool()
	if on {
		return "connected", err == nil
	}
	return "disconnected", err == nil
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
	s, err := cosem.ParseScalerUnit(scalerUnit)
	_, err2 := v.Float()
	const most = 20
	if err != nil || err2 != nil || s.Scaler > most || s.Scaler < -most {
		return v.String()
	}
	return cosem.Reading{Value: v, ScalerUnit: s}.String()
}

func unitText(v dlms.Data) (string, bool) {
	s, err := cosem.ParseScalerUnit(v)
	text := s.Unit.Name()
	if s.Scaler != 0 {
		text = fmt.Sprintf("%s, times 10^%d", text, s.Scaler)
	}
	return text, err == nil
}

// objectList shows the objects of an association (BB 4.4.4, class 15 attribute 2).
func objectList(v dlms.Data) (string, bool) {
	list, err := cosem.ParseObjectList(v)
	if err != nil {
		return "", false
	}
	rows := [][]string{{"CLASS", "OBIS", "VERSION"}}
	for _, o := range list {
		rows = append(rows, []string{strconv.Itoa(int(o.ID.Class)), o.ID.Instance.String(), strconv.Itoa(int(o.ID.Version))})
	}
	var s strings.Builder
	if err := table(&s, rows); err != nil {
		return "", false
	}
	return s.String(), true
}
