package server

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// action serves an ACTION (GB 9.3.8): normal, with list, either of them in blocks, and return parameters in blocks.
// nil answers an unconfirmed one.
func (c *call) action(plain []byte, limit int) ([]byte, error) {
	q, err := apdu.ParseActionRequest(plain)
	if err != nil {
		return nil, err
	}
	if q.Kind == apdu.ActionRequestNext && c.actsInBlocks(&q) {
		return c.actionNext(&q, limit)
	}
	p := apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: q.ID}
	switch {
	case q.Kind == apdu.ActionRequestNormal, q.Kind == apdu.ActionRequestWithList && c.multiple():
		err = c.actWhole(&q, &p)
	case c.actsInBlocks(&q):
		err = c.actionBlock(&q, &p)
	default:
		return exception(apdu.StateServiceUnknown, apdu.ServiceNotSupported), nil
	}
	if err != nil || !q.ID.Confirmed() {
		return nil, err
	}
	c.slot.assoc.long = nil
	return c.fit(&p, limit)
}

// actWhole serves the forms without blocks.
func (c *call) actWhole(q *apdu.ActionRequest, p *apdu.ActionResponse) error {
	if q.Kind == apdu.ActionRequestNormal {
		p.Outcome = c.outcome(q.Method, q.Parameters)
		return nil
	}
	if len(q.Methods) != len(q.Values) {
		return errList
	}
	p.Kind = apdu.ActionResponseWithList
	p.List = make([]apdu.ActionOutcome, len(q.Methods))
	for i := range q.Methods {
		p.List[i] = c.outcome(q.Methods[i], q.Values[i])
	}
	return nil
}

func (c *call) outcome(m dlms.MethodRef, parameters dlms.Data) apdu.ActionOutcome {
	d, result := c.invoke(m, parameters)
	if result != dlms.ActionSuccess || d.IsNull() {
		return apdu.ActionOutcome{Result: result}
	}
	return apdu.ActionOutcome{HasReturn: true, Return: apdu.GetResult{Data: d}}
}

// fit writes an answer of at most limit bytes, or its first block. What the methods did is done: return parameters
// that cannot be sent are replaced by a reason.
func (c *call) fit(p *apdu.ActionResponse, limit int) ([]byte, error) {
	b, err := c.keep(p.AppendBinary(c.answer[:0]))
	bounded := err == nil && len(b)-listHead <= c.server.kind.options.MaxResponse
	switch {
	case bounded && len(b) <= limit:
		return b, nil
	case bounded && c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferAction):
		return c.firstBlock(apdu.TagActionRequest, p.ID, b[listHead:], limit)
	}
	tooLong := apdu.GetResult{Result: dlms.DataAccessOtherReason}
	if p.Outcome.HasReturn {
		p.Outcome.Return = tooLong
	}
	for i := range p.List {
		if p.List[i].HasReturn {
			p.List[i].Return = tooLong
		}
	}
	return c.keep(p.AppendBinary(c.answer[:0]))
}

// actionNext goes on with return parameters in blocks. A block number that is not that of the block sent last ends
// them.
func (c *call) actionNext(q *apdu.ActionRequest, limit int) ([]byte, error) {
	why := dlms.ActionNoLong
	if c.longOf(apdu.TagActionRequest) {
		if q.Number == c.slot.assoc.long.block {
			return c.nextBlock(q.ID, limit)
		}
		why = dlms.ActionLongAborted
		c.slot.assoc.long = nil
	}
	return c.keep(apdu.ActionResponse{
		Kind: apdu.ActionResponseNormal, ID: q.ID, Outcome: apdu.ActionOutcome{Result: why},
	}.AppendBinary(c.answer[:0]))
}

func (c *call) actsInBlocks(q *apdu.ActionRequest) bool {
	if !c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferAction) || !q.ID.Confirmed() {
		return false
	}
	switch q.Kind {
	case apdu.ActionRequestNext, apdu.ActionRequestFirstBlock, apdu.ActionRequestBlock:
		return true
	case apdu.ActionRequestListWithFirstBlock:
		return c.multiple()
	}
	return false
}

// actionBlock takes one block of parameters and answers it; the last one has the outcome.
func (c *call) actionBlock(q *apdu.ActionRequest, p *apdu.ActionResponse) error {
	if q.Kind != apdu.ActionRequestBlock {
		c.slot.assoc.upload = nil
		if err := c.beginAction(q); err != nil {
			p.Outcome.Result = cosem.Action(err)
			return nil
		}
	}
	u, whole, why := c.grow(apdu.TagActionRequest, q.Block)
	switch {
	case why == dlms.DataAccessNoLongSet:
		p.Outcome.Result = dlms.ActionNoLong
	case why != dlms.DataAccessSuccess:
		p.Outcome.Result = dlms.ActionLongAborted
	case !whole:
		p.Kind, p.Number = apdu.ActionResponseNext, q.Block.Number
	default:
		return c.finishAction(u, p)
	}
	return nil
}

// beginAction starts an upload. A method that may not be called is refused before its parameters come; those of a list
// have an outcome each, and have it at the end.
func (c *call) beginAction(q *apdu.ActionRequest) error {
	if q.Kind == apdu.ActionRequestListWithFirstBlock {
		form, err := apdu.ActionRequest{Kind: apdu.ActionRequestWithList, ID: q.ID, Methods: q.Methods}.AppendBinary(nil)
		return c.begin(apdu.TagActionRequest, len(q.Methods), form, err)
	}
	if _, err := c.mayInvoke(q.Method); err != nil {
		return err
	}
	form, err := apdu.ActionRequest{
		Kind: apdu.ActionRequestNormal, ID: q.ID, Method: q.Method, HasParameters: true,
	}.AppendBinary(nil)
	return c.begin(apdu.TagActionRequest, 0, form, err)
}

func (c *call) finishAction(u *upload, p *apdu.ActionResponse) error {
	q, err := apdu.ParseActionRequest(u.whole)
	switch {
	case err != nil && u.count == 0:
		p.Outcome.Result = dlms.ActionTypeUnmatched
		return nil
	case err != nil:
		p.Kind, p.List = apdu.ActionResponseWithList, make([]apdu.ActionOutcome, u.count)
		for i := range p.List {
			p.List[i].Result = dlms.ActionTypeUnmatched
		}
		return nil
	}
	return c.actWhole(&q, p)
}

// actionResponse writes the outcome of one method.
func (c *call) actionResponse(q apdu.ActionRequest, result dlms.ActionResult, value dlms.Data) ([]byte, error) {
	o := apdu.ActionOutcome{Result: result}
	if !value.IsNull() {
		o.HasReturn, o.Return = true, apdu.GetResult{Data: value}
	}
	return c.keep(apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: q.ID, Outcome: o}.AppendBinary(c.answer[:0]))
}
