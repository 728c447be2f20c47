package server

import (
	"bytes"
	"net"

	"github.com/meterseal/meterseal/dlms/apdu"
)

// long is an answer that is sent in blocks of its service: what is left of it, and the number of the block sent last.
type long struct {
	tag   apdu.Tag // of the service that it answers: GET or ACTION
	raw   []byte
	block uint32
	from  net.Addr // who asked
}

// blockHead is what a block has before its data: tag, kind, invoke-id, last, number (4), choice, length (at most 5).
const blockHead = 14

// longOf reports whether an answer to a service is being sent in blocks to who asks now.
func (c *call) longOf(tag apdu.Tag) bool {
	l := c.slot.assoc.long
	return l != nil && l.tag == tag && !c.another(l.from)
}

// firstBlock begins to send raw, the content of the form without blocks.
func (c *call) firstBlock(tag apdu.Tag, id apdu.InvokeID, raw []byte, limit int) ([]byte, error) {
	c.slot.assoc.long = &long{tag: tag, raw: bytes.Clone(raw), from: c.req.Remote} // raw is in the buffer of the call
	return c.nextBlock(id, limit)
}

// nextBlock sends the next block. The last one ends the transfer.
func (c *call) nextBlock(id apdu.InvokeID, limit int) ([]byte, error) {
	l := c.slot.assoc.long
	n := min(len(l.raw), max(limit-blockHead, 1))
	l.block++
	b := apdu.Block{Last: n == len(l.raw), Number: l.block, Raw: l.raw[:n]}
	if l.raw = l.raw[n:]; b.Last {
		c.slot.assoc.long = nil
	}
	if l.tag == apdu.TagActionRequest {
		return c.keep(apdu.ActionResponse{Kind: apdu.ActionResponseBlock, ID: id, Block: b}.AppendBinary(c.answer[:0]))
	}
	return c.keep(apdu.GetResponse{Kind: apdu.GetResponseBlock, ID: id, Block: b}.AppendBinary(c.answer[:0]))
}

// keep remembers the buffer that an answer was written to, for the next one.
func (c *call) keep(answer []byte, err error) ([]byte, error) {
	if err == nil {
		c.answer = answer
	}
	return answer, err
}
