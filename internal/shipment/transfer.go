package shipment

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// TransferSchema names the form of a file of running meters from one head-end to another.
const TransferSchema = "meterseal transfer 1"

// purposeTransfer begins what the vault signs that gives the meters away.
const purposeTransfer = "meterseal transfer signature 1"

// maxTransferLine bounds a row: a version has some 400 bytes, and a meter may have hundreds.
const maxTransferLine = 1 << 20

// TransferHeader is the first line of a transfer.
type TransferHeader struct {
	Schema string `json:"schema"`
	Vault  string `json:"vault"`  // that gives the meters away
	Signer string `json:"signer"` // its audit key, which signs
	Count  int    `json:"count"`
	// Titles are those under which the vault that gives away has opened associations: nobody who takes over may bear one.
	Titles []dlms.SystemTitle `json:"titles"`
	transport.Envelope
}

func (h TransferHeader) check() error {
	if h.Schema != TransferSchema {
		return fmt.Errorf("want schema %q, got %q", TransferSchema, h.Schema)
	}
	if h.Count < 1 || h.Count > MaxCount {
		return fmt.Errorf("count: want 1 to %d, got %d", MaxCount, h.Count)
	}
	if h.Vault == "" || len(h.Vault) > 64 || h.Signer == "" || len(h.Signer) > 256 {
		return errors.New("want the name of a vault and its audit key")
	}
	return h.Envelope.Check()
}

// TransferRow is a running meter.
type TransferRow struct {
	Title    dlms.SystemTitle `json:"system_title"`
	Maker    string           `json:"maker"`
	Batch    string           `json:"batch"`
	Profile  string           `json:"profile"`
	Suite    uint8            `json:"suite"`
	Versions []Version        `json:"versions"`
}

// Version is a version of a key that the meter may hold, with all that has been spent under it.
type Version struct {
	Role       role.Role      `json:"role"`
	Version    uint32         `json:"version"`
	Suite      uint8          `json:"suite"`
	State      string         `json:"state"` // active, sent, superseded or abandoned
	Wrapped    []byte         `json:"wrapped"`
	CheckValue key.CheckValue `json:"check_value"`
	CreatedAt  time.Time      `json:"created_at"`
	SentAt     time.Time      `json:"sent_at,omitzero"`
	ActiveAt   time.Time      `json:"active_at,omitzero"`
	EndedAt    time.Time      `json:"ended_at,omitzero"`
	// CountersLost: nobody knows which counters were handed out with it.
	CountersLost bool              `json:"counters_lost,omitempty"`
	Counters     []TransferCounter `json:"counters,omitempty"`
	Floors       []TransferFloor   `json:"floors,omitempty"`
}

// TransferCounter says that every counter up to Ceiling may have been used under the version by a title.
type TransferCounter struct {
	Title   dlms.SystemTitle `json:"title"`
	Ceiling uint32           `json:"ceiling"`
	Raised  uint32           `json:"raised,omitempty"`
}

// TransferFloor is the highest counter that was accepted from a title.
type TransferFloor struct {
	Title dlms.SystemTitle `json:"title"`
	Last  uint32           `json:"last"`
}

// check refuses what cannot be a running meter, before any key is opened.
func (r TransferRow) check() *Refusal {
	roles, ok := rolesOf(r.Profile)
	if !ok || r.Suite != 0 {
		return refuse(Unsupported, "profile or suite")
	}
	if r.Title.IsZero() || checkMaker(r.Maker) != nil || len(r.Batch) > 64 {
		return refuse(Damaged, "want a system title, a maker and a batch")
	}
	seen := map[role.KeyRef]bool{}
	active := map[role.Role]int{}
	for _, v := range r.Versions {
		ref := role.KeyRef{Meter: r.Title, Role: v.Role, Version: v.Version}
		switch {
		case !slices.Contains(roles, v.Role) || v.Version == 0 || seen[ref]:
			return refuse(Damaged, fmt.Sprintf("%s: not a version of such a meter, or there twice", ref))
		case len(v.Wrapped) != wrappedSize:
			return refuse(Damaged, fmt.Sprintf("%s: want %d bytes, got %d", ref, wrappedSize, len(v.Wrapped)))
		case !slices.Contains([]string{"active", "sent", "superseded", "abandoned"}, v.State):
			return refuse(Damaged, fmt.Sprintf("%s: state", ref))
		}
		seen[ref] = true
		if v.State == "active" {
			active[v.Role]++
		}
	}
	for _, want := range roles {
		if active[want] != 1 {
			return refuse(Damaged, fmt.Sprintf("%s: want one version in force, got %d", want, active[want]))
		}
	}
	return nil
}

// TransferWriter writes a transfer row by row.
type TransferWriter struct {
	out  *signedWriter
	left int
}

// NewTransferWriter writes the header.
func NewTransferWriter(w io.Writer, h TransferHeader) (*TransferWriter, error) {
	h.Schema = TransferSchema
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("write transfer: %w", err)
	}
	out := newSignedWriter(w, maxTransferLine)
	if err := out.line(h); err != nil {
		return nil, fmt.Errorf("write transfer: %w", err)
	}
	return &TransferWriter{out, h.Count}, nil
}

// Row writes a meter.
func (t *TransferWriter) Row(r TransferRow) error {
	if bad := r.check(); bad != nil {
		return fmt.Errorf("write transfer: meter %s: %w", r.Title, bad)
	}
	t.left--
	if err := t.out.line(r); err != nil {
		return fmt.Errorf("write transfer: meter %s: %w", r.Title, err)
	}
	return nil
}

// End writes the signature.
func (t *TransferWriter) End(sign func(message []byte) ([]byte, error)) error {
	if t.left != 0 {
		return fmt.Errorf("write transfer: %d rows are missing", t.left)
	}
	if err := t.out.end(purposeTransfer, sign); err != nil {
		return fmt.Errorf("write transfer: %w", err)
	}
	return nil
}

// TransferFile is a transfer on the disk. Nothing in it may be relied on before Verify.
type TransferFile struct {
	*spool
	header TransferHeader
	in     *bufio.Reader
	n      int
	titles map[dlms.SystemTitle]bool
}

// SpoolTransfer copies a transfer into a file in dir that disappears with Close, and reads its header.
func SpoolTransfer(dir string, r io.Reader) (*TransferFile, error) {
	s, err := newSpool(dir, r, maxTransferLine)
	if err != nil {
		return nil, err
	}
	f := &TransferFile{spool: s, titles: map[dlms.SystemTitle]bool{}}
	err = decodeStrictly(s.first, &f.header)
	if err != nil {
		err = errors.New("want a JSON object")
	} else if err = f.header.check(); err == nil && s.lines-1 != f.header.Count {
		err = fmt.Errorf("it promises %d rows, %d are there", f.header.Count, s.lines-1)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: header: %w", ErrFile, err), s.Close())
	}
	return f, nil
}

// Header returns the first line.
func (f *TransferFile) Header() TransferHeader { return f.header }

// Verify checks the signature over the whole file with the audit key of the vault that a person named.
func (f *TransferFile) Verify(signer string, verify func(message, sig []byte) bool) error {
	if f.header.Signer != signer || !verify(signedMessage(purposeTransfer, f.sum), f.sig) {
		return ErrSignature
	}
	f.in = bufio.NewReaderSize(f.body(), maxTransferLine)
	return nil
}

// Next returns the next meter, io.EOF after the last; a bad row has a refusal. Only of a file that was verified.
func (f *TransferFile) Next() (TransferRow, *Refusal, error) {
	if f.in == nil {
		return TransferRow{}, nil, fmt.Errorf("%w: it was not verified", ErrSignature)
	}
	if f.n == f.header.Count {
		return TransferRow{}, nil, io.EOF
	}
	line, err := f.in.ReadSlice('\n')
	if err != nil {
		return TransferRow{}, nil, fmt.Errorf("%w: after row %d: %w", ErrFile, f.n, err)
	}
	f.n++
	r, bad := parseTransferRow(line)
	if bad == nil && f.titles[r.Title] {
		bad = refuse(DuplicateTitle, "an earlier row has it")
	}
	f.titles[r.Title] = true
	return r, bad, nil
}

func parseTransferRow(line []byte) (TransferRow, *Refusal) {
	var r TransferRow
	if err := decodeStrictly(line, &r); err != nil {
		return TransferRow{}, refuse(Damaged, "not a row")
	}
	return r, r.check()
}
