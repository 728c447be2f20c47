// Package keylog is the log that an outside holder of long-term keys (a concentrator, a terminal) keeps of each use it
// makes of one: append-only, each entry chained to the one before by SHA-256, delivered to the IS at the next contact
// (law 8). A removed or altered entry breaks the chain; a missing stretch at the end shows when the next one comes.
package keylog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Errors of a log.
var (
	// ErrChain is returned for entries that do not follow from each other.
	ErrChain = errors.New("key log: an entry is missing, altered or out of order")
	// ErrDamaged is returned for a log file whose middle does not read.
	ErrDamaged = errors.New("key log: damaged")
)

// maxText bounds an entry.
const maxText = 512

// Entry is one use of a long-term key. Hash = SHA-256(previous hash || sequence || time || text), the first one after
// 32 zero bytes; sequences start at 1.
type Entry struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	Text     string    `json:"text"`
	Hash     []byte    `json:"hash"`
}

func (e Entry) sum(previous []byte) [sha256.Size]byte {
	b := append([]byte(nil), previous...)
	b = binary.BigEndian.AppendUint64(b, e.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixMicro()))
	return sha256.Sum256(append(b, e.Text...))
}

// Verify checks that entries follow from the last one known (sequence 0 and 32 zero bytes for none).
func Verify(last Entry, entries []Entry) error {
	for _, e := range entries {
		want := e.sum(chainOf(last))
		if e.Sequence != last.Sequence+1 || !bytes.Equal(e.Hash, want[:]) {
			return fmt.Errorf("%w: entry %d after %d", ErrChain, e.Sequence, last.Sequence)
		}
		last = e
	}
	return nil
}

func chainOf(last Entry) []byte {
	if last.Sequence == 0 {
		return make([]byte, sha256.Size)
	}
	return last.Hash
}

// Log is one log file, a JSON line an entry. Safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	file *os.File
	last Entry
	now  func() time.Time
	err  error // a write that failed leaves the end of the file unknown: nothing more is appended
}

// Open opens or makes the log at path and verifies it. A line cut at the end, as a crash leaves it, is dropped: its
// key was not used yet, for a use follows its entry.
func Open(path string, now func() time.Time) (*Log, error) {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("key log: %w", err)
	}
	l := &Log{file: f, now: now}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func (l *Log) load() error {
	r := bufio.NewReader(l.file)
	var size int64
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("key log: %w", err)
		}
		var e Entry
		if json.Unmarshal(line, &e) != nil {
			return fmt.Errorf("%w after entry %d", ErrDamaged, l.last.Sequence)
		}
		if err := Verify(l.last, []Entry{e}); err != nil {
			return err
		}
		l.last, size = e, size+int64(len(line))
	}
	if err := l.file.Truncate(size); err != nil {
		return fmt.Errorf("key log: %w", err)
	}
	_, err := l.file.Seek(size, io.SeekStart)
	return err
}

// Append writes one entry, durably, before it returns: the use of the key comes after.
func (l *Log) Append(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	e := Entry{Sequence: l.last.Sequence + 1, Time: l.now().UTC().Truncate(time.Microsecond), Text: text[:min(len(text), maxText)]}
	sum := e.sum(chainOf(l.last))
	e.Hash = sum[:]
	line, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		l.err = fmt.Errorf("key log: %w", err)
		return l.err
	}
	l.last = e
	return nil
}

// Since returns at most limit entries after a sequence, oldest first.
func (l *Log) Since(sequence uint64, limit int) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := os.Open(l.file.Name())
	if err != nil {
		return nil, fmt.Errorf("key log: %w", err)
	}
	defer f.Close()
	var out []Entry
	d := json.NewDecoder(f)
	for len(out) < limit {
		var e Entry
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if e.Sequence > sequence {
			out = append(out, e)
		}
	}
	return out, nil
}

// Last returns the sequence of the newest entry, 0 if there is none.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.Sequence
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }
