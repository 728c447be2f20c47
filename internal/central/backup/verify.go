package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// Verify checks a backup against the root of its vault: that the vault signed its manifest, and that every file is there as
// it was. Progress, if not nil, is told of each file.
func Verify(dir string, root vault.Hold, progress func(done, all int)) (m Manifest, err error) {
	signed, err := readBounded(filepath.Join(dir, ManifestName), maxManifest)
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("%w: %s holds no manifest; it is no backup, or was not finished", ErrTampered, dir)
	}
	if err != nil {
		return m, fmt.Errorf("backup: %w", err)
	}
	key, err := audit.ParsePublicKey(root.Signer().PublicKey())
	if err != nil {
		return m, err
	}
	text, err := audit.OpenText(signed, key)
	if err != nil {
		return m, ErrForeign
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.Schema != Schema {
		return m, fmt.Errorf("backup: want schema %q, got %q: it was made by another version of this program", Schema, m.Schema)
	}
	if m.Vault != root.ID() {
		return m, fmt.Errorf("%w: it is of vault %s", ErrForeign, m.Vault)
	}
	return m, m.check(dir, progress)
}

func (m Manifest) check(dir string, progress func(done, all int)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	for _, e := range entries {
		known := slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == e.Name() })
		if !known && e.Name() != ManifestName {
			return fmt.Errorf("%w: %s is not in the manifest", ErrTampered, e.Name())
		}
	}
	if !m.has(store.FileName) {
		return fmt.Errorf("%w: no %s", ErrTampered, store.FileName)
	}
	for i, f := range m.Files {
		if filepath.Base(f.Name) != f.Name {
			return fmt.Errorf("%w: a file is called %q", ErrTampered, f.Name)
		}
		n, sum, err := hashFile(filepath.Join(dir, f.Name))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrTampered, err)
		}
		if n != f.Bytes || sum != f.SHA256 {
			return fmt.Errorf("%w: %s has other content than it was made with", ErrTampered, f.Name)
		}
		if progress != nil {
			progress(i+1, len(m.Files))
		}
	}
	return nil
}

func (m Manifest) has(name string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return f.Name == name })
}

func readBounded(path string, most int64) (b []byte, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err = io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: longer than %d bytes", path, most)
	}
	return b, err
}

// Rotated reads from a backup, after Verify, the newest rotation of the root in its database; nil for none. It refuses a
// database with rows under a term or one before it.
func Rotated(ctx context.Context, dir string, term uint32) (*vault.RootRotation, error) {
	in, err := store.Inspect(ctx, filepath.Join(dir, store.FileName))
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	for t, rows := range in.Terms {
		if t <= term {
			return nil, fmt.Errorf("backup: %s: %w: %d rows are under term %d: make a new backup", dir, vault.ErrStillNeeded, rows, t)
		}
	}
	return vault.ParseRotation(in.Rotation)
}
