package vault

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/meterseal/meterseal/internal/durable"
)

// Errors of the key journal.
var (
	// ErrJournal is returned for a journal that is damaged before its end: what follows the damage cannot be told.
	ErrJournal = errors.New("key journal: damaged")
	// ErrJournalBehind is returned for a journal that ends before the point that the store has reached.
	ErrJournalBehind = errors.New("key journal: an older copy, or cut")
	// ErrJournalForeign is returned for the journal of another vault or another history.
	ErrJournalForeign = errors.New("key journal: not the journal of this store")
)

// journalSchema names the form of the journal: JSON lines, a head, then one line a batch. Each line carries the hash
// of the one before and of its own content, so a line that was changed, removed or put elsewhere breaks the chain,
// and a line that a crash tore in two is told from damage by being the last.
const journalSchema = "meterseal key journal 1"

// maxJournalLine bounds a line, in bytes: a batch of an import.
const maxJournalLine = 32 << 20

type journalHead struct {
	Schema string `json:"schema"`
	Vault  string `json:"vault"`
	// Node is whose journal it is: each node of a central system has its own. Empty in one from before there were nodes.
	Node string `json:"node,omitempty"`
}

// journal is the second durable target of the vault. It is append-only and synced before Append returns.
type journal struct {
	vault string
	node  string // as its head says, or who begins it
	path  string
	fixed bool // opened to be read: nothing in it is changed

	mu   sync.Mutex
	file *os.File
	size int64
	hash [sha256.Size]byte
	bad  error // after a failed append: what the file ends with is not known
}

// openJournal opens the journal of a vault, or begins it where create says so, and verifies all of it. A torn last
// line is set aside in a file of its own; nothing else is ever removed.
func openJournal(path, vault, node string, create bool) (*journal, error) {
	j := &journal{vault: vault, node: node, path: path}
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) && create {
		return j, j.begin()
	}
	if err != nil {
		return nil, fmt.Errorf("key journal: %w", err)
	}
	j.file = f
	if err := j.verify(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", err, path), f.Close())
	}
	return j, nil
}

// readJournal opens the journal of a vault to be read, and verifies all of it. Another process may append to it: what is
// behind the end that it had does not count.
func readJournal(path, vault string) (*journal, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("key journal: %w", err)
	}
	j := &journal{vault: vault, path: path, file: f, fixed: true}
	if err := j.verify(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", err, path), f.Close())
	}
	return j, nil
}

func (j *journal) begin() error {
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return fmt.Errorf("key journal: %w", err)
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("key journal: %w", err)
	}
	j.file = f
	head, err := json.Marshal(journalHead{Schema: journalSchema, Vault: j.vault, Node: j.node})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(j.write(append(head, '\n')), durable.SyncDir(filepath.Dir(j.path))); err != nil {
		return errors.Join(fmt.Errorf("key journal: %w", err), f.Close())
	}
	j.hash = sha256.Sum256(head)
	return nil
}

// write appends at the known end and syncs.
func (j *journal) write(b []byte) error {
	if _, err := j.file.WriteAt(b, j.size); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.size += int64(len(b))
	return nil
}

// Append writes one batch and syncs it. After a failure the journal refuses everything: what is on the disk is not
// known, and after a failed sync a second one proves nothing. Opening it again finds out.
func (j *journal) Append(records []record) (Position, error) {
	return j.appendLine(func() ([]byte, error) { return encodeLine(records) })
}

// appendLine is Append of a line as encodeLine makes it.
func (j *journal) appendLine(encoded func() ([]byte, error)) (Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad != nil {
		return Position{}, fmt.Errorf("key journal: stopped by an earlier failure: %w", j.bad)
	}
	line, err := encoded()
	if err != nil {
		return Position{}, fmt.Errorf("key journal: %w", err)
	}
	if len(line) >= maxJournalLine {
		return Position{}, fmt.Errorf("key journal: a batch of %d bytes, want less than %d", len(line), maxJournalLine)
	}
	next := chainLine(j.hash, line)
	if err := j.write(append(line, '\n')); err != nil {
		j.bad = err
		return Position{}, fmt.Errorf("key journal: append: %w", err)
	}
	j.hash = next
	return j.positionLocked(), nil
}

// A line is a JSON object of a hash, in hexadecimal, and a body, in this order and without spaces.
const (
	journalLineHash = `{"hash":"`
	journalLineBody = `","body":`
)

// lineHead is how long a line is before its body.
const lineHead = len(journalLineHash) + 2*sha256.Size + len(journalLineBody)

// encodeLine writes a line but for its hash, which has its place: that of an import is many megabytes, and is written once.
func encodeLine(records []record) ([]byte, error) {
	line, err := appendRecords(make([]byte, lineHead, lineHead+recordBytes*len(records)+16), records)
	return append(line, '}'), err
}

// chainLine puts the hash into a line, and returns it.
func chainLine(before [sha256.Size]byte, line []byte) [sha256.Size]byte {
	hash := chain(before, line[lineHead:len(line)-1])
	n := copy(line, journalLineHash)
	n += hex.Encode(line[n:], hash[:])
	copy(line[n:], journalLineBody)
	return hash
}

// cutJournalLine takes a line apart. Whether the body is what was written, the hash says.
func cutJournalLine(line []byte) (hash, body []byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(journalLineHash))
	if !ok || len(rest) < 2*sha256.Size {
		return nil, nil, false
	}
	hash, rest = rest[:2*sha256.Size], rest[2*sha256.Size:]
	if rest, ok = bytes.CutPrefix(rest, []byte(journalLineBody)); !ok {
		return nil, nil, false
	}
	body, ok = bytes.CutSuffix(rest, []byte("}"))
	return hash, body, ok
}

func chain(prev [sha256.Size]byte, body []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(body)
	return [sha256.Size]byte(h.Sum(nil))
}

// Position returns the end of the journal.
func (j *journal) Position() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.positionLocked()
}

func (j *journal) positionLocked() Position {
	return Position{Vault: j.vault, Bytes: j.size, Hash: bytes.Clone(j.hash[:])}
}

// Close closes the file.
func (j *journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bad == nil {
		j.bad = os.ErrClosed
	}
	return j.file.Close()
}

// verify reads the whole journal, checks the chain, and sets the end. Caller: openJournal.
func (j *journal) verify() error {
	s := journalScanner{in: bufio.NewReader(io.NewSectionReader(j.file, 0, 1<<62))}
	if err := s.head(j.vault); err != nil {
		return err
	}
	for {
		_, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	j.size, j.hash = s.end, s.hash
	if j.fixed {
		j.node = s.node
	}
	if len(s.torn) > 0 && !j.fixed {
		return j.setAside(s.torn)
	}
	return nil
}

// setAside keeps the torn last line in a file beside the journal and cuts it off. Nothing in it was ever relied on:
// an append returns after its sync, and the store is committed after that.
func (j *journal) setAside(torn []byte) error {
	name := fmt.Sprintf("%s.torn-%d", j.path, j.size)
	if err := os.WriteFile(name, torn, 0o600); err != nil {
		return err
	}
	if err := j.file.Truncate(j.size); err != nil {
		return err
	}
	return j.file.Sync()
}

// After returns the batches behind a position, which must be a line's end of this very history.
func (j *journal) After(p Position) ([][]record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if p.Vault != j.vault {
		return nil, fmt.Errorf("%w: the store belongs to vault %s, the journal to %s", ErrJournalForeign, p.Vault, j.vault)
	}
	if p.Bytes > j.size {
		return nil, fmt.Errorf("%w: it has %d bytes, the store has seen %d; bring the newest journal", ErrJournalBehind, j.size, p.Bytes)
	}
	if p.Bytes == j.size && bytes.Equal(p.Hash, j.hash[:]) {
		return nil, nil
	}
	s := journalScanner{in: bufio.NewReader(io.NewSectionReader(j.file, 0, j.size))}
	if err := s.head(j.vault); err != nil {
		return nil, err
	}
	return s.after(p)
}

// journalScanner reads lines and follows the chain.
type journalScanner struct {
	in   *bufio.Reader
	end  int64
	hash [sha256.Size]byte
	torn []byte
	node string
}

func (s *journalScanner) after(p Position) (batches [][]record, err error) {
	reached := p.Bytes == 0 // a store that has seen no journal wants all of it
	for {
		if !reached && s.end == p.Bytes {
			if !bytes.Equal(p.Hash, s.hash[:]) {
				break
			}
			reached = true
		}
		body, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !reached {
			continue
		}
		var records []record
		if err := json.Unmarshal(body, &records); err != nil {
			return nil, fmt.Errorf("%w: line that ends at byte %d: %w", ErrJournal, s.end, err)
		}
		batches = append(batches, records)
	}
	if !reached {
		return nil, fmt.Errorf("%w: it has another history", ErrJournalForeign)
	}
	return batches, nil
}

func (s *journalScanner) head(vault string) error {
	line, err := s.line()
	if err != nil {
		return fmt.Errorf("%w: no head", ErrJournal)
	}
	var h journalHead
	if err := json.Unmarshal(line, &h); err != nil || h.Schema != journalSchema {
		return fmt.Errorf("%w: want schema %q", ErrJournal, journalSchema)
	}
	if h.Vault != vault {
		return fmt.Errorf("%w: of vault %s, this is vault %s", ErrJournalForeign, h.Vault, vault)
	}
	s.hash, s.node = sha256.Sum256(line), h.Node
	return nil
}

// next returns the body of the next line. A line that does not fit the chain is torn if it is the last, and damage
// otherwise.
func (s *journalScanner) next() (json.RawMessage, error) {
	start := s.end
	line, err := s.line()
	if errors.Is(err, io.EOF) {
		s.end = start
		s.torn = line
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	if hash, body, ok := cutJournalLine(line); ok {
		if next := chain(s.hash, body); bytes.Equal(hex.AppendEncode(nil, next[:]), hash) {
			s.hash = next
			return body, nil
		}
	}
	if _, err := s.in.Peek(1); errors.Is(err, io.EOF) {
		s.end = start
		line = append(line, '\n')
		s.torn = line
		return nil, io.EOF
	}
	return nil, fmt.Errorf("%w: the line at byte %d does not fit the one before", ErrJournal, start)
}

// line returns the next line without its end; io.EOF, with what there is, if it has no end.
func (s *journalScanner) line() ([]byte, error) {
	var line []byte
	for {
		part, err := s.in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxJournalLine {
			return nil, fmt.Errorf("%w: a line longer than %d bytes", ErrJournal, maxJournalLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return line, err
		}
		s.end += int64(len(line))
		return line[:len(line)-1], nil
	}
}
