// Package terminal is the TSP, the field engineer's portable terminal: it reads a meter on its local port over HDLC,
// with a grant of the IS, and works offline.
//
// It holds its identity, the grants it was given (CC_LOCALE of the granted meters, or what is derived from it for this
// terminal until the last day of the grant, sealed to it), the counters of those
// keys, and a hash-chained log of what it did with them.
package terminal

import (
	"context"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/keysfile"
	"github.com/meterseal/meterseal/internal/role"
)

// Names of the files in a terminal's data directory.
const (
	IdentityFile = "identity.json"
	countersBase = "grants"
	logFile      = "key.log"
)

// maxGrant bounds a grant file.
const maxGrant = 16 << 20

// ErrNoIdentity is returned for a data directory without an identity.
var ErrNoIdentity = errors.New("no terminal here: make one with 'meterseal terminal init --data DIR'")

// Config is a terminal's configuration file.
type Config struct {
	// Data is its data directory.
	Data string `yaml:"data"`
	// ClockOffset is added to the machine's clock, for a system that runs in another time.
	ClockOffset time.Duration `yaml:"clock_offset"`
	// Timeout bounds one exchange with a meter, default 10 s.
	Timeout time.Duration `yaml:"timeout"`
}

// Deps are what a terminal is given instead of taking it.
type Deps struct {
	Now  func() time.Time
	Rand io.Reader
	// WrapAEAD lets a nonce oracle watch the keys. May be nil.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
}

// Terminal is one portable terminal. Its methods are not for concurrent use: it has one port.
type Terminal struct {
	cfg      Config
	deps     Deps
	id       *enrol.Identity
	counters *keysfile.Counters
	log      *keylog.Log
}

// Open opens the terminal in cfg.Data.
func Open(cfg Config, deps Deps) (*Terminal, error) {
	id, err := enrol.LoadIdentity(filepath.Join(cfg.Data, IdentityFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w (%w)", ErrNoIdentity, err)
	}
	if err != nil {
		return nil, err
	}
	if id.Kind() != enrol.Terminal {
		return nil, fmt.Errorf("%s is the identity of a %s, want a terminal", cfg.Data, id.Kind())
	}
	counters, err := keysfile.OpenCounters(filepath.Join(cfg.Data, countersBase))
	if err != nil {
		return nil, err
	}
	log, err := keylog.Open(filepath.Join(cfg.Data, logFile), deps.Now)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	return &Terminal{cfg: cfg, deps: deps, id: id, counters: counters, log: log}, nil
}

// Close lets go of the log.
func (t *Terminal) Close() error { return t.log.Close() }

// Title is the terminal's system title.
func (t *Terminal) Title() dlms.SystemTitle { return t.id.Title() }

// ReadGrant reads a grant file, strictly.
func ReadGrant(path string) (g enrol.Grant, err error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return g, fmt.Errorf("grant: %w", err)
	}
	defer f.Close()
	d := json.NewDecoder(io.LimitReader(f, maxGrant))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		return g, fmt.Errorf("grant %s: %w", path, err)
	}
	return g, nil
}

// WriteGrant keeps a grant in a file of its owner alone.
func WriteGrant(path string, g enrol.Grant) error {
	b, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	return nil
}

// Associate opens an association with a granted meter on its local port at address (host:port). It refuses by itself a
// grant that is forged, another terminal's, not in force now, or without this meter.
func (t *Terminal) Associate(ctx context.Context, g enrol.Grant, meter dlms.SystemTitle, address string) (*Session, error) {
	if err := g.Verify(t.id.Title(), t.id.MAC()); err != nil {
		return nil, err
	}
	if err := g.Check(t.deps.Now()); err != nil {
		return nil, err
	}
	sealed, err := g.For(meter)
	if err != nil {
		return nil, err
	}
	long, err := t.longTerm(sealed)
	if err != nil {
		return nil, err
	}
	if err := t.log.Append(keylog.Use{As: "terminal", Ref: sealed.Ref(), Grant: g.ID, LastDay: sealed.LastDay}.String()); err != nil {
		return nil, err
	}
	return t.open(ctx, sealed, address, long)
}

// longTerm opens a sealed key and joins it with its counters, which start where the IS says that nobody has been.
func (t *Terminal) longTerm(sealed enrol.SealedKey) (security.LongTerm, error) {
	k, err := t.unseal(sealed)
	if err != nil {
		return security.LongTerm{}, err
	}
	aead, err := k.AEAD()
	if err != nil {
		return security.LongTerm{}, err
	}
	if t.deps.WrapAEAD != nil {
		aead = t.deps.WrapAEAD(aead, k.Fingerprint())
	}
	c, err := security.NewCipher(aead, key.Authentication{})
	if err != nil {
		return security.LongTerm{}, err
	}
	name := keysfile.Name{Key: k.CheckValue(), Title: t.id.Title()}
	send := t.counters.Send(name)
	// The IS itself says where the range begins, under the grant's MAC: no bound for a peer's word applies.
	if err := send.SetNext(sealed.FirstCounter); err != nil {
		return security.LongTerm{}, err
	}
	return security.LongTerm{
		Cipher: c, Floor: t.counters.ClientFloor(name), Generation: sealed.Version,
		Send: limited{send, sealed.LastCounter},
	}, nil
}

// opener is a key that opens associations: CC_LOCALE, or what was derived from it.
type opener interface {
	AEAD() (cipher.AEAD, error)
	Fingerprint() key.Fingerprint
	CheckValue() key.CheckValue
}

func (t *Terminal) unseal(s enrol.SealedKey) (opener, error) {
	if s.LastDay.IsZero() {
		return t.id.Open(s)
	}
	return t.id.OpenDerived(s)
}

// limited ends a counter where the range lent with the key ends.
type limited struct {
	security.SendCounter
	last dlms.InvocationCounter
}

func (l limited) Next() (dlms.InvocationCounter, error) {
	ic, err := l.SendCounter.Next()
	if err == nil && ic > l.last {
		return 0, fmt.Errorf("the counters lent with the grant are used up: ask for a new grant: %w", dlms.ErrCounterExhausted)
	}
	return ic, err
}

// Session is an association on a local port, with the line below it.
type Session struct {
	*client.Association
	line io.Closer
}

// Close releases the association and gives up the line.
func (s *Session) Close(ctx context.Context) error {
	return errors.Join(s.Release(ctx), s.line.Close())
}

func (t *Terminal) open(ctx context.Context, sealed enrol.SealedKey, address string, long security.LongTerm) (*Session, error) {
	meter := sealed.Meter
	conn, err := hdlc.Dial(ctx, address, hdlc.Config{Client: role.SAPTSP, Server: role.SAPServer})
	if err != nil {
		return nil, fmt.Errorf("local port of %s: %w", meter, err)
	}
	cfg := client.Linky(t.id.Title(), meter, long, t.deps.Rand)
	cfg.WrapAEAD, cfg.Timeout = t.deps.WrapAEAD, t.cfg.Timeout
	if !sealed.LastDay.IsZero() {
		cfg.Implementation = role.LastDayInfo(sealed.LastDay)
	}
	a, err := client.Open(ctx, conn, cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("association with %s: %w", meter, err), conn.Close())
	}
	return &Session{a, conn}, nil
}

// Reading is what a terminal reads of a meter.
type Reading struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Clock   string           `json:"clock"`
	IndexWh uint64           `json:"index_wh"`
}

// Read associates, reads clock and total A+ index, and releases.
func (t *Terminal) Read(ctx context.Context, g enrol.Grant, meter dlms.SystemTitle, address string) (r Reading, err error) {
	a, err := t.Associate(ctx, g, meter, address)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.Close(ctx)) }()
	r.Meter = meter
	v, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2})
	if err != nil {
		return r, fmt.Errorf("clock: %w", err)
	}
	dt, err := dlms.ParseDateTime(v.Bytes())
	if err != nil {
		return r, fmt.Errorf("clock: %w", err)
	}
	r.Clock = dt.String()
	v, err = a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassRegister, Instance: dlms.OBIS{1, 1, 1, 8, 0, 255}, Attribute: 2})
	if err != nil {
		return r, fmt.Errorf("index A+: %w", err)
	}
	r.IndexWh, err = v.Uint()
	return r, err
}

// Log returns the log's entries after a sequence, for the IS at the next contact.
func (t *Terminal) Log(after uint64) ([]keylog.Entry, error) {
	return t.log.Since(after, enrol.MaxLogEntries)
}

// LogFile is what is brought back of the log: its entries after a sequence, signed.
func (t *Terminal) LogFile(after uint64) (enrol.LogFile, error) {
	entries, err := t.Log(after)
	if err != nil {
		return enrol.LogFile{}, err
	}
	return t.id.LogFile(entries)
}
