package concentrator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/role"
)

// Bounds of the escrow.
const (
	escrowVersions = 32        // of one key; the oldest goes
	escrowRows     = 16 << 10  // of all keys: 16 MB at about 1 kB each
	escrowLine     = 20        // rows written as one line
	escrowSlack    = 256 << 10 // bytes of what is kept no more before the file is written anew
	recallRows     = 300       // in one answer
)

// escrow keeps rows for the vault: key versions of this concentrator's meters, sealed under the vault's root, that a vault
// without its key journal wants back. Nothing in them opens here.
type escrow struct {
	path string

	mu   sync.Mutex
	file *durable.Lines
	rows map[escrowKey]map[uint32]bus.Escrowed // by version
	n    int
	live int // bytes, about
}

// escrowKey is a key whatever its version.
type escrowKey struct {
	meter dlms.SystemTitle
	role  role.Role
}

// openEscrow reads what is kept. A file that is damaged is set aside: what can be had of it is the vault's own as well.
func openEscrow(path string) (e *escrow, damaged error, err error) {
	e = &escrow{path: path, rows: map[escrowKey]map[uint32]bus.Escrowed{}}
	o, err := durable.OpenLines(path)
	if err == nil {
		if err = e.read(o.Content); err == nil {
			e.file = o.Lines
			return e, nil, nil
		}
		err = errors.Join(err, o.Close())
	}
	if !errors.Is(err, durable.ErrDamaged) {
		return nil, nil, fmt.Errorf("concentrator: escrow: %w", err)
	}
	damaged = err
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, nil, fmt.Errorf("concentrator: escrow: %w", err)
	}
	e.rows, e.n, e.live = map[escrowKey]map[uint32]bus.Escrowed{}, 0, 0
	if o, err = durable.OpenLines(path); err != nil {
		return nil, nil, fmt.Errorf("concentrator: escrow: %w", err)
	}
	e.file = o.Lines
	return e, damaged, nil
}

func (e *escrow) read(lines [][]byte) error {
	for i, line := range lines {
		var rows []bus.Escrowed
		if err := json.Unmarshal(line, &rows); err != nil {
			return fmt.Errorf("%w: line %d: %w", durable.ErrDamaged, i+1, err)
		}
		for _, r := range rows {
			e.putLocked(r)
		}
	}
	return nil
}

// putLocked keeps a row in memory, and the newest versions of its key alone.
func (e *escrow) putLocked(r bus.Escrowed) {
	k := escrowKey{r.Meter, r.Role}
	of := e.rows[k]
	if of == nil {
		of = map[uint32]bus.Escrowed{}
		e.rows[k] = of
	}
	e.dropLocked(k, r.Version)
	of[r.Version] = r
	e.n, e.live = e.n+1, e.live+len(r.Row)
	if len(of) > escrowVersions {
		e.dropLocked(k, slices.Min(slices.Collect(maps.Keys(of))))
	}
}

func (e *escrow) dropLocked(k escrowKey, version uint32) {
	old, kept := e.rows[k][version]
	if !kept {
		return
	}
	e.n, e.live = e.n-1, e.live-len(old.Row)
	delete(e.rows[k], version)
}

func (e *escrow) hasLocked(r bus.Escrowed) bool {
	return bytes.Equal(e.rows[escrowKey{r.Meter, r.Role}][r.Version].Row, r.Row)
}

func checkEscrowed(rows []bus.Escrowed) error {
	if len(rows) > bus.MaxEscrow {
		return refused(fmt.Sprintf("escrow: want at most %d rows, got %d", bus.MaxEscrow, len(rows)))
	}
	for _, r := range rows {
		if r.Meter.IsZero() || r.Version == 0 || len(r.Row) == 0 || len(r.Row) > bus.MaxEscrowRow {
			return refused(fmt.Sprintf("escrow: %s: want 1 to %d bytes, got %d", r.Ref(), bus.MaxEscrowRow, len(r.Row)))
		}
		if _, ok := r.Role.Setup(); !ok {
			return refused(fmt.Sprintf("escrow: %s: a key of this role is never sent", r.Ref()))
		}
	}
	return nil
}

// keep makes rows durable. A row that is kept already is passed over; another one under the same name takes its place,
// as the vault says.
func (e *escrow) keep(rows []bus.Escrowed) error {
	if err := checkEscrowed(rows); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	rows = slices.DeleteFunc(slices.Clone(rows), e.hasLocked)
	if e.n+len(rows) > escrowRows {
		return refused(fmt.Sprintf("escrow: full: %d rows are kept", e.n))
	}
	for part := range slices.Chunk(rows, escrowLine) {
		line, err := json.Marshal(part)
		if err == nil {
			err = e.file.Append(line)
		}
		if err != nil {
			return fmt.Errorf("escrow: %w", err)
		}
		for _, r := range part {
			e.putLocked(r)
		}
	}
	if e.file.Size() > 2*int64(e.live)+escrowSlack {
		return e.rewriteLocked()
	}
	return nil
}

// rewriteLocked writes what is kept into a new file.
func (e *escrow) rewriteLocked() error {
	var lines [][]byte
	for part := range slices.Chunk(e.listLocked(), escrowLine) {
		line, err := json.Marshal(part)
		if err != nil {
			return fmt.Errorf("escrow: %w", err)
		}
		lines = append(lines, line)
	}
	if err := durable.ReplaceLines(e.path, lines...); err != nil {
		return fmt.Errorf("escrow: %w", err)
	}
	o, err := durable.OpenLines(e.path)
	if err != nil {
		return fmt.Errorf("escrow: %w", err)
	}
	old := e.file
	e.file = o.Lines
	return old.Close()
}

func (e *escrow) listLocked() []bus.Escrowed {
	list := make([]bus.Escrowed, 0, e.n)
	for _, of := range e.rows {
		for _, r := range of {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b bus.Escrowed) int {
		return cmp.Or(bytes.Compare(a.Meter[:], b.Meter[:]), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Version, b.Version))
	})
	return list
}

func (e *escrow) list() []bus.Escrowed {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.listLocked()
}

func (e *escrow) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.file.Close()
}

// recall gives back what is kept for the vault, the sealed keys first, in parts. What comes meanwhile is in another place
// of the list: whoever asks knows it already, for it has just given it.
func (c *Concentrator) recall(q bus.Recall) bus.Reply {
	if q.From < 0 {
		return fail(refused("recall: from: want no negative number"))
	}
	r := &bus.RecallResult{}
	copies, rows := c.ring.Copies(), c.escrow.list()
	from := q.From
	if from < len(copies) {
		r.Copies = copies[from:min(from+recallRows, len(copies))]
	}
	if left := recallRows - len(r.Copies); left > 0 {
		first := min(max(from-len(copies), 0), len(rows))
		r.Escrow = rows[first:min(first+left, len(rows))]
	}
	r.More = from+len(r.Copies)+len(r.Escrow) < len(copies)+len(rows)
	return bus.Reply{Recall: r}
}
