package server

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// action serves an ACTION (GB 9.3.8): normal, with list, in blocks for one method. nil answers an unconfirmed one.
func (c *call) action(plain []byte, limit int) ([]byte, error) {
	q, err := apdu.ParseActionRequest(plain)
	if err != nil {
		return nil, err
	}
	p := apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: q.ID}
	switch {
	case q.Kind == apdu.ActionRequestNormal:
		p.Outcome = c.outcome(q.Method, q.Parameters)
	case q.Kind == apdu.ActionRequestWithList && c.multiple():
		if len(q.Methods) != len(q.Values) {
			return exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason), nil
		}
		p.Kind = apdu.ActionResponseWithList
		for i := range q.Methods {
			p.List = append(p.List, c.outcome(q.Methods[i], q.Values[i]))
		}
	case c.actsInBlocks(q):
		c.actionBlock(q, &p)
	default:
		return exception(apdu.StateServiceUnknown, apdu.ServiceNotSupported), nil
	}
	if !q.ID.Confirmed() {
		return nil, nil
	}
	return fit(p, limit)
}

func (c *call) outcome(m dlms.MethodRef, parameters dlms.Data) apdu.ActionOutcome {
	d, result := c.invoke(m, parameters)
	if result != dlms.ActionSuccess || d.IsNull() {
		return apdu.ActionOutcome{Result: result}
	}
	return apdu.ActionOutcome{HasReturn: true, Return: apdu.GetResult{Data: d}}
}

// fit writes an answer of at most limit bytes. What the methods did is done: return parameters that do not fit are
// replaced by a reason.
func fit(p apdu.ActionResponse, limit int) ([]byte, error) {
	b, err := p.AppendBinary(nil)
	if err == nil && len(b) <= limit {
		return b, nil
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
	return p.AppendBinary(nil)
}

func (c *call) actsInBlocks(q apdu.ActionRequest) bool {
	return c.slot.assoc.conformance.Has(apdu.ConformanceBlockTransferAction) && q.ID.Confirmed() &&
		(q.Kind == apdu.ActionRequestFirstBlock || q.Kind == apdu.ActionRequestBlock)
}

// actionBlock takes one block of parameters and answers it; the last one has the outcome.
func (c *call) actionBlock(q apdu.ActionRequest, p *apdu.ActionResponse) {
	if q.Kind == apdu.ActionRequestFirstBlock {
		c.slot.assoc.upload = nil
		if _, err := c.mayInvoke(q.Method); err != nil {
			p.Outcome.Result = cosem.Action(err)
			return
		}
		c.slot.assoc.upload = &upload{tag: apdu.TagActionRequest, method: q.Method}
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
		d, err := u.value()
		if err != nil {
			p.Outcome.Result = dlms.ActionTypeUnmatched
			return
		}
		p.Outcome = c.outcome(u.method, d)
	}
}

// actionResponse writes the outcome of one method.
func actionResponse(q apdu.ActionRequest, result dlms.ActionResult, value dlms.Data) ([]byte, error) {
	o := apdu.ActionOutcome{Result: result}
	if !value.IsNull() {
		o.HasReturn, o.Return = true, apdu.GetResult{Data: value}
	}
	return apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: q.ID, Outcome: o}.AppendBinary(nil)
}
