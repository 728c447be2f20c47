package server

import (
	"crypto/cipher"
	"fmt"
	"net"
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
	key generation
	// keyOver says why that key may be used no more; nil for a key without an end.
	keyOver func() error
	peer    dlms.SystemTitle
	open    bool
	// remote is where an association came from that nothing but its origin ties to who authenticated himself: one in
	// clear.
	remote net.Addr

	since time.Time
	apdus uint32

	conformance apdu.Conformance
	maxSend     int // the longest answer, in bytes: both ends take it

	session    *session // nil without a dedicated key
	fromClient []byte   // its challenge, until pass 4
	fromServer []byte   // ours
	info       []byte
	long       *long
	upload     *upload
	transfer   *transfer // nil until there is a general block transfer
}

// session is a dedicated key with its counters. The sending counter is the device's own, see Server.sent. The cipher is
// made when the first APDU under the key is served: an AARQ costs the meter no key schedule, nor does an association hold
// one that is never used.
type session struct {
	pastSession
	fresh  key.Dedicated    // until there is a cipher
	global *security.Cipher // until then: that of the long-term key, for its authentication key
	cipher *security.Cipher
	send   *security.MemoryCounter
}

// pastSession is what stays of a dedicated key that was used when its association is over: which one it was, and what was
// received under it.
type pastSession struct {
	key   key.Fingerprint
	peer  dlms.SystemTitle
	floor *security.MemoryFloor
}

// maxPast is how many past sessions a slot remembers (ours). A dedicated key that comes again after more than that is
// taken for a new one on receiving; in sending nothing is ever forgotten.
const maxPast = 8

// remember keeps what has to outlive the association of s.
func (s *slot) remember(n *session) {
	for i, p := range s.past {
		if p.key == n.key && p.peer == n.peer {
			s.past = append(s.past[:i], s.past[i+1:]...)
			break
		}
	}
	if len(s.past) == maxPast {
		s.past = append(s.past[:0], s.past[1:]...)
	}
	s.past = append(s.past, n.pastSession)
}

// floorOf returns what was received under a dedicated key before; nil for a new one.
func (s *slot) floorOf(fp key.Fingerprint, peer dlms.SystemTitle) *security.MemoryFloor {
	for _, p := range s.past {
		if p.key == fp && p.peer == peer {
			return p.floor
		}
	}
	return nil
}

func (a *association) ciphered() bool { return a.client.ciphered() }

// bound reports whether the association is tied to where it came from: what follows an authentication in clear is not
// protected, and must not serve whoever else comes under the same SAP.
func (a *association) bound() bool { return !a.ciphered() && a.client.Mechanism != MechanismNone }

// at reports whether an APDU from remote may belong to the association.
func (a *association) at(remote net.Addr) bool {
	return !a.bound() || sameAddress(a.remote, remote)
}

func sameAddress(a, b net.Addr) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Network() == b.Network() && a.String() == b.String()
}

// another reports whether a transfer in clear was begun from another address than the APDU being served came from:
// whoever comes under a SAP that proves nothing must not get, or send, the rest of what somebody else asked for.
func (c *call) another(from net.Addr) bool {
	return !c.slot.assoc.ciphered() && !sameAddress(from, c.req.Remote)
}

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
	case a.keyOver == nil:
		return nil
	}
	return a.keyOver()
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

// newSession takes the dedicated key of an InitiateRequest.
func (c *call) newSession(b []byte, lt *security.LongTerm, peer dlms.SystemTitle) (*session, error) {
	k, err := key.NewDedicated(b)
	if err != nil {
		return nil, err
	}
	if k.Weak() {
		return nil, fmt.Errorf("%w: dedicated key of equal bytes", ErrInitiate)
	}
	return &session{pastSession: pastSession{peer: peer}, fresh: k, global: lt.Cipher, send: &c.server.sent}, nil
}

// settle makes the cipher of a session, once. Where a dedicated key is required and the slot has seen the same one
// before, the floor goes on, so that no old APDU comes twice (the broadcast key is brought to many associations).
func (c *call) settle(s *session) error {
	if s.cipher != nil {
		return nil
	}
	aead, fp, err := s.fresh.Named()
	if err != nil {
		return err
	}
	ciph, err := s.global.Session(c.server.kind.options.wrap(aead, fp))
	if err != nil {
		return err
	}
	s.key = fp
	if c.client.Traffic == DedicatedRequired {
		s.floor = c.slot.floorOf(fp, s.peer)
	}
	if s.floor == nil {
		s.floor = security.NewMemoryFloor(s.peer, 0)
	}
	s.cipher, s.fresh, s.global = ciph, key.Dedicated{}, nil
	c.slot.remember(s)
	return nil
}

func (o *Options) wrap(aead cipher.AEAD, fp key.Fingerprint) cipher.AEAD {
	if o.WrapAEAD == nil {
		return aead
	}
	return o.WrapAEAD(aead, fp)
}
