package vault

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
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

// SealWork is the work factor of the seal of the root in dir, as a power of two: what else is sealed with its passphrase is
// to be sealed as well. 0 where it stands in clear, or cannot be read.
func SealWork(dir string) int {
	b, err := readRoot(filepath.Join(dir, RootFile))
	if err != nil {
		return 0
	}
	defer clear(b)
	// The second line of an age file with a passphrase: -> scrypt SALT WORK.
	lines := bytes.SplitN(b, []byte("\n"), 3)
	if len(lines) < 3 || !bytes.HasPrefix(lines[0], []byte(ageMagic)) {
		return 0
	}
	fields := bytes.Fields(lines[1])
	if len(fields) != 4 || string(fields[1]) != "scrypt" {
		return 0
	}
	work, err := strconv.Atoi(string(fields[3]))
	if err != nil {
		return 0
	}
	return work
}
