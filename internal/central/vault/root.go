package vault

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/audit"
)

// RootFile is the name of the root in the vault's directory.
const RootFile = "vault.root"

// Errors of the root.
var (
	// ErrPassphrase is returned for a sealed root and no passphrase, or the wrong one.
	ErrPassphrase = errors.New("vault: passphrase")
	// ErrRoot is returned for a root file that is not one.
	ErrRoot = errors.New("vault: root file")
	// ErrExists is returned where there is a vault already.
	ErrExists = errors.New("vault: there is one already")
)

const (
	rootSchema  = "meterseal vault root 1"
	maxRootFile = 64 << 10
	ageMagic    = "age-encryption.org/v1"
)

// Root is what a vault stands on: the keys that all its rows are sealed and bound under, the key that signs the
// audit log, and the identity that files to the vault are encrypted to. It prints nothing of them.
type Root struct {
	Identity
	terms map[uint32]rootTerm
	term  uint32 // the newest, for new rows
}

var _ Hold = (*Root)(nil)

// rootTerm is the pair of keys of one term.
type rootTerm struct {
	wrap key.Wrapping
	mac  key.MAC
}

// Kind implements Hold.
func (*Root) Kind() string { return KindSoftware }

// KindSoftware is the kind of a vault whose root is in the memory of the process.
const KindSoftware = "software"

// Terms implements Hold.
func (r *Root) Terms() []uint32 { return slices.Sorted(maps.Keys(r.terms)) }

// Term implements Hold.
func (r *Root) Term() uint32 { return r.term }

// Close implements Hold. The keys go with the process: Go does not let them be overwritten for certain.
func (*Root) Close() error { return nil }

// MarshalJSON refuses: a root leaves memory through Init alone.
func (*Root) MarshalJSON() ([]byte, error) { return nil, key.ErrRedacted }

// InitOptions of Init.
type InitOptions struct {
	// Passphrase seals the root file (age, scrypt). Without one the file is readable by its owner alone and holds
	// the root in clear.
	Passphrase []byte
	// ScryptWork is the work factor as a power of two; 0 is age's own (about a second). Tests lower it.
	ScryptWork int
	// Rand is the source of the root; required.
	Rand io.Reader
}

type rootFile struct {
	Schema string         `json:"schema"`
	Vault  string         `json:"vault"`
	Terms  []rootTermFile `json:"terms"`
	Audit  string         `json:"audit_seed"`
	Age    string         `json:"age_identity"`
}

type rootTermFile struct {
	Term uint32 `json:"term"`
	Wrap string `json:"wrap"`
	MAC  string `json:"mac"`
}

// Init makes a new vault in dir and returns its root. It never replaces one.
func Init(dir string, o InitOptions) (*Root, error) {
	f, err := newRootFile(o.Rand)
	if err != nil {
		return nil, fmt.Errorf("make vault: %w", err)
	}
	plain, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("make vault: %w", err)
	}
	defer clear(plain)
	out := plain
	if len(o.Passphrase) > 0 {
		if out, err = sealRoot(plain, o); err != nil {
			return nil, fmt.Errorf("make vault: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make vault: %w", err)
	}
	if err := writeRoot(filepath.Join(dir, RootFile), out); err != nil {
		return nil, fmt.Errorf("make vault: %w", err)
	}
	return f.root()
}

func newRootFile(rand io.Reader) (rootFile, error) {
	if rand == nil {
		return rootFile{}, errors.New("no source of randomness")
	}
	var id [16]byte
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return rootFile{}, err
	}
	wrap, err := key.GenerateWrapping(rand)
	if err != nil {
		return rootFile{}, err
	}
	mac, err := key.GenerateMAC(rand)
	if err != nil {
		return rootFile{}, err
	}
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return rootFile{}, err
	}
	reader, err := age.GenerateX25519Identity()
	if err != nil {
		return rootFile{}, err
	}
	return rootFile{
		Schema: rootSchema, Vault: hex.EncodeToString(id[:]),
		Terms: []rootTermFile{{Term: 1, Wrap: hexKey(wrap), MAC: hexKey(mac)}},
		Audit: hex.EncodeToString(seed), Age: reader.String(),
	}, nil
}

func hexKey(k key.Key) string {
	b := key.Reveal(k)
	defer clear(b)
	return hex.EncodeToString(b)
}

func sealRoot(plain []byte, o InitOptions) ([]byte, error) {
	to, err := age.NewScryptRecipient(string(o.Passphrase))
	if err != nil {
		return nil, err
	}
	if o.ScryptWork > 0 {
		to.SetWorkFactor(o.ScryptWork)
	}
	var buf bytes.Buffer
	w, err := age.Encrypt(&buf, to)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// writeRoot writes and syncs a file that must not exist.
func writeRoot(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w: %s", ErrExists, path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}

// Unseal reads the root of the vault in dir. A sealed one needs its passphrase; one in clear is refused with a
// passphrase (somebody believes that it is sealed) and when others can read it.
func Unseal(dir string, passphrase []byte) (*Root, error) {
	path := filepath.Join(dir, RootFile)
	b, err := readRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	defer func() { clear(b) }()
	switch sealed := bytes.HasPrefix(b, []byte(ageMagic)); {
	case sealed && len(passphrase) == 0:
		return nil, fmt.Errorf("%w: %s is sealed; give its passphrase", ErrPassphrase, path)
	case !sealed && len(passphrase) > 0:
		return nil, fmt.Errorf("%w: %s is not sealed, though a passphrase was given", ErrPassphrase, path)
	case sealed:
		if b, err = unsealRoot(b, passphrase); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrPassphrase, path, err)
		}
	}
	var f rootFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: %s is damaged", ErrRoot, path) // a decoder's error may hold a piece of it
	}
	return f.root()
}

func readRoot(path string) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: others can read %s (mode %04o); run chmod 600", ErrRoot, path, info.Mode().Perm())
	}
	if info.Size() > maxRootFile {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrRoot, path, maxRootFile)
	}
	return io.ReadAll(io.LimitReader(f, maxRootFile))
}

func unsealRoot(b, passphrase []byte) ([]byte, error) {
	id, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(b), id)
	if err != nil {
		return nil, errors.New("wrong, or the file is damaged")
	}
	return io.ReadAll(io.LimitReader(r, maxRootFile))
}

// root checks the file. Its errors name the part that is wrong and nothing of it.
func (f rootFile) root() (*Root, error) {
	if f.Schema != rootSchema || len(f.Vault) != 32 || len(f.Terms) == 0 {
		return nil, fmt.Errorf("%w: want schema %q, got %q", ErrRoot, rootSchema, f.Schema)
	}
	r := &Root{Identity: Identity{id: f.Vault}, terms: map[uint32]rootTerm{}}
	for _, t := range f.Terms {
		keys, err := t.keys()
		if err != nil {
			return nil, fmt.Errorf("%w: term %d: %w", ErrRoot, t.Term, err)
		}
		r.terms[t.Term] = keys
		r.term = max(r.term, t.Term)
	}
	seed, err := hex.DecodeString(f.Audit)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: audit seed: want %d bytes", ErrRoot, ed25519.SeedSize)
	}
	defer clear(seed)
	if r.signer, err = audit.NewSigner("meterseal-vault-"+f.Vault[:16], ed25519.NewKeyFromSeed(seed)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	if r.reader, err = age.ParseX25519Identity(f.Age); err != nil {
		return nil, fmt.Errorf("%w: age identity is damaged", ErrRoot)
	}
	return r, nil
}

func (t rootTermFile) keys() (out rootTerm, err error) {
	wrap, err := hex.DecodeString(t.Wrap)
	if err != nil {
		return out, errors.New("wrapping key is damaged")
	}
	defer clear(wrap)
	mac, err := hex.DecodeString(t.MAC)
	if err != nil {
		return out, errors.New("mac key is damaged")
	}
	defer clear(mac)
	if out.wrap, err = key.NewWrapping(wrap); err != nil {
		return out, err
	}
	if out.mac, err = key.NewMAC(mac); err != nil {
		return out, err
	}
	if out.wrap.Weak() || out.mac.Weak() {
		return out, key.ErrWeak
	}
	return out, nil
}
