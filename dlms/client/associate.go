package client

import (
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// currentAssociation is the object that stands for the association in use, and replyToHLS its method for passes 3
// and 4 (BB 4.4.4).
func replyToHLS() dlms.MethodRef {
	return dlms.MethodRef{Class: dlms.ClassAssociationLN, Instance: dlms.OBIS{0, 0, 40, 0, 0, 255}, Method: 1}
}

// Open starts the association and returns the AARQ (GB 9.4.2).
func (m *Machine) Open() ([]byte, error) {
	if err := m.start(stateNew); err != nil {
		return nil, err
	}
	m.op = operation{kind: opAssociate}
	q, err := m.aarq()
	if err != nil {
		m.fail()
		return nil, err
	}
	m.state = stateOpening
	return q, nil
}

func (m *Machine) aarq() ([]byte, error) {
	q := apdu.AARQ{Context: m.context(), CallingTitle: m.cfg.Title, Implementation: m.cfg.Implementation}
	if m.cfg.Mechanism != apdu.MechanismLowest {
		value, err := m.authenticationValue()
		if err != nil {
			return nil, err
		}
		q.Authentication, q.Mechanism, q.AuthenticationValue = true, m.cfg.Mechanism, value
	}
	dedicated, err := m.newSession()
	if err != nil {
		return nil, err
	}
	defer clear(dedicated)
	if q.UserInformation, err = m.initiateRequest(dedicated); err != nil {
		return nil, err
	}
	defer m.forgetSecret(q.AuthenticationValue)
	// Behind the user information, in the same memory: there is room for both.
	return q.AppendBinary(q.UserInformation[len(q.UserInformation):])
}

// forgetSecret overwrites a copy of the password. A challenge is no secret.
func (m *Machine) forgetSecret(b []byte) {
	if m.cfg.Mechanism == apdu.MechanismLLS {
		clear(b)
	}
}

func (m *Machine) context() apdu.ApplicationContext {
	if m.cfg.ciphered() {
		return apdu.ContextLNCiphered
	}
	return apdu.ContextLN
}

func (m *Machine) authenticationValue() ([]byte, error) {
	if m.cfg.Mechanism == apdu.MechanismLLS {
		return key.RevealSecret(m.cfg.Secret), nil
	}
	challenge, err := security.NewChallenge(m.cfg.Rand)
	m.challenge = challenge
	return challenge, err
}

// newSession makes the session key and returns its bytes for the InitiateRequest, nil when there is none.
func (m *Machine) newSession() ([]byte, error) {
	if m.cfg.Broadcast != nil {
		// No confirmed APDU goes under this key: the association has no channel for it.
		return key.Reveal(m.cfg.Broadcast.key), nil
	}
	if !m.cfg.Dedicated {
		return nil, nil
	}
	k, err := key.GenerateDedicated(m.cfg.Rand)
	if err != nil {
		return nil, err
	}
	m.fresh = k
	return key.Reveal(k), nil
}

// settle makes the session of the key that newSession drew, once: when the first APDU goes or comes under it. An
// association that is refused, or delivers a key and does no more, needs no key schedule.
func (m *Machine) settle() error {
	if m.fresh.IsZero() {
		return nil
	}
	c, err := sessionCipher(m.global.cipher, m.fresh, m.cfg.WrapAEAD)
	if err != nil {
		return err
	}
	m.fresh = key.Dedicated{}
	m.session = channel{cipher: c, send: security.NewMemoryCounter(), floor: security.NewMemoryFloor(m.peer, 0)}
	if m.cfg.SharedCounter {
		m.session.send = m.global.send
	}
	return nil
}

func sessionCipher(global *security.Cipher, k key.Dedicated, wrap WrapAEAD) (*security.Cipher, error) {
	aead, err := k.AEAD()
	if err != nil {
		return nil, err
	}
	if wrap != nil {
		aead = wrap(aead, k.Fingerprint())
	}
	return global.Session(aead)
}

// initiateRequest returns the InitiateRequest, ciphered under the long-term key where there is one. With a session
// key in it, it is authenticated and encrypted whatever the policy (GB 9.2.3.3.7.4).
func (m *Machine) initiateRequest(dedicated []byte) ([]byte, error) {
	// The room is enough for all of it, so that no copy of the key is left behind by growing, and it is sealed where it
	// stands.
	plain, err := apdu.InitiateRequest{
		DedicatedKey: dedicated, ResponseAllowed: true, Version: apdu.DLMSVersion,
		Conformance: m.cfg.Conformance, MaxPDU: m.cfg.MaxPDU,
	}.AppendBinary(m.room())
	if err != nil {
		return nil, err
	}
	ctl := m.cfg.control()
	if dedicated != nil {
		ctl = security.AuthenticatedEncrypted
	}
	sealed, err := m.sealWith(plain, m.initiateForm(), ctl)
	if err != nil {
		clear(plain)
	}
	return sealed, err
}

// receiveAARE takes the answer to the AARQ. Everything in it but the user information is in clear and may be forged:
// what does not fit is refused, is never answered, and moves nothing.
func (m *Machine) receiveAARE(b []byte) ([]byte, bool, error) {
	e, err := apdu.ParseAARE(b)
	if err != nil {
		return nil, false, refuse("%w: %w", ErrAnswer, err)
	}
	if err := m.checkAARE(e); err != nil {
		return nil, false, err
	}
	expected := m.peer
	m.peer = e.RespondingTitle
	if err := m.receiveInitiate(e.UserInformation); err != nil {
		m.peer = expected
		return nil, false, err
	}
	if !m.cfg.Mechanism.HLS() {
		m.state = stateOpen
		return nil, true, nil
	}
	m.theirs = slices.Clone(e.AuthenticationValue)
	next, err := m.prove()
	if err != nil {
		return nil, false, err
	}
	m.state = stateProving
	return next, false, nil
}

// checkAARE holds the AARE against what was asked for. The client does not let the server choose a weaker context or
// mechanism, and lets nobody reflect its own messages (GB 9.2.7.4).
func (m *Machine) checkAARE(e apdu.AARE) error {
	if e.Result != apdu.AssociationAccepted {
		return rejection(e)
	}
	if e.Context != m.context() {
		return refuse("%w: aare: want context %s, got %s", ErrAnswer, m.context(), e.Context)
	}
	hls := m.cfg.Mechanism.HLS()
	if wants := e.Diagnostic == apdu.DiagnosticAuthenticationRequired; wants && !hls {
		return rejection(e)
	}
	if hls && (!e.Authentication || e.Mechanism != m.cfg.Mechanism) {
		return refuse("%w: aare: want mechanism %s, got %s", ErrAnswer, m.cfg.Mechanism, e.Mechanism)
	}
	if !m.cfg.titled() {
		return nil
	}
	return m.checkPeer(e)
}

func rejection(e apdu.AARE) error {
	r := &RejectError{Result: e.Result, Diagnostic: e.Diagnostic}
	if why, err := apdu.ParseConfirmedServiceError(e.UserInformation); err == nil {
		r.Initiate = &why
	}
	return r
}

func (m *Machine) checkPeer(e apdu.AARE) error {
	challenge := e.AuthenticationValue
	if !m.cfg.Mechanism.HLS() {
		challenge = make([]byte, security.ChallengeSize) // none was exchanged; only the titles are checked
	}
	if e.RespondingTitle.IsZero() {
		return refuse("%w: aare: no system title", ErrAnswer)
	}
	err := security.CheckPeer(m.challenge, challenge, m.cfg.Title, e.RespondingTitle, m.cfg.PeerTitle)
	if err != nil {
		return refuse("aare: %w", err)
	}
	return nil
}

// receiveInitiate takes the user information of an accepting AARE.
func (m *Machine) receiveInitiate(info []byte) error {
	p, err := m.openInitiate(info)
	if err != nil {
		return err
	}
	switch {
	case p.Version != apdu.DLMSVersion:
		return fmt.Errorf("%w: want dlms version %d, got %d", ErrAnswer, apdu.DLMSVersion, p.Version)
	case p.VAAName != apdu.VAANameLN:
		return fmt.Errorf("%w: want vaa-name %#04x, got %#04x", ErrAnswer, apdu.VAANameLN, p.VAAName)
	}
	m.conformance = p.Conformance & m.cfg.Conformance
	m.maxSend = int(p.MaxPDU)
	return nil
}

// openInitiate verifies an InitiateResponse.
func (m *Machine) openInitiate(info []byte) (apdu.InitiateResponse, error) {
	plain, err := m.open(info, m.initiateForm(), m.cfg.proof(), apdu.TagInitiateResponse)
	if err != nil {
		return apdu.InitiateResponse{}, fmt.Errorf("initiate-response: %w", err)
	}
	p, err := apdu.ParseInitiateResponse(plain)
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return p, nil
}

// prove returns pass 3 of HLS: f(challenge of the server) as the parameter of reply_to_HLS_authentication.
func (m *Machine) prove() ([]byte, error) {
	reply, err := m.reply()
	if err != nil {
		return nil, err
	}
	m.op.id = m.nextID()
	plain, err := apdu.ActionRequest{
		Kind: apdu.ActionRequestNormal, ID: m.op.id, Method: replyToHLS(),
		HasParameters: true, Parameters: dlms.OctetString(reply),
	}.AppendBinary(m.room())
	if err != nil {
		return nil, err
	}
	return m.seal(plain, m.globalForm())
}

// reply returns f(challenge of the server). With GMAC the counter inside is spent before the one around it.
func (m *Machine) reply() ([]byte, error) {
	if m.cfg.Mechanism == apdu.MechanismHLSSHA256 {
		return security.SHA256Reply(m.cfg.Secret, m.cfg.Title, m.peer, m.theirs, m.challenge)
	}
	inner, err := m.global.send.Next()
	if err != nil {
		return nil, err
	}
	return security.BuildReply(m.global.cipher, m.cfg.Title, inner, m.theirs)
}

// receiveProof takes pass 4 of HLS: f(our challenge).
func (m *Machine) receiveProof(b []byte) ([]byte, bool, error) {
	plain, err := m.open(b, m.globalForm(), m.cfg.proof(), apdu.TagActionResponse)
	if err != nil {
		return nil, false, err
	}
	reply, err := m.hlsReply(plain)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrAuthentication, err)
	}
	if m.cfg.Mechanism == apdu.MechanismHLSSHA256 {
		err = security.VerifySHA256Reply(m.cfg.Secret, m.cfg.Title, m.peer, m.theirs, m.challenge, reply)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrAuthentication, err)
		}
	} else if err := m.verifyGMAC(reply); err != nil {
		return nil, false, err
	}
	m.state, m.challenge, m.theirs = stateOpen, nil, nil
	return nil, true, nil
}

func (m *Machine) verifyGMAC(reply []byte) error {
	outer := m.received
	inner, err := security.VerifyReply(m.global.cipher, m.peer, m.challenge, reply)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthentication, err)
	}
	if m.cfg.Strict && inner == outer {
		return fmt.Errorf("%w: it used counter %d twice", ErrAuthentication, inner)
	}
	if inner < outer { // the floor is above it already
		return nil
	}
	if err := security.CommitInner(m.global.floor, m.peer, inner); err != nil {
		return fmt.Errorf("client: pass 4 of hls: %w", err)
	}
	return nil
}

func (m *Machine) hlsReply(plain []byte) ([]byte, error) {
	p, err := apdu.ParseActionResponse(plain)
	switch {
	case err != nil:
		return nil, err
	case p.Kind != apdu.ActionResponseNormal || p.ID.ID() != m.op.id.ID():
		return nil, fmt.Errorf("%w: another action-response", ErrAnswer)
	case p.Outcome.Result != dlms.ActionSuccess:
		return nil, p.Outcome.Result
	case !p.Outcome.HasReturn || p.Outcome.Return.Result != dlms.DataAccessSuccess:
		return nil, fmt.Errorf("%w: no reply to the challenge", ErrAnswer)
	}
	return p.Outcome.Return.Data.OctetString()
}
