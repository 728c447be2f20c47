package loadcurve

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	maxPreamble = 100 // lines before the header
	bufferSize  = 64 << 10
)

// ErrUnknownFormat says that no header of a known format was found.
var ErrUnknownFormat = errors.New("no known header: want the columns Date, Time and Global_active_power, or horodate and valeur")

// decoder takes the rows of one format.
type decoder interface {
	// row takes the fields of one line, at least as many as the header had.
	row(line int, fields []string) error
	// curve ends the file.
	curve() (*Curve, error)
}

// ReadFile reads a load curve from a file. See [Parse].
func ReadFile(path string) (*Curve, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load curve: %w", err)
	}
	c, err := Parse(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("load curve %s: %w", path, err)
	}
	return c, nil
}

// Parse reads a load curve in either format, told apart by its header, plain or
// compressed with gzip, told apart by its first bytes. The text is UTF-8, with or
// without a byte order mark; fields are separated by ";", "," or tabs and may be
// quoted; blank lines are skipped.
//
// Rows must come in rising time. A row that repeats or goes back is refused, not
// sorted or dropped: in a file in local time this is the hour that comes twice
// in October, and only whoever made the file knows which is which. Stamps
// without an offset are file time, which has no such hour.
//
// Refused, with the number of the line: a missing column or one too many, a
// stamp that is no whole minute, a power that is negative, above 1 MW or no
// whole number of watts, a unit other than W, a line above 4096 bytes, more than
// 2.5 million rows or 50 years. A file without rows gives ErrNoRows, one without a
// known header ErrUnknownFormat. Memory is bounded by these limits, whatever the
// input decompresses to.
func Parse(r io.Reader) (*Curve, error) {
	text, err := decompress(r)
	if err != nil {
		return nil, err
	}
	in := newLines(text)
	d, h, err := detect(in)
	if err != nil {
		return nil, err
	}
	if err := decode(in, h, d); err != nil {
		return nil, err
	}
	return d.curve()
}

// decompress looks for the two magic bytes of gzip (RFC 1952, 2.3.1).
func decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, bufferSize)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read: %w", err)
	}
	if len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("read gzip: %w", err)
	}
	return z, nil
}

// header says how the lines after it are cut.
type header struct {
	separator byte
	columns   int
}

// detect reads up to the header. An export has lines about itself before it.
func detect(in *lines) (decoder, header, error) {
	about, empty := preamble{}, true
	for ; in.next(); empty = false {
		sep := separatorOf(in.text)
		names := trimEmpty(split(in.text, sep), 0)
		h := header{separator: sep, columns: len(names)}
		if d, ok := newHousehold(names); ok {
			return d, h, nil
		}
		if d, ok, err := newExport(names, about); ok {
			return d, h, in.wrap(err)
		}
		if in.count > maxPreamble {
			break
		}
		about.take(names)
	}
	if in.err != nil {
		return nil, header{}, in.err
	}
	if empty {
		return nil, header{}, ErrNoRows
	}
	return nil, header{}, ErrUnknownFormat
}

func decode(in *lines, h header, d decoder) error {
	for rows := 0; in.next(); rows++ {
		if rows >= maxRows {
			return in.wrap(fmt.Errorf("more than %d rows: want a shorter file", maxRows))
		}
		fields, err := h.cut(in.text)
		if err != nil {
			return in.wrap(err)
		}
		if err := d.row(in.count, fields); err != nil {
			return in.wrap(err)
		}
	}
	return in.err
}

// cut splits a row. Empty fields beyond the last column are forgiven: exports
// end their lines with a separator or not, as they please.
func (h header) cut(text string) ([]string, error) {
	fields := trimEmpty(split(text, h.separator), h.columns)
	if len(fields) != h.columns {
		return nil, fmt.Errorf("want %d columns as in the header, got %d", h.columns, len(fields))
	}
	return fields, nil
}

// trimEmpty drops empty fields from the end as long as more than n are left.
func trimEmpty(fields []string, n int) []string {
	for len(fields) > n && fields[len(fields)-1] == "" {
		fields = fields[:len(fields)-1]
	}
	return fields
}
