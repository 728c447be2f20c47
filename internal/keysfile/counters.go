package keysfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/durable"
)

// Suffix is added to the name of a keys file to name its counters file. The lock is taken on a third file, which
// stays: the counters file itself is replaced at every write.
const (
	Suffix     = ".counters"
	lockSuffix = ".lock"
)

// How long a second user waits for the first: a write takes a few milliseconds.
const (
	lockWait = 5 * time.Second
	lockPoll = 10 * time.Millisecond
)

// Errors of counters files.
var (
	// ErrCounters is returned for a counters file that cannot be read, locked or written. Without it nothing may be
	// sealed under a long-term key.
	ErrCounters = errors.New("counters file")
	// ErrBusy is returned when somebody else holds the lock for longer than a write can take.
	ErrBusy = errors.New("in use by another process")
)

// Name names a nonce space: one key, by its check value, and the system title that seals under it. The role of the
// end is no part of it: were a meter and a client to share key and title, they would have to share the counter.
type Name struct {
	Key   key.CheckValue
	Title dlms.SystemTitle
}

// Counters keeps sending counters and receive floors of long-term keys in one file. It may be shared by several
// processes at once, for example a bench meter and a client of the same keys file: the file is locked for each
// change, and each reserves blocks of its own. Safe for concurrent use.
type Counters struct {
	path string // "" keeps everything in memory

	mu   sync.Mutex
	seen state // the highest of all that was read or written: a file put back from a copy lowers nothing
}

// OpenCounters opens, or makes, the counters file of the keys file at keysPath. It fails when the file cannot be
// written, before anything is sealed.
func OpenCounters(keysPath string) (*Counters, error) {
	c := &Counters{path: keysPath + Suffix}
	if err := c.update(func(*state) error { return nil }); err != nil {
		return nil, err
	}
	return c, nil
}

// EphemeralCounters keeps counters in memory alone. Keys used with them must not outlive the process: the next one
// starts at 1 again. It is for test benches that ask for it by name.
func EphemeralCounters() *Counters { return new(Counters) }

// Ephemeral reports whether nothing is kept.
func (c *Counters) Ephemeral() bool { return c.path == "" }

// OwnTitle returns the client's own system title: drawn from rand at the first call, kept in the file from then on.
// A client that is given no title takes this one, and so two copies of a keys file on two machines do not share a
// nonce space. The first three letters are "MSL".
func (c *Counters) OwnTitle(rand io.Reader) (dlms.SystemTitle, error) {
	title := dlms.SystemTitle{'M', 'S', 'L'}
	if _, err := io.ReadFull(rand, title[3:]); err != nil {
		return dlms.SystemTitle{}, fmt.Errorf("own title: read randomness: %w", err)
	}
	err := c.update(func(s *state) error {
		if s.OwnTitle == nil {
			s.OwnTitle = &title
		}
		title = *s.OwnTitle
		return nil
	})
	return title, err
}

// MeterLongTerm joins a cipher and the counters of its key at the meter's end.
func (c *Counters) MeterLongTerm(cipher *security.Cipher, n Name) security.LongTerm {
	return security.LongTerm{Cipher: cipher, Send: c.Send(n), Floor: c.Floor(n)}
}

// ClientLongTerm joins a cipher and the counters of its key at the client's end.
func (c *Counters) ClientLongTerm(cipher *security.Cipher, n Name) security.LongTerm {
	return security.LongTerm{Cipher: cipher, Send: c.Send(n), Floor: c.ClientFloor(n)}
}

// update changes the state under the lock and makes the change durable before it returns.
func (c *Counters) update(change func(*state) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Ephemeral() {
		next := c.seen.clone()
		if err := change(&next); err != nil {
			return err
		}
		c.seen = next
		return nil
	}
	unlock, err := lockFile(c.path+lockSuffix, int(lockWait/lockPoll))
	if err != nil {
		return c.explain(err)
	}
	defer unlock()
	return c.changeLocked(change)
}

func (c *Counters) changeLocked(change func(*state) error) error {
	old, exists, err := readState(c.path)
	if err != nil {
		return c.explain(err)
	}
	next := old.clone()
	next.raise(c.seen)
	if err := change(&next); err != nil {
		return err
	}
	if !exists || !next.equal(old) {
		if err := writeState(c.path, next); err != nil {
			return c.explain(err)
		}
	}
	c.seen = next
	return nil
}

func (c *Counters) explain(err error) error {
	return fmt.Errorf("%w %s: %w (nothing is sealed without it; for throw-away keys use --ephemeral-keys)",
		ErrCounters, c.path, err)
}

// lockFile takes the lock, asking tries times.
func lockFile(path string, tries int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := waitLock(f, tries); err != nil {
		_ = f.Close() // it was never locked
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil // closing drops the lock
}

func waitLock(f *os.File, tries int) error {
	for range tries {
		if ok, err := durable.TryLock(f); ok || err != nil {
			return err
		}
		time.Sleep(lockPoll)
	}
	return ErrBusy
}
