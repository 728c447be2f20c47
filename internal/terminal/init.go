package terminal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/transport"
)

// Init makes a terminal's identity in dir, once, and returns its enrolment file for the vault with this transport key.
// A directory that has an identity keeps it: the enrolment file is made anew.
func Init(dir string, title dlms.SystemTitle, vault transport.Public, rand io.Reader) (enrol.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return enrol.File{}, fmt.Errorf("terminal: %w", err)
	}
	path := filepath.Join(dir, IdentityFile)
	id, err := enrol.LoadIdentity(path)
	if errors.Is(err, os.ErrNotExist) {
		if id, err = enrol.NewIdentity(enrol.Terminal, title, rand); err == nil {
			err = id.Save(path)
		}
	}
	if err != nil {
		return enrol.File{}, err
	}
	return id.File(vault, rand)
}
