package server

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
)

// authenticate serves the one service that a half-open association has: pass 3 of HLS, reply_to_HLS_authentication
// of the current association (GB 9.2.7.4). Where a dedicated key is required, passes 3 and 4 go under the global key
// (law 3).
func (c *call) authenticate(p protected) []byte {
	a := c.slot.assoc
	if p.dedicated && c.client.Traffic == DedicatedRequired {
		return c.refuse(ErrForm)
	}
	k, err := c.keys(p.dedicated)
	if err != nil {
		return c.refuse(err)
	}
	plain, err := c.open(p, k.cipher, a.peer)
	if err != nil {
		return c.refuse(err)
	}
	if !p.carries(plain, 0) {
		return c.refuse(ErrForm) // the tag was altered on its way: see receive
	}
	if err := k.floor.Check(a.peer, p.counter); err != nil {
		return c.refuse(err)
	}
	lt, err := c.longTerm(a.key.setup, a.peer, a.info)
	if err != nil {
		return c.refuse(err)
	}
	req, reply, ok := hlsReply(p, plain)
	if !ok {
		if err := k.floor.Commit(a.peer, p.counter); err != nil {
			return c.refuse(err)
		}
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible)
	}
	inner, why := c.verifyReply(lt, reply)
	if err := c.commitReply(p, k, lt, inner, &why); err != nil {
		return c.refuse(err)
	}
	if why != nil {
		return c.notAuthenticated(p, k, req, why)
	}
	return c.authenticated(p, k, lt, req)
}

// authenticatePlain is authenticate in the application context without ciphering.
func (c *call) authenticatePlain() []byte {
	req, reply, ok := hlsReply(protected{}, c.req.APDU)
	if !ok {
		return exception(apdu.StateServiceNotAllowed, apdu.ServiceOperationNotPossible)
	}
	if _, why := c.verifyReply(nil, reply); why != nil {
		return c.notAuthenticated(protected{}, keys{}, req, why)
	}
	return c.authenticated(protected{}, keys{}, nil, req)
}

// verifyReply verifies f(challenge), and returns the counter in that of GMAC.
func (c *call) verifyReply(lt *security.LongTerm, reply []byte) (dlms.InvocationCounter, error) {
	a := c.slot.assoc
	if c.client.Mechanism == MechanismGMAC {
		return security.VerifyReply(lt.Cipher, a.peer, a.fromServer, reply)
	}
	s, err := c.secret()
	if err != nil {
		return 0, err
	}
	return 0, security.VerifySHA256Reply(s, c.server.device.SystemTitle(), a.peer, a.fromClient, a.fromServer, reply)
}

// hlsReply finds f(challenge) in the plaintext.
func hlsReply(p protected, plain []byte) (req apdu.ActionRequest, reply []byte, ok bool) {
	if !p.carries(plain, apdu.TagActionRequest) {
		return req, nil, false
	}
	req, err := apdu.ParseActionRequest(plain)
	if err != nil || req.Kind != apdu.ActionRequestNormal || req.Method != (dlms.MethodRef{
		Class: dlms.ClassAssociationLN, Instance: cosem.CurrentAssociation(), Method: cosem.MethodReplyToHLS,
	}) {
		return req, nil, false
	}
	reply, err = req.Parameters.OctetString()
	return req, reply, err == nil
}

// commitReply makes the counters of pass 3 durable, as one floor: behind the outer and, when it verified, the inner
// one. A peer that spent one value on both repeated a nonce of its own; that is for *why.
func (c *call) commitReply(p protected, k keys, lt *security.LongTerm, inner dlms.InvocationCounter, why *error) error {
	peer := c.slot.assoc.peer
	outer := p.counter
	if c.client.Mechanism != MechanismGMAC { // there is no inner one
		return k.floor.Commit(peer, outer)
	}
	if *why == nil && !p.dedicated {
		if inner == outer && !c.client.SharedHLSCounter {
			*why = ErrNonceShared
		}
		if inner > outer && lt.Floor.Check(peer, inner) == nil {
			outer = inner
		}
	}
	if err := k.floor.Commit(peer, outer); err != nil {
		return err
	}
	if *why != nil || !p.dedicated && inner <= outer {
		return nil
	}
	if err := security.CommitInner(lt.Floor, peer, inner); err != nil {
		*why = err // the outer one is spent all the same
	}
	return nil
}

// authenticated is pass 4: the association is open.
func (c *call) authenticated(p protected, k keys, lt *security.LongTerm, req apdu.ActionRequest) []byte {
	a := c.slot.assoc
	reply, err := c.reply(lt)
	if err != nil {
		return c.notAuthenticated(p, k, req, err)
	}
	answer := c.sealAction(p, k, req, dlms.ActionSuccess, dlms.OctetString(reply))
	if answer == nil {
		return nil
	}
	a.open, a.fromClient, a.fromServer = true, nil, nil
	c.server.device.Event(c.server.event(c.index, EventOpened, a, nil))
	return answer
}

// reply answers the client's challenge. With GMAC it spends the inner counter, before that of the APDU around it.
func (c *call) reply(lt *security.LongTerm) ([]byte, error) {
	a, own := c.slot.assoc, c.server.device.SystemTitle()
	if c.client.Mechanism == MechanismSHA256 {
		s, err := c.secret()
		if err != nil {
			return nil, err
		}
		return security.SHA256Reply(s, own, a.peer, a.fromClient, a.fromServer)
	}
	ic, err := lt.Send.Next()
	if err != nil {
		return nil, err
	}
	return security.BuildReply(lt.Cipher, own, ic, a.fromClient)
}

// notAuthenticated ends the association: an authentic client gave a wrong answer to the challenge.
func (c *call) notAuthenticated(p protected, k keys, req apdu.ActionRequest, why error) []byte {
	if !errors.Is(why, ErrNonceShared) {
		why = fmt.Errorf("hls pass 3: %w", why)
	}
	answer := c.sealAction(p, k, req, dlms.ActionOtherReason, dlms.Null())
	c.server.end(c.index, why)
	return answer
}

// sealAction answers an ACTION in the form of its request; nil when it could not be sealed, which ends the
// association.
func (c *call) sealAction(p protected, k keys, req apdu.ActionRequest, result dlms.ActionResult, value dlms.Data) []byte {
	plain, err := c.actionResponse(req, result, value)
	if err == nil && c.client.ciphered() {
		plain, err = c.sealAnswer(p.form(), k, plain)
	}
	if err != nil {
		c.server.end(c.index, err)
		return nil
	}
	return plain
}
