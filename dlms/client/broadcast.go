package client

import (
	"fmt"
	"io"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// Broadcast is one broadcast session: a dedicated key that many meters hold, and its one counter. The key is handed
// to each meter in an association of its own ([Config.Broadcast]); then unconfirmed requests go to all of them at
// once. Only this end seals under the key.
//
// Every meter that holds the key could forge such requests, and who joins later could be fed old ones: a new
// Broadcast is made for all whenever a meter joins. Safe for concurrent use.
type Broadcast struct {
	title dlms.SystemTitle
	key   key.Dedicated

	mu      sync.Mutex
	channel channel
	id      uint8
}

// BroadcastConfig configures a Broadcast.
type BroadcastConfig struct {
	// Title is the system title of the sender.
	Title dlms.SystemTitle
	// Authentication enters the additional data of every APDU, unset for none. All meters must have the same.
	Authentication key.Authentication
	// Rand is the source of the key.
	Rand io.Reader
	// WrapAEAD, if set, stands between the cipher and its use, for a nonce oracle.
	WrapAEAD WrapAEAD
}

// NewBroadcast draws a key. Its counter starts at 1 and dies with it.
func NewBroadcast(cfg BroadcastConfig) (*Broadcast, error) {
	if cfg.Title.IsZero() || cfg.Rand == nil {
		return nil, fmt.Errorf("%w: broadcast: want a system title and a source of randomness", ErrConfig)
	}
	k, err := key.GenerateDedicated(cfg.Rand)
	if err != nil {
		return nil, err
	}
	aead, err := k.AEAD()
	if err != nil {
		return nil, err
	}
	if cfg.WrapAEAD != nil {
		aead = cfg.WrapAEAD(aead, k.Fingerprint())
	}
	c, err := security.NewCipher(aead, cfg.Authentication)
	if err != nil {
		return nil, err
	}
	return &Broadcast{title: cfg.Title, key: k, channel: channel{cipher: c, send: security.NewMemoryCounter()}}, nil
}

// CheckValue names the key.
func (b *Broadcast) CheckValue() key.CheckValue { return b.key.CheckValue() }

// AppendSet appends an unconfirmed ded-set-request for all stations to dst. Each call makes an APDU of its own; to
// repeat a broadcast on the line, send the same bytes again.
func (b *Broadcast) AppendSet(dst []byte, a apdu.Attribute, value dlms.Data) ([]byte, error) {
	return b.seal(dst, setForAll(a, value))
}

// AppendAction appends an unconfirmed ded-action-request for all stations to dst. A null arg sends no parameters.
func (b *Broadcast) AppendAction(dst []byte, ref dlms.MethodRef, arg dlms.Data) ([]byte, error) {
	return b.seal(dst, actionForAll(ref, arg))
}

func (b *Broadcast) seal(dst []byte, build forAll) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id++
	plain, err := build(apdu.NewInvokeID(b.id, false, true))
	if err != nil {
		return nil, err
	}
	return sealAs(dst, plain, form{ciphered: true, dedicated: true}, b.channel, security.AuthenticatedEncrypted, b.title)
}
