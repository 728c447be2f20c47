package shipment

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/durable"
)

// FactorySchema names the form of a factory file.
const FactorySchema = "meterseal factory 1"

// ErrFactory is returned for a file that is no factory file, or is for another factory.
var ErrFactory = errors.New("not a whole factory file, or encrypted to another factory")

// factoryHeader is the first line of a factory file.
type factoryHeader struct {
	Schema string `json:"schema"`
	Maker  string `json:"maker"`
	Count  int    `json:"count"`
}

func (h factoryHeader) check() error {
	if h.Schema != FactorySchema {
		return fmt.Errorf("want schema %q, got %q", FactorySchema, h.Schema)
	}
	if h.Count < 1 || h.Count > MaxCount {
		return fmt.Errorf("count: want 1 to %d, got %d", MaxCount, h.Count)
	}
	return checkMaker(h.Maker)
}

// factoryRow is one line, with the keys in clear. They are bytes, to be overwritten after use.
type factoryRow struct {
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

func (r *factoryRow) wipe() {
	for _, b := range []hexBytes{r.CCC, r.LAN, r.Locale, r.IS} {
		clear(b)
	}
}

// sum is the row's check sum, which finds damage by the maker; age finds all that comes after.
func (r *factoryRow) sum() []byte {
	framed := key.Framed(r.Title[:], []byte{r.Suite}, []byte(r.Profile), r.CCC, r.LAN, r.Locale, r.IS)
	defer clear(framed)
	h := sha256.Sum256(framed)
	return h[:8]
}

// WriteFactory writes the meters of a maker with their keys, encrypted with age to the factory that makes them.
func WriteFactory(w io.Writer, maker string, meters []Meter, to age.Recipient) error {
	h := factoryHeader{FactorySchema, maker, len(meters)}
	if err := h.check(); err != nil {
		return fmt.Errorf("write factory file: %w", err)
	}
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return fmt.Errorf("write factory file: %w", err)
	}
	buf := bufio.NewWriter(sealed)
	if err := writeFactoryRows(buf, h, meters); err != nil {
		return fmt.Errorf("write factory file: %w", err)
	}
	if err := errors.Join(buf.Flush(), sealed.Close()); err != nil {
		return fmt.Errorf("write factory file: %w", err)
	}
	return nil
}

func writeFactoryRows(w io.Writer, h factoryHeader, meters []Meter) error {
	if err := writeLine(w, h); err != nil {
		return err
	}
	for i, m := range meters {
		if bad := m.check(h.Maker); bad != nil {
			return fmt.Errorf("row %d, meter %s: %w", i+1, m.Title, bad)
		}
		if err := writeFactoryRow(w, m); err != nil {
			return fmt.Errorf("row %d, meter %s: %w", i+1, m.Title, err)
		}
	}
	return nil
}

func writeFactoryRow(w io.Writer, m Meter) error {
	r := factoryRow{
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

// ReadFactory reads a file that was encrypted to a factory, with the identity in the file at identity: the secret key
// of age, one "AGE-SECRET-KEY-1..." line, which nobody but its owner may be able to read. Every row must be good.
func ReadFactory(file, identity string) (meters []Meter, err error) {
	as, err := readIdentity(identity)
	if err != nil {
		return nil, fmt.Errorf("factory identity: %w", err)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("factory file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if meters, err = readFactory(f, as); err != nil {
		return nil, fmt.Errorf("factory file %s: %w", file, err)
	}
	return meters, nil
}

// readIdentity never echoes what it reads.
func readIdentity(path string) (age.Identity, error) {
	b, err := durable.ReadPrivate(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	all, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil || len(all) != 1 {
		return nil, fmt.Errorf("%s: want one line that begins with AGE-SECRET-KEY-1", path)
	}
	return all[0], nil
}

func readFactory(file io.Reader, as age.Identity) ([]Meter, error) {
	plain, err := age.Decrypt(file, as)
	if err != nil {
		return nil, ErrFactory
	}
	in := bufio.NewReaderSize(plain, maxLine)
	var h factoryHeader
	line, err := in.ReadSlice('\n')
	if err != nil || decodeStrictly(line, &h) != nil {
		return nil, fmt.Errorf("%w: no header", ErrFactory)
	}
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFactory, err)
	}
	var meters []Meter
	seen := map[dlms.SystemTitle]bool{}
	for n := 1; n <= h.Count; n++ {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("%w: cut short, %d of %d rows are there", ErrFactory, n-1, h.Count)
		}
		m, err := parseFactoryRow(line)
		clear(line)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", n, err)
		}
		if bad := m.check(h.Maker); bad != nil {
			return nil, fmt.Errorf("row %d: %w", n, bad)
		}
		if seen[m.Title] {
			return nil, fmt.Errorf("row %d: %w", n, refuse(DuplicateTitle, ""))
		}
		seen[m.Title] = true
		meters = append(meters, m)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more than %d rows", ErrFactory, h.Count)
	}
	return meters, nil
}

// parseFactoryRow does not tell what is wrong with a damaged row: the error of a decoder may hold a piece of it.
func parseFactoryRow(line []byte) (Meter, error) {
	var r factoryRow
	defer func() { r.wipe() }()
	if err := decodeStrictly(line, &r); err != nil {
		return Meter{}, refuse(Damaged, "")
	}
	if subtle.ConstantTimeCompare(r.sum(), r.Check) != 1 {
		return Meter{}, refuse(Damaged, "check sum")
	}
	m := Meter{Title: r.Title, Suite: r.Suite, Profile: r.Profile}
	var errs [4]error
	m.CCC, errs[0] = key.NewMaster(r.CCC)
	m.LAN, errs[1] = key.NewUnicast(r.LAN)
	m.Locale, errs[2] = key.NewUnicast(r.Locale)
	if len(r.IS) > 0 {
		m.IS, errs[3] = key.NewUnicast(r.IS)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return Meter{}, refuse(Damaged, "a key has the wrong length")
	}
	return m, nil
}
