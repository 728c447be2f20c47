package vault

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/meterseal/meterseal/internal/transport"
)

// InitOptions of Init.
type InitOptions struct {
	// Passphrase seals the root file (age, scrypt). Without one the file is readable by its owner alone and holds
	// the root in clear.
	Passphrase []byte
	// ScryptWork is the work factor as a power of two; 0 is that of the ceremony, or age's own (about a second). Tests
	// lower it.
	ScryptWork int
	// Rand is the source of the root; required.
	Rand io.Reader
	// Ceremony is what was agreed. The zero value is DefaultCeremony.
	Ceremony Ceremony
	// By is who makes the vault, one of those who take part in the ceremony. "owner" by default, where there is none.
	By string
	// Transport is the key that files to the vault are sealed to; made if there is none. Tests bring one: it takes half a
	// second to make.
	Transport transport.Private
	// Tool is the program and its version, for the transcript.
	Tool string
	// Now is the clock, time.Now by default.
	Now func() time.Time
}

func (o *InitOptions) complete(kind string) error {
	if o.By == "" && o.Ceremony.text == "" {
		o.By = "owner"
	}
	if o.Ceremony.text == "" {
		o.Ceremony = DefaultCeremony(o.By)
	}
	if o.ScryptWork == 0 {
		o.ScryptWork = o.Ceremony.ScryptWork
	}
	if o.Tool == "" {
		o.Tool = "meterseal"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch c := o.Ceremony; {
	case !c.Takes(o.By):
		return fmt.Errorf("%w: %q does not take part", ErrCeremony, o.By)
	case c.Kind != kind:
		return fmt.Errorf("%w: it is for a vault of kind %q, not %q", ErrCeremony, c.Kind, kind)
	case len(o.Passphrase) > 0 && len(o.Passphrase) < minPassphrase:
		return fmt.Errorf("%w: the passphrase has %d bytes, want at least %d", ErrPassphrase, len(o.Passphrase), minPassphrase)
	}
	return nil
}

// Init makes a new vault in dir, as its ceremony says, and returns its root. It never replaces one. The transcript is
// there first: a vault whose root file is in its place has been made completely.
func Init(dir string, o InitOptions) (*Root, error) {
	r, err := initRoot(dir, o, initKind{
		kind: KindSoftware,
		file: func(f *rootFile) error {
			first, err := newTerm(o.Rand, 1, f.Made.At)
			if err != nil {
				return err
			}
			f.Terms = []rootTermFile{first}
			files := o.Transport
			if files.IsZero() {
				if files, err = transport.Generate(o.Rand); err != nil {
					return err
				}
			}
			f.Transport, err = files.PKCS8()
			return err
		},
		names: func(r *Root) ([]TermNames, string, error) { return r.TermNames(), r.Transport().String(), nil },
	})
	if err != nil {
		return nil, fmt.Errorf("make vault: %w", err)
	}
	return r, nil
}

// initKind is what differs between the kinds of a vault that is made: what goes into the root file, and the public names of
// the keys that are made with it.
type initKind struct {
	kind  string
	file  func(f *rootFile) error
	names func(r *Root) (terms []TermNames, to string, err error)
}

func initRoot(dir string, o InitOptions, k initKind) (*Root, error) {
	if err := o.complete(k.kind); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, RootFile)
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: %s", ErrExists, path)
	}
	f, err := newRootFile(o, k.file)
	if err != nil {
		return nil, err
	}
	out, err := f.encode(o.Passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(out)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	at := newRootAt(path, o.Passphrase)
	r, err := f.root(at)
	if err != nil {
		return nil, err
	}
	terms, to, err := k.names(r)
	if err != nil {
		return nil, err
	}
	err = WriteTranscript(dir, r.Signer(), Transcript{
		MadeAt: f.Made.At, By: o.By, Tool: o.Tool, CeremonyFile: o.Ceremony.Text(), Vault: r.ID(), Name: f.Made.Name,
		Tenant: f.Made.Tenant, Kind: k.kind, Terms: terms, Transport: to,
		Sealed: len(o.Passphrase) > 0, RootHash: hashOf(string(out)),
	})
	if err != nil {
		return nil, err
	}
	if err := writeRoot(path, out); err != nil {
		return nil, err
	}
	at.seen, err = os.Stat(path)
	return r, err
}

func newRootFile(o InitOptions, fill func(f *rootFile) error) (f rootFile, err error) {
	if o.Rand == nil {
		return f, errors.New("no source of randomness")
	}
	now := o.Now().UTC().Truncate(time.Second)
	c := o.Ceremony
	f = rootFile{Schema: rootSchema, ScryptWork: o.ScryptWork, Made: Made{
		Name: c.Vault, Tenant: c.Tenant, Ceremony: c.Hash(), At: now, Nonce: make([]byte, 32), Policy: c.Policy,
	}}
	if _, err := io.ReadFull(o.Rand, f.Made.Nonce); err != nil {
		return f, err
	}
	f.Vault = vaultID(c.Tenant, f.Made.Nonce)
	if err := fill(&f); err != nil {
		return f, err
	}
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if _, err := io.ReadFull(o.Rand, seed); err != nil {
		return f, err
	}
	f.Audit = hex.EncodeToString(seed)
	reader, err := age.GenerateX25519Identity()
	if err != nil {
		return f, err
	}
	f.Age = reader.String()
	return f, nil
}
