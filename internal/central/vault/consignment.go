package vault

import (
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// ErrConsigned is returned for a key of a file that does not open under the file's AES key.
var ErrConsigned = errors.New("vault: a wrapped key does not open under the key of its file")

// Transport implements Hold.
func (r *Root) Transport() transport.Public { return r.files.Public() }

// OpenConsignment implements Hold.
func (r *Root) OpenConsignment(wrapped []byte) (Consignment, error) {
	under, err := r.files.UnwrapKey(wrapped)
	if err != nil {
		return nil, err
	}
	return consignment{r, under}, nil
}

// NewConsignment implements Hold.
func (r *Root) NewConsignment(rand io.Reader, to transport.Public) (transport.Envelope, Consignment, error) {
	env, under, err := transport.Seal(rand, to)
	if err != nil {
		return transport.Envelope{}, nil, err
	}
	return env, consignment{r, under}, nil
}

// consignment is the AES key of a file, in memory.
type consignment struct {
	root  *Root
	under key.Wrapping
}

// Adopt implements Consignment.
func (c consignment) Adopt(ref role.KeyRef, suite uint8, blob []byte) (KeyRow, error) {
	k, err := c.open(ref.Role, blob)
	if err != nil {
		return KeyRow{}, fmt.Errorf("%w: %s", ErrConsigned, ref)
	}
	return c.root.sealRow(ref, suite, k)
}

func (c consignment) open(r role.Role, blob []byte) (key.Wrappable, error) {
	if r == role.CCC {
		return c.under.UnwrapMaster(blob)
	}
	return c.under.UnwrapUnicast(blob)
}

// Release implements Consignment.
func (c consignment) Release(row KeyRow) ([]byte, error) {
	if row.Ref.Role == role.CCC {
		k, err := c.root.openMaster(row)
		if err != nil {
			return nil, err
		}
		return c.under.Wrap(k)
	}
	k, err := c.root.openUnicast(row)
	if err != nil {
		return nil, err
	}
	return c.under.Wrap(k)
}

// Close implements Consignment.
func (consignment) Close() error { return nil }
