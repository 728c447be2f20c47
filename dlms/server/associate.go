package server

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// maxInfo bounds the implementation information that is kept of an AARQ.
const maxInfo = 128

// rejection is why an AARQ is not accepted, and what the client is told.
type rejection struct {
	result     apdu.AssociationResult
	diagnostic apdu.Diagnostic
	info       []byte // user information: a confirmedServiceError
	answer     []byte // instead of an AARE
	// told is set for what does not verify: it is an event and counts against the rate.
	told bool
	why  error
}

func reject(d apdu.Diagnostic, why error) *rejection {
	return &rejection{result: apdu.AssociationRejectedPermanent, diagnostic: d, why: why}
}

// notAuthentic rejects what does not verify.
func notAuthentic(why error) *rejection {
	r := reject(apdu.DiagnosticAuthenticationFailure, why)
	r.told = true
	return r
}

// transient rejects what is the device's own fault, for now.
func transient(why error) *rejection {
	r := reject(apdu.DiagnosticNoReason, why)
	r.result, r.told = apdu.AssociationRejectedTransient, true
	return r
}

// associate serves an AARQ (GB 9.4.2) and returns dst with the answer. Until the very end nothing of an association
// that is open changes.
func (c *call) associate() []byte {
	q, err := apdu.ParseAARQ(c.req.APDU)
	if err != nil {
		return c.say(rejected(c.context(), apdu.AssociationRejectedPermanent, apdu.DiagnosticNoReason, nil))
	}
	answer, r := c.accept(&q)
	if r == nil {
		return answer
	}
	if r.told && !c.fail("aarq", r.why) {
		return c.dst
	}
	if r.answer != nil {
		return c.say(r.answer)
	}
	return c.say(rejected(c.context(), r.result, r.diagnostic, r.info))
}

func (c *call) accept(q *apdu.AARQ) ([]byte, *rejection) {
	if q.Context != c.context() {
		return nil, reject(apdu.DiagnosticContextNotSupported, nil)
	}
	if r := c.checkClaims(q); r != nil {
		return nil, r
	}
	in, r := c.initiate(q)
	if r != nil {
		return nil, r
	}
	if c.client.Mechanism == MechanismLLS {
		if r := c.checkPassword(q); r != nil {
			return nil, r
		}
	}
	a, info, r := c.pass2(q, &in)
	if r != nil {
		c.notOpened(q, &in, r)
		return nil, r
	}
	c.put(a)
	if a.open {
		c.server.device.Event(c.server.event(c.index, EventOpened, a, nil))
	}
	return c.accepted(c.response(a, info)), nil
}

// context is the application context of the client: with ciphering or without.
func (c *call) context() apdu.ApplicationContext {
	if c.client.ciphered() {
		return apdu.ContextLNCiphered
	}
	return apdu.ContextLN
}

// proposal is the InitiateRequest of an AARQ.
type proposal struct {
	req  apdu.InitiateRequest
	lt   *security.LongTerm // nil without ciphering
	form form
}

// initiate reads the proposal. With ciphering it is authentic then, and its counter is spent.
func (c *call) initiate(q *apdu.AARQ) (proposal, *rejection) {
	if !c.client.ciphered() {
		req, err := apdu.ParseInitiateRequest(q.UserInformation)
		if err != nil || req.DedicatedKey != nil {
			return proposal{}, reject(apdu.DiagnosticNoReason, err)
		}
		return proposal{req: req}, nil
	}
	lt, err := c.longTerm(c.client.Setup, q.CallingTitle, q.Implementation)
	if err != nil {
		return proposal{}, noKey(err)
	}
	req, p, r := c.openInitiate(q, lt)
	return proposal{req, lt, p.form()}, r
}

// noKey rejects where there is no key to verify with.
func noKey(err error) *rejection {
	if !errors.Is(err, ErrNoPeerKey) {
		return transient(err)
	}
	r := reject(apdu.DiagnosticCallingTitleUnknown, err)
	r.told = true
	return r
}

// notOpened tells the device of an authentic AARQ that came to nothing: its counter is spent, so that it cannot be
// repeated, and that is worth an event of its own.
func (c *call) notOpened(q *apdu.AARQ, in *proposal, r *rejection) {
	if in.lt == nil {
		return
	}
	e := c.server.event(c.index, EventFailed, nil, r.why)
	e.Peer, e.Setup, e.Generation = q.CallingTitle, c.client.Setup, in.lt.Generation
	c.server.device.Event(e)
}

// pass2 makes the association of an AARQ, open unless HLS follows, and the InitiateResponse for it.
func (c *call) pass2(q *apdu.AARQ, in *proposal) (*association, []byte, *rejection) {
	a, r := c.negotiate(&in.req)
	if r != nil {
		return nil, nil, r
	}
	a.open = !c.client.hls()
	if c.client.Mechanism != MechanismNone {
		a.info = bytes.Clone(q.Implementation)
	}
	if in.lt != nil || c.client.hls() { // else nothing proves the title
		a.peer = q.CallingTitle
	}
	if in.lt != nil {
		a.key, a.keyOver = generation{c.client.Setup, in.lt.Generation}, in.lt.Over
		if r := c.bringSession(a, &in.req, in.lt); r != nil {
			return nil, nil, r
		}
	}
	plain, err := c.initiateResponse(a)
	if err == nil && c.client.hls() {
		a.fromClient = bytes.Clone(q.AuthenticationValue)
		a.fromServer, err = security.NewChallenge(c.server.kind.options.Rand)
	}
	if err == nil && in.lt != nil {
		plain, err = c.sealAnswer(in.form, global(in.lt), plain)
	}
	if err != nil {
		return nil, nil, transient(err)
	}
	return a, plain, nil
}

// response is the AARE of an association that was accepted.
func (c *call) response(a *association, info []byte) apdu.AARE {
	e := apdu.AARE{Context: c.context(), Diagnostic: apdu.DiagnosticNull, UserInformation: info}
	if a.ciphered() || c.client.hls() {
		e.RespondingTitle = c.server.device.SystemTitle()
	}
	if c.client.hls() {
		e.Diagnostic, e.Authentication = apdu.DiagnosticAuthenticationRequired, true
		e.Mechanism, e.AuthenticationValue = apdu.Mechanism(c.client.Mechanism), a.fromServer
	}
	return e
}

// secret asks the device for the password or secret of the client.
func (c *call) secret() (key.Secret, error) {
	h, ok := c.server.device.(SecretHolder)
	if !ok {
		return key.Secret{}, ErrNoSecret
	}
	s, err := h.Secret(c.client.Name)
	switch {
	case err != nil:
		return key.Secret{}, fmt.Errorf("secret of client %q: %w", c.client.Name, err)
	case s.IsZero():
		return key.Secret{}, ErrNoSecret
	}
	return s, nil
}

// checkPassword compares the password of LLS, in constant time. A password can be guessed, so here attempts are
// bounded: above the rate none is looked at. Without ciphering that lets a stranger keep the client out, who could
// read the password on the line anyway; with ciphering only who holds the key comes here.
func (c *call) checkPassword(q *apdu.AARQ) *rejection {
	s, err := c.secret()
	if err != nil {
		return transient(err)
	}
	if c.slot.guesses.empty(c.env.Now) {
		r := reject(apdu.DiagnosticNoReason, ErrPassword)
		r.result = apdu.AssociationRejectedTransient
		return r
	}
	if s.Matches(q.AuthenticationValue) {
		return nil
	}
	c.slot.guesses.take(c.env.Now)
	return notAuthentic(ErrPassword)
}

// checkClaims looks at what the AARQ says in clear.
func (c *call) checkClaims(q *apdu.AARQ) *rejection {
	if c.client.Mechanism == MechanismNone {
		if q.Authentication && q.Mechanism != apdu.MechanismLowest {
			return reject(apdu.DiagnosticMechanismUnknown, nil)
		}
		return nil
	}
	switch {
	case !q.Authentication:
		return reject(apdu.DiagnosticMechanismRequired, nil)
	case q.Mechanism != apdu.Mechanism(c.client.Mechanism):
		return reject(apdu.DiagnosticMechanismUnknown, nil)
	case q.CallingTitle.IsZero() && (c.client.ciphered() || c.client.hls()):
		return reject(apdu.DiagnosticCallingTitleUnknown, nil)
	case len(q.Implementation) > maxInfo:
		return reject(apdu.DiagnosticNoReason, nil)
	case q.CallingTitle == c.server.device.SystemTitle():
		return reject(apdu.DiagnosticCallingTitleUnknown, security.ErrTitle)
	case !c.client.hls():
		return nil
	}
	err := security.CheckPeer(nil, q.AuthenticationValue, c.server.device.SystemTitle(), q.CallingTitle, dlms.SystemTitle{})
	if err != nil {
		return reject(apdu.DiagnosticAuthenticationFailure, err)
	}
	return nil
}

// openInitiate verifies the ciphered InitiateRequest and spends its counter; only then it is parsed. With a
// dedicated key in it, it has to be encrypted, whatever the policy (GB 9.2.3.3.7.4).
func (c *call) openInitiate(q *apdu.AARQ, lt *security.LongTerm) (apdu.InitiateRequest, protected, *rejection) {
	var none apdu.InitiateRequest
	p, err := c.parseProtected(q.UserInformation)
	if err != nil || p.dedicated {
		return none, p, reject(apdu.DiagnosticAuthenticationFailure, err)
	}
	plain, err := c.open(p, lt.Cipher, q.CallingTitle)
	if errors.Is(err, security.ErrTag) {
		return none, p, notAuthentic(err)
	}
	if err != nil {
		return none, p, reject(apdu.DiagnosticAuthenticationFailure, err)
	}
	if !p.carries(plain, apdu.TagInitiateRequest) { // another APDU of the client, put in here: see receive
		return none, p, reject(apdu.DiagnosticNoReason, ErrForm)
	}
	if err := lt.Floor.Commit(q.CallingTitle, p.counter); err != nil {
		return none, p, notCommitted(err)
	}
	req, err := apdu.ParseInitiateRequest(plain)
	if err != nil {
		return none, p, reject(apdu.DiagnosticNoReason, err)
	}
	if req.DedicatedKey != nil && !p.control.Has(security.Encrypted) {
		return none, p, notAuthentic(fmt.Errorf("%w: dedicated key not encrypted", security.ErrPolicy))
	}
	return req, p, nil
}

// notCommitted rejects an authentic AARQ whose counter the floor does not take.
func notCommitted(err error) *rejection {
	switch expected, ok := counterError(err); {
	case ok:
		r := notAuthentic(err)
		r.answer = counterException(expected)
		return r
	case errors.Is(err, security.ErrTitle), errors.Is(err, security.ErrTitles):
		r := reject(apdu.DiagnosticCallingTitleUnknown, err)
		r.told = true
		return r
	}
	return transient(err) // the floor could not be kept: no durable floor, no effect
}

// negotiate makes an association of what both ends can do (GB 9.4.4).
func (c *call) negotiate(q *apdu.InitiateRequest) (*association, *rejection) {
	conformance := q.Conformance & c.client.Conformance
	switch {
	case q.Version < apdu.DLMSVersion:
		return nil, initiateError(apdu.InitiateDLMSVersionTooLow)
	case conformance == 0:
		return nil, initiateError(apdu.InitiateIncompatibleConformance)
	case q.MaxPDU != 0 && q.MaxPDU < minPDU:
		return nil, initiateError(apdu.InitiatePDUSizeTooShort)
	}
	// Many clients size their buffer by what the server says that it takes, whatever they offered themselves: no
	// answer is longer than either.
	maxSend := int(c.client.MaxPDU)
	if q.MaxPDU != 0 { // else the client sets no bound
		maxSend = min(maxSend, int(q.MaxPDU))
	}
	return &association{
		client: c.client, server: c.server.kind.model.server, since: c.env.Now,
		conformance: conformance, maxSend: maxSend, remote: c.req.Remote,
	}, nil
}

// bringSession takes the dedicated key of the InitiateRequest.
func (c *call) bringSession(a *association, q *apdu.InitiateRequest, lt *security.LongTerm) *rejection {
	if q.DedicatedKey == nil {
		if c.client.Traffic == DedicatedRequired {
			return initiateError(apdu.InitiateOther)
		}
		return nil
	}
	s, err := c.newSession(q.DedicatedKey, lt, a.peer)
	if err != nil {
		return initiateError(apdu.InitiateOther)
	}
	a.session = s
	return nil
}

// put makes a the association of the slot, and ends the one that was.
func (c *call) put(a *association) {
	if c.slot.assoc != nil {
		c.server.end(c.index, ErrSuperseded)
	}
	c.slot.assoc = a
}

func (c *call) initiateResponse(a *association) ([]byte, error) {
	return c.keep(apdu.InitiateResponse{
		Version: apdu.DLMSVersion, Conformance: a.conformance, MaxPDU: c.client.MaxPDU, VAAName: apdu.VAANameLN,
	}.AppendBinary(c.answer[:0]))
}

// initiateError rejects a proposal with a confirmedServiceError, in clear: it says what the client asked for.
func initiateError(value uint8) *rejection {
	r := reject(apdu.DiagnosticNoReason, ErrInitiate)
	r.info, _ = apdu.ConfirmedServiceError{
		Service: apdu.ConfirmedInitiate, Class: apdu.ErrorClassInitiate, Value: value,
	}.AppendBinary(nil) // three bytes of ours: it does not fail, and without it the AARE says enough
	return r
}
