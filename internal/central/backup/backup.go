// Package backup keeps and brings back a central system: a snapshot of its database, the sealed root of its vault and the
// certificates of its bus, under a manifest that the vault has signed. What was done since is in the key journal alone;
// a restore without it leaves the vault sealed.
package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/durable"
)

// Schema names the form of a backup.
const Schema = "meterseal backup 1"

// The names of the files in a backup.
const (
	ManifestName = "manifest"
	tlsName      = "tls.age"
)

// TLSDir is the name of the directory of certificates in a data directory.
const TLSDir = "tls"

const (
	maxManifest = 1 << 20
	maxTLS      = 1 << 20
)

// Errors of a backup.
var (
	// ErrTampered is returned for a backup in which something was changed, is missing or was cut.
	ErrTampered = errors.New("backup: not as it was made")
	// ErrForeign is returned for a backup of another vault than the root's.
	ErrForeign = errors.New("backup: this root did not sign it: another vault's, or forged")
	// ErrOtherKeys is returned where the root file is the backup's, and the keys are not: a token has others of their names.
	ErrOtherKeys = errors.New("backup: the keys of the root are not those that it was made with: another token, or one whose keys were made anew; bring the token, or a copy of it")
	// ErrOccupied is returned where a restore would replace something.
	ErrOccupied = errors.New("backup: there is a central system already")
	// ErrNoRoot is returned for a backup without a root, where none was given.
	ErrNoRoot = errors.New("backup: it holds no root: the root was not sealed with a passphrase; give the copy that was kept apart")
)

// Manifest says what a backup holds.
type Manifest struct {
	Schema        string    `json:"schema"`
	Vault         string    `json:"vault"`
	MadeAt        time.Time `json:"made_at"`
	SchemaVersion int64     `json:"schema_version"`
	Meters        int       `json:"meters"`
	Keys          int       `json:"keys"`
	// Journals is how far the key journal of each node is in the database.
	Journals []Place `json:"journals"`
	Files    []File  `json:"files"`
}

// Place is how far a node's key journal is in the database.
type Place struct {
	Node  string `json:"node"`
	Bytes int64  `json:"bytes"`
	Hash  string `json:"hash"`
}

// File is one file of a backup.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Source is the central system that a backup is made of.
type Source struct {
	Store *store.Store
	// Data is its data directory, Root the root of the vault in it.
	Data string
	Root vault.Hold
	Now  func() time.Time
}

// Make makes a backup in dir, which must not exist. A central system at work on the store goes on meanwhile. The directory
// has its name only when all of it is there.
func Make(ctx context.Context, from Source, dir string) (m Manifest, err error) {
	if _, err := os.Lstat(dir); err == nil {
		return m, fmt.Errorf("backup: %s is there already: name a new directory", dir)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".backup-*") // 0700
	if err != nil {
		return m, fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if m, err = from.fill(ctx, tmp); err != nil {
		return m, fmt.Errorf("backup: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return m, fmt.Errorf("backup: %w", err)
	}
	return m, durable.SyncDir(filepath.Dir(dir))
}

func (from Source) fill(ctx context.Context, dir string) (m Manifest, err error) {
	m = Manifest{Schema: Schema, Vault: from.Root.ID(), MadeAt: from.Now().UTC().Truncate(time.Second)}
	db := filepath.Join(dir, store.FileName)
	if err := from.Store.Backup(ctx, db); err != nil {
		return m, err
	}
	in, err := store.Inspect(ctx, db)
	if err != nil {
		return m, err
	}
	m.SchemaVersion, m.Meters, m.Keys = in.SchemaVersion, in.Meters, in.Keys
	for node, p := range in.Places {
		if p.Vault != m.Vault {
			return m, fmt.Errorf("the database belongs to vault %s, the root to %s", p.Vault, m.Vault)
		}
		m.Journals = append(m.Journals, Place{node, p.Bytes, hex.EncodeToString(p.Hash)})
	}
	slices.SortFunc(m.Journals, func(a, b Place) int { return strings.Compare(a.Node, b.Node) })
	if err := from.secrets(dir); err != nil {
		return m, err
	}
	if m.Files, err = list(dir); err != nil {
		return m, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	signed, err := audit.SignText(from.Root.Signer(), string(text)+"\n")
	if err != nil {
		return m, err
	}
	return m, errors.Join(writeFile(filepath.Join(dir, ManifestName), signed), durable.SyncDir(dir))
}

// secrets adds the root, if it is sealed, and what is in clear in the data directory encrypted to the vault itself.
func (from Source) secrets(dir string) error {
	root, err := vault.SealedRoot(from.Data)
	switch {
	case errors.Is(err, vault.ErrRootInClear): // beside the rows it would open them
	case err != nil:
		return err
	default:
		if err := writeFile(filepath.Join(dir, vault.RootFile), root); err != nil {
			return err
		}
	}
	files, err := readDir(filepath.Join(from.Data, TLSDir))
	if err != nil || len(files) == 0 {
		return err
	}
	plain, err := json.Marshal(files)
	if err != nil {
		return err
	}
	defer clear(plain)
	to, err := age.ParseX25519Recipient(from.Root.Recipient())
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to)
	if err != nil {
		return err
	}
	if _, err := w.Write(plain); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, tlsName), sealed.Bytes())
}

// readDir reads the files of a directory; none for one that is not there.
func readDir(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out, sum := map[string][]byte{}, int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if sum += info.Size(); sum > maxTLS || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s: want files of %d bytes together at most", dir, maxTLS)
		}
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// list describes the files of a backup, but for the manifest.
func list(dir string) (out []File, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == ManifestName {
			continue
		}
		f := File{Name: e.Name()}
		if f.Bytes, f.SHA256, err = hashFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func hashFile(path string) (n int64, sum string, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err = io.Copy(h, f)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// writeFile writes and syncs a new file that its owner alone can read.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
