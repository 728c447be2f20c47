package security

import (
	"errors"
	"fmt"
	"strings"
)

// Errors for APDUs whose protection is not what was agreed.
var (
	// ErrSuite is returned for a security suite that is not in use here.
	ErrSuite = errors.New("security: suite not supported")
	// ErrPolicy is returned for less protection than the policy asks for.
	ErrPolicy = errors.New("security: protection below the policy")
	// ErrCompressed is returned for an APDU that claims to be compressed.
	ErrCompressed = errors.New("security: compression not supported")
	// ErrKeySet is returned for an APDU under the global broadcast key, which no profile here holds.
	ErrKeySet = errors.New("security: global broadcast key not supported")
)

// Suite is a security suite id (GB 9.2.3.7).
type Suite uint8

// Security suites (GB 9.2.3.7, table of security suites).
const (
	// Suite0 is AES-GCM-128 and AES-128 key wrap: the one in use.
	Suite0 Suite = 0
	// Suite1 adds ECDSA and ECDH on P-256 and SHA-256.
	Suite1 Suite = 1
	// Suite2 is AES-GCM-256, AES-256 key wrap, P-384 and SHA-384.
	Suite2 Suite = 2
)

// String returns "suite 0".
func (s Suite) String() string { return fmt.Sprintf("suite %d", uint8(s)) }

// Check returns ErrSuite for every suite but 0.
func (s Suite) Check() error {
	if s != Suite0 {
		return fmt.Errorf("%w: want suite 0, got %d", ErrSuite, uint8(s))
	}
	return nil
}

// Control is the security control byte of a ciphered APDU (GB 9.2.3.3.7.3).
type Control byte

// Bits of the security control byte. Bits 0 to 3 are the suite id.
const (
	Authenticated Control = 0x10
	Encrypted     Control = 0x20
	Broadcast     Control = 0x40
	Compressed    Control = 0x80

	// AuthenticatedEncrypted is the protection of everything that carries a key or a command.
	AuthenticatedEncrypted = Authenticated | Encrypted

	suiteMask Control = 0x0F
)

// Suite returns the suite id in bits 0 to 3.
func (c Control) Suite() Suite { return Suite(c & suiteMask) }

// Has reports whether all of bits are set.
func (c Control) Has(bits Control) bool { return c&bits == bits }

// String names the bits, for example "authenticated+encrypted, suite 0".
func (c Control) String() string {
	var names []string
	for _, b := range []struct {
		bit  Control
		name string
	}{{Authenticated, "authenticated"}, {Encrypted, "encrypted"}, {Broadcast, "broadcast"}, {Compressed, "compressed"}} {
		if c.Has(b.bit) {
			names = append(names, b.name)
		}
	}
	if len(names) == 0 {
		names = []string{"unprotected"}
	}
	return strings.Join(names, "+") + ", " + c.Suite().String()
}

// check refuses what this package neither seals nor opens, whatever the policy.
func (c Control) check() error {
	switch {
	case c.Has(Compressed):
		return ErrCompressed
	case c.Suite() != Suite0:
		return c.Suite().Check()
	case c.Has(Broadcast):
		return ErrKeySet
	case !c.Has(Authenticated):
		return fmt.Errorf("%w: want authenticated, got %s", ErrPolicy, c)
	}
	return nil
}

// Policy is the least protection that an end accepts. Each end sets its own: neither lets the other choose.
type Policy uint8

// Policies, in rising order.
const (
	// PolicyNone also lets APDUs without protection pass: the public client, for what anybody may read.
	PolicyNone Policy = iota
	// PolicyAuthenticated asks for an authentication tag.
	PolicyAuthenticated
	// PolicyAuthenticatedEncrypted asks for both.
	PolicyAuthenticatedEncrypted
)

// String returns the name of the policy.
func (p Policy) String() string {
	switch p {
	case PolicyNone:
		return "none"
	case PolicyAuthenticated:
		return "authenticated"
	case PolicyAuthenticatedEncrypted:
		return "authenticated+encrypted"
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// Check returns an error for an APDU with less protection than the policy. Control 0 stands for an APDU without
// protection. Encrypted without authentication is below every policy; other suites, compression and the broadcast
// key set are refused under every policy.
func (p Policy) Check(c Control) error {
	if p == PolicyNone && c == 0 {
		return nil
	}
	if err := c.check(); err != nil {
		return err
	}
	if p > PolicyAuthenticatedEncrypted {
		return fmt.Errorf("%w: unknown %s", ErrPolicy, p)
	}
	if p == PolicyAuthenticatedEncrypted && !c.Has(Encrypted) {
		return fmt.Errorf("%w: want %s, got %s", ErrPolicy, p, c)
	}
	return nil
}
