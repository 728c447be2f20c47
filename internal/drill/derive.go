package drill

import (
	"bytes"
	"errors"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// Blob is a wrapped key as it was transferred.
type Blob struct {
	// Setup is the security setup that it went to (class 64).
	Setup dlms.OBIS
	// Wrapped is the key under CCC (RFC 3394).
	Wrapped []byte
}

// Bounds of what Derive tries for one frame.
const maxSessions = 64

// ErrRow is returned for a row without CCC.
var ErrRow = errors.New("drill: the row has no ccc")

// Derive reads the keys of a meter out of a recording of its line, from the maker's row on: for each role the keys in
// the order in which they appeared, the maker's first, and every wrapped key that was transferred. It shows that suite
// 0 has no forward secrecy: no secret but the row is needed. Frames that do not open are passed over.
func Derive(row shipment.Meter, frames []Frame) (map[role.Role][]key.Unicast, []Blob, error) {
	if row.CCC.IsZero() {
		return nil, nil, ErrRow
	}
	d := reader{row: row, keys: map[role.Role][]key.Unicast{}, sessions: map[dlms.SAP][]session{}}
	for r, k := range map[role.Role]key.Unicast{role.CCLAN: row.LAN, role.CCLOCALE: row.Locale, role.CCIS: row.IS} {
		if !k.IsZero() {
			d.keys[r] = []key.Unicast{k}
		}
	}
	for _, f := range frames {
		if f.ToMeter && len(f.APDU) > 0 {
			d.read(f)
		}
	}
	return d.keys, d.blobs, nil
}

// session is a session key that was read, and who seals under it.
type session struct {
	cipher *security.Cipher
	client dlms.SystemTitle
}

// reader is an insider who reads a recording.
type reader struct {
	row      shipment.Meter
	keys     map[role.Role][]key.Unicast
	sessions map[dlms.SAP][]session
	blobs    []Blob
}

// roleAt returns the role whose key opens the associations of a client on the LAN.
func roleAt(client dlms.SAP) (role.Role, bool) {
	switch client {
	case role.SAPReadWrite, role.SAPBroadcast:
		return role.CCLAN, true
	case role.SAPIS:
		return role.CCIS, true
	}
	return 0, false
}

func (d *reader) read(f Frame) {
	switch apdu.Tag(f.APDU[0]) {
	case apdu.TagAARQ:
		if s, ok := d.open(f); ok {
			d.sessions[f.Client] = append(d.sessions[f.Client], s)
		}
	case apdu.TagDedActionRequest:
		if c, err := apdu.ParseCiphered(f.APDU); err == nil {
			d.action(f.Client, c)
		}
	case apdu.TagGeneralDed:
		if g, err := apdu.ParseGeneralCiphered(f.APDU); err == nil {
			d.action(f.Client, g.Ciphered)
		}
	}
}

// open takes the session key out of an AARQ, under the newest long-term key that fits.
func (d *reader) open(f Frame) (session, bool) {
	r, ok := roleAt(f.Client)
	q, err := apdu.ParseAARQ(f.APDU)
	if !ok || err != nil {
		return session{}, false
	}
	c, err := apdu.ParseCiphered(q.UserInformation)
	if err != nil {
		return session{}, false
	}
	known := d.keys[r]
	for i := len(known) - 1; i >= 0; i-- {
		plain, err := openUnder(known[i], q.CallingTitle, c)
		if err != nil {
			continue
		}
		return sessionOf(plain, q.CallingTitle)
	}
	return session{}, false
}

func openUnder(k key.Unicast, title dlms.SystemTitle, c apdu.Ciphered) ([]byte, error) {
	aead, err := k.AEAD()
	if err != nil {
		return nil, err
	}
	ciph, err := security.NewCipher(aead, key.Authentication{})
	if err != nil {
		return nil, err
	}
	return ciph.Open(nil, security.Control(c.Control), title, c.Counter, c.Content)
}

func sessionOf(initiate []byte, client dlms.SystemTitle) (session, bool) {
	q, err := apdu.ParseInitiateRequest(initiate)
	if err != nil {
		return session{}, false
	}
	k, err := key.NewDedicated(q.DedicatedKey)
	if err != nil {
		return session{}, false
	}
	aead, err := k.AEAD()
	if err != nil {
		return session{}, false
	}
	c, err := security.NewCipher(aead, key.Authentication{})
	return session{c, client}, err == nil
}

// action looks for a key transfer in a request under one of the latest session keys of a client.
func (d *reader) action(client dlms.SAP, c apdu.Ciphered) {
	known := d.sessions[client]
	for i := len(known) - 1; i >= max(0, len(known)-maxSessions); i-- {
		plain, err := known[i].cipher.Open(nil, security.Control(c.Control), known[i].client, c.Counter, c.Content)
		if err == nil {
			d.transfer(plain)
			return
		}
	}
}

func (d *reader) transfer(plain []byte) {
	q, err := apdu.ParseActionRequest(plain)
	if err != nil || q.Kind != apdu.ActionRequestNormal || !q.HasParameters ||
		q.Method.Class != dlms.ClassSecuritySetup || q.Method.Method != cosem.MethodKeyTransfer {
		return
	}
	r, ok := roleOf(q.Method.Instance)
	id, wrapped, err := cosem.ParseKeyTransfer(q.Parameters)
	if !ok || err != nil {
		return
	}
	d.keep(Blob{q.Method.Instance, bytes.Clone(wrapped)})
	if k, err := d.row.CCC.UnwrapUnicast(wrapped); err == nil && id == cosem.KeyGlobalUnicast {
		d.learn(r, k)
	}
}

func (d *reader) keep(b Blob) {
	for _, o := range d.blobs {
		if o.Setup == b.Setup && bytes.Equal(o.Wrapped, b.Wrapped) {
			return
		}
	}
	d.blobs = append(d.blobs, b)
}

func (d *reader) learn(r role.Role, k key.Unicast) {
	for _, o := range d.keys[r] {
		if o.Equal(k) {
			return
		}
	}
	d.keys[r] = append(d.keys[r], k)
}

// roleOf returns the role whose key a security setup takes.
func roleOf(setup dlms.OBIS) (role.Role, bool) {
	for _, r := range role.Associations() {
		if s, ok := r.Setup(); ok && s == setup {
			return r, true
		}
	}
	return 0, false
}
