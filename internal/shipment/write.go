package shipment

import (
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// Schema names the form of a shipment file.
const Schema = "meterseal shipment 2"

// purposeShipment begins what a maker signs.
const purposeShipment = "meterseal shipment signature 2"

// MaxCount bounds the rows of one file.
const MaxCount = 10_000_000

// Header is the first line of a shipment.
type Header struct {
	Schema string `json:"schema"`
	Maker  string `json:"maker"` // three letters
	Batch  string `json:"batch"`
	Count  int    `json:"count"`
	Signer string `json:"signer"` // fingerprint of the maker's key
	transport.Envelope
}

func (h Header) check() error {
	if h.Schema != Schema {
		return fmt.Errorf("want schema %q, got %q", Schema, h.Schema)
	}
	if err := checkMaker(h.Maker); err != nil {
		return err
	}
	if h.Batch == "" || len(h.Batch) > 64 {
		return fmt.Errorf("batch: want 1 to 64 bytes, got %d", len(h.Batch))
	}
	if h.Count < 1 || h.Count > MaxCount {
		return fmt.Errorf("count: want 1 to %d, got %d", MaxCount, h.Count)
	}
	if len(h.Signer) != 29 {
		return fmt.Errorf("signer: want the fingerprint of a maker's key")
	}
	return h.Envelope.Check()
}

// wrappedSize is a key of 16 bytes under AES key wrap.
const wrappedSize = key.Size + key.WrapOverhead

// SealedKey is one key of a row: wrapped under the file's AES key, and its check value.
type SealedKey struct {
	Role       role.Role      `json:"role"`
	Wrapped    []byte         `json:"wrapped"` // RFC 3394, 24 bytes
	CheckValue key.CheckValue `json:"check_value"`
}

// row is one line of a shipment.
type row struct {
	Title   dlms.SystemTitle `json:"system_title"`
	Profile string           `json:"profile"`
	Suite   uint8            `json:"suite"`
	Keys    []SealedKey      `json:"keys"`
}

// Write writes the meters of one batch for the vault with a transport key, signed by their maker. The key that their keys
// travel under comes from rand.
func Write(w io.Writer, rand io.Reader, by MakerKey, batch string, meters []Meter, to transport.Public) error {
	if err := write(w, rand, by, batch, meters, to); err != nil {
		return fmt.Errorf("write shipment: %w", err)
	}
	return nil
}

func write(w io.Writer, rand io.Reader, by MakerKey, batch string, meters []Meter, to transport.Public) error {
	if by.IsZero() {
		return key.ErrNoKey
	}
	env, under, err := transport.Seal(rand, to)
	if err != nil {
		return err
	}
	maker := by.Public().Maker()
	h := Header{Schema: Schema, Maker: maker, Batch: batch, Count: len(meters), Signer: by.Public().Fingerprint(), Envelope: env}
	if err := h.check(); err != nil {
		return err
	}
	out := newSignedWriter(w, maxLine)
	if err := out.line(h); err != nil {
		return err
	}
	for i, m := range meters {
		if bad := m.check(maker); bad != nil {
			return fmt.Errorf("row %d, meter %s: %w", i+1, m.Title, bad)
		}
		r, err := sealMeter(m, under)
		if err != nil {
			return fmt.Errorf("row %d, meter %s: %w", i+1, m.Title, err)
		}
		if err := out.line(r); err != nil {
			return fmt.Errorf("row %d, meter %s: %w", i+1, m.Title, err)
		}
	}
	return out.end(purposeShipment, func(b []byte) ([]byte, error) { return by.sign(b), nil })
}

func sealMeter(m Meter, under key.Wrapping) (row, error) {
	r := row{Title: m.Title, Profile: m.Profile, Suite: m.Suite}
	for _, k := range m.Keys() {
		blob, err := under.Wrap(k.Key)
		if err != nil {
			return row{}, err
		}
		r.Keys = append(r.Keys, SealedKey{k.Role, blob, k.Key.CheckValue()})
	}
	return r, nil
}
