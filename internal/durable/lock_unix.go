//go:build unix

package durable

import (
	"errors"
	"os"
	"syscall"
)

// TryLock takes an exclusive advisory lock that the kernel drops when the file is closed or the process dies.
func TryLock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case errors.Is(err, syscall.EINTR):
			continue
		default:
			return err == nil, err
		}
	}
}
