package client

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

// Defaults of a Config.
const (
	DefaultMaxPDU  = 1024
	DefaultMaxData = 4 << 20
	DefaultTimeout = 30 * time.Second

	// DefaultConformance is get, set, action, selective access, block transfer for get and set, and multiple
	// references: 0x001A1D.
	DefaultConformance = apdu.ConformanceGet | apdu.ConformanceSet | apdu.ConformanceAction |
		apdu.ConformanceSelectiveAccess | apdu.ConformanceBlockTransferGet | apdu.ConformanceBlockTransferSet |
		apdu.ConformanceMultipleReferences

	// FullConformance is everything that the client can do: DefaultConformance, block transfer for action, general
	// block transfer, and notifications.
	FullConformance = DefaultConformance | apdu.ConformanceBlockTransferAction | apdu.ConformanceGeneralBlockTransfer |
		apdu.ConformanceEventNotification | apdu.ConformanceDataNotification
)

// ErrConfig is returned for a Config that cannot be used safely.
var ErrConfig = errors.New("client: configuration")

// Config says how to associate. The zero value is the public client: no authentication, no ciphering.
type Config struct {
	// Title is the client's own system title, PeerTitle the meter's. With a zero PeerTitle the title in the AARE is
	// taken, which authenticates only as much as the key belongs to one meter; Strict does not allow it.
	Title, PeerTitle dlms.SystemTitle

	// Mechanism is how the client proves itself: MechanismLowest, MechanismLLS and MechanismHLSSHA256 with Secret, or
	// MechanismHLSGMAC under Global. LLS sends the secret in clear, in the AARQ.
	Mechanism apdu.Mechanism
	Secret    key.Secret

	// Policy is the least protection that is accepted, and the protection that is sent. With PolicyNone nothing is
	// ciphered.
	Policy security.Policy

	// Global is the long-term key of the association and its counters. It may be shared between associations one
	// after the other; its cipher is cloned.
	Global security.LongTerm

	// Dedicated draws a session key for this association: services then travel under it alone.
	Dedicated bool

	// SharedCounter goes on counting under the session key where the long-term key stands, for foreign meters that
	// hold the counters of both keys against one floor: the standard has one for each key. It spends counters of the
	// long-term key, and Strict does not allow it.
	SharedCounter bool

	// Broadcast hands out the key of a broadcast session instead: the association serves to deliver it, carries no
	// confirmed service, and is followed by Broadcast's own requests. It excludes Dedicated.
	Broadcast *Broadcast

	// General sends services as general-glo-ciphering or general-ded-ciphering instead of the glo- and ded- forms.
	General bool

	// Strict refuses what only foreign meters may be forgiven: an unknown PeerTitle, a peer that uses one counter
	// inside f(challenge) and around it, and an unprotected or garbled answer to a release.
	Strict bool

	// EncryptedOnly also takes answers and notifications that are encrypted and not authenticated, which anybody may
	// have altered: they are told by [Association.Authenticated] and Notification.Authenticated. How the association
	// is opened and closed it does not touch. Strict does not allow it.
	EncryptedOnly bool

	// Notify, if set, is handed the event and data notifications that come over the association's link and verify
	// under its policy. It is called while an exchange or Listen goes on, and must not call the association.
	Notify func(Notification)

	// Conformance is what the client proposes; 0 means DefaultConformance.
	Conformance apdu.Conformance
	// MaxPDU is the longest APDU that the client takes, in bytes; 0 means DefaultMaxPDU.
	MaxPDU uint16
	// MaxData bounds a value that comes in blocks, in bytes; 0 means DefaultMaxData.
	MaxData int
	// Implementation goes into the implementation-information of the AARQ, in clear; nil is absent.
	Implementation []byte

	// Rand is the source of challenges and session keys.
	Rand io.Reader
	// WrapAEAD, if set, stands between the session cipher and its use, for a nonce oracle.
	WrapAEAD WrapAEAD

	// Timeout bounds the wait for one answer; 0 means DefaultTimeout. Association only.
	Timeout time.Duration
	// Retries is how often a request without an answer is sent again, byte by byte. Most meters refuse the second
	// copy as a replay if they had the first: useful where requests are lost on the way. Association only.
	Retries int
	// Tolerate is how many answers that do not verify are dropped per request before giving up, for links on which
	// a stranger can speak or answers come twice. A refusal in clear then ends an operation only when no answer that
	// verifies follows it within a quarter of Timeout. Association only.
	Tolerate int
}

// WrapAEAD stands between a cipher and its use.
type WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD

// Linky returns the configuration of the profiles linky and hardened: HLS-GMAC under a long-term key that does
// nothing else, a fresh session key, everything authenticated and encrypted.
func Linky(own, peer dlms.SystemTitle, global security.LongTerm, rand io.Reader) Config {
	return Config{
		Title: own, PeerTitle: peer,
		Mechanism: apdu.MechanismHLSGMAC, Policy: security.PolicyAuthenticatedEncrypted,
		Global: global, Dedicated: true, Strict: true, Rand: rand,
	}
}

// complete fills in defaults and refuses what contradicts itself.
func (c *Config) complete() error {
	if c.Conformance == 0 {
		c.Conformance = DefaultConformance
	}
	if c.MaxPDU == 0 {
		c.MaxPDU = DefaultMaxPDU
	}
	if c.MaxData == 0 {
		c.MaxData = DefaultMaxData
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	c.Tolerate = max(c.Tolerate, c.Retries) // each copy may be answered
	for _, check := range []func() error{c.checkMechanism, c.checkKeys, c.checkStrict} {
		if err := check(); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	return nil
}

func (c *Config) checkMechanism() error {
	switch c.Mechanism {
	case apdu.MechanismLowest, apdu.MechanismHLSGMAC:
		return nil
	case apdu.MechanismLLS, apdu.MechanismHLSSHA256:
		if c.Secret.IsZero() {
			return fmt.Errorf("%s: no secret", c.Mechanism)
		}
		return nil
	}
	return fmt.Errorf("authentication mechanism %s is not supported", c.Mechanism)
}

// keyed reports whether the long-term key is in use.
func (c *Config) keyed() bool { return c.ciphered() || c.Mechanism == apdu.MechanismHLSGMAC }

// titled reports whether the two system titles are in use.
func (c *Config) titled() bool { return c.keyed() || c.Mechanism == apdu.MechanismHLSSHA256 }

// ciphered reports whether services are protected.
func (c *Config) ciphered() bool { return c.Policy != security.PolicyNone }

func (c *Config) checkKeys() error {
	switch {
	case c.Policy > security.PolicyAuthenticatedEncrypted:
		return fmt.Errorf("unknown %s", c.Policy)
	case (c.Dedicated || c.Broadcast != nil || c.General) && !c.ciphered():
		return errors.New("a session key or a general form without ciphering")
	case c.SharedCounter && !c.Dedicated:
		return errors.New("a counter for two keys without a session key")
	case c.Dedicated && c.Broadcast != nil:
		return errors.New("want a session key of its own or that of a broadcast, not both")
	case c.Broadcast != nil && c.Mechanism != apdu.MechanismHLSGMAC:
		return errors.New("a broadcast key is handed to an authenticated meter alone")
	case !c.titled():
		return nil
	case c.Title.IsZero():
		return errors.New("own system title: want one")
	case c.Title == c.PeerTitle:
		return fmt.Errorf("own system title %s is the meter's", c.Title)
	case c.Rand == nil:
		return errors.New("no source of randomness")
	}
	if !c.keyed() {
		return nil
	}
	return c.Global.Check()
}

func (c *Config) checkStrict() error {
	switch {
	case !c.Strict:
		return nil
	case c.PeerTitle.IsZero():
		return errors.New("strict: want the meter's system title")
	case c.Policy != security.PolicyAuthenticatedEncrypted || c.Mechanism != apdu.MechanismHLSGMAC:
		return errors.New("strict: want hls-gmac and everything authenticated and encrypted")
	case !c.Dedicated && c.Broadcast == nil:
		return errors.New("strict: want a session key")
	case c.SharedCounter:
		return errors.New("strict: want a counter for each key")
	case c.EncryptedOnly:
		return errors.New("strict: encrypted only proves nothing")
	}
	return nil
}

// acceptance is what answers and notifications have to be.
func (c *Config) acceptance() security.Acceptance {
	return security.Acceptance{Policy: c.Policy, EncryptedOnly: c.EncryptedOnly && c.ciphered()}
}

// proof is what the messages have to be that open and close an association.
func (c *Config) proof() security.Acceptance { return security.Acceptance{Policy: c.Policy} }

// control is the protection of what the client sends.
func (c *Config) control() security.Control {
	if c.Policy == security.PolicyAuthenticated {
		return security.Authenticated
	}
	return security.AuthenticatedEncrypted
}
