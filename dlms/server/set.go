package server

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// set serves a SET (GB 9.3.7): normal, with list, in blocks for one attribute. nil answers an unconfirmed one.
func (c *call) set(plain []byte) ([]byte, error) {
	q, err := apdu.ParseSetRequest(plain)
	if err != nil {
		return nil, err
	}
	p := apdu.SetResponse{ID: q.ID}
	switch {
	case q.Kind == apdu.SetRequestNormal:
		p.Kind, p.Result = apdu.SetResponseNormal, c.write(q.Attribute, q.Value)
	case q.Kind == apdu.SetRequestWithList && c.multiple():
		if len(q.List) != len(q.Values) {
			return exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason), nil
		}
		p.Kind = apdu.SetResponseWithList
		for i := range q.List {
			p.List = append(p.List, c.write(q.List[i], q.Values[i]))
		}
	case c.setsInBlocks(q):
		c.setBlock(q, &p)
	default:
		return exception(apdu.StateServiceUnknown, apdu.ServiceNotSupported), nil
	}
	if !q.ID.Confirmed() {
		return nil, nil
	}
	return p.AppendBinary(nil)
}

func (c *call) setsInBlocks(q apdu.SetRequest) bool {
	return c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferSet) && q.ID.Confirmed() &&
		(q.Kind == apdu.SetRequestFirstBlock || q.Kind == apdu.SetRequestBlock)
}

// setBlock takes one block and answers it; the last one has the outcome.
func (c *call) setBlock(q apdu.SetRequest, p *apdu.SetResponse) {
	p.Kind, p.Block = apdu.SetResponseLastBlock, q.Block.Number
	if q.Kind == apdu.SetRequestFirstBlock {
		c.slot.assoc.upload = nil
		if _, err := c.mayWrite(q.Attribute); err != nil {
			p.Result = cosem.DataAccess(err)
			return
		}
		c.slot.assoc.upload = &upload{tag: apdu.TagSetRequest, attribute: q.Attribute}
	}
	u, whole, why := c.grow(apdu.TagSetRequest, q.Block)
	switch {
	case why != dlms.DataAccessSuccess:
		p.Result = why
	case !whole:
		p.Kind = apdu.SetResponseBlock
	default:
		p.Result = c.finish(u)
	}
}

func (c *call) finish(u *upload) dlms.DataAccessResult {
	d, err := u.value()
	if err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	return c.write(u.attribute, d)
}
