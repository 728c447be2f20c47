package shipment

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
)

// Schema names the form of a shipment file.
const Schema = "meterseal shipment 1"

// MaxCount bounds the rows of one file.
const MaxCount = 10_000_000

// Header is the first line of a shipment.
type Header struct {
	Schema string `json:"schema"`
	Maker  string `json:"maker"` // three letters
	Batch  string `json:"batch"`
	Count  int    `json:"count"`
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
	return nil
}

// row is one line. The keys are bytes, to be overwritten after use.
type row struct {
	Title   dlms.SystemTitle `json:"system_title"`
	Suite   uint8            `json:"suite"`
	Profile string           `json:"profile"`
	CCC     hexBytes         `json:"ccc"`
	LAN     hexBytes         `json:"cc_lan"`
	Locale  hexBytes         `json:"cc_locale"`
	IS      hexBytes         `json:"cc_is,omitempty"`
	Check   hexBytes         `json:"check"`
}

type hexBytes []byte

// MarshalText writes hexadecimal digits.
func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText does not echo what it refuses.
func (h *hexBytes) UnmarshalText(b []byte) error {
	if len(b) > 2*key.Size {
		return errors.New("want hexadecimal digits")
	}
	out := make([]byte, hex.DecodedLen(len(b)))
	if _, err := hex.Decode(out, b); err != nil {
		clear(out)
		return errors.New("want hexadecimal digits")
	}
	*h = out
	return nil
}

func (r *row) wipe() {
	for _, b := range []hexBytes{r.CCC, r.LAN, r.Locale, r.IS} {
		clear(b)
	}
}

// sum is the row's check sum: 8 bytes of SHA-256. It finds damage; what keeps a forger out is that the file is
// encrypted, and that it comes from the maker.
func (r *row) sum() []byte {
	framed := key.Framed(r.Title[:], []byte{r.Suite}, []byte(r.Profile), r.CCC, r.LAN, r.Locale, r.IS)
	defer clear(framed)
	h := sha256.Sum256(framed)
	return h[:8]
}

// Write writes the meters of one batch, encrypted to one reader.
func Write(w io.Writer, maker, batch string, meters []Meter, to age.Recipient) error {
	h := Header{Schema: Schema, Maker: maker, Batch: batch, Count: len(meters)}
	if err := h.check(); err != nil {
		return fmt.Errorf("write shipment: %w", err)
	}
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return fmt.Errorf("write shipment: %w", err)
	}
	buf := bufio.NewWriter(sealed)
	if err := writeRows(buf, h, meters); err != nil {
		return fmt.Errorf("write shipment: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write shipment: %w", err)
	}
	if err := sealed.Close(); err != nil {
		return fmt.Errorf("write shipment: %w", err)
	}
	return nil
}

func writeRows(w io.Writer, h Header, meters []Meter) error {
	if err := writeLine(w, h); err != nil {
		return err
	}
	for i, m := range meters {
		if bad := m.check(h.Maker); bad != nil {
			return fmt.Errorf("row %d, meter %s: %w", i+1, m.Title, bad)
		}
		if err := writeMeter(w, m); err != nil {
			return fmt.Errorf("row %d, meter %s: %w", i+1, m.Title, err)
		}
	}
	return nil
}

func writeMeter(w io.Writer, m Meter) error {
	r := row{
		Title: m.Title, Suite: m.Suite, Profile: m.Profile,
		CCC: key.Reveal(m.CCC), LAN: key.Reveal(m.LAN), Locale: key.Reveal(m.Locale), IS: key.Reveal(m.IS),
	}
	defer r.wipe()
	r.Check = r.sum()
	return writeLine(w, &r)
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	defer clear(b)
	if _, err := w.Write(b); err != nil {
		return err
	}
	_, err = w.Write([]byte{'\n'})
	return err
}
