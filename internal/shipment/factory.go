package shipment

import (
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
)

// maxIdentity bounds an identity file, in bytes.
const maxIdentity = 64 << 10

// ReadFactory reads a file that was encrypted to a factory, with the identity in the file at identity: the secret key
// of age, one "AGE-SECRET-KEY-1..." line, which nobody but its owner may be able to read. Every row must be good.
func ReadFactory(file, identity string) (meters []Meter, err error) {
	as, err := readIdentity(identity)
	if err != nil {
		return nil, fmt.Errorf("factory identity: %w", err)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("factory file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if meters, err = ReadAll(f, as); err != nil {
		return nil, fmt.Errorf("factory file %s: %w", file, err)
	}
	return meters, nil
}

// readIdentity never echoes what it reads.
func readIdentity(path string) (as age.Identity, err error) {
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
		return nil, fmt.Errorf("%s: others can read it (mode %04o); run chmod 600", path, info.Mode().Perm())
	}
	all, err := age.ParseIdentities(io.LimitReader(f, maxIdentity))
	if err != nil || len(all) != 1 {
		return nil, fmt.Errorf("%s: want one line that begins with AGE-SECRET-KEY-1", path)
	}
	return all[0], nil
}
