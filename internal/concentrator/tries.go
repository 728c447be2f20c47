package concentrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/concentrator/keyring"
	"github.com/meterseal/meterseal/internal/durable"
)

const (
	// tryTerm is how long a try counts.
	tryTerm = time.Hour
	// triesSlack is how many bytes of tries that count no more wait until the file is written anew.
	triesSlack = 64 << 10
)

// errTries is the answer for a meter that was tried as often as it may be. It says nothing of the key.
func errTries(t dlms.SystemTitle) error {
	return &bus.Fault{Code: bus.FaultUnreachable, Text: fmt.Sprintf(
		"meter %s was tried as often within the hour as one of its maker may be: it is tried again later", t)}
}

// tries bounds the associations with foreign meters that do not open: a meter of a maker that is not among the own ones
// may lock out who tries too often. A try is durable before it is made, so that a restart does not begin to count anew.
// A try whose answer was lost counts, for the meter may have counted it.
type tries struct {
	path  string
	own   []string
	limit int
	now   func() time.Time

	mu   sync.Mutex
	file *durable.Lines
	of   map[dlms.SystemTitle]*tried
}

// tried is what was tried on one meter since an association opened. It is kept under the zero title for all meters: of a
// file that was damaged nobody can say what was tried.
type tried struct {
	at []time.Time
	// version was tried last: the next try is another one's, or a version that is refused would take the turn of the one
	// that the meter has.
	version uint32
}

// tryLine is one line of the file: a try, or what became of it.
type tryLine struct {
	Meter   dlms.SystemTitle `json:"meter"`
	At      time.Time        `json:"at,omitzero"`
	Version uint32           `json:"version,omitempty"`
	// Opened: what was tried before counts no more. Unsent: the last try never left.
	Opened bool `json:"opened,omitempty"`
	Unsent bool `json:"unsent,omitempty"`
}

// openTries reads what was tried. Where the file is damaged it is set aside, and every foreign meter counts as tried.
func openTries(path string, cfg Config, now func() time.Time) (t *tries, damaged error, err error) {
	t = &tries{path: path, own: cfg.OwnMakers, limit: cfg.TriesPerHour, now: now, of: map[dlms.SystemTitle]*tried{}}
	o, err := durable.OpenLines(path)
	if err == nil {
		t.file = o.Lines
		if err = t.read(o.Content); err == nil {
			return t, nil, nil
		}
	}
	if !errors.Is(err, durable.ErrDamaged) {
		return nil, nil, fmt.Errorf("concentrator: tries: %w", err)
	}
	damaged, t.of = err, map[dlms.SystemTitle]*tried{}
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, nil, fmt.Errorf("concentrator: tries: %w", err)
	}
	if o, err = durable.OpenLines(path); err != nil {
		return nil, nil, fmt.Errorf("concentrator: tries: %w", err)
	}
	t.file = o.Lines
	return t, damaged, t.note(tryLine{At: now()})
}

func (t *tries) read(lines [][]byte) error {
	for i, b := range lines {
		var l tryLine
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("%w: line %d: %w", durable.ErrDamaged, i+1, err)
		}
		t.apply(l)
	}
	return nil
}

func (t *tries) apply(l tryLine) {
	k := t.of[l.Meter]
	switch {
	case l.Opened:
		delete(t.of, l.Meter)
	case l.Unsent:
		if k != nil && len(k.at) > 0 {
			k.at = k.at[:len(k.at)-1]
		}
	case k == nil:
		t.of[l.Meter] = &tried{at: []time.Time{l.At}, version: l.Version}
	default:
		k.at, k.version = append(k.at, l.At), l.Version
	}
}

// note makes a line durable and applies it. The caller holds mu, or has the tries alone.
func (t *tries) note(l tryLine) error {
	b, err := json.Marshal(l)
	if err == nil {
		err = t.file.Append(b)
	}
	if err != nil {
		return fmt.Errorf("tries: %w", err)
	}
	t.apply(l)
	if t.file.Size() > triesSlack+int64(2*len(b)*t.countLocked()) {
		return t.rewriteLocked()
	}
	return nil
}

func (t *tries) countLocked() (n int) {
	for _, k := range t.of {
		n += len(k.at)
	}
	return n
}

// rewriteLocked writes what still counts into a new file, and of each meter the version that was tried last.
func (t *tries) rewriteLocked() error {
	var lines [][]byte
	for m, k := range t.of {
		k.at = slices.DeleteFunc(k.at, t.over)
		for _, l := range k.lines(m) {
			b, err := json.Marshal(l)
			if err != nil {
				return fmt.Errorf("tries: %w", err)
			}
			lines = append(lines, b)
		}
	}
	if err := durable.ReplaceLines(t.path, lines...); err != nil {
		return fmt.Errorf("tries: %w", err)
	}
	o, err := durable.OpenLines(t.path)
	if err != nil {
		return fmt.Errorf("tries: %w", err)
	}
	old := t.file
	t.file = o.Lines
	return old.Close()
}

func (k *tried) lines(m dlms.SystemTitle) []tryLine {
	if len(k.at) == 0 {
		return []tryLine{{Meter: m, Version: k.version}} // at no time, which counts no more
	}
	out := make([]tryLine, len(k.at))
	for i, at := range k.at {
		out[i] = tryLine{Meter: m, At: at, Version: k.version}
	}
	return out
}

// over reports whether a try counts no more. One that lies further ahead than its term was written by a clock that was
// ahead.
func (t *tries) over(at time.Time) bool {
	now := t.now()
	return !at.After(now.Add(-tryTerm)) || at.After(now.Add(tryTerm))
}

func (t *tries) foreign(m dlms.SystemTitle) bool { return !slices.Contains(t.own, string(m[:3])) }

// begin notes that an association is about to be tried, or says that it may not be.
func (t *tries) begin(m dlms.SystemTitle, version uint32) error {
	if !t.foreign(m) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, who := range []dlms.SystemTitle{m, {}} {
		k := t.of[who]
		if k == nil {
			continue
		}
		k.at = slices.DeleteFunc(k.at, t.over)
		if n := len(k.at); n >= t.limit || n > 0 && who.IsZero() {
			return errTries(m)
		}
	}
	return t.note(tryLine{Meter: m, At: t.now(), Version: version})
}

// ended notes what became of a try: nil that an association opened.
func (t *tries) ended(m dlms.SystemTitle, err error) error {
	if !t.foreign(m) || err != nil && !errors.Is(err, ErrNotSent) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.note(tryLine{Meter: m, Opened: err == nil, Unsent: err != nil})
}

// order puts the version after the one that was tried last in front, and that one last: within the bound each has its turn.
func (t *tries) order(m dlms.SystemTitle, versions []keyring.Version) []keyring.Version {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.of[m]
	if k == nil || !t.foreign(m) {
		return versions
	}
	i := slices.IndexFunc(versions, func(v keyring.Version) bool { return v.Number == k.version })
	return slices.Concat(versions[i+1:], versions[:i+1])
}

func (t *tries) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.file.Close()
}
