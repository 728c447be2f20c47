package enrol

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/keylog"
)

// ErrLogFile is returned for a terminal's log that is damaged, forged or another terminal's.
var ErrLogFile = errors.New("log: refused: not written by this terminal, or changed since")

// LogSchema names the form of a terminal's log on its way to the IS.
const LogSchema = "meterseal terminal log 1"

// Bounds of a log file.
const (
	MaxLogEntries = 10_000
	maxLogFile    = 16 << 20
)

// LogFile is what a terminal brings back of its own log of key use (law 8). The MAC is over all of it, under the key that
// the terminal has enrolled with.
type LogFile struct {
	Schema   string           `json:"schema"`
	Terminal dlms.SystemTitle `json:"terminal"`
	Entries  []keylog.Entry   `json:"entries"`
	MAC      []byte           `json:"mac"`
}

// Bound returns the parts that the MAC covers: the terminal, and every entry with its hash.
func (f LogFile) Bound() ([][]byte, error) {
	entries, err := json.Marshal(f.Entries)
	return [][]byte{[]byte(LogSchema), f.Terminal[:], entries}, err
}

// LogFile signs entries of the device's own log.
func (id *Identity) LogFile(entries []keylog.Entry) (LogFile, error) {
	f := LogFile{Schema: LogSchema, Terminal: id.title, Entries: entries}
	parts, err := f.Bound()
	if err != nil {
		return LogFile{}, fmt.Errorf("log file: %w", err)
	}
	sum := id.mac.Sum(parts...)
	f.MAC = sum[:]
	return f, nil
}

// Verify says whether the terminal with that key wrote the file.
func (f LogFile) Verify(mac key.MAC) error {
	if mac.IsZero() {
		return ErrLogFile
	}
	return f.VerifyWith(func([]byte) ([]byte, error) {
		parts, err := f.Bound()
		sum := mac.Sum(parts...)
		return sum[:], err
	})
}

// VerifyWith is Verify for a key that is in a token: sum is the AES-CMAC under it.
func (f LogFile) VerifyWith(sum func(text []byte) ([]byte, error)) error {
	if f.Schema != LogSchema || len(f.Entries) > MaxLogEntries {
		return ErrLogFile
	}
	parts, err := f.Bound()
	if err != nil {
		return ErrLogFile
	}
	want, err := sum(key.Framed(parts...))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(f.MAC, want) != 1 {
		return ErrLogFile
	}
	return nil
}

// ReadLogFile reads a log file, strictly.
func ReadLogFile(path string) (f LogFile, err error) {
	in, err := os.Open(filepath.Clean(path))
	if err != nil {
		return f, fmt.Errorf("log: %w", err)
	}
	defer in.Close()
	d := json.NewDecoder(io.LimitReader(in, maxLogFile))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, fmt.Errorf("log %s: %w", path, err)
	}
	return f, nil
}
