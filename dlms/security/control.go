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
	// ErrEncryptedOnly is returned for an APDU that is encrypted and not authenticated, where the [Acceptance] does not
	// name that. It is also an ErrPolicy.
	ErrEncryptedOnly = fmt.Errorf("%w: encrypted and not authenticated", ErrPolicy)
	// ErrCompressed is returned for an APDU that claims to be compressed.
	ErrCompressed = errors.New("security: compression not supported")
	// ErrKeySet is returned for an APDU under the global broadcast key, where the [Acceptance] does not name that.
	ErrKeySet = errors.New("security: global broadcast key not accepted")
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

// Check refuses what [Cipher.Seal] and [Cipher.Open] do not do, whatever the policy: ErrCompressed, ErrSuite,
// ErrEncryptedOnly, and ErrPolicy for no protection at all. The key set is not looked at: under which key an APDU is
// its caller decides, by [Acceptance].
func (c Control) Check() error {
	if c&^(Encrypted|Broadcast) == Authenticated {
		return nil
	}
	return c.refusal()
}

// refusal says what is wrong with a control byte that Check refuses.
func (c Control) refusal() error {
	if err := c.checkForm(); err != nil {
		return err
	}
	if c.EncryptedOnly() {
		return ErrEncryptedOnly
	}
	return fmt.Errorf("%w: want authenticated, got %s", ErrPolicy, c)
}

// checkForm refuses compression and other suites.
func (c Control) checkForm() error {
	if c.Has(Compressed) {
		return ErrCompressed
	}
	return c.Suite().Check()
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

// Check returns an error for an APDU with less protection than the policy: [Acceptance.Check] of the policy alone.
func (p Policy) Check(c Control) error { return Acceptance{Policy: p}.Check(c) }

// Acceptance is what an end accepts: the least protection, and what it takes beyond the ordinary because somebody
// said so. The zero value of the flags is the strict answer.
type Acceptance struct {
	// Policy is the least protection.
	Policy Policy
	// EncryptedOnly also takes APDUs that are encrypted and not authenticated, whatever the policy: some customer
	// interfaces push so. They are opened by [Cipher.OpenUnauthenticated], and whoever reads what is inside is told
	// that anybody may have altered it.
	EncryptedOnly bool
	// Broadcast also takes APDUs under the global broadcast key (key set 1), which the end then holds.
	Broadcast bool
}

// Check returns an error for an APDU that is not accepted. Control 0 stands for an APDU without protection, which
// PolicyNone lets pass. Compression gives ErrCompressed, another suite ErrSuite, the broadcast key set ErrKeySet,
// encrypted without authentication ErrEncryptedOnly, everything else below the policy ErrPolicy.
func (a Acceptance) Check(c Control) error {
	if c == AuthenticatedEncrypted && a.Policy <= PolicyAuthenticatedEncrypted {
		return nil // what nearly everything is
	}
	return a.check(c)
}

func (a Acceptance) check(c Control) error {
	if a.Policy > PolicyAuthenticatedEncrypted {
		return fmt.Errorf("%w: unknown %s", ErrPolicy, a.Policy)
	}
	if a.Policy == PolicyNone && c == 0 {
		return nil
	}
	if err := c.checkForm(); err != nil {
		return err
	}
	if c.Has(Broadcast) && !a.Broadcast {
		return ErrKeySet
	}
	if a.EncryptedOnly && c.EncryptedOnly() {
		return nil
	}
	if err := c.Check(); err != nil {
		return err
	}
	if a.Policy == PolicyAuthenticatedEncrypted && !c.Has(Encrypted) {
		return fmt.Errorf("%w: want %s, got %s", ErrPolicy, a.Policy, c)
	}
	return nil
}

// EncryptedOnly reports whether the content is encrypted and not authenticated.
func (c Control) EncryptedOnly() bool { return c&AuthenticatedEncrypted == Encrypted }
