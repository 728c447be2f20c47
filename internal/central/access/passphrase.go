package access

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/meterseal/meterseal/internal/durable"
)

// ChangePassphrase seals the key of the authority in dir with another passphrase, or with its first one. The file is replaced
// whole; one that the new passphrase opens already is left alone, so that it may be done again after a crash. Work is the
// work factor of the seal, as a power of two; 0 is age's own.
func ChangePassphrase(dir string, old, next []byte, work int) (changed bool, err error) {
	if len(next) == 0 {
		return false, fmt.Errorf("%w: want a passphrase that is not empty", ErrAuthority)
	}
	path := filepath.Join(dir, caKey)
	b, err := durable.ReadPrivate(path, maxFile)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	defer func() { clear(b) }()
	if bytes.HasPrefix(b, []byte(ageMagic)) {
		if plain, err := unsealKey(b, next); err == nil {
			clear(plain)
			return false, nil
		}
		if b, err = unsealKey(b, old); err != nil {
			return false, fmt.Errorf("%w: neither the old passphrase nor the new one opens %s", ErrAuthority, path)
		}
	}
	if key, _, _, err := decodeIdentity(b); err != nil || key == nil {
		return false, fmt.Errorf("%w: %s is damaged", ErrAuthority, path)
	}
	sealed, err := sealPlain(b, next, work)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	return true, replace(path, sealed)
}

// replace puts a file in the place of another one, all of it or nothing.
func replace(path string, b []byte) error {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".*")) // of one that was cut
	for _, old := range left {
		err = errors.Join(err, os.Remove(old))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	if err := durable.Replace(path, b); err != nil {
		return fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	return nil
}
