package server

import (
	"errors"
	"log/slog"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
)

// call is one APDU being served. It is used again for another one, of any device of the kind: nothing that outlives the
// APDU may refer to it.
type call struct {
	server *Server
	req    link.Request
	env    cosem.Env
	index  int
	slot   *slot
	client *client
	dst    []byte // what the answer is appended to
	plain  []byte // the request deciphered, in a buffer of the call
	answer []byte // the answer in clear, in a buffer of the call
}

// Bounds on what is kept for the next APDU: calls, and bytes of one of their buffers.
const (
	maxSpare = 64
	maxKept  = 4096
)

func (k *Kind) take() *call {
	if c := k.next.Swap(nil); c != nil {
		return c
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.spare)
	if n == 0 {
		return new(call)
	}
	c := k.spare[n-1]
	k.spare = k.spare[:n-1]
	return c
}

// put gives a call back. What was in clear is overwritten: a session key may have been in it.
func (k *Kind) put(c *call) {
	*c = call{plain: emptied(c.plain), answer: emptied(c.answer)}
	if k.next.CompareAndSwap(nil, c) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.spare) < maxSpare {
		k.spare = append(k.spare, c)
	}
}

func emptied(b []byte) []byte {
	clear(b)
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}

// say appends an answer.
func (c *call) say(answer []byte) []byte { return append(c.dst, answer...) }

// maxProtection is what protection adds at most: tag, title, length, security control, counter and tag of the longest
// form without a key in it, general-glo-ciphering.
const maxProtection = 1 + 9 + 3 + 1 + 4 + security.TagSize

// slack is what an APDU of that tag may have beyond the largest in clear.
func slack(tag apdu.Tag) int {
	if _, _, ciphered := apdu.PlainTag(tag); ciphered || tag == apdu.TagGeneralGlo || tag == apdu.TagGeneralDed {
		return maxProtection
	}
	return 0
}

// serve returns dst with the answer.
func (c *call) serve() []byte {
	tag, err := apdu.TagOf(c.req.APDU)
	if err != nil {
		return c.dst
	}
	m := c.server.kind.model
	c.index = m.endpoint(c.env.Link, c.req.Client)
	switch {
	case c.req.Server == dlms.SAPAllStations:
		c.broadcast(tag)
		return c.dst
	case c.req.Server != m.server:
		return c.dst
	case c.index < 0:
		return c.say(stranger(tag))
	}
	c.attach()
	switch {
	case tag == apdu.TagAARQ:
		return c.associate()
	case c.slot.assoc != nil && !c.slot.assoc.at(c.req.Remote):
		return c.say(stranger(tag))
	case len(c.req.APDU) > int(c.client.MaxPDU)+slack(tag):
		return c.say(exception(apdu.StateServiceNotAllowed, apdu.ServicePDUTooLong))
	case tag == apdu.TagRLRQ:
		return c.say(c.release())
	}
	start := len(c.dst)
	if tag == apdu.TagGeneralBlockTransfer {
		return c.blockTransfer()
	}
	return c.inBlocks(start, c.service())
}

// attach finds the slot of the sender and ends an association that is over.
func (c *call) attach() {
	c.slot = c.server.slot(c.index)
	c.client = c.server.kind.model.endpoints[c.index].client
	c.env.ClientName = c.client.Name
	if a := c.slot.assoc; a != nil {
		if why := a.over(c.env.Now, c.client, c.server.kind.options); why != nil {
			c.server.end(c.index, why)
		}
	}
}

// stranger answers who is not in the model. It keeps no state for him.
func stranger(tag apdu.Tag) []byte {
	if tag == apdu.TagAARQ {
		return rejected(apdu.ContextLN, apdu.AssociationRejectedPermanent, apdu.DiagnosticNoReason, nil)
	}
	return exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible)
}

// fail tells the device and the log of a refusal that is worth it, within the rate, and reports whether it may be
// answered.
func (c *call) fail(what string, err error) bool {
	if !c.slot.limit.take(c.env.Now) {
		return false
	}
	c.server.kind.options.Log.LogAttrs(c.env.Context, slog.LevelWarn, "apdu refused",
		slog.String("what", what), slog.String("link", c.env.Link), slog.String("client", c.client.Name), slog.Any("error", err))
	c.server.device.Event(c.server.event(c.index, EventRefused, c.slot.assoc, err))
	return true
}

// counterError returns the expected counter of a refusal by the floor.
func counterError(err error) (dlms.InvocationCounter, bool) {
	var e *security.CounterError
	if errors.As(err, &e) {
		return e.Expected, true
	}
	return 0, false
}
