package client

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
)

// state is where an association stands.
type state uint8

const (
	stateNew state = iota
	stateOpening
	stateProving
	stateOpen
	stateReleasing
	stateClosed
)

func (s state) String() string {
	return [...]string{
		"not opened", "waiting for the aare", "waiting for pass 4 of hls", "open", "waiting for the rlre",
		"closed",
	}[s]
}

// Machine is the client's end of one association without input and output: the caller carries the bytes. Open, Get,
// GetList, Set, SetList, Action, ActionList and Release each start an operation and return the APDU to send;
// [Machine.Receive] takes what came back. What is to be sent is valid until the machine gives something else to send.
// One operation runs at a time. It is not safe for concurrent use.
type Machine struct {
	cfg Config
	op  operation

	state     state
	invokeID  uint8
	forgeable bool // the last operation had an answer that was not authenticated
	services  form

	peer        dlms.SystemTitle
	challenge   []byte // ours, sent in the AARQ
	theirs      []byte // the meter's, in the AARE
	received    dlms.InvocationCounter
	conformance apdu.Conformance
	maxSend     int

	global, session channel
	fresh           key.Dedicated // the session key, until settle has made the session of it

	value dlms.Data
	list  any // the results of an operation with a list: []apdu.GetResult, []dlms.DataAccessResult or []apdu.ActionOutcome

	out  []byte // what is sent: room for a header, and an APDU
	part []byte // what is sent: a general block
	in   []byte // what has come, in clear; given away with a value that lies in it
}

// NewMachine checks cfg and returns a machine for one association. Errors match ErrConfig.
func NewMachine(cfg Config) (*Machine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, peer: cfg.PeerTitle}
	if cfg.keyed() {
		m.global = channel{cipher: cfg.Global.Cipher.Clone(), send: cfg.Global.Send, floor: cfg.Global.Floor}
	}
	m.services = form{
		ciphered: cfg.ciphered(), general: cfg.General, dedicated: cfg.Dedicated || cfg.Broadcast != nil,
	}
	return m, nil
}

// Receive takes an answer. There are four outcomes:
//
//   - done and no error: the operation is complete; its result is in Value, Values, Results or Outcomes.
//   - done and an error: the operation failed. The association is still there if Established says so.
//   - not done and no error: next is to be sent, or when it is nil, the next answer waited for: what came was none,
//     a notification or a late answer to an operation that was given up.
//   - not done and an error: what came does not verify, and nothing has moved. The answer may still come.
func (m *Machine) Receive(answer []byte) (next []byte, done bool, err error) {
	if tag, err := apdu.TagOf(answer); err == nil && m.unasked(tag) {
		m.notify(tag, answer)
		return nil, false, nil
	}
	if !m.op.running() {
		return nil, false, refuse("%w: nothing was asked", ErrState)
	}
	next, done, err = m.receive(answer)
	switch {
	case err != nil && isRefusal(err):
		return nil, false, err
	case err != nil:
		m.fail()
		return nil, true, err
	case done:
		m.op = operation{}
	}
	return next, done, nil
}

func (m *Machine) receive(answer []byte) ([]byte, bool, error) {
	if tag, err := apdu.TagOf(answer); err == nil {
		if m.late(tag) {
			return nil, false, nil
		}
		if tag == apdu.TagGeneralBlockTransfer && m.state == stateOpen {
			return m.receivePart(answer)
		}
		if err := m.refused(tag, answer); err != nil {
			return nil, false, err
		}
	}
	switch m.state {
	case stateOpening:
		return m.receiveAARE(answer)
	case stateProving:
		return m.receiveProof(answer)
	case stateReleasing:
		return nil, true, m.receiveRLRE(answer)
	}
	return m.receiveService(answer)
}

// late reports whether an APDU can only be the answer to something that was given up: to a service before the
// association began, or to an association's APDU out of its turn.
func (m *Machine) late(tag apdu.Tag) bool {
	switch tag {
	case apdu.TagAARE:
		return m.state != stateOpening
	case apdu.TagRLRE:
		return m.state != stateReleasing
	case apdu.TagExceptionResponse, apdu.TagConfirmedServiceError:
		return false
	}
	return m.state == stateOpening || m.state == stateReleasing
}

// refused returns the refusal in an APDU that the standard sends in clear, if it is one.
func (m *Machine) refused(tag apdu.Tag, answer []byte) error {
	switch tag {
	case apdu.TagExceptionResponse:
		e, err := apdu.ParseExceptionResponse(answer)
		if err != nil {
			return refuse("%w: %w", ErrAnswer, err)
		}
		return &ExceptionError{e}
	case apdu.TagConfirmedServiceError:
		e, err := apdu.ParseConfirmedServiceError(answer)
		if err != nil {
			return refuse("%w: %w", ErrAnswer, err)
		}
		return &ServiceError{e}
	}
	return nil
}

// fail ends the operation, and the association unless it stands open.
func (m *Machine) fail() {
	m.op = operation{}
	if m.state != stateOpen {
		m.close()
	}
}

// Abandon gives the association up without a word to the meter: its session key is forgotten.
func (m *Machine) Abandon() {
	m.op = operation{}
	m.close()
}

func (m *Machine) close() {
	m.state, m.session, m.global, m.challenge, m.theirs = stateClosed, channel{}, channel{}, nil, nil
	m.fresh = key.Dedicated{}
}

// Established reports whether the association is open.
func (m *Machine) Established() bool { return m.state == stateOpen }

// Value returns the result of the last Get or Action, null if there was none.
func (m *Machine) Value() dlms.Data { return m.value }

// Values returns the results of the last GetList, one for each attribute.
func (m *Machine) Values() []apdu.GetResult { return listOf[apdu.GetResult](m) }

// Results returns the results of the last SetList, one for each attribute.
func (m *Machine) Results() []dlms.DataAccessResult { return listOf[dlms.DataAccessResult](m) }

// Outcomes returns the outcomes of the last ActionList, one for each method.
func (m *Machine) Outcomes() []apdu.ActionOutcome { return listOf[apdu.ActionOutcome](m) }

// listOf returns the results of the last operation if it was one with a list of them.
func listOf[T any](m *Machine) []T {
	list, _ := m.list.([]T)
	return list
}

// Authenticated reports whether every answer to the last operation had an authentication tag that verified. It is
// false where nothing is ciphered, and may be with Config.EncryptedOnly.
func (m *Machine) Authenticated() bool { return m.cfg.ciphered() && !m.forgeable }

// PeerTitle returns the meter's system title, zero when it did not say.
func (m *Machine) PeerTitle() dlms.SystemTitle { return m.peer }

// Conformance returns what the two ends agreed on.
func (m *Machine) Conformance() apdu.Conformance { return m.conformance }

// MaxSend returns the longest APDU that the meter takes, in bytes; 0 is no bound.
func (m *Machine) MaxSend() int { return m.maxSend }

// start checks that an operation may begin in the state want.
func (m *Machine) start(want state) error {
	switch {
	case m.op.running():
		return fmt.Errorf("%w: another operation is running", ErrState)
	case m.state != want:
		return fmt.Errorf("%w: the association is %s", ErrState, m.state)
	}
	m.value, m.list, m.forgeable = dlms.Data{}, nil, false
	return nil
}

// globalForm is the form of what goes under the long-term key after the AARE: passes 3 and 4 of HLS.
func (m *Machine) globalForm() form {
	return form{ciphered: m.cfg.ciphered(), general: m.cfg.General}
}

// initiateForm is the form of the InitiateRequest and its response, in an AARQ and in an RLRQ.
func (m *Machine) initiateForm() form { return form{ciphered: m.cfg.ciphered()} }
