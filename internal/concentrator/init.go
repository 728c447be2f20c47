package concentrator

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

// ErrNoIdentity is returned for a data directory without an identity.
var ErrNoIdentity = errors.New("no concentrator here: make one with 'meterseal concentrator init'")

// Init makes a concentrator's identity in dir, once, and returns its enrolment file for the vault with this
// transport key. A directory that has an identity keeps it, and its title: the enrolment file is made anew.
func Init(dir string, title dlms.SystemTitle, rand io.Reader, vault transport.Public) (enrol.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return enrol.File{}, fmt.Errorf("concentrator: %w", err)
	}
	path := filepath.Join(dir, IdentityFile)
	id, err := enrol.LoadIdentity(path)
	if errors.Is(err, os.ErrNotExist) {
		if id, err = enrol.NewIdentity(enrol.Concentrator, title, rand); err == nil {
			err = id.Save(path)
		}
	}
	if err != nil {
		return enrol.File{}, err
	}
	if id.Title() != title || id.Kind() != enrol.Concentrator {
		return enrol.File{}, fmt.Errorf("concentrator: %s holds the identity of %s, want concentrator %s", dir, id, title)
	}
	return id.File(vault, rand)
}

func loadIdentity(path string) (*enrol.Identity, error) {
	id, err := enrol.LoadIdentity(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w (%w)", ErrNoIdentity, err)
	}
	if err == nil && id.Kind() != enrol.Concentrator {
		err = fmt.Errorf("concentrator: %s is the identity of a %s", path, id.Kind())
	}
	return id, err
}
