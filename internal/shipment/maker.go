package shipment

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/durable"
)

// ErrMaker is returned for a text that is no maker's public key.
var ErrMaker = errors.New("maker: want one line meterseal-maker1:MAKER:BASE64")

const (
	makerPrefix = "meterseal-maker1:"
	makerSchema = "meterseal maker key 1"
	maxKeyFile  = 4 << 10
)

// MakerPublic is what a maker's shipments are verified with. The zero value is none. Values compare with ==.
type MakerPublic struct {
	maker string
	key   [ed25519.PublicKeySize]byte
}

// NewMakerPublic takes the three letters of a maker and its Ed25519 key of 32 bytes.
func NewMakerPublic(maker string, k []byte) (MakerPublic, error) {
	if err := checkMaker(maker); err != nil {
		return MakerPublic{}, err
	}
	if len(k) != ed25519.PublicKeySize {
		return MakerPublic{}, fmt.Errorf("maker %s: want an Ed25519 key of %d bytes, got %d", maker, ed25519.PublicKeySize, len(k))
	}
	return MakerPublic{maker, [ed25519.PublicKeySize]byte(k)}, nil
}

// ParseMakerPublic reads the text form, with or without a line's end.
func ParseMakerPublic(text string) (MakerPublic, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), makerPrefix)
	maker, b64, more := strings.Cut(rest, ":")
	if !ok || !more || len(b64) > 64 {
		return MakerPublic{}, ErrMaker
	}
	k, err := base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil {
		return MakerPublic{}, ErrMaker
	}
	return NewMakerPublic(maker, k)
}

// Maker returns the three letters.
func (p MakerPublic) Maker() string { return p.maker }

// Bytes returns the 32 bytes of the key.
func (p MakerPublic) Bytes() []byte { return bytes.Clone(p.key[:]) }

// String returns the text form: one line without its end.
func (p MakerPublic) String() string {
	return makerPrefix + p.maker + ":" + base64.StdEncoding.EncodeToString(p.key[:])
}

// MarshalText writes the text form.
func (p MakerPublic) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form.
func (p *MakerPublic) UnmarshalText(b []byte) (err error) {
	*p, err = ParseMakerPublic(string(b))
	return err
}

// Fingerprint names the key to people, and in the header of a shipment: 125 bits of SHA-256, in five groups of five letters
// and digits.
func (p MakerPublic) Fingerprint() string {
	return fingerprint("meterseal maker key 1", p.maker, p.key[:])
}

// fingerprint names a public key: Base32 of SHA-256 over three parts, each after its length in four bytes.
func fingerprint(text, name string, k []byte) string {
	h := sha256.Sum256(key.Framed([]byte(text), []byte(name), k))
	s := base32.StdEncoding.EncodeToString(h[:])[:25]
	return strings.Join([]string{s[:5], s[5:10], s[10:15], s[15:20], s[20:]}, "-")
}

// MakerKey is what a maker signs its shipments with. It prints nothing of itself.
type MakerKey struct {
	public MakerPublic
	reveal func() ed25519.PrivateKey
}

// NewMakerKey makes the key of a maker from rand.
func NewMakerKey(rand io.Reader, maker string) (MakerKey, error) {
	if err := checkMaker(maker); err != nil {
		return MakerKey{}, err
	}
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return MakerKey{}, fmt.Errorf("maker key: %w", err)
	}
	return makerKey(maker, seed)
}

func makerKey(maker string, seed []byte) (MakerKey, error) {
	if len(seed) != ed25519.SeedSize {
		return MakerKey{}, fmt.Errorf("maker key: want %d bytes", ed25519.SeedSize)
	}
	k := ed25519.NewKeyFromSeed(seed)
	public, ok := k.Public().(ed25519.PublicKey)
	if !ok {
		return MakerKey{}, errors.New("maker key: not Ed25519")
	}
	p, err := NewMakerPublic(maker, public)
	return MakerKey{p, func() ed25519.PrivateKey { return k }}, err
}

// Public returns what the shipments are verified with.
func (k MakerKey) Public() MakerPublic { return k.public }

// IsZero reports whether there is no key.
func (k MakerKey) IsZero() bool { return k.reveal == nil }

func (k MakerKey) sign(message []byte) []byte { return ed25519.Sign(k.reveal(), message) }

// String names the key by its fingerprint.
func (k MakerKey) String() string { return "key of maker " + k.public.maker }

// Format prints String for every verb.
func (k MakerKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// LogValue prints String.
func (k MakerKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText refuses.
func (MakerKey) MarshalText() ([]byte, error) { return nil, key.ErrRedacted }

type makerFile struct {
	Schema string `json:"schema"`
	Maker  string `json:"maker"`
	Seed   []byte `json:"seed"`
}

// Save writes the key to a new file that its owner alone can read.
func (k MakerKey) Save(path string) error {
	if k.IsZero() {
		return fmt.Errorf("save maker key: %w", key.ErrNoKey)
	}
	seed := k.reveal().Seed()
	defer clear(seed)
	b, err := json.Marshal(makerFile{makerSchema, k.public.maker, seed})
	if err != nil {
		return fmt.Errorf("save maker key: %w", err)
	}
	defer clear(b)
	if err := durable.Create(path, append(b, '\n')); err != nil {
		return fmt.Errorf("save maker key: %w", err)
	}
	return nil
}

// LoadMakerKey reads what Save wrote. Its errors hold nothing of it.
func LoadMakerKey(path string) (MakerKey, error) {
	b, err := durable.ReadPrivate(path, maxKeyFile)
	if err != nil {
		return MakerKey{}, fmt.Errorf("maker key: %w", err)
	}
	defer clear(b)
	var f makerFile
	if err := decodeStrictly(b, &f); err != nil || f.Schema != makerSchema || checkMaker(f.Maker) != nil {
		return MakerKey{}, fmt.Errorf("maker key %s: want schema %q", path, makerSchema)
	}
	defer clear(f.Seed)
	return makerKey(f.Maker, f.Seed)
}
