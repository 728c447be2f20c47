package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/meterseal/meterseal/dlms/key"
)

// ErrCeremony is returned for a ceremony file that does not say what a vault needs to be made.
var ErrCeremony = errors.New("vault: ceremony")

// The kinds of a vault: where its keys are.
const (
	KindSoftware = "software" // in the memory of the process
	KindPKCS11   = "pkcs11"   // in a token
)

const (
	ceremonySchema = "meterseal ceremony 1"
	maxCeremony    = 64 << 10
	maxName        = 80
	// minPassphrase is in bytes. The root of a fleet is worth an offline search.
	minPassphrase = 12
)

// Ceremony is the one file that a vault is made from. It holds no secret, so that whoever takes part can read it, agree,
// and compare its hash before anything is made. Paths are meant from the directory of the file.
type Ceremony struct {
	Schema string `json:"schema"`
	// Vault is the vault's name among people, Tenant whose fleet it holds. One vault serves one tenant: the tenant goes
	// into the vault's ID, and the ID into the MAC of every row.
	Vault  string `json:"vault"`
	Tenant string `json:"tenant"`
	// Kind is "software" or "pkcs11".
	Kind         string        `json:"kind"`
	Participants []Participant `json:"participants"`
	// Data is the data directory, in which the root file is made; Journal the key journal, best on another disk (empty: in
	// the data directory).
	Data    string `json:"data"`
	Journal string `json:"journal,omitempty"`
	// PassphraseFile holds the passphrase that seals the root file. Without one the file is in clear, for its owner alone.
	PassphraseFile string `json:"passphrase_file,omitempty"`
	// ScryptWork is the work factor of the seal as a power of two; 0 is about a second.
	ScryptWork int `json:"scrypt_work,omitempty"`
	// Token is the PKCS#11 token of kind "pkcs11".
	Token  *Token `json:"token,omitempty"`
	Policy Policy `json:"policy"`

	text string // as it was read: what the hash is of
}

// Participant is somebody who takes part in a ceremony.
type Participant struct {
	Name string `json:"name"`
	Role string `json:"role"`
}

// Token names a PKCS#11 token. The PIN is in a file of its own.
type Token struct {
	Module  string `json:"module"`
	Label   string `json:"label"`
	PINFile string `json:"pin_file"`
}

// Policy is what was agreed about the use of a vault. It is in the root file, sealed with it: whoever can write the
// configuration or the database changes none of it.
type Policy struct {
	// Approvals is how many different people an operation under dual control takes: 2, for there is no other rule yet.
	// ApprovalTerm is how long an approval counts.
	Approvals    int      `json:"approvals"`
	ApprovalTerm Duration `json:"approval_term"`
	// Quotas bound, by class, how much may be done without a second person. The configuration may set a lower limit, and
	// no higher one.
	Quotas map[string]int `json:"quotas,omitempty"`
}

// Duration is a time.Duration that is written as people write it: "1h0m0s".
type Duration time.Duration

// MarshalText writes what time.Duration's String returns.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	got, err := time.ParseDuration(string(b))
	*d = Duration(got)
	return err
}

// DefaultPolicy is two people within an hour.
func DefaultPolicy() Policy { return Policy{Approvals: 2, ApprovalTerm: Duration(ApprovalTerm)} }

// DefaultCeremony is that of a vault that is made without one being planned.
func DefaultCeremony(by string) Ceremony {
	return written(Ceremony{
		Schema: ceremonySchema, Vault: "central", Tenant: "default", Kind: KindSoftware,
		Participants: []Participant{{Name: by, Role: "owner"}}, Data: ".", Policy: DefaultPolicy(),
	})
}

// SampleCeremony is one to begin from.
func SampleCeremony() Ceremony {
	p := DefaultPolicy()
	p.Quotas = map[string]int{"breaker": 50, "image": 50, "keys": 10_000}
	return written(Ceremony{
		Schema: ceremonySchema, Vault: "north 2026", Tenant: "Example Grid North", Kind: KindSoftware,
		Participants: []Participant{
			{Name: "alice", Role: "security officer"}, {Name: "bob", Role: "key custodian"}, {Name: "carol", Role: "witness"},
		},
		Data: "is", Journal: "/journal/key.journal", PassphraseFile: "root.passphrase", ScryptWork: 18, Policy: p,
	})
}

func written(c Ceremony) Ceremony {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil { // no type in it can fail
		return c
	}
	c.text = string(b) + "\n"
	return c
}

// Text is the ceremony file as it was read.
func (c Ceremony) Text() string { return c.text }

// Hash is the SHA-256 of the file, in hexadecimal: what the people of a ceremony compare.
func (c Ceremony) Hash() string {
	sum := sha256.Sum256([]byte(c.text))
	return hex.EncodeToString(sum[:])
}

// ParseCeremony reads a ceremony file and checks it. A member that is not known is refused: somebody agreed to it.
func ParseCeremony(text []byte) (Ceremony, error) {
	var c Ceremony
	if len(text) > maxCeremony {
		return c, fmt.Errorf("%w: %d bytes, want at most %d", ErrCeremony, len(text), maxCeremony)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("%w: %w", ErrCeremony, err)
	}
	if dec.More() {
		return c, fmt.Errorf("%w: something follows the object", ErrCeremony)
	}
	c.text = string(text)
	return c, c.check()
}

func (c Ceremony) check() error {
	if c.Schema != ceremonySchema {
		return fmt.Errorf("%w: want schema %q, got %q", ErrCeremony, ceremonySchema, c.Schema)
	}
	for _, n := range []struct{ what, text string }{{"vault", c.Vault}, {"tenant", c.Tenant}} {
		if err := checkName(n.what, n.text); err != nil {
			return err
		}
	}
	switch {
	case c.Kind != KindSoftware && c.Kind != KindPKCS11:
		return fmt.Errorf("%w: kind: want %q or %q, got %q", ErrCeremony, KindSoftware, KindPKCS11, c.Kind)
	case (c.Kind == KindPKCS11) != (c.Token != nil):
		return fmt.Errorf("%w: token: want it for kind %q, and for that alone", ErrCeremony, KindPKCS11)
	case c.Token != nil && (c.Token.Module == "" || c.Token.Label == "" || c.Token.PINFile == ""):
		return fmt.Errorf("%w: token: want module, label and pin_file", ErrCeremony)
	case c.Data == "":
		return fmt.Errorf("%w: data: want the data directory", ErrCeremony)
	case c.ScryptWork != 0 && (c.ScryptWork < 10 || c.ScryptWork > 22):
		return fmt.Errorf("%w: scrypt_work: want 10 to 22, got %d", ErrCeremony, c.ScryptWork)
	}
	if err := c.checkPeople(); err != nil {
		return err
	}
	return c.Policy.check()
}

func (c Ceremony) checkPeople() error {
	if len(c.Participants) == 0 {
		return fmt.Errorf("%w: participants: want those who take part", ErrCeremony)
	}
	seen := map[string]bool{}
	for _, p := range c.Participants {
		if err := errors.Join(checkName("participants: name", p.Name), checkName("participants: role", p.Role)); err != nil {
			return err
		}
		if seen[p.Name] {
			return fmt.Errorf("%w: participants: %q twice", ErrCeremony, p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

func (p Policy) check() error {
	switch {
	case p.Approvals != 2:
		return fmt.Errorf("%w: policy: approvals: want 2, got %d", ErrCeremony, p.Approvals)
	case p.ApprovalTerm < Duration(time.Minute) || p.ApprovalTerm > Duration(7*24*time.Hour):
		return fmt.Errorf("%w: policy: approval_term: want 1m to 168h, got %s", ErrCeremony, time.Duration(p.ApprovalTerm))
	}
	for name, n := range p.Quotas {
		if n < 0 || name == "" {
			return fmt.Errorf("%w: policy: quotas: %q: want 0 or more, got %d", ErrCeremony, name, n)
		}
	}
	return nil
}

func checkName(what, s string) error {
	if s == "" || len(s) > maxName || s != strings.TrimSpace(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%w: %s: want 1 to %d bytes of text on one line, got %q", ErrCeremony, what, maxName, s)
	}
	return nil
}

// Takes reports whether somebody of this name takes part.
func (c Ceremony) Takes(name string) bool {
	for _, p := range c.Participants {
		if p.Name == name {
			return true
		}
	}
	return false
}

// Beside returns the ceremony with its paths made whole from the directory of its file.
func (c Ceremony) Beside(dir string) Ceremony {
	from := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	c.Data, c.Journal, c.PassphraseFile = from(c.Data), from(c.Journal), from(c.PassphraseFile)
	if c.Token != nil {
		t := *c.Token
		t.PINFile = from(t.PINFile)
		c.Token = &t
	}
	return c
}

// Made is what was agreed when a vault was made, as its root file keeps it.
type Made struct {
	Name     string    `json:"name"`
	Tenant   string    `json:"tenant"`
	Ceremony string    `json:"ceremony_sha256"`
	At       time.Time `json:"at"`
	Nonce    []byte    `json:"nonce"` // with the tenant in the vault's ID
	Policy   Policy    `json:"policy"`
}

// check refuses a root file that says another tenant than the one that went into the vault's ID.
func (m Made) check(vault string) error {
	if m.Nonce == nil && m.Tenant == "" { // made before there were ceremonies
		return nil
	}
	if vaultID(m.Tenant, m.Nonce) != vault {
		return fmt.Errorf("%w: vault %s is not of tenant %q", ErrRoot, vault, m.Tenant)
	}
	return nil
}

// vaultID names a vault for ever, by its tenant and by chance: what is bound to the ID is bound to the tenant.
func vaultID(tenant string, nonce []byte) string {
	sum := sha256.Sum256(key.Framed([]byte("meterseal vault id 1"), nonce, []byte(tenant)))
	return hex.EncodeToString(sum[:16])
}
