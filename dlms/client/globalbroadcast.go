package client

import (
	"fmt"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// GlobalBroadcast makes unconfirmed requests to all meters that hold one global broadcast key (GB 9.2.3.3.5: key set 1,
// security control 0x70). A meter takes them in the name of the client that has an association open with it; no key is
// handed over as [Broadcast] does. Safe for concurrent use.
//
// Every meter that holds the key could forge such requests.
type GlobalBroadcast struct {
	title dlms.SystemTitle
	form  form

	mu      sync.Mutex
	channel channel
	id      uint8
}

// GlobalBroadcastConfig configures a GlobalBroadcast.
type GlobalBroadcastConfig struct {
	// Title is the system title of the sender.
	Title dlms.SystemTitle
	// Cipher is under the global broadcast key, with the authentication key of the meters. It is cloned.
	Cipher *security.Cipher
	// Send counts what is sealed under that key. The key is a long-term one: a [security.BlockCounter].
	Send security.SendCounter
	// General sends general-glo-ciphering, which names the sender, instead of the glo- forms.
	General bool
}

// NewGlobalBroadcast checks cfg. Errors match ErrConfig.
func NewGlobalBroadcast(cfg GlobalBroadcastConfig) (*GlobalBroadcast, error) {
	if cfg.Title.IsZero() || cfg.Cipher == nil || cfg.Send == nil {
		return nil, fmt.Errorf("%w: global broadcast: want a system title, a cipher and a counter", ErrConfig)
	}
	return &GlobalBroadcast{
		title: cfg.Title, form: form{ciphered: true, general: cfg.General},
		channel: channel{cipher: cfg.Cipher.Clone(), send: cfg.Send},
	}, nil
}

// AppendSet appends an unconfirmed set-request for all stations to dst. Each call makes an APDU of its own; to repeat a
// broadcast on the line, send the same bytes again.
func (b *GlobalBroadcast) AppendSet(dst []byte, a apdu.Attribute, value dlms.Data) ([]byte, error) {
	return b.seal(dst, setForAll(a, value))
}

// AppendAction appends an unconfirmed action-request for all stations to dst. A null arg sends no parameters.
func (b *GlobalBroadcast) AppendAction(dst []byte, ref dlms.MethodRef, arg dlms.Data) ([]byte, error) {
	return b.seal(dst, actionForAll(ref, arg))
}

func (b *GlobalBroadcast) seal(dst []byte, build forAll) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id++
	plain, err := build(apdu.NewInvokeID(b.id, false, true))
	if err != nil {
		return nil, err
	}
	return sealAs(dst, plain, b.form, b.channel, security.AuthenticatedEncrypted|security.Broadcast, b.title)
}

// forAll writes an unconfirmed request under an invoke-id.
type forAll func(id apdu.InvokeID) ([]byte, error)

func setForAll(a apdu.Attribute, value dlms.Data) forAll {
	return func(id apdu.InvokeID) ([]byte, error) {
		return apdu.SetRequest{Kind: apdu.SetRequestNormal, ID: id, Attribute: a, Value: value}.AppendBinary(nil)
	}
}

func actionForAll(ref dlms.MethodRef, arg dlms.Data) forAll {
	return func(id apdu.InvokeID) ([]byte, error) {
		return apdu.ActionRequest{
			Kind: apdu.ActionRequestNormal, ID: id, Method: ref, HasParameters: !arg.IsNull(), Parameters: arg,
		}.AppendBinary(nil)
	}
}
