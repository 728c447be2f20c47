//go:build !unix

package durable

import (
	"errors"
	"os"
)

// TryLock refuses: without a lock two processes could spend the same counters.
func TryLock(*os.File) (bool, error) {
	return false, errors.New("no file locks on this system")
}
