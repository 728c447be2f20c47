//go:build !unix

package nvm

import (
	"errors"
	"os"
)

// tryLock refuses: without a lock two processes could serve one meter and repeat its counters.
func tryLock(*os.File) error { return errors.New("locks are not supported on this system") }
