package client

import (
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// ErrNoKey is returned by a [Receiver] for a push under a key that its Lookup does not know.
var ErrNoKey = errors.New("client: no key for this push")

// Push is what a pushed APDU says of itself before anything is verified. All of it may be anybody's.
type Push struct {
	// Title is the sender's system title: that in the APDU, else that which the caller of Receive gave.
	Title dlms.SystemTitle
	// Form is the tag of the APDU: glo- or ded-event-notification-request, a general form, or general-ciphering.
	Form apdu.Tag
	// Control is the security control byte; its key set says whether the broadcast key is meant.
	Control security.Control
	// Key is how general-ciphering says the key is found, and Recipient whom it is for.
	Key       apdu.KeyInfo
	Recipient dlms.SystemTitle
}

// PushKey is what a push is verified with.
type PushKey struct {
	// Cipher is under the key. It is cloned.
	Cipher *security.Cipher
	// Floor holds the counters of the meter under this key. Who shares the key with an association shares the floor, and
	// takes a push before what the meter sent after it: else its counter is below the floor.
	Floor security.ReceiveFloor
}

// ReceiverConfig configures a [Receiver].
type ReceiverConfig struct {
	// Title is one's own system title. General-ciphering for somebody else is refused when it is set.
	Title dlms.SystemTitle
	// Acceptance is the least protection, and what is taken beyond the ordinary. Its zero value also takes pushes in
	// clear, which are then not authenticated.
	Acceptance security.Acceptance
	// Lookup returns the key for a push, or an error: ErrNoKey where there is none. It may be called from several
	// goroutines.
	Lookup func(Push) (PushKey, error)
}

// Receiver takes what meters push without an association (GB 9.3.10, 9.3.11): event and data notifications, in clear,
// in the glo-, ded- and general forms, and in general-ciphering. It has no input or output of its own, and no state
// but the floors of its keys. It is safe for concurrent use if Lookup and the floors are.
type Receiver struct {
	cfg ReceiverConfig
}

// NewReceiver checks cfg. Errors match ErrConfig.
func NewReceiver(cfg ReceiverConfig) (*Receiver, error) {
	if cfg.Lookup == nil && (cfg.Acceptance.Policy != security.PolicyNone || cfg.Acceptance.EncryptedOnly) {
		return nil, fmt.Errorf("%w: receiver: no lookup of keys", ErrConfig)
	}
	if cfg.Acceptance.Policy > security.PolicyAuthenticatedEncrypted {
		return nil, fmt.Errorf("%w: receiver: unknown %s", ErrConfig, cfg.Acceptance.Policy)
	}
	return &Receiver{cfg: cfg}, nil
}

// Receive takes one APDU. from is the sender's system title where the caller knows it, by its address say: a push
// whose form carries a title is held against it, and one whose form carries none needs it. The notification owns its
// memory; nothing of an APDU that is refused has moved.
func (r *Receiver) Receive(b []byte, from dlms.SystemTitle) (Notification, error) {
	n, err := r.receive(b, from)
	if err != nil {
		return Notification{}, fmt.Errorf("push: %w", err)
	}
	return n, nil
}

func (r *Receiver) receive(b []byte, from dlms.SystemTitle) (Notification, error) {
	tag, err := apdu.TagOf(b)
	if err != nil {
		return Notification{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if tag == apdu.TagDataNotification || tag == apdu.TagEventNotification {
		if err := r.cfg.Acceptance.Check(0); err != nil {
			return Notification{}, fmt.Errorf("%s: %w", tag, err)
		}
		return parseNotification(append([]byte(nil), b...), Notification{Title: from})
	}
	p, err := parsePush(tag, b)
	if err != nil {
		return Notification{}, err
	}
	if err := r.check(&p, from); err != nil {
		return Notification{}, err
	}
	return r.open(p)
}

// pushed is a protected push taken apart.
type pushed struct {
	Push
	counter dlms.InvocationCounter
	extra   []byte // additional authenticated data of general-ciphering
	content []byte
}

func parsePush(tag apdu.Tag, b []byte) (pushed, error) {
	p := pushed{Push: Push{Form: tag}}
	var c apdu.Ciphered
	var err error
	switch {
	case tag == apdu.TagGloEventNotification || tag == apdu.TagDedEventNotification:
		c, err = apdu.ParseCiphered(b)
	case tag.IsGeneral():
		var g apdu.GeneralCiphered
		g, err = apdu.ParseGeneralCiphered(b)
		c, p.Title = g.Ciphered, g.Title
	case tag == apdu.TagGeneralCiphering:
		var g apdu.GeneralCiphering
		g, err = apdu.ParseGeneralCiphering(b)
		c, p.Title, p.Recipient, p.Key, p.extra = g.Ciphered, g.Originator, g.Recipient, g.Key, g.AAD()
	default:
		err = fmt.Errorf("%s is no notification", tag)
	}
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	p.Control, p.counter, p.content = security.Control(c.Control), c.Counter, c.Content
	return p, nil
}

// check holds what the APDU says of itself against what is accepted.
func (r *Receiver) check(p *pushed, from dlms.SystemTitle) error {
	if err := r.cfg.Acceptance.Check(p.Control); err != nil {
		return fmt.Errorf("%s: %w", p.Form, err)
	}
	switch {
	case p.Control == 0:
		return fmt.Errorf("%s: %w: nothing protects it", p.Form, security.ErrPolicy)
	case p.Title.IsZero():
		p.Title = from
	case !from.IsZero() && from != p.Title:
		return fmt.Errorf("%w: want %s, got %s", security.ErrTitle, from, p.Title)
	}
	switch {
	case p.Title.IsZero():
		return fmt.Errorf("%s: %w: nobody says who sent it", p.Form, security.ErrTitle)
	case p.Title == r.cfg.Title:
		return fmt.Errorf("%w: the sender claims our own, %s", security.ErrTitle, p.Title)
	case !p.Recipient.IsZero() && !r.cfg.Title.IsZero() && p.Recipient != r.cfg.Title:
		return fmt.Errorf("%w: it is for %s", security.ErrTitle, p.Recipient)
	case r.cfg.Lookup == nil:
		return ErrNoKey
	}
	return nil
}

// open verifies a push and moves its floor, and only then looks inside.
func (r *Receiver) open(p pushed) (Notification, error) {
	k, err := r.cfg.Lookup(p.Push)
	if err != nil {
		return Notification{}, err
	}
	if k.Cipher == nil || k.Floor == nil {
		return Notification{}, fmt.Errorf("%w: push key without cipher or floor", ErrConfig)
	}
	n := Notification{Title: p.Title, Counter: p.counter}
	c := k.Cipher.Clone()
	if p.Control.EncryptedOnly() {
		plain, err := c.OpenUnauthenticated(nil, p.Control, p.Title, p.counter, p.content)
		if err != nil {
			return Notification{}, err
		}
		return p.inside(plain, n)
	}
	if err := k.Floor.Check(p.Title, p.counter); err != nil {
		return Notification{}, err
	}
	plain, err := c.OpenWith(nil, p.Control, p.Title, p.counter, p.extra, p.content)
	if err != nil {
		return Notification{}, err
	}
	if err := k.Floor.Commit(p.Title, p.counter); err != nil {
		return Notification{}, err
	}
	n.Authenticated = true
	return p.inside(plain, n)
}

// inside parses what was inside. The tag outside of a glo- or ded- form promises an event notification.
func (p *pushed) inside(plain []byte, n Notification) (Notification, error) {
	n, err := parseNotification(plain, n)
	if err == nil && p.Form.IsCiphered() && n.Event == nil {
		return Notification{}, fmt.Errorf("%w: a data-notification inside %s", ErrAnswer, p.Form)
	}
	return n, err
}
