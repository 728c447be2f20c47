package server

import (
	"errors"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// errList is the fault of a list with another number of values than of attributes or methods.
var errList = errors.New("list: want as many values as attributes or methods")

// set serves a SET (GB 9.3.7): normal, with list, and either of them in blocks. nil answers an unconfirmed one.
func (c *call) set(plain []byte) ([]byte, error) {
	q, err := apdu.ParseSetRequest(plain)
	if err != nil {
		return nil, err
	}
	p := apdu.SetResponse{ID: q.ID}
	switch {
	case q.Kind == apdu.SetRequestNormal, q.Kind == apdu.SetRequestWithList && c.multiple():
		err = c.setWhole(&q, &p)
	case c.setsInBlocks(&q):
		err = c.setBlock(&q, &p)
	default:
		return exception(apdu.StateServiceUnknown, apdu.ServiceNotSupported), nil
	}
	if err != nil || !q.ID.Confirmed() {
		return nil, err
	}
	return c.keep(p.AppendBinary(c.answer[:0]))
}

// setWhole serves the forms without blocks.
func (c *call) setWhole(q *apdu.SetRequest, p *apdu.SetResponse) error {
	if q.Kind == apdu.SetRequestNormal {
		p.Kind, p.Result = apdu.SetResponseNormal, c.write(&q.Attribute, q.Value)
		return nil
	}
	if len(q.List) != len(q.Values) {
		return errList
	}
	p.Kind = apdu.SetResponseWithList
	p.List = make([]dlms.DataAccessResult, len(q.List))
	for i := range q.List {
		p.List[i] = c.write(&q.List[i], q.Values[i])
	}
	return nil
}

func (c *call) setsInBlocks(q *apdu.SetRequest) bool {
	return c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferSet) && q.ID.Confirmed() &&
		(q.Kind == apdu.SetRequestFirstBlock || q.Kind == apdu.SetRequestBlock ||
			q.Kind == apdu.SetRequestListWithFirstBlock && c.multiple())
}

// setBlock takes one block and answers it; the last one has the outcome.
func (c *call) setBlock(q *apdu.SetRequest, p *apdu.SetResponse) error {
	p.Kind, p.Block = apdu.SetResponseLastBlock, q.Block.Number
	if q.Kind != apdu.SetRequestBlock {
		c.slot.assoc.upload = nil
		if err := c.beginSet(q); err != nil {
			p.Result = cosem.DataAccess(err)
			return nil
		}
	}
	u, whole, why := c.grow(apdu.TagSetRequest, q.Block)
	switch {
	case why != dlms.DataAccessSuccess:
		p.Result = why
	case !whole:
		p.Kind = apdu.SetResponseBlock
	default:
		return c.finishSet(u, p)
	}
	return nil
}

// beginSet starts an upload. An attribute that may not be written is refused before its value comes; those of a list
// have an outcome each, and have it at the end.
func (c *call) beginSet(q *apdu.SetRequest) error {
	if q.Kind == apdu.SetRequestListWithFirstBlock {
		form, err := apdu.SetRequest{Kind: apdu.SetRequestWithList, ID: q.ID, List: q.List}.AppendBinary(nil)
		return c.begin(apdu.TagSetRequest, len(q.List), form, err)
	}
	if _, err := c.mayWrite(&q.Attribute); err != nil {
		return err
	}
	form, err := apdu.SetRequest{Kind: apdu.SetRequestNormal, ID: q.ID, Attribute: q.Attribute}.AppendBinary(nil)
	return c.begin(apdu.TagSetRequest, 0, form, err)
}

func (c *call) finishSet(u *upload, p *apdu.SetResponse) error {
	number := p.Block
	q, err := apdu.ParseSetRequest(u.whole)
	switch {
	case err != nil && u.count == 0:
		p.Result = dlms.DataAccessTypeUnmatched
		return nil
	case err != nil:
		p.Kind, p.List = apdu.SetResponseLastBlockWithList, make([]dlms.DataAccessResult, u.count)
		for i := range p.List {
			p.List[i] = dlms.DataAccessTypeUnmatched
		}
		return nil
	}
	if err := c.setWhole(&q, p); err != nil {
		return err
	}
	p.Block = number
	p.Kind = apdu.SetResponseLastBlock
	if q.Kind == apdu.SetRequestWithList {
		p.Kind = apdu.SetResponseLastBlockWithList
	}
	return nil
}
