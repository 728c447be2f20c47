package keysfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/durable"
)

// format is the first thing in a counters file. A later version of this program may write another one, which this
// one does not guess at.
const format = "meterseal counters 1"

// maxStateFile bounds what is read: about 5,000 keys.
const maxStateFile = 4 << 20

// state is the content of a counters file.
type state struct {
	Format   string            `json:"format"`
	OwnTitle *dlms.SystemTitle `json:"own_title,omitempty"`
	Rows     []row             `json:"keys"`
}

// row is one nonce space.
type row struct {
	Key     key.CheckValue         `json:"check_value"`
	Title   dlms.SystemTitle       `json:"system_title"`
	Ceiling dlms.InvocationCounter `json:"send_ceiling"` // the highest value that may have been used
	Raised  uint32                 `json:"send_raised"`  // the sum of all raises on a peer's word
	Floors  []floorRow             `json:"received,omitempty"`
}

// floorRow is the highest counter accepted from one peer.
type floorRow struct {
	Title dlms.SystemTitle       `json:"system_title"`
	Last  dlms.InvocationCounter `json:"last"`
}

func readState(path string) (s state, exists bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // who may not write it may not use it
	if errors.Is(err, fs.ErrNotExist) {
		return state{Format: format}, false, nil
	}
	if err != nil {
		return state{}, false, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err != nil {
		return state{}, false, err
	}
	s, err = parseState(b)
	return s, true, err
}

func parseState(b []byte) (state, error) {
	var s state
	if len(b) > maxStateFile {
		return s, fmt.Errorf("want at most %d bytes", maxStateFile)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return state{}, fmt.Errorf("not a counters file: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return state{}, errors.New("not a counters file: something follows the json object")
	}
	if s.Format != format {
		return state{}, fmt.Errorf("want format %q, got %q: written by another version?", format, s.Format)
	}
	return s, s.check()
}

func (s *state) check() error {
	for i, r := range s.Rows {
		if s.index(r.name()) != i {
			return fmt.Errorf("key %s with title %s: given twice", r.Key, r.Title)
		}
		if len(r.Floors) > security.MaxTitles {
			return fmt.Errorf("key %s: want at most %d titles, got %d", r.Key, security.MaxTitles, len(r.Floors))
		}
		for j, f := range r.Floors {
			if r.floor(f.Title) != j {
				return fmt.Errorf("key %s: received from %s: given twice", r.Key, f.Title)
			}
		}
	}
	return nil
}

func writeState(path string, s state) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(path, append(b, '\n'))
}

func (r row) name() Name { return Name{Key: r.Key, Title: r.Title} }

func (r row) floor(title dlms.SystemTitle) int {
	return slices.IndexFunc(r.Floors, func(f floorRow) bool { return f.Title == title })
}

func (s *state) index(n Name) int {
	return slices.IndexFunc(s.Rows, func(r row) bool { return r.name() == n })
}

// row returns the row of n, made when there is none: a new key starts at 1.
func (s *state) row(n Name) *row {
	i := s.index(n)
	if i < 0 {
		i = len(s.Rows)
		s.Rows = append(s.Rows, row{Key: n.Key, Title: n.Title})
	}
	return &s.Rows[i]
}

func (r *row) setFloor(title dlms.SystemTitle, last dlms.InvocationCounter) {
	if i := r.floor(title); i >= 0 {
		r.Floors[i].Last = max(r.Floors[i].Last, last)
		return
	}
	r.Floors = append(r.Floors, floorRow{Title: title, Last: last})
}

// raise lifts every value of s to that of o where o's is higher, and lowers none.
func (s *state) raise(o state) {
	if s.OwnTitle == nil {
		s.OwnTitle = o.OwnTitle
	}
	for _, from := range o.Rows {
		to := s.row(from.name())
		to.Ceiling, to.Raised = max(to.Ceiling, from.Ceiling), max(to.Raised, from.Raised)
		for _, f := range from.Floors {
			to.setFloor(f.Title, f.Last)
		}
	}
}

func (s state) clone() state {
	s.Rows = slices.Clone(s.Rows)
	for i := range s.Rows {
		s.Rows[i].Floors = slices.Clone(s.Rows[i].Floors)
	}
	return s
}

func (s state) equal(o state) bool { return reflect.DeepEqual(s, o) }
