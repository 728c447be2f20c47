package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/meterseal/meterseal/internal/durable"
)

// errUnchanged ends a change that finds that there is nothing to do.
var errUnchanged = errors.New("unchanged")

// change reads the root file, changes it, and puts it in its place whole, before anything in memory counts. Two processes
// with one file take turns.
func (r *Root) change(what string, do func(f *rootFile) error) (err error) {
	if r.file == nil {
		return fmt.Errorf("%w: it is in no file", ErrRoot)
	}
	r.file.mu.Lock()
	defer r.file.mu.Unlock()
	unlock, err := r.file.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err := r.file.read()
	if err != nil {
		return err
	}
	if err := r.adopt(f); err != nil {
		return err
	}
	switch err := do(&f); {
	case errors.Is(err, errUnchanged):
		return nil
	case err != nil:
		return err
	}
	if err := r.file.write(what, f); err != nil {
		return err
	}
	return r.adopt(f)
}

// rootAt is where a root file is, and how it is opened. The passphrase is in a closure, which no verb walks into.
type rootAt struct {
	path       string
	passphrase func() []byte
	// crash, if set, is asked at each step of writing the file.
	crash func(point string) error

	mu   sync.Mutex
	seen os.FileInfo // as it was last read or written
}

// crashAt has the writes of the root file ask at each step.
func (r *Root) crashAt(crash func(point string) error) {
	if r.file != nil {
		r.file.crash = crash
	}
}

func newRootAt(path string, passphrase []byte) *rootAt {
	own := slices.Clone(passphrase)
	return &rootAt{path: path, passphrase: func() []byte { return own }}
}

// String names the file.
func (a *rootAt) String() string { return a.path }

func (a *rootAt) unchanged() bool {
	now, err := os.Stat(a.path)
	return err == nil && a.seen != nil && os.SameFile(now, a.seen) && now.ModTime().Equal(a.seen.ModTime()) && now.Size() == a.seen.Size()
}

// read opens the file. What is noted of it is from before: if it is replaced meanwhile, it is read again.
func (a *rootAt) read() (rootFile, error) {
	seen, err := os.Stat(a.path)
	if err != nil {
		return rootFile{}, fmt.Errorf("open vault: %w", err)
	}
	b, err := readRoot(a.path)
	if err != nil {
		return rootFile{}, fmt.Errorf("open vault: %w", err)
	}
	defer clear(b)
	f, err := openRootFile(a.path, b, a.passphrase())
	if err != nil {
		return rootFile{}, err
	}
	a.seen = seen
	return f, nil
}

// write puts the file in its place, sealed as it was.
func (a *rootAt) write(what string, f rootFile) error {
	out, err := f.encode(a.passphrase())
	if err != nil {
		return err
	}
	defer clear(out)
	crash := a.crash
	if crash == nil {
		crash = func(string) error { return nil }
	}
	if err := a.sweep(); err != nil {
		return err
	}
	if err := durable.ReplaceAt(a.path, out, func(point string) error { return crash(what + ", " + point) }); err != nil {
		return err
	}
	a.seen, err = os.Stat(a.path)
	return err
}

// sweep removes what a crash has left of an earlier write. The caller has the lock.
func (a *rootAt) sweep() error {
	dir, base := filepath.Split(a.path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+base+".") {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// lock keeps other processes from changing the file. The kernel drops it with the process.
func (a *rootAt) lock() (unlock func() error, err error) {
	d, err := os.Open(filepath.Dir(a.path))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil
}

// encode writes the file, sealed if there is a passphrase. The caller clears it.
func (f rootFile) encode(passphrase []byte) ([]byte, error) {
	plain, err := json.Marshal(f)
	if err != nil || len(passphrase) == 0 {
		return plain, err
	}
	defer clear(plain)
	return sealRoot(plain, passphrase, f.ScryptWork)
}
