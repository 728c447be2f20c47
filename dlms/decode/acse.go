package decode

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// BER tags inside the association's APDUs (GB 9.4.2).
const (
	berInteger     = 0x02
	berOctets      = 0x04
	berOID         = 0x06
	berCharString  = 0x80
	berUserInfo    = 0xBE
	berUserContent = 2 // tag and length of the OCTET STRING before the APDU in it, at least
)

// Object identifiers 2.16.756.5.8.1 and 2.16.756.5.8.2.
var (
	oidContext   = []byte{0x60, 0x85, 0x74, 0x05, 0x08, 0x01}
	oidMechanism = []byte{0x60, 0x85, 0x74, 0x05, 0x08, 0x02}
)

// acseField is a field of an association's APDU: its name, and what its content says.
type acseField struct {
	name string
	say  func(content []byte) (string, error)
}

// acse reads AARQ, AARE, RLRQ and RLRE.
func (c *cursor) acse(g *Node, tag apdu.Tag) {
	c.off++
	size := c.length(g, "length")
	if !c.ok() {
		return
	}
	body := c.part(size)
	password := passwordIn(body.buf[body.off:body.end], tag)
	for body.ok() && body.left() > 0 {
		body.acseField(g, tag, password)
	}
}

func (c *cursor) acseField(g *Node, apduTag apdu.Tag, password bool) {
	tag := c.buf[c.off]
	from := c.off
	field, ok := fieldOf(apduTag, tag)
	if !ok {
		field = acseField{fmt.Sprintf("unknown field %02X", tag), func([]byte) (string, error) {
			return "", fmt.Errorf("the standard has no such field here")
		}}
	}
	c.off++
	c.secret = password && field.name == nameAuthentication // a fault may stand anywhere within it
	size := c.length(g, field.name)
	if !c.ok() {
		return
	}
	if tag == berUserInfo {
		c.userInformation(g, from, size)
		return
	}
	content := c.buf[c.off : c.off+size]
	c.off += size
	n := c.add(g, field.name, from, c.off)
	value, err := field.say(content)
	if n.Value = value; err != nil {
		n.Value, n.Error = "", err.Error()
	}
	if c.secret {
		n.Value = "a password, not shown"
	}
	c.secret = false
	c.learnTitle(apduTag, tag, content)
}

// userInformation reads an OCTET STRING that holds an APDU.
func (c *cursor) userInformation(g *Node, from, size int) {
	body := c.part(size)
	n := c.add(g, "user-information", from, c.off)
	n.Bytes = nil
	if body.left() < berUserContent || body.buf[body.off] != berOctets {
		body.fail(n, "octet string", "want an octet string")
		return
	}
	body.off++
	inner := body.part(body.length(n, "octet string"))
	if !body.ok() {
		return
	}
	if inner.left() > 0 {
		inner.only(n)
	}
	body.finish(n)
}

// learnTitle remembers a system title for the ciphered APDUs that follow and name none.
func (c *cursor) learnTitle(apduTag apdu.Tag, tag byte, content []byte) {
	p, err := explicit(content, berOctets)
	t, err2 := dlms.SystemTitleFromBytes(p)
	switch {
	case err != nil || err2 != nil:
	case apduTag == apdu.TagAARQ && tag == 0xA6:
		c.d.clients = append([]dlms.SystemTitle{t}, c.d.clients...)
	case apduTag == apdu.TagAARE && tag == 0xA4:
		c.d.meters = append([]dlms.SystemTitle{t}, c.d.meters...)
	}
}

const nameAuthentication = "authentication-value"

// fieldOf returns the field that a tag stands for in an APDU.
func fieldOf(apduTag apdu.Tag, tag byte) (acseField, bool) {
	switch tag {
	case 0xBE:
		return acseField{name: "user-information"}, true
	case 0x9D, 0xBD:
		return acseField{"implementation-information", sayOctets}, true
	}
	if apduTag == apdu.TagRLRQ || apduTag == apdu.TagRLRE {
		return acseField{"reason", sayReason(apduTag)}, tag == 0x80
	}
	switch tag {
	case 0x80:
		return acseField{"protocol-version", sayOctets}, true
	case 0xA1:
		return acseField{"application-context-name", sayContext}, true
	}
	if apduTag == apdu.TagAARQ {
		return aarqField(tag)
	}
	return aareField(tag)
}

func aarqField(tag byte) (f acseField, ok bool) {
	switch tag {
	case 0xA2:
		f = acseField{"called-AP-title", sayTitle}
	case 0xA3:
		f = acseField{"called-AE-qualifier", sayExplicitOctets}
	case 0xA4:
		f = acseField{"called-AP-invocation-identifier", sayInteger}
	case 0xA5:
		f = acseField{"called-AE-invocation-identifier", sayInteger}
	case 0xA6:
		f = acseField{"calling-AP-title", sayTitle}
	case 0xA7:
		f = acseField{"calling-AE-qualifier", sayExplicitOctets}
	case 0xA8:
		f = acseField{"calling-AP-invocation-identifier", sayInteger}
	case 0xA9:
		f = acseField{"calling-AE-invocation-identifier", sayInteger}
	case 0x8A:
		f = acseField{"sender-acse-requirements", sayRequirements}
	case 0x8B:
		f = acseField{"mechanism-name", sayMechanism}
	case 0xAC:
		f = acseField{nameAuthentication, sayAuthentication}
	}
	return f, f.name != ""
}

func aareField(tag byte) (f acseField, ok bool) {
	switch tag {
	case 0xA2:
		f = acseField{"result", sayResult}
	case 0xA3:
		f = acseField{"result-source-diagnostic", sayDiagnostic}
	case 0xA4:
		f = acseField{"responding-AP-title", sayTitle}
	case 0xA5:
		f = acseField{"responding-AE-qualifier", sayExplicitOctets}
	case 0xA6:
		f = acseField{"responding-AP-invocation-identifier", sayInteger}
	case 0xA7:
		f = acseField{"responding-AE-invocation-identifier", sayInteger}
	case 0x88:
		f = acseField{"responder-acse-requirements", sayRequirements}
	case 0x89:
		f = acseField{"mechanism-name", sayMechanism}
	case 0xAA:
		f = acseField{nameAuthentication, sayAuthentication}
	}
	return f, f.name != ""
}

// passwordIn reports whether the authentication value of an AARQ or AARE may be a password: with every mechanism but
// those whose challenges are public.
func passwordIn(body []byte, tag apdu.Tag) bool {
	field := byte(0x8B)
	if tag == apdu.TagAARE {
		field = 0x89
	}
	marker := append([]byte{field, byte(len(oidMechanism) + 1)}, oidMechanism...)
	i := bytes.Index(body, marker)
	if i < 0 || i+len(marker) >= len(body) {
		return true
	}
	return !apdu.Mechanism(body[i+len(marker)]).HLS()
}

// explicit returns the content of the one element that content must be. Its length may be in the long form.
func explicit(content []byte, tag byte) ([]byte, error) {
	c := cursor{d: &decoder{budget: 2}, buf: content, off: min(1, len(content)), end: len(content)}
	var fault Node
	size := c.length(&fault, "length")
	if len(content) == 0 || content[0] != tag || !c.ok() || size != c.left() {
		return nil, fmt.Errorf("want an element with the tag %02X and its length", tag)
	}
	return content[c.off:], nil
}

func sayOctets(content []byte) (string, error) {
	if printable(string(content)) {
		return strconv.Quote(string(content)), nil
	}
	return fmt.Sprintf("%X", content), nil
}

func sayExplicitOctets(content []byte) (string, error) {
	const short = 64 // a certificate is longer
	p, err := explicit(content, berOctets)
	if err != nil {
		return "", err
	}
	if len(p) > short {
		return fmt.Sprintf("%d bytes", len(p)), nil
	}
	return sayOctets(p)
}

func sayTitle(content []byte) (string, error) {
	p, err := explicit(content, berOctets)
	if err != nil {
		return "", err
	}
	if len(p) == dlms.SystemTitleSize && printable(string(p[:3])) {
		return fmt.Sprintf("%X, manufacturer %s", p, p[:3]), nil
	}
	return fmt.Sprintf("%X", p), nil
}

func integer(content []byte) (int64, error) {
	const most = 8
	if len(content) == 0 || len(content) > most {
		return 0, fmt.Errorf("integer of %d bytes", len(content))
	}
	v := int64(int8(content[0]))
	for _, b := range content[1:] {
		v = v<<8 | int64(b)
	}
	return v, nil
}

func explicitInteger(content []byte) (int64, error) {
	p, err := explicit(content, berInteger)
	if err != nil {
		return 0, err
	}
	return integer(p)
}

func sayInteger(content []byte) (string, error) {
	v, err := explicitInteger(content)
	return strconv.FormatInt(v, 10), err
}

func oid(content, arc []byte) (byte, error) {
	if len(content) != len(arc)+1 || !bytes.HasPrefix(content, arc) {
		return 0, fmt.Errorf("object identifier %X is not of dlms", content)
	}
	return content[len(arc)], nil
}

func sayContext(content []byte) (string, error) {
	p, err := explicit(content, berOID)
	if err != nil {
		return "", err
	}
	v, err := oid(p, oidContext)
	return apdu.ApplicationContext(v).String(), err
}

func sayMechanism(content []byte) (string, error) {
	v, err := oid(content, oidMechanism)
	return apdu.Mechanism(v).String(), err
}

func sayRequirements(content []byte) (string, error) {
	if len(content) != 2 || content[1]&0x80 == 0 {
		return "", fmt.Errorf("want 07 80, got % X", content)
	}
	return "authentication", nil
}

func sayAuthentication(content []byte) (string, error) {
	p, err := explicit(content, berCharString)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("challenge %X", p), nil
}

func sayResult(content []byte) (string, error) {
	v, err := explicitInteger(content)
	if err == nil && (v < 0 || v > 0xFF) {
		err = fmt.Errorf("result %d", v)
	}
	return apdu.AssociationResult(v).String(), err
}

func sayDiagnostic(content []byte) (string, error) {
	for source, who := range map[byte]string{1: "service user", 2: "service provider"} {
		p, err := explicit(content, 0xA0|source)
		if err != nil {
			continue
		}
		v, err := explicitInteger(p)
		if err == nil && (v < 0 || v > 0xFF) {
			err = fmt.Errorf("diagnostic %d", v)
		}
		return who + ": " + apdu.Diagnostic(uint16(source)<<8|uint16(v)&0xFF).String(), err
	}
	return "", fmt.Errorf("want an element with the tag A1 or A2")
}

func sayReason(tag apdu.Tag) func([]byte) (string, error) {
	return func(content []byte) (string, error) {
		v, err := integer(content)
		names := map[int64]string{0: "normal", 1: "urgent", 30: "user-defined"}
		if tag == apdu.TagRLRE {
			names[1] = "not-finished"
		}
		return strings.TrimSpace(names[v] + " (" + strconv.FormatInt(v, 10) + ")"), err
	}
}
