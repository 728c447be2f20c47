package server

import (
	"bytes"
	"math"
	"net"

	"github.com/meterseal/meterseal/dlms/apdu"
)

// transfer is the general block transfer of an association (GB 9.3.13), window 1, without streaming: a request that
// comes in blocks, and the blocks of an answer that are not confirmed yet. Each end numbers what it sends from 1 on
// over the whole exchange, blocks that only confirm included.
//
// Blocks are parts of an APDU that is protected as a whole, so that nothing in their headers is authentic. A stranger
// who makes blocks up can spoil a request that is under way, or have a block of ciphertext sent again; what the blocks
// make together is verified as every APDU is, and he spends no counter and moves nothing by it.
type transfer struct {
	in       []byte // the request, as far as it came
	expected uint16 // the number of its next block; 0 while none is under way
	received uint16 // the number of the client's block that came last
	acks     uint16 // the number of the block sent last that only confirms
	answered uint16 // the number of the last block of the request that out answers; 0 for one that came whole
	out      []byte // the answer from block first on
	first    uint16 // the number of the block sent last, which is not confirmed
	from     net.Addr
}

// sealedSlack is by how much an APDU in general block transfer may be longer than the value in it.
const sealedSlack = 128

// blocks reports whether general block transfer was agreed on.
func (a *association) blocks() bool {
	return a.conformance.Has(apdu.ConformanceGeneralBlockTransfer) && !a.client.Broadcast
}

// limit is how long an answer may be, in bytes and with its protection.
func (c *call) limit() int {
	if a := c.slot.assoc; !a.blocks() {
		return a.maxSend
	}
	return c.server.kind.options.MaxResponse + sealedSlack
}

// inBlocks returns what service appended to dst from start on: as it is, or its first block where it is longer than
// the client takes.
func (c *call) inBlocks(start int, dst []byte) []byte {
	a := c.slot.assoc
	if a == nil || !a.blocks() || len(dst)-start <= a.maxSend {
		return dst
	}
	a.transfer = &transfer{from: c.req.Remote}
	return c.say(a.answerWith(bytes.Clone(dst[start:])))
}

// blockTransfer takes one block: of a request, or one that confirms a block of the answer.
func (c *call) blockTransfer() []byte {
	a := c.slot.assoc
	if a == nil || !a.open || !a.blocks() {
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible))
	}
	b, err := apdu.ParseBlockTransfer(c.req.APDU)
	if err != nil {
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason))
	}
	switch begins := b.Number == 1 && len(b.Data) > 0; {
	case a.transfer != nil && !c.another(a.transfer.from):
	case a.transfer != nil && !begins:
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason))
	default:
		a.transfer = &transfer{from: c.req.Remote}
	}
	t := a.transfer
	switch {
	case b.Number == 1 && len(b.Data) > 0:
		t.in, t.expected, t.received, t.acks = nil, 1, 0, 0
		return c.takeBlock(b)
	case t.expected > 0:
		return c.takeBlock(b)
	case len(b.Data) == 0:
		t.received = b.Number
		return c.say(a.confirmed(b.Ack))
	case b.Number == t.answered && t.out != nil: // the last block of the request again: its answer was lost
		return c.say(a.outBlock())
	}
	return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason))
}

// takeBlock takes a block of a request. One that is not the next is answered with the number of the last that was
// received, so that the client sends the one behind it again.
func (c *call) takeBlock(b apdu.BlockTransfer) []byte {
	a, t := c.slot.assoc, c.slot.assoc.transfer
	switch {
	case b.Number != t.expected || len(b.Data) == 0 && !b.Last:
		return c.say(t.ack())
	case len(t.in)+len(b.Data) > c.server.kind.options.MaxResponse+sealedSlack || b.Number == math.MaxUint16:
		t.in, t.expected = nil, 0
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServicePDUTooLong))
	}
	t.in = append(t.in, b.Data...)
	t.received = b.Number
	if t.expected++; !b.Last {
		t.acks++
		return c.say(t.ack())
	}
	whole := t.in
	t.in, t.expected = nil, 0
	answer := c.serveWhole(whole)
	switch {
	case len(answer) == 0 || c.slot.assoc != a: // the association ended over it: nothing to go on with
		return c.say(answer)
	case apdu.Tag(answer[0]) == apdu.TagExceptionResponse: // perhaps a stranger's: it takes nobody's answer away
		return c.say(written(apdu.BlockTransfer{Last: true, Window: 1, Number: t.acks + 1, Ack: t.received, Data: answer}))
	}
	return c.say(a.answerWith(answer))
}

// serveWhole serves the request that the blocks make. Associations are not opened or released in blocks.
func (c *call) serveWhole(request []byte) []byte {
	if tag, err := apdu.TagOf(request); err != nil || tag == apdu.TagAARQ || tag == apdu.TagRLRQ || tag == apdu.TagGeneralBlockTransfer {
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible)
	}
	dst := c.dst
	c.req.APDU, c.dst = request, nil
	answer := c.service()
	c.dst = dst
	return answer
}

// ack confirms what was received of a request. The confirmation of a block that came again is the same one again.
func (t *transfer) ack() []byte {
	return written(apdu.BlockTransfer{Window: 1, Number: t.acks, Ack: t.received})
}

// answerWith begins to send an answer.
func (a *association) answerWith(answer []byte) []byte {
	t := a.transfer
	if len(answer)/a.blockSize()+int(t.acks) >= math.MaxUint16-1 {
		return exception(apdu.StateServiceNotAllowed, apdu.ServicePDUTooLong)
	}
	t.out, t.first, t.answered = answer, t.acks+1, t.received
	return a.outBlock()
}

// blockSize is how many bytes of an answer go into one block.
func (a *association) blockSize() int { return a.maxSend - apdu.BlockTransferOverhead(a.maxSend) }

// outBlock writes the first block that is not confirmed.
func (a *association) outBlock() []byte {
	t := a.transfer
	n := min(len(t.out), a.blockSize())
	return written(apdu.BlockTransfer{
		Last: n == len(t.out), Window: 1, Number: t.first, Ack: t.received, Data: t.out[:n],
	})
}

// confirmed goes on behind block ack. When that is the block before the one sent last, that one was lost and goes out
// again; blocks before it are gone. Behind the last there is nothing to say.
func (a *association) confirmed(ack uint16) []byte {
	t := a.transfer
	switch {
	case t.out == nil:
		return nil
	case ack+1 == t.first:
		return a.outBlock()
	case ack != t.first:
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason)
	}
	if t.out = t.out[min(len(t.out), a.blockSize()):]; len(t.out) == 0 {
		t.out = nil
		return nil
	}
	t.first++
	if len(t.out) <= a.blockSize() {
		t.out = bytes.Clone(t.out) // the last one may wait long, and needs no more memory than itself
	}
	return a.outBlock()
}

// written is silent for a block that cannot be written, which has a window of more than ours.
func written(b apdu.BlockTransfer) []byte {
	out, err := b.AppendBinary(nil)
	if err != nil {
		return nil
	}
	return out
}
