package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// table shows one object a line.
func (b *browser) table(list []cosem.ObjectEntry) error {
	rows := [][]string{{"CLASS", "OBIS", "WHAT", "RIGHTS"}}
	for _, e := range list {
		o := b.object(e)
		rows = append(rows, []string{strconv.Itoa(int(o.Class)), o.OBIS.String(), o.What, b.rights(o)})
	}
	return table(b.c.OutOrStdout(), rows)
}

// rights says in one line which attributes and methods may be used how: "read 1-9, read and write 2, invoke 6".
func (b *browser) rights(o *shownObject) string {
	if b.probed {
		return "not known"
	}
	var parts []string
	for _, of := range [][]shownPart{o.Attributes, o.Methods} {
		numbers := map[string][]int{}
		var order []string
		for _, p := range of {
			if p.Access == noAccess {
				continue
			}
			if numbers[p.Access] == nil {
				order = append(order, p.Access)
			}
			numbers[p.Access] = append(numbers[p.Access], int(p.Number))
		}
		for _, access := range order {
			parts = append(parts, access+" "+ranges(numbers[access]))
		}
	}
	if len(parts) == 0 {
		return noAccess
	}
	return strings.Join(parts, "; ")
}

// ranges writes numbers as 1-5,7.
func ranges(n []int) string {
	slices.Sort(n)
	var parts []string
	for i := 0; i < len(n); {
		j := i
		for j+1 < len(n) && n[j+1] == n[j]+1 {
			j++
		}
		part := strconv.Itoa(n[i])
		if j > i {
			part += "-" + strconv.Itoa(n[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// readAll reads and shows object by object: what has been read stays, should the line break.
func (b *browser) readAll(ctx context.Context, list []cosem.ObjectEntry) error {
	return b.each("objects read", len(list), func(i int) error {
		o := b.object(list[i])
		if err := b.read(ctx, o); err != nil {
			return err
		}
		if b.json {
			return printJSON(b.c, o)
		}
		return b.show(o)
	})
}

// read reads what may be read of one object. A refusal is one of its values.
func (b *browser) read(ctx context.Context, o *shownObject) error {
	var scaler *dlms.Data
	for i := range o.Attributes {
		p := &o.Attributes[i]
		ref := dlms.AttributeRef{Class: o.Class, Instance: o.OBIS, Attribute: p.Number}
		if why := b.unread(ref, p); why != "" {
			p.Refuse = why
			continue
		}
		v, err := b.from.Get(ctx, ref)
		if refused, why := refusal(err); refused {
			p.Refuse = why.String()
			continue
		}
		if err != nil {
			return err
		}
		p.Value = &v
		if p.Text, err = b.words(ctx, ref, v, &scaler); err != nil {
			return err
		}
	}
	return nil
}

// unread is why an attribute is not even asked for.
func (b *browser) unread(ref dlms.AttributeRef, p *shownPart) string {
	switch (place{ref.Class, ref.Attribute}) {
	case place{dlms.ClassProfileGeneric, 2}:
		return "not read: meterseal dlms profile " + ref.Instance.String()
	case place{dlms.ClassAssociationLN, 2}:
		return "not read: it is this list"
	case place{dlms.ClassAssociationLN, cosem.AttributeSecret}, place{classLocalPort, 7}, place{classLocalPort, 8}, place{classLocalPort, 9}:
		return "not shown: a password"
	}
	if !b.probed && !strings.Contains(p.Access, "read") {
		return "no right to read"
	}
	return ""
}

// classLocalPort is IEC local port setup (BB 4.7.1), which has passwords.
const classLocalPort dlms.ClassID = 19

// words says a value. The scaler of an object is read once.
func (b *browser) words(ctx context.Context, ref dlms.AttributeRef, v dlms.Data, scaler **dlms.Data) (string, error) {
	var failed error
	text, ok := meaning(ref, v, func() (dlms.Data, error) {
		if *scaler == nil {
			at := ref
			at.Attribute = scalerOf(ref)
			s, err := b.from.Get(ctx, at)
			if refused, _ := refusal(err); err != nil && !refused {
				failed = err
			}
			if err != nil {
				return s, err
			}
			*scaler = &s
		}
		return **scaler, nil
	})
	if !ok {
		text = loose(v)
	}
	return text, failed
}

// loose is a value without its type where it is plain without.
func loose(v dlms.Data) string {
	if n, err := v.Int(); err == nil {
		return strconv.FormatInt(n, 10)
	}
	if n, err := v.Uint(); err == nil {
		return strconv.FormatUint(n, 10)
	}
	if on, err := v.Bool(); err == nil {
		return strconv.FormatBool(on)
	}
	text := plainText(v)
	if _, quoted, ok := strings.Cut(text, ` "`); ok && v.Tag() == dlms.TagOctetString {
		return `"` + quoted
	}
	return text
}

// widest is how much of a value a person is shown; --json has all of it.
const widest = 160

func (b *browser) show(o *shownObject) error {
	rows := [][]string{}
	for _, p := range o.Attributes {
		if p.Number == 1 || p.Refuse == dlms.DataAccessObjectUndefined.String() {
			continue
		}
		text := strings.ReplaceAll(p.Text, "\n", " ")
		if p.Refuse != "" {
			text = "(" + p.Refuse + ")"
		}
		if r := []rune(text); len(r) > widest {
			text = fmt.Sprintf("%s... (%d characters)", string(r[:widest]), len(r))
		}
		rows = append(rows, []string{"", strconv.Itoa(int(p.Number)), p.Name, p.Access, text})
	}
	for _, p := range o.Methods {
		if p.Access != noAccess {
			rows = append(rows, []string{"", "method " + strconv.Itoa(int(p.Number)), p.Name, p.Access, ""})
		}
	}
	if err := printf(b.c, "%d/%s  %s\n", o.Class, o.OBIS, o.What); err != nil {
		return err
	}
	return table(b.c.OutOrStdout(), rows)
}

// usualObjects are what a probe asks for: the objects that electricity meters of several makers have (IEC 62056-6-1).
func usualObjects() []cosem.ID {
	var out []cosem.ID
	add := func(class dlms.ClassID, codes ...dlms.OBIS) {
		for _, o := range codes {
			out = append(out, cosem.ID{Class: class, Instance: o})
		}
	}
	add(dlms.ClassClock, dlms.OBIS{0, 0, 1, 0, 0, 255})
	add(dlms.ClassData, dlms.OBIS{0, 0, 42, 0, 0, 255}, dlms.OBIS{0, 0, 96, 1, 0, 255}, dlms.OBIS{0, 0, 96, 1, 1, 255},
		dlms.OBIS{1, 0, 0, 0, 0, 255}, dlms.OBIS{1, 0, 0, 2, 0, 255}, dlms.OBIS{0, 0, 96, 14, 0, 255}, dlms.OBIS{0, 0, 97, 97, 0, 255},
		dlms.OBIS{0, 0, 43, 1, 0, 255})
	add(dlms.ClassSAPAssignment, dlms.OBIS{0, 0, 41, 0, 0, 255})
	add(dlms.ClassAssociationLN, cosem.CurrentAssociation())
	add(dlms.ClassSecuritySetup, dlms.OBIS{0, 0, 43, 0, 0, 255}, dlms.OBIS{0, 0, 43, 0, 1, 255})
	add(dlms.ClassImageTransfer, dlms.OBIS{0, 0, 44, 0, 0, 255})
	add(classLocalPort, dlms.OBIS{0, 0, 20, 0, 0, 255})
	add(dlms.ClassIECHDLCSetup, dlms.OBIS{0, 0, 22, 0, 0, 255})
	add(dlms.ClassTCPUDPSetup, dlms.OBIS{0, 0, 25, 0, 0, 255})
	add(dlms.ClassPushSetup, dlms.OBIS{0, 0, 25, 9, 0, 255}, dlms.OBIS{0, 1, 25, 9, 0, 255}, dlms.OBIS{0, 2, 25, 9, 0, 255})
	add(dlms.ClassActivityCalendar, dlms.OBIS{0, 0, 13, 0, 0, 255})
	add(dlms.ClassDisconnectControl, dlms.OBIS{0, 0, 96, 3, 10, 255})
	add(dlms.ClassLimiter, dlms.OBIS{0, 0, 17, 0, 0, 255})
	for _, channel := range []byte{0, 1} {
		for quantity := byte(1); quantity <= 8; quantity++ {
			add(dlms.ClassRegister, dlms.OBIS{1, channel, quantity, 8, 0, 255})
		}
		add(dlms.ClassProfileGeneric, dlms.OBIS{1, channel, 99, 1, 0, 255}, dlms.OBIS{1, channel, 99, 2, 0, 255}, dlms.OBIS{1, channel, 98, 1, 0, 255})
	}
	for tariff := byte(1); tariff <= 4; tariff++ {
		add(dlms.ClassRegister, dlms.OBIS{1, 0, 1, 8, tariff, 255}, dlms.OBIS{1, 0, 2, 8, tariff, 255})
	}
	for _, quantity := range []byte{1, 2, 3, 4, 9, 13, 14, 31, 32, 51, 52, 71, 72} {
		add(dlms.ClassRegister, dlms.OBIS{1, 0, quantity, 7, 0, 255})
	}
	add(dlms.ClassExtendedRegister, dlms.OBIS{1, 0, 1, 6, 0, 255}, dlms.OBIS{1, 0, 2, 6, 0, 255})
	add(dlms.ClassDemandRegister, dlms.OBIS{1, 0, 1, 4, 0, 255})
	for log := byte(0); log <= 7; log++ {
		add(dlms.ClassProfileGeneric, dlms.OBIS{0, 0, 99, 98, log, 255})
	}
	return out
}
