package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ReadPrivate reads a file of at most limit bytes that nobody but its owner may be able to read. Its errors say how to mend
// that, and hold nothing of the file.
func ReadPrivate(path string, limit int) (b []byte, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s: others can read it (mode %04o); run chmod 600", path, mode)
	}
	b, err = io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(b) > limit {
		clear(b)
		return nil, fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return b, err
}
