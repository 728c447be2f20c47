package vault

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
)

// ChangePassphrase seals the root file in dir with another passphrase, or, where it was in clear, with its first one. Its keys
// stay as they are. The file is replaced whole, by one that was seen to open; one that the new passphrase opens already is
// left alone. No process may have the root open: it would go on sealing the file with the old one.
//
// Crash, if set, is asked at each step of writing the file.
func ChangePassphrase(dir string, old, next []byte, crash func(point string) error) (changed bool, err error) {
	if len(next) == 0 || bytes.Equal(old, next) {
		return false, fmt.Errorf("%w: want a new one that is not empty, and another than the old one", ErrPassphrase)
	}
	at := newRootAt(filepath.Join(dir, RootFile), next)
	at.crash = crash
	unlock, err := at.lock()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	b, err := readRoot(at.path)
	if err != nil {
		return false, err
	}
	defer clear(b)
	if bytes.HasPrefix(b, []byte(ageMagic)) {
		if _, err := openRootFile(at.path, b, next); err == nil {
			return false, nil
		}
	}
	f, err := openRootFile(at.path, b, old)
	if err != nil {
		return false, err
	}
	return true, at.write("passphrase", f)
}
