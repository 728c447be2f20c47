package client

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
)

// Release ends the association and returns the RLRQ (GB 9.4.3). On a ciphered association it carries an
// InitiateRequest under the long-term key, so that nobody else can end it. The session key is forgotten whatever the
// meter answers.
func (m *Machine) Release() ([]byte, error) {
	if err := m.start(stateOpen); err != nil {
		return nil, err
	}
	m.op = operation{kind: opRelease}
	q, err := m.rlrq()
	if err != nil {
		m.Abandon()
		return nil, err
	}
	m.state, m.session, m.fresh = stateReleasing, channel{}, key.Dedicated{}
	return q, nil
}

func (m *Machine) rlrq() ([]byte, error) {
	q := apdu.RLRQ{Release: apdu.Release{HasReason: true, Reason: apdu.ReleaseNormal}}
	if m.cfg.ciphered() {
		var err error
		if q.UserInformation, err = m.initiateRequest(nil); err != nil {
			return nil, err
		}
	}
	return q.AppendBinary(nil)
}

// receiveRLRE takes the answer to the RLRQ. The association is closed at this end in any case; an error says that
// the meter may still hold it open.
func (m *Machine) receiveRLRE(b []byte) error {
	e, err := apdu.ParseRLRE(b)
	tag, _ := apdu.TagOf(b)
	switch {
	case err != nil && tag == apdu.TagRLRE && !m.cfg.Strict: // a family of foreign meters miscounts its lengths
		m.close()
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	case err != nil:
		return refuse("%w: %w", ErrAnswer, err)
	}
	switch {
	case !m.cfg.ciphered():
	case e.UserInformation == nil && m.cfg.Strict:
		err = refuse("%w: rlre", ErrUnprotected)
	case e.UserInformation != nil:
		_, err = m.open(e.UserInformation, m.initiateForm(), m.cfg.proof(), apdu.TagInitiateResponse)
	}
	if err != nil {
		return err
	}
	if e.HasReason && e.Reason == apdu.ReleaseNotFinished {
		err = fmt.Errorf("%w: rlre: not finished", ErrAnswer)
	}
	m.close()
	return err
}
