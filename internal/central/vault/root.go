package vault

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"filippo.io/age"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/transport"
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
	rootSchema  = "meterseal vault root 2"
	maxRootFile = 64 << 10
	ageMagic    = "age-encryption.org/v1"
)

// Root is what a vault stands on: the keys that all its rows are sealed and bound under, the key that signs the
// audit log, and the identity that files to the vault are encrypted to. It prints nothing of them.
type Root struct {
	Identity
	made  Made
	terms atomic.Pointer[termSet]
	file  *rootAt // nil for one that is in no file
	files transport.Private
}

var _ Hold = (*Root)(nil)

// Kind implements Hold.
func (*Root) Kind() string { return KindSoftware }

// Made implements Hold.
func (r *Root) Made() Made { return r.made }

// Close implements Hold. The keys go with the process: Go does not let them be overwritten for certain.
func (*Root) Close() error { return nil }

// MarshalJSON refuses: a root leaves memory through Init alone.
func (*Root) MarshalJSON() ([]byte, error) { return nil, key.ErrRedacted }

type rootFile struct {
	Schema string `json:"schema"`
	Vault  string `json:"vault"`
	Made   Made   `json:"made,omitzero"`
	// Token is where the keys of the terms are, in the file of a vault that keeps them in a token.
	Token *TokenPlace    `json:"token,omitempty"`
	Terms []rootTermFile `json:"terms"`
	Audit string         `json:"audit_seed"`
	Age   string         `json:"age_identity"`
	// ScryptWork is the work factor of the seal, 0 for age's own.
	ScryptWork int `json:"scrypt_work,omitempty"`
	// Transport is the private key that files to the vault are sealed to, PKCS #8.
	Transport []byte `json:"transport_key,omitempty"`
}

func hexKey(k key.Key) string {
	b := key.Reveal(k)
	defer clear(b)
	return hex.EncodeToString(b)
}

func sealRoot(plain, passphrase []byte, work int) ([]byte, error) {
	to, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, err
	}
	if work > 0 {
		to.SetWorkFactor(work)
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

// writeRoot writes and syncs a file that must not exist: all of it under its name, or nothing.
func writeRoot(path string, b []byte) error {
	err := durable.Create(path, b)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w: %s", ErrExists, path)
	}
	return err
}

// Unseal reads the root of the vault in dir. A sealed one needs its passphrase; one in clear is refused with a
// passphrase (somebody believes that it is sealed) and when others can read it.
func Unseal(dir string, passphrase []byte) (*Root, error) {
	at := newRootAt(filepath.Join(dir, RootFile), passphrase)
	f, err := at.read()
	if err != nil {
		return nil, err
	}
	if f.Token != nil {
		return nil, fmt.Errorf("%w: %s of module %s", ErrInToken, f.Token.Label, f.Token.Module)
	}
	return f.root(at)
}

// openRootFile opens what a root file holds.
func openRootFile(path string, b, passphrase []byte) (f rootFile, err error) {
	switch sealed := bytes.HasPrefix(b, []byte(ageMagic)); {
	case sealed && len(passphrase) == 0:
		return f, fmt.Errorf("%w: %s is sealed; give its passphrase", ErrPassphrase, path)
	case !sealed && len(passphrase) > 0:
		return f, fmt.Errorf("%w: %s is not sealed, though a passphrase was given", ErrPassphrase, path)
	case sealed:
		if b, err = unsealRoot(b, passphrase); err != nil {
			return f, fmt.Errorf("%w: %s: %w", ErrPassphrase, path, err)
		}
		defer clear(b)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return rootFile{}, fmt.Errorf("%w: %s is damaged", ErrRoot, path) // a decoder's error may hold a piece of it
	}
	return f, nil
}

func readRoot(path string) ([]byte, error) {
	b, err := durable.ReadPrivate(path, maxRootFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrRoot, err)
	}
	return b, err
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
func (f rootFile) root(at *rootAt) (*Root, error) {
	if err := f.checkSchema(); err != nil {
		return nil, err
	}
	if err := f.Made.check(f.Vault); err != nil {
		return nil, err
	}
	set, err := f.termSet()
	if err != nil {
		return nil, err
	}
	r := &Root{Identity: Identity{id: f.Vault}, made: f.Made, file: at}
	r.terms.Store(set)
	seed, err := hex.DecodeString(f.Audit)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: audit seed: want %d bytes", ErrRoot, ed25519.SeedSize)
	}
	defer clear(seed)
	if r.signer, err = audit.NewSigner("meterseal-vault-"+f.Vault[:16], ed25519.NewKeyFromSeed(seed)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	reader, err := age.ParseX25519Identity(f.Age)
	if err != nil {
		return nil, fmt.Errorf("%w: age identity is damaged", ErrRoot)
	}
	r.reader = func() *age.X25519Identity { return reader }
	if f.Token != nil { // the transport key is there too
		return r, nil
	}
	defer clear(f.Transport)
	if r.files, err = transport.ParsePrivate(f.Transport); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	return r, nil
}
