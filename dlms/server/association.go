package server

import (
	"crypto/cipher"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// association is one association, half-open or open.
type association struct {
	client *client
	server dlms.SAP
	// key is the long-term key that opened it, zero without security.
	key  generation
	peer dlms.SystemTitle
	open bool

	since time.Time
	apdus uint32

	conformance apdu.Conformance
	maxSend     int // what the client takes, in bytes

	session    *session // nil without a dedicated key
	fromClient []byte   // its challenge, until pass 4
	fromServer []byte   // ours
	info       []byte
	long       *longGet
	upload     *upload
}

// session is a dedicated key with its counters.
type session struct {
	key    key.Dedicated
	peer   dlms.SystemTitle
	cipher *security.Cipher
	send   *security.MemoryCounter
	floor  *security.MemoryFloor
}

func (a *association) ciphered() bool { return a.client.Mechanism != MechanismNone }

// over says why an association may not be used any more.
func (a *association) over(now time.Time, c *client, o *Options) error {
	age := now.Sub(a.since)
	switch {
	case age < 0 || age >= c.MaxAge:
		return ErrAge
	case !a.open && age >= o.HalfOpenAge:
		return ErrHalfOpen
	case a.apdus >= c.MaxAPDUs:
		return ErrAPDUs
	}
	return nil
}

// Context implements cosem.Association.
func (a *association) Context() cosem.AssociationContext {
	return cosem.AssociationContext{
		Client: a.client.SAP, Server: a.server, Ciphered: a.ciphered(), Mechanism: uint8(a.client.Mechanism),
		Conformance: a.conformance, MaxReceive: a.client.MaxPDU, MaxSend: uint16(a.maxSend),
		Setup: a.key.setup, Open: a.open,
	}
}

// ObjectList implements cosem.Association.
func (a *association) ObjectList() dlms.Data { return a.client.list }

// newSession makes a session of the dedicated key in an InitiateRequest. When the slot has seen the same key before,
// the counter under which this end seals goes on, so that no nonce comes twice, and where a dedicated key is required
// the floor goes on too, so that no old APDU comes twice (the broadcast key is brought to many associations).
func (c *call) newSession(b []byte, lt *security.LongTerm, peer dlms.SystemTitle) (*session, error) {
	k, err := key.NewDedicated(b)
	if err != nil {
		return nil, err
	}
	if k.Weak() {
		return nil, fmt.Errorf("%w: dedicated key of equal bytes", ErrInitiate)
	}
	aead, err := k.AEAD()
	if err != nil {
		return nil, err
	}
	ciph, err := lt.Cipher.Session(c.server.kind.options.wrap(aead, k.Fingerprint()))
	if err != nil {
		return nil, err
	}
	s := &session{key: k, peer: peer, cipher: ciph}
	s.send, s.floor = new(security.MemoryCounter), security.NewMemoryFloor(peer, 0)
	if last := c.slot.last; last != nil && last.key.Equal(k) {
		s.send = last.send
		if last.peer == peer && c.client.Traffic == DedicatedRequired {
			s.floor = last.floor
		}
	}
	return s, nil
}

func (o *Options) wrap(aead cipher.AEAD, fp key.Fingerprint) cipher.AEAD {
	if o.WrapAEAD == nil {
		return aead
	}
	return o.WrapAEAD(aead, fp)
}
