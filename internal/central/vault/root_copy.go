package vault

import (
	"bytes"
	"errors"
	"path/filepath"
)

// ErrRootInClear is returned by SealedRoot for a root that no passphrase seals.
var ErrRootInClear = errors.New("vault: the root is not sealed with a passphrase")

// SealedRoot returns the root file of a vault as it is, for a backup. One that is in clear is refused: beside the rows it
// would open all of them.
func SealedRoot(dir string) ([]byte, error) {
	b, err := readRoot(filepath.Join(dir, RootFile))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, []byte(ageMagic)) {
		clear(b)
		return nil, ErrRootInClear
	}
	return b, nil
}

// PlaceRoot writes a root file into dir. The same file may be there already; another one is never replaced.
func PlaceRoot(dir string, file []byte) error {
	path := filepath.Join(dir, RootFile)
	old, err := readRoot(path)
	if err == nil && bytes.Equal(old, file) {
		return nil
	}
	return writeRoot(path, file)
}

// ReadRootFile returns a root file as it is, sealed or not.
func ReadRootFile(path string) ([]byte, error) { return readRoot(path) }
