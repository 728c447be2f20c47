package server

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// service serves everything but AARQ and RLRQ.
func (c *call) service() []byte {
	a := c.slot.assoc
	if a == nil {
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible))
	}
	if !a.ciphered() {
		if !a.open {
			return c.say(c.authenticatePlain())
		}
		a.apdus++
		return c.say(c.dispatch(c.req.APDU, c.limit()))
	}
	p, err := c.parseProtected(c.req.APDU)
	if err != nil {
		if errors.Is(err, ErrForm) { // not protected, or in a form that no client here may use
			return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible))
		}
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason))
	}
	if !a.open {
		return c.say(c.authenticate(p))
	}
	return c.traffic(p)
}

// traffic serves a ciphered service of an open association.
func (c *call) traffic(p protected) []byte {
	if c.client.Broadcast || !p.dedicated && c.client.Traffic == DedicatedRequired {
		// Nothing is sealed under a broadcast key, and no traffic is taken under an association key.
		return c.say(c.refuse(ErrForm))
	}
	k, err := c.keys(p.dedicated)
	if err != nil {
		return c.say(c.refuse(err))
	}
	plain, err := c.receive(p, k)
	if err != nil {
		return c.say(c.refuse(err))
	}
	answer := c.dispatch(plain, c.limit()-p.overhead())
	if len(answer) == 0 || apdu.Tag(answer[0]) == apdu.TagExceptionResponse {
		return c.say(answer)
	}
	sealed, err := c.seal(c.dst, p.form(), k, answer)
	if err != nil { // the counter is at its end: nothing can be sealed here any more
		c.server.end(c.index, err)
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason))
	}
	return sealed
}

// receive verifies an APDU of the association and makes it count: the floor is committed before the plaintext takes
// effect. The tag outside is not authenticated (GB 9.2.3.3.7), so an APDU that does not carry what it says was altered
// on its way: it is not served and its counter is left for the honest one.
func (c *call) receive(p protected, k keys) ([]byte, error) {
	a := c.slot.assoc
	plain, err := c.open(p, k.cipher, a.peer)
	if err != nil {
		return nil, err
	}
	if !p.carries(plain, 0) {
		return nil, ErrForm
	}
	if err := k.floor.Commit(a.peer, p.counter); err != nil {
		return nil, err
	}
	a.apdus++
	return plain, nil
}

// dispatch serves a service in clear and returns the answer in clear, of at most limit bytes; nil for none. It is valid
// until the next answer is written.
func (c *call) dispatch(plain []byte, limit int) []byte {
	a := c.slot.assoc
	c.env.Peer, c.env.Association = a.peer, a
	if a.transfer != nil {
		a.transfer.out = nil // an earlier answer that nobody fetches any more
	}
	tag := apdu.Tag(plain[0])
	var answer []byte
	var err error
	switch {
	case tag == apdu.TagGetRequest && a.conformance.Has(apdu.ConformanceGet):
		answer, err = c.get(plain, limit)
	case tag == apdu.TagSetRequest && a.conformance.Has(apdu.ConformanceSet):
		answer, err = c.set(plain)
	case tag == apdu.TagActionRequest && a.conformance.Has(apdu.ConformanceAction):
		answer, err = c.action(plain, limit)
	case tag.IsCiphered(), tag.IsGeneral():
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible)
	default:
		return exception(apdu.StateServiceUnknown, apdu.ServiceNotSupported)
	}
	switch {
	case err != nil:
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason)
	case answer != nil && len(answer) > limit: // a list of results for a client that takes very little
		return exception(apdu.StateServiceNotAllowed, apdu.ServicePDUTooLong)
	}
	return answer
}

// multiple reports whether a list may be asked for.
func (c *call) multiple() bool {
	return c.slot.assoc.conformance.Has(apdu.ConformanceMultipleReferences)
}

// object finds an object that this client may reach at all; nil is undefined, whatever the device has.
func (c *call) object(class dlms.ClassID, instance dlms.OBIS) (cosem.Object, *rights) {
	r := c.client.rights[objectKey{class, instance}]
	if r == nil {
		return nil, nil
	}
	return r.object, r
}

// read reads one attribute within the rights.
func (c *call) read(a *apdu.Attribute) (dlms.Data, error) {
	o, r := c.object(a.Ref.Class, a.Ref.Instance)
	switch {
	case o == nil:
		return dlms.Null(), dlms.DataAccessObjectUndefined
	case !slices.Contains(r.read, a.Ref.Attribute) || secret(a.Ref.Class, a.Ref.Attribute):
		return dlms.Null(), dlms.DataAccessReadWriteDenied
	case !a.Selection.IsZero() && !c.slot.assoc.conformance.Has(apdu.ConformanceSelectiveAccess):
		return dlms.Null(), dlms.DataAccessScopeViolated
	}
	d, err := o.Get(&c.env, a.Ref.Attribute, a.Selection)
	if err != nil {
		c.note("get", a.Ref.String(), err)
	}
	return d, err
}

// mayWrite checks the rights for one attribute.
func (c *call) mayWrite(a *apdu.Attribute) (cosem.Object, error) {
	o, r := c.object(a.Ref.Class, a.Ref.Instance)
	switch {
	case o == nil:
		return nil, dlms.DataAccessObjectUndefined
	case !slices.Contains(r.write, a.Ref.Attribute) || secret(a.Ref.Class, a.Ref.Attribute),
		c.env.Broadcast && ordersBy(a.Ref):
		return nil, dlms.DataAccessReadWriteDenied
	case !a.Selection.IsZero():
		return nil, dlms.DataAccessScopeViolated
	}
	return o, nil
}

// write writes one attribute within the rights.
func (c *call) write(a *apdu.Attribute, value dlms.Data) dlms.DataAccessResult {
	o, err := c.mayWrite(a)
	if err == nil {
		err = o.Set(&c.env, a.Ref.Attribute, value)
		if err != nil {
			c.note("set", a.Ref.String(), err)
		}
	}
	return cosem.DataAccess(err)
}

// mayInvoke checks the rights for one method. Pass 3 of HLS has its time before the association is open.
func (c *call) mayInvoke(m dlms.MethodRef) (cosem.Object, error) {
	o, r := c.object(m.Class, m.Instance)
	switch {
	case o == nil:
		return nil, dlms.ActionObjectUndefined
	case !slices.Contains(r.invoke, m.Method), c.env.Broadcast && orders(m):
		return nil, dlms.ActionReadWriteDenied
	}
	return o, nil
}

// invoke calls one method within the rights.
func (c *call) invoke(m dlms.MethodRef, parameters dlms.Data) (dlms.Data, dlms.ActionResult) {
	o, err := c.mayInvoke(m)
	if err != nil {
		return dlms.Null(), cosem.Action(err)
	}
	d, err := o.Invoke(&c.env, m.Method, parameters)
	if err != nil {
		c.note("action", m.String(), err)
	}
	return d, cosem.Action(err)
}

// note logs the error of an object, whose text the line does not get.
func (c *call) note(service, ref string, err error) {
	c.server.kind.options.Log.LogAttrs(c.env.Context, slog.LevelDebug, "service refused",
		slog.String("service", service), slog.String("ref", ref), slog.String("client", c.client.Name),
		slog.Any("error", err))
}
