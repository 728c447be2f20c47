package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrInUse is returned for a data directory that another process has open.
var ErrInUse = errors.New("data directory in use")

// dirLock is an exclusive lock of a data directory. The kernel drops it with the process, however that ends.
type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = inUse(dir, f, err)
		return nil, errors.Join(err, f.Close())
	}
	if err := writePID(f); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", dir, err), f.Close())
	}
	return &dirLock{f}, nil
}

func inUse(dir string, f io.Reader, cause error) error {
	if !errors.Is(cause, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock data directory %s: %w", dir, cause)
	}
	pid := "another process"
	if b, err := io.ReadAll(io.LimitReader(f, 32)); err == nil && len(b) > 0 {
		pid = "pid " + strings.TrimSpace(string(b))
	}
	return fmt.Errorf("%w by %s: %s; stop it first, or choose another --data directory", ErrInUse, pid, dir)
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func (l *dirLock) release() error {
	if l == nil || l.f == nil {
		return nil
	}
	err := l.f.Close() // closing drops the lock
	l.f = nil
	return err
}
