package shipment

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
)

// Errors of a whole file.
var (
	// ErrNotForUs is returned for a file that was encrypted to another reader.
	ErrNotForUs = errors.New("shipment: encrypted to another reader")
	// ErrFile is returned for what is not a shipment at all.
	ErrFile = errors.New("shipment: not a shipment file, or damaged from its beginning")
)

// maxLine bounds a line, in bytes. A row has about 300.
const maxLine = 1024

// Row is one row as read: a meter, or why there is none.
type Row struct {
	N       int // from 1
	Title   dlms.SystemTitle
	Meter   Meter
	Refused *Refusal // nil: Meter is whole
}

// Reader reads a shipment row by row.
type Reader struct {
	header Header
	in     *bufio.Reader
	n      int
	titles map[dlms.SystemTitle]int
	cut    bool
	ended  bool
}

// NewReader decrypts a file and reads its header.
func NewReader(file io.Reader, as age.Identity) (*Reader, error) {
	plain, err := age.Decrypt(file, as)
	var noMatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &noMatch):
		return nil, fmt.Errorf("%w; have the maker encrypt it to this one's recipient", ErrNotForUs)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	r := &Reader{in: bufio.NewReaderSize(plain, maxLine), titles: map[dlms.SystemTitle]int{}}
	line, whole := r.line()
	if !whole {
		return nil, fmt.Errorf("%w: no header", ErrFile)
	}
	if err := decodeStrictly(line, &r.header); err != nil {
		return nil, fmt.Errorf("%w: no header", ErrFile)
	}
	if err := r.header.check(); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrFile, err)
	}
	return r, nil
}

// Header returns the first line.
func (r *Reader) Header() Header { return r.header }

// Missing returns how many rows the header promised that have not been read.
func (r *Reader) Missing() int { return max(0, r.header.Count-r.n) }

// Cut reports whether the file ended where it should not have.
func (r *Reader) Cut() bool { return r.cut }

// Next returns the next row, io.EOF after the last. A bad row is a row with a refusal, not an error.
func (r *Reader) Next() (Row, error) {
	if r.ended {
		return Row{}, io.EOF
	}
	line, whole := r.line()
	if r.ended && len(line) == 0 {
		return Row{}, io.EOF
	}
	r.n++
	out := Row{N: r.n}
	switch {
	case r.ended:
		out.Refused = refuse(Truncated, "")
	case !whole:
		out.Refused = refuse(Damaged, fmt.Sprintf("longer than %d bytes", maxLine))
	default:
		out.Title, out.Meter, out.Refused = parseRow(line)
	}
	clear(line)
	if out.Refused == nil {
		out.Refused = r.place(out)
	}
	if out.Refused != nil {
		out.Meter = Meter{}
	}
	return out, nil
}

// place checks the row against the header and the rows before it.
func (r *Reader) place(row Row) *Refusal {
	if row.N > r.header.Count {
		return refuse(Foreign, fmt.Sprintf("the header promises %d rows", r.header.Count))
	}
	if bad := row.Meter.check(r.header.Maker); bad != nil {
		return bad
	}
	if first, twice := r.titles[row.Title]; twice {
		return refuse(DuplicateTitle, fmt.Sprintf("row %d has it", first))
	}
	r.titles[row.Title] = row.N
	return nil
}

// line returns the next line without its end, and whether it is all of it. A line that is too long is skipped to
// its end. At the end of the file, in whatever way it ends, it sets ended and returns what stood there.
func (r *Reader) line() (line []byte, whole bool) {
	line, err := r.in.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], true
	}
	if !errors.Is(err, bufio.ErrBufferFull) {
		r.ended, r.cut = true, !errors.Is(err, io.EOF) || len(line) > 0
		return line, false
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.in.ReadSlice('\n')
	}
	if err != nil {
		r.ended, r.cut = true, true
		return []byte{0}, false // something stood there
	}
	return nil, false
}

func decodeStrictly(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("two values on a line")
	}
	return nil
}

// parseRow does not tell what is wrong with a damaged row: the error of a decoder may hold a piece of it.
func parseRow(line []byte) (dlms.SystemTitle, Meter, *Refusal) {
	var r row
	defer func() { r.wipe() }()
	if err := decodeStrictly(line, &r); err != nil {
		return r.Title, Meter{}, refuse(Damaged, "")
	}
	if subtle.ConstantTimeCompare(r.sum(), r.Check) != 1 {
		return r.Title, Meter{}, refuse(Damaged, "check sum")
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
		return r.Title, Meter{}, refuse(Damaged, "a key has the wrong length")
	}
	return r.Title, m, nil
}

// ReadAll reads a file of which every row must be good, as the factory does for its own meters.
func ReadAll(file io.Reader, as age.Identity) ([]Meter, error) {
	r, err := NewReader(file, as)
	if err != nil {
		return nil, err
	}
	var meters []Meter
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if row.Refused != nil {
			return nil, fmt.Errorf("shipment row %d: %w", row.N, row.Refused)
		}
		meters = append(meters, row.Meter)
	}
	if r.Missing() > 0 || r.Cut() {
		return nil, fmt.Errorf("shipment: cut short, %d of %d rows missing", r.Missing(), r.header.Count)
	}
	return meters, nil
}
