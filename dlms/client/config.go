package client

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
)

// ErrConfig is returned for a Config that cannot be used safely.
var ErrConfig = errors.New("client: configuration")

// Config says how to associate. The zero value is the public client: no authentication, no ciphering.
type Config struct {
	// Title is the client's own system title, PeerTitle the meter's. With a zero PeerTitle the title in the AARE is
	// taken, which authenticates only as much as the key belongs to one meter; Strict does not allow it.
	Title, PeerTitle dlms.SystemTitle

	// Mechanism is how the client proves itself: MechanismLowest, MechanismLLS with Password, or MechanismHLSGMAC
	// under Global.
	Mechanism apdu.Mechanism
	Password  Password

	// Policy is the least protection that is accepted, and the protection that is sent. With PolicyNone nothing is
	// ciphered.
	Policy security.Policy

	// Global is the long-term key of the association and its counters. It may be shared between associations one
	// after the other; its cipher is cloned.
	Global security.LongTerm

	// Dedicated draws a session key for this association: services then travel under it alone.
	Dedicated bool

	// Broadcast hands out the key of a broadcast session instead: the association serves to deliver it, carries no
	// confirmed service, and is followed by Broadcast's own requests. It excludes Dedicated.
	Broadcast *Broadcast

	// General sends services as general-glo-ciphering or general-ded-ciphering instead of the glo- and ded- forms.
	General bool

	// Strict refuses what only foreign meters may be forgiven: an unknown PeerTitle, a peer that uses one counter
	// inside f(challenge) and around it, and an unprotected answer to a release.
	Strict bool

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
	case apdu.MechanismLLS:
		if c.Password.IsZero() {
			return errors.New("lls: no password")
		}
		return nil
	}
	return fmt.Errorf("authentication mechanism %s is not supported", c.Mechanism)
}

// keyed reports whether the long-term key is in use.
func (c *Config) keyed() bool { return c.ciphered() || c.Mechanism == apdu.MechanismHLSGMAC }

// ciphered reports whether services are protected.
func (c *Config) ciphered() bool { return c.Policy != security.PolicyNone }

func (c *Config) checkKeys() error {
	switch {
	case c.Policy > security.PolicyAuthenticatedEncrypted:
		return fmt.Errorf("unknown %s", c.Policy)
	case (c.Dedicated || c.Broadcast != nil || c.General) && !c.ciphered():
		return errors.New("a session key or a general form without ciphering")
	case c.Dedicated && c.Broadcast != nil:
		return errors.New("want a session key of its own or that of a broadcast, not both")
	case c.Broadcast != nil && c.Mechanism != apdu.MechanismHLSGMAC:
		return errors.New("a broadcast key is handed to an authenticated meter alone")
	case !c.keyed():
		return nil
	case c.Title.IsZero():
		return errors.New("own system title: want one")
	case c.Title == c.PeerTitle:
		return fmt.Errorf("own system title %s is the meter's", c.Title)
	case c.Rand == nil:
		return errors.New("no source of randomness")
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
	}
	return nil
}

// control is the protection of what the client sends.
func (c *Config) control() security.Control {
	if c.Policy == security.PolicyAuthenticated {
		return security.Authenticated
	}
	return security.AuthenticatedEncrypted
}

// Password is a secret of low level security. It prints nothing of itself.
type Password struct {
	reveal func() string
}

// NewPassword keeps b.
func NewPassword(b []byte) Password {
	s := string(b)
	return Password{reveal: func() string { return s }}
}

// IsZero reports whether there is none.
func (p Password) IsZero() bool { return p.reveal == nil }

// String says what it is.
func (p Password) String() string { return "password" }

// Format prints String for every verb.
func (p Password) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// LogValue logs String.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText refuses.
func (p Password) MarshalText() ([]byte, error) { return nil, key.ErrRedacted }
