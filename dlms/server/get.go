package server

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

const (
	getHead  = 4 // of a normal response before the value: tag, kind, invoke-id, choice
	listHead = 3 // of the other responses before their content: tag, kind, invoke-id
)

// get serves a GET (GB 9.3.6). The answer to an unconfirmed GET, which the standard does not have, is sent too.
func (c *call) get(plain []byte, limit int) ([]byte, error) {
	var q apdu.GetRequest
	if err := q.Parse(plain); err != nil {
		return nil, err
	}
	switch q.Kind {
	case apdu.GetRequestNext:
		return c.getNext(&q, limit)
	case apdu.GetRequestWithList:
		c.slot.assoc.long = nil
		return c.getList(&q, limit)
	}
	c.slot.assoc.long = nil
	return c.getOne(&q, limit)
}

func (c *call) getOne(q *apdu.GetRequest, limit int) ([]byte, error) {
	d, err := c.read(&q.Attribute)
	p := apdu.GetResponse{
		Kind: apdu.GetResponseNormal, ID: q.ID,
		Result: apdu.GetResult{Result: cosem.DataAccess(err), Data: d},
	}
	answer, err := c.keep(p.Append(c.answer[:0]))
	switch {
	case err == nil && len(answer) <= limit && len(answer)-getHead <= c.server.kind.options.MaxResponse:
		return answer, nil
	case err == nil && len(answer)-getHead <= c.server.kind.options.MaxResponse &&
		c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferGet):
		return c.firstBlock(apdu.TagGetRequest, q.ID, answer[getHead:], limit)
	}
	p.Result = apdu.GetResult{Result: dlms.DataAccessOtherReason}
	return c.keep(p.Append(c.answer[:0]))
}

// getList serves a GET with list. Once the answer is as long as it may be, nothing more is read.
func (c *call) getList(q *apdu.GetRequest, limit int) ([]byte, error) {
	if !c.multiple() {
		return exception(apdu.StateServiceUnknown, apdu.ServiceNotSupported), nil
	}
	list := make([]apdu.GetResult, len(q.List))
	size := 0
	for i := range q.List {
		list[i] = c.getEach(&q.List[i], &size)
	}
	p := apdu.GetResponse{Kind: apdu.GetResponseWithList, ID: q.ID, List: list}
	answer, err := c.keep(p.Append(c.answer[:0]))
	switch {
	case err != nil:
		return nil, err
	case len(answer) <= limit:
		return answer, nil
	case !c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferGet):
		return exception(apdu.StateServiceNotAllowed, apdu.ServicePDUTooLong), nil
	}
	return c.firstBlock(apdu.TagGetRequest, q.ID, answer[listHead:], limit)
}

func (c *call) getEach(a *apdu.Attribute, size *int) apdu.GetResult {
	if *size > c.server.kind.options.MaxResponse {
		return apdu.GetResult{Result: dlms.DataAccessOtherReason}
	}
	d, err := c.read(a)
	if err != nil {
		return apdu.GetResult{Result: cosem.DataAccess(err)}
	}
	b, err := c.keep(d.AppendBinary(c.answer[:0])) // to be measured
	if *size += len(b); err != nil || *size > c.server.kind.options.MaxResponse {
		return apdu.GetResult{Result: dlms.DataAccessOtherReason}
	}
	return apdu.GetResult{Data: d}
}

// getNext goes on with a transfer. A block number that is not that of the block sent last ends it.
func (c *call) getNext(q *apdu.GetRequest, limit int) ([]byte, error) {
	why := dlms.DataAccessNoLongGet
	if c.longOf(apdu.TagGetRequest) {
		if q.Block == c.slot.assoc.long.block {
			return c.nextBlock(q.ID, limit)
		}
		why = dlms.DataAccessBlockNumberInvalid
		c.slot.assoc.long = nil
	}
	return c.keep(apdu.GetResponse{
		Kind: apdu.GetResponseBlock, ID: q.ID,
		Block: apdu.Block{Last: true, Number: q.Block, Result: why},
	}.AppendBinary(c.answer[:0]))
}
