package server

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// longGet is a value that is sent in blocks: what is left of it, and the number of the block sent last.
type longGet struct {
	raw   []byte
	block uint32
}

const (
	getHead   = 4  // of a normal response before the value: tag, kind, invoke-id, choice
	listHead  = 3  // of a response with list before the list
	blockHead = 14 // of a block: tag, kind, invoke-id, last, number (4), choice, length (at most 5)
)

// get serves a GET (GB 9.3.6). The answer to an unconfirmed GET, which the standard does not have, is sent too.
func (c *call) get(plain []byte, limit int) ([]byte, error) {
	q, err := apdu.ParseGetRequest(plain)
	if err != nil {
		return nil, err
	}
	a := c.slot.assoc
	if q.Kind == apdu.GetRequestNext {
		return c.getNext(q, limit)
	}
	a.long = nil
	if q.Kind == apdu.GetRequestWithList {
		return c.getList(q, limit)
	}
	d, err := c.read(q.Attribute)
	p := apdu.GetResponse{
		Kind: apdu.GetResponseNormal, ID: q.ID,
		Result: apdu.GetResult{Result: cosem.DataAccess(err), Data: d},
	}
	answer, err := p.AppendBinary(nil)
	switch {
	case err != nil || len(answer)-getHead > c.server.kind.options.MaxResponse:
		p.Result = apdu.GetResult{Result: dlms.DataAccessOtherReason}
		return p.AppendBinary(nil)
	case len(answer) <= limit:
		return answer, nil
	case !a.conformance.Has(apdu.ConformanceBlockTransferGet):
		p.Result = apdu.GetResult{Result: dlms.DataAccessOtherReason}
		return p.AppendBinary(nil)
	}
	return c.firstBlock(q.ID, answer[getHead:], limit)
}

// getList serves a GET with list. Once the answer is as long as it may be, nothing more is read.
func (c *call) getList(q apdu.GetRequest, limit int) ([]byte, error) {
	if !c.multiple() {
		return exception(apdu.StateServiceUnknown, apdu.ServiceNotSupported), nil
	}
	list := make([]apdu.GetResult, len(q.List))
	size := 0
	for i, a := range q.List {
		list[i] = c.getOne(a, &size)
	}
	answer, err := apdu.GetResponse{Kind: apdu.GetResponseWithList, ID: q.ID, List: list}.AppendBinary(nil)
	switch {
	case err != nil:
		return nil, err
	case len(answer) <= limit:
		return answer, nil
	case !c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferGet):
		return exception(apdu.StateServiceNotAllowed, apdu.ServicePDUTooLong), nil
	}
	return c.firstBlock(q.ID, answer[listHead:], limit)
}

func (c *call) getOne(a apdu.Attribute, size *int) apdu.GetResult {
	if *size > c.server.kind.options.MaxResponse {
		return apdu.GetResult{Result: dlms.DataAccessOtherReason}
	}
	d, err := c.read(a)
	if err != nil {
		return apdu.GetResult{Result: cosem.DataAccess(err)}
	}
	b, err := d.AppendBinary(nil)
	if *size += len(b); err != nil || *size > c.server.kind.options.MaxResponse {
		return apdu.GetResult{Result: dlms.DataAccessOtherReason}
	}
	return apdu.GetResult{Data: d}
}

func (c *call) firstBlock(id apdu.InvokeID, raw []byte, limit int) ([]byte, error) {
	c.slot.assoc.long = &longGet{raw: raw}
	return c.block(id, limit)
}

// block sends the next block. The last one ends the transfer.
func (c *call) block(id apdu.InvokeID, limit int) ([]byte, error) {
	l := c.slot.assoc.long
	n := min(len(l.raw), max(limit-blockHead, 1))
	l.block++
	b := apdu.Block{Last: n == len(l.raw), Number: l.block, Raw: l.raw[:n]}
	if l.raw = l.raw[n:]; b.Last {
		c.slot.assoc.long = nil
	}
	return apdu.GetResponse{Kind: apdu.GetResponseBlock, ID: id, Block: b}.AppendBinary(nil)
}

// getNext goes on with a transfer. A block number that is not that of the block sent last ends it.
func (c *call) getNext(q apdu.GetRequest, limit int) ([]byte, error) {
	a := c.slot.assoc
	why := dlms.DataAccessNoLongGet
	if a.long != nil {
		if q.Block == a.long.block {
			return c.block(q.ID, limit)
		}
		why = dlms.DataAccessBlockNumberInvalid
		a.long = nil
	}
	return apdu.GetResponse{
		Kind: apdu.GetResponseBlock, ID: q.ID,
		Block: apdu.Block{Last: true, Number: q.Block, Result: why},
	}.AppendBinary(nil)
}
