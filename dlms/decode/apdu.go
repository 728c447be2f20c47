package decode

import (
	"github.com/meterseal/meterseal/dlms/apdu"
)

// apdu reads one APDU and hangs it under n.
func (c *cursor) apdu(n *Node) {
	b, ok := c.peek()
	if !ok {
		c.fail(n, "apdu", "no bytes")
		return
	}
	tag := apdu.Tag(b)
	if !known(b) {
		c.fail(n, "unknown apdu", "no apdu that is known has the tag %02X", b)
		return
	}
	c.group(n, tag.String(), func(g *Node) { c.body(g, tag) })
}

// only reads one APDU that must be all there is.
func (c *cursor) only(n *Node) {
	c.apdu(n)
	c.finish(n)
}

func (c *cursor) body(g *Node, tag apdu.Tag) {
	switch tag {
	case apdu.TagAARQ, apdu.TagAARE, apdu.TagRLRQ, apdu.TagRLRE:
		c.acse(g, tag)
		return
	}
	c.take(g, "tag", 1).Value = tag.String()
	switch {
	case tag.IsCiphered():
		c.ciphered(g, tag)
	case tag.IsGeneral():
		c.generalCiphered(g, tag)
	case tag == apdu.TagGeneralCiphering:
		c.generalCiphering(g)
	case tag == apdu.TagGeneralBlockTransfer:
		c.blockTransfer(g)
	default:
		c.service(g, tag)
	}
}

func (c *cursor) service(g *Node, tag apdu.Tag) {
	switch tag {
	case apdu.TagInitiateRequest:
		c.initiateRequest(g)
	case apdu.TagInitiateResponse:
		c.initiateResponse(g)
	case apdu.TagConfirmedServiceError:
		c.confirmedServiceError(g)
	case apdu.TagExceptionResponse:
		c.exceptionResponse(g)
	case apdu.TagDataNotification:
		c.dataNotification(g)
	case apdu.TagEventNotification:
		c.eventNotification(g)
	case apdu.TagGetRequest:
		c.getRequest(g)
	case apdu.TagGetResponse:
		c.getResponse(g)
	case apdu.TagSetRequest:
		c.setRequest(g)
	case apdu.TagSetResponse:
		c.setResponse(g)
	case apdu.TagActionRequest:
		c.actionRequest(g)
	case apdu.TagActionResponse:
		c.actionResponse(g)
	default:
		c.fail(g, "content", "%s is not decoded", tag)
	}
}
