package decode

import (
	"fmt"
	"strconv"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
)

func (c *cursor) initiateRequest(g *Node) {
	// A fault may stand anywhere within a key: nothing behind the first flag is shown until the key is passed.
	if c.boolean(g, "dedicated-key-present") {
		c.secret = true
		p, n := c.octets(g, "dedicated-key")
		n.Value = "a key of " + strconv.Itoa(len(p)) + " bytes, not shown"
		c.learnKey(n, p)
		c.secret = !c.ok()
	}
	if c.boolean(g, "response-allowed-present") {
		c.boolean(g, "response-allowed")
	}
	if c.boolean(g, "proposed-quality-of-service-present") {
		c.uint(g, "proposed-quality-of-service", 1)
	}
	c.uint(g, "proposed-dlms-version-number", 1)
	c.conformance(g, "proposed-conformance")
	c.uint(g, "client-max-receive-pdu-size", 2)
	c.secret = false
}

// learnKey remembers a session key for the APDUs that follow.
func (c *cursor) learnKey(n *Node, p []byte) {
	const most = 16
	if !c.ok() {
		return
	}
	k, err := key.NewDedicated(p)
	if err != nil {
		n.Note = "not a key of suite 0"
		return
	}
	if len(c.d.sessions) < most {
		c.d.sessions = append([]key.Dedicated{k}, c.d.sessions...)
	}
}

func (c *cursor) initiateResponse(g *Node) {
	if c.boolean(g, "negotiated-quality-of-service-present") {
		c.uint(g, "negotiated-quality-of-service", 1)
	}
	c.uint(g, "negotiated-dlms-version-number", 1)
	c.conformance(g, "negotiated-conformance")
	c.uint(g, "server-max-receive-pdu-size", 2)
	v, n := c.uint(g, "vaa-name", 2)
	n.Value, n.Number = fmt.Sprintf("0x%04X", v), ""
	if v == apdu.VAANameLN {
		n.Note = "logical names"
	}
}

// conformance reads the conformance block with its tag of two octets, or of one in its old form.
func (c *cursor) conformance(g *Node, name string) {
	size := 7
	if c.ok() && c.left() > 1 && c.buf[c.off+1] != 0x1F {
		size = 6
	}
	n := c.take(g, name, size)
	if n.Bytes == nil {
		return
	}
	b := n.Bytes
	if b[0] != 0x5F || b[size-5] != 4 || b[size-4] != 0 {
		n.Error = "want 5F 1F 04 00 and three bytes"
		return
	}
	n.Value = apdu.Conformance(uint32(b[size-3])<<16 | uint32(b[size-2])<<8 | uint32(b[size-1])).String()
}

func (c *cursor) confirmedServiceError(g *Node) {
	v, n := c.uint(g, "service", 1)
	names := map[uint64]string{1: "initiate", 5: "read", 6: "write"}
	if n.Number = ""; names[v] != "" {
		n.Value = names[v]
	}
	class, n := c.uint(g, "error-class", 1)
	n.Value, n.Number = apdu.ErrorClass(class).String(), ""
	value, n := c.uint(g, "error-value", 1)
	n.Note = errorWords(apdu.ErrorClass(class), uint8(value))
}

func errorWords(class apdu.ErrorClass, value uint8) string {
	initiate := map[uint8]string{
		apdu.InitiateOther: "other", apdu.InitiateDLMSVersionTooLow: "dlms-version-too-low",
		apdu.InitiateIncompatibleConformance: "incompatible-conformance",
		apdu.InitiatePDUSizeTooShort:         "pdu-size-too-short", apdu.InitiateRefusedByVDEHandler: "refused-by-the-vde-handler",
	}
	switch {
	case class == apdu.ErrorClassInitiate:
		return initiate[value]
	case class == apdu.ErrorClassApplicationReference && value == apdu.ApplicationReferenceDeciphering:
		return "deciphering-error"
	}
	return ""
}

func (c *cursor) exceptionResponse(g *Node) {
	v, n := c.uint(g, "state-error", 1)
	n.Value, n.Number = apdu.StateError(v).String(), ""
	v, n = c.uint(g, "service-error", 1)
	n.Value, n.Number = apdu.ServiceError(v).String(), ""
	if apdu.ServiceError(v) == apdu.ServiceInvocationCounter {
		_, n = c.uint(g, "invocation-counter", 4)
		n.Note = "the lowest that is accepted"
	}
}

func (c *cursor) dataNotification(g *Node) {
	v, n := c.uint(g, "long-invoke-id-and-priority", 4)
	id := apdu.LongInvokeID(v)
	n.Number = ""
	n.Value = fmt.Sprintf("%d, %s, %s priority", id.ID(), either(id.Confirmed(), "confirmed", "unconfirmed"), either(id.HighPriority(), "high", "normal"))
	c.when(g)
	c.data(g, "notification-body")
}

// when reads the date-time of a data-notification. Some meters write it with the tag of an octet-string before its
// length, which is not in the standard; as a length the two bytes 09 0C would begin a date-time of nine bytes.
func (c *cursor) when(g *Node) {
	tagged := c.ok() && c.left() > 1 && c.buf[c.off] == byte(dlms.TagOctetString) && c.buf[c.off+1] == byte(len(dlms.DateTime{}))
	if tagged {
		c.off++
	}
	p, n := c.octets(g, "date-time")
	c.time(n, p)
	if tagged && n.Note == "" {
		n.Note = "written with a tag, which is not the standard's"
	}
}

func (c *cursor) time(n *Node, p []byte) {
	if !c.ok() {
		return
	}
	t, err := dlms.DateTimeFromBytes(p)
	switch {
	case len(p) == 0:
		n.Value = "none"
	case err != nil:
		n.Error = plain(err)
	default:
		n.Value = t.String()
		if err := t.Validate(); err != nil {
			n.Note = plain(err)
		}
	}
}

func (c *cursor) eventNotification(g *Node) {
	if c.boolean(g, "time-present") {
		p, n := c.octets(g, "time")
		c.time(n, p)
	}
	ref := c.attribute(g)
	c.secretly(secretAttribute(ref), func() { c.data(g, "attribute-value") })
}
