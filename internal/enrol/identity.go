package enrol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nkeys"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/transport"
)

// Kind is what is enrolled.
type Kind string

// The kinds.
const (
	Concentrator Kind = "concentrator"
	Terminal     Kind = "terminal"
)

func (k Kind) check() error {
	if k != Concentrator && k != Terminal {
		return fmt.Errorf("kind: want %q or %q, got %q", Concentrator, Terminal, string(k))
	}
	return nil
}

// identitySchema names the form of the identity file.
const identitySchema = "meterseal identity 1"

// maxFile bounds the files of this package, in bytes.
const maxFile = 64 << 10

// Identity is what a device keeps for itself: its title and its own secrets. It prints nothing of them.
type Identity struct {
	kind  Kind
	title dlms.SystemTitle
	kek   key.Wrapping
	mac   key.MAC
	nkey  func() []byte // the seed of a concentrator's NATS user key; nil for a terminal
}

// NewIdentity makes the secrets of a new device from rand: KEK, MAC key, and for a concentrator the key pair that
// it signs on to the bus with.
func NewIdentity(kind Kind, title dlms.SystemTitle, rand io.Reader) (*Identity, error) {
	if err := kind.check(); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if title.IsZero() {
		return nil, errors.New("identity: want a system title")
	}
	id := &Identity{kind: kind, title: title}
	var err error
	if id.kek, err = key.GenerateWrapping(rand); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if id.mac, err = key.GenerateMAC(rand); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	if kind == Concentrator {
		pair, err := nkeys.CreatePairWithRand(nkeys.PrefixByteUser, rand)
		if err != nil {
			return nil, fmt.Errorf("identity: bus key: %w", err)
		}
		seed, err := pair.Seed()
		if err != nil {
			return nil, fmt.Errorf("identity: bus key: %w", err)
		}
		id.nkey = func() []byte { return seed }
	}
	return id, nil
}

// Kind returns what the device is.
func (id *Identity) Kind() Kind { return id.kind }

// Title returns the device's system title.
func (id *Identity) Title() dlms.SystemTitle { return id.title }

// KEK returns the key that keys are sealed to the device under.
func (id *Identity) KEK() key.Wrapping { return id.kek }

// MAC returns the key that binds what is sealed to the device.
func (id *Identity) MAC() key.MAC { return id.mac }

// Open opens a key sealed to this device.
func (id *Identity) Open(s SealedKey) (key.Unicast, error) { return s.Open(id.title, id.kek, id.mac) }

// OpenDerived opens a derived key that was sealed to this device.
func (id *Identity) OpenDerived(s SealedKey) (key.Derived, error) {
	return s.OpenDerived(id.title, id.kek, id.mac)
}

// NKey returns the key pair that a concentrator signs on to the bus with. The caller wipes it when done.
func (id *Identity) NKey() (nkeys.KeyPair, error) {
	if id.nkey == nil {
		return nil, fmt.Errorf("identity %s: a %s has no bus key", id.title, id.kind)
	}
	return nkeys.FromSeed(bytes.Clone(id.nkey()))
}

// String names the device.
func (id Identity) String() string { return fmt.Sprintf("%s %s", id.kind, id.title) }

// Format prints String for every verb.
func (id Identity) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, id.String()) }

// MarshalJSON refuses: an identity leaves memory through Save alone.
func (Identity) MarshalJSON() ([]byte, error) { return nil, key.ErrRedacted }

type identityFile struct {
	Schema string           `json:"schema"`
	Kind   Kind             `json:"kind"`
	Title  dlms.SystemTitle `json:"system_title"`
	KEK    string           `json:"kek"`
	MAC    string           `json:"mac"`
	NKey   string           `json:"nkey_seed,omitempty"`
}

// Save writes the identity to a new file that its owner alone can read. An existing file is not replaced: it may
// be the only copy of an enrolled device's keys.
func (id *Identity) Save(path string) error {
	f := identityFile{Schema: identitySchema, Kind: id.kind, Title: id.title, KEK: hexKey(id.kek), MAC: hexKey(id.mac)}
	if id.nkey != nil {
		f.NKey = string(id.nkey())
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	defer clear(b)
	if err := durable.Create(path, append(b, '\n')); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	return nil
}

func hexKey(k key.Key) string {
	b := key.Reveal(k)
	defer clear(b)
	return hex.EncodeToString(b)
}

// LoadIdentity reads what Save wrote. A file that others can read is refused.
func LoadIdentity(path string) (*Identity, error) {
	b, err := durable.ReadPrivate(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	defer clear(b)
	id, err := parseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("load identity %s: %w", path, err)
	}
	return id, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("longer than %d bytes", maxFile)
	}
	return b, err
}

// parseIdentity never echoes what it reads.
func parseIdentity(b []byte) (*Identity, error) {
	var f identityFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, errors.New("not an identity file")
	}
	if f.Schema != identitySchema || f.Kind.check() != nil || f.Title.IsZero() {
		return nil, fmt.Errorf("want schema %q with kind and system title", identitySchema)
	}
	id := &Identity{kind: f.Kind, title: f.Title}
	var err error
	if id.kek, err = parseKey(f.KEK, key.NewWrapping); err != nil {
		return nil, fmt.Errorf("kek: %w", err)
	}
	if id.mac, err = parseKey(f.MAC, key.NewMAC); err != nil {
		return nil, fmt.Errorf("mac: %w", err)
	}
	return id, id.setNKey(f.NKey)
}

func (id *Identity) setNKey(seed string) error {
	if id.kind != Concentrator {
		return nil
	}
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return errors.New("nkey_seed: not the seed of a user key")
	}
	if pub, err := pair.PublicKey(); err != nil || !nkeys.IsValidPublicUserKey(pub) {
		return errors.New("nkey_seed: not the seed of a user key")
	}
	id.nkey = func() []byte { return []byte(seed) }
	return nil
}

func parseKey[K any](s string, typed func([]byte) (K, error)) (K, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		var none K
		return none, fmt.Errorf("want %d hexadecimal digits", 2*key.Size)
	}
	defer clear(b)
	return typed(b)
}

// File makes the enrolment file for the vault with a transport key. Rand is the source of the key that the two are wrapped
// under.
func (id *Identity) File(vault transport.Public, rand io.Reader) (File, error) {
	env, under, err := transport.Seal(rand, vault)
	if err != nil {
		return File{}, fmt.Errorf("enrolment file: %w", err)
	}
	f := File{Schema: FileSchema, Kind: id.kind, Title: id.title, Vault: env}
	if f.KEK, err = under.Wrap(id.kek); err != nil {
		return File{}, fmt.Errorf("enrolment file: %w", err)
	}
	if f.MAC, err = under.Wrap(id.mac); err != nil {
		return File{}, fmt.Errorf("enrolment file: %w", err)
	}
	if id.nkey != nil {
		pair, err := id.NKey()
		if err != nil {
			return File{}, err
		}
		defer pair.Wipe()
		if f.NKeyPublic, err = pair.PublicKey(); err != nil {
			return File{}, fmt.Errorf("enrolment file: bus key: %w", err)
		}
	}
	return f, nil
}
