package server

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/apdu"
)

// release serves an RLRQ (GB 9.4.3). On a ciphered association it must carry a ciphered InitiateRequest under the
// global key (law 3: it opens and closes); an RLRQ that anybody can write is answered and ends nothing.
func (c *call) release() []byte {
	q, err := apdu.ParseRLRQ(c.req.APDU)
	if err != nil {
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOtherReason)
	}
	a := c.slot.assoc
	switch {
	case a == nil:
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible)
	case !a.ciphered():
		c.server.end(c.index, nil)
		return rlre(apdu.ReleaseNormal, nil)
	}
	p, err := c.parseProtected(q.UserInformation)
	if err != nil || p.dedicated {
		return rlre(apdu.ReleaseNotFinished, nil)
	}
	info, err := c.closeWith(p)
	if err != nil {
		return c.refuse(err)
	}
	return rlre(apdu.ReleaseNormal, info)
}

// closeWith verifies the InitiateRequest of an RLRQ, spends its counter, ends the association and returns the
// InitiateResponse for the RLRE. Where an AARQ has to bring a dedicated key, an RLRQ must not: an AARQ that was held
// back cannot be made into a release.
func (c *call) closeWith(p protected) ([]byte, error) {
	a := c.slot.assoc
	k, err := c.keys(false)
	if err != nil {
		return nil, err
	}
	plain, err := c.open(p, k.cipher, a.peer)
	if err != nil {
		return nil, err
	}
	if !p.carries(plain, apdu.TagInitiateRequest) {
		return nil, fmt.Errorf("%w: no initiate-request in rlrq", ErrForm)
	}
	if req, err := apdu.ParseInitiateRequest(plain); err != nil || req.DedicatedKey != nil && c.client.Traffic == DedicatedRequired {
		return nil, fmt.Errorf("%w: the initiate-request of an aarq in rlrq", ErrForm)
	}
	if err := k.floor.Commit(a.peer, p.counter); err != nil {
		return nil, err
	}
	answer, err := c.initiateResponse(a)
	if err == nil {
		answer, err = c.sealAnswer(p.form(), k, answer)
	}
	c.server.end(c.index, nil)
	if err != nil {
		return nil, nil //nolint:nilerr // the association is closed; an RLRE without user information says so
	}
	return answer, nil
}

func rlre(reason apdu.ReleaseReason, info []byte) []byte {
	b, err := apdu.RLRE{Release: apdu.Release{HasReason: true, Reason: reason, UserInformation: info}}.AppendBinary(nil)
	if err != nil {
		return nil
	}
	return b
}
