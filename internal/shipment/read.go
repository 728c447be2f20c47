package shipment

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

// Row is one row as read: what the maker says of a meter, or why it is none.
type Row struct {
	N       int // from 1
	Title   dlms.SystemTitle
	Profile string
	Suite   uint8
	Keys    []SealedKey // CCC first; each of them 24 bytes
	Refused *Refusal    // nil: a row to be taken
}

// File is a shipment on the disk. Nothing in it may be relied on before Verify.
type File struct {
	*spool
	header   Header
	verified bool
}

// Spool copies a shipment into a file in dir that disappears with Close, and reads its header. It says nothing yet of who
// wrote it.
func Spool(dir string, r io.Reader) (*File, error) {
	s, err := newSpool(dir, r, maxLine)
	if err != nil {
		return nil, err
	}
	f := &File{spool: s}
	if err := f.readHeader(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: header: %w", ErrFile, err), s.Close())
	}
	return f, nil
}

func (f *File) readHeader() error {
	if err := decodeStrictly(f.first, &f.header); err != nil {
		return errors.New("want a JSON object")
	}
	if err := f.header.check(); err != nil {
		return err
	}
	if f.lines-1 != f.header.Count {
		return fmt.Errorf("it promises %d rows, %d are there", f.header.Count, f.lines-1)
	}
	return nil
}

// Header returns the first line.
func (f *File) Header() Header { return f.header }

// Sum is SHA-256 over all that is signed.
func (f *File) Sum() []byte { return bytes.Clone(f.sum) }

// Verify checks the maker's signature over the whole file.
func (f *File) Verify(by MakerPublic) error {
	if by.Maker() != f.header.Maker || by.Fingerprint() != f.header.Signer {
		return fmt.Errorf("%w: it names %s of maker %s", ErrSignature, f.header.Signer, f.header.Maker)
	}
	if err := f.verify(purposeShipment, by.key[:]); err != nil {
		return err
	}
	f.verified = true
	return nil
}

// Rows reads the rows, from the first. Only of a file that was verified.
func (f *File) Rows() (*Reader, error) {
	if !f.verified {
		return nil, fmt.Errorf("%w: it was not verified", ErrSignature)
	}
	return &Reader{header: f.header, in: f.body(), titles: make(map[dlms.SystemTitle]int, f.header.Count)}, nil
}

// Reader reads a shipment row by row.
type Reader struct {
	header Header
	in     *bufio.Reader
	n      int
	titles map[dlms.SystemTitle]int
}

// Next returns the next row, io.EOF after the last. A bad row is a row with a refusal, not an error.
func (r *Reader) Next() (Row, error) {
	if r.n == r.header.Count {
		return Row{}, io.EOF
	}
	line, err := r.in.ReadSlice('\n')
	if err != nil {
		return Row{}, fmt.Errorf("%w: after row %d: %w", ErrFile, r.n, err)
	}
	r.n++
	out := parseRow(line[:len(line)-1], r.header.Maker)
	if out.N = r.n; out.Refused != nil {
		return out, nil
	}
	if first, twice := r.titles[out.Title]; twice {
		out.Refused = refuse(DuplicateTitle, fmt.Sprintf("row %d has it", first))
		return out, nil
	}
	r.titles[out.Title] = r.n
	return out, nil
}

// parseRow reads a line of a maker's shipment.
func parseRow(line []byte, maker string) Row {
	var r row
	if err := decodeStrictly(line, &r); err != nil {
		return Row{Refused: refuse(Damaged, "not a row")}
	}
	return Row{Title: r.Title, Profile: r.Profile, Suite: r.Suite, Keys: r.Keys, Refused: r.check(maker)}
}

// check refuses what no central system would take, before any key is opened.
func (r row) check(maker string) *Refusal {
	if string(r.Title[:3]) != maker {
		return refuse(Foreign, "its system title is not of maker "+maker)
	}
	if r.Suite != 0 {
		return refuse(Unsupported, fmt.Sprintf("security suite %d", r.Suite))
	}
	want, ok := rolesOf(r.Profile)
	if !ok {
		return refuse(Unsupported, "profile")
	}
	if len(r.Keys) != len(want) {
		return refuse(Damaged, fmt.Sprintf("want %d keys, got %d", len(want), len(r.Keys)))
	}
	for i, k := range r.Keys {
		if k.Role != want[i] {
			return refuse(Damaged, fmt.Sprintf("key %d: want %s", i+1, want[i]))
		}
		if len(k.Wrapped) != wrappedSize {
			return refuse(Damaged, fmt.Sprintf("%s: want %d bytes, got %d", k.Role, wrappedSize, len(k.Wrapped)))
		}
	}
	return nil
}

// rolesOf lists the keys of a meter of a profile, in the order in which a row has them.
func rolesOf(profile string) ([]role.Role, bool) {
	switch profile {
	case ProfileHardened:
		return []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS}, true
	case ProfileLinky:
		return []role.Role{role.CCC, role.CCLAN, role.CCLOCALE}, true
	default:
		return nil, false
	}
}
