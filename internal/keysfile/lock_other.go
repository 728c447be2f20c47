//go:build !unix

package keysfile

import (
	"errors"
	"os"
)

// tryLock refuses: without a lock two commands could use one counter twice.
func tryLock(*os.File) (bool, error) {
	return false, errors.New("files cannot be locked on this system")
}
