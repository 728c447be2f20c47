package meter

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/server"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// Links that a meter is served on.
const (
	LinkLAN   = "lan"
	LinkLocal = "local"
)

// Options are what all meters of a process share.
type Options struct {
	// Now is the host's time.
	Now func() time.Time
	// WorldOffset is added to the host's time to get the world's.
	WorldOffset time.Duration
	// Rand is the source of challenges.
	Rand io.Reader
	// Log takes what a meter has to tell its maker; nil discards.
	Log *slog.Logger
	// WrapAEAD, if set, stands between every key and its use, for a nonce oracle.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
	// PressAfter is how long after an arming the customer presses the breaker's button; 0 is never.
	PressAfter time.Duration
	// Curve is what the meters measure, each its own copy.
	Curve *loadcurve.Curve
	// Zone is that of the meters' clocks, in which they count days: UTC+1 all year by default.
	Zone *time.Location
	// Without takes defences away, for the simulation alone.
	Without defence.Set
	// KeyFault, if set, is asked with each key transfer what the firmware does wrong, for the simulation alone.
	KeyFault func() KeyFault
}

// KeyFault is what firmware that is wrong does with a key that it was sent.
type KeyFault int

// The faults. A meter that is KeyHonest says what it does.
const (
	KeyHonest  KeyFault = iota
	KeyDenied           // takes the key and answers that it did not
	KeyFeigned          // answers success and does not take the key
)

func (o *Options) keyFault() KeyFault {
	if o.KeyFault == nil {
		return KeyHonest
	}
	return o.KeyFault()
}

// kind is what all meters of a process and a profile share.
type kind struct {
	profile Profile
	options Options
	server  *server.Kind
}

func newKind(p Profile, o Options) (*kind, error) {
	if o.Now == nil || o.Rand == nil || o.Curve == nil {
		return nil, errors.New("meter: want a clock, a source of randomness and a load curve")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Zone == nil {
		o.Zone = loadcurve.FileTime()
	}
	model, err := p.model()
	if err != nil {
		return nil, fmt.Errorf("meter: profile %s: %w", p.Name, err)
	}
	return &kind{profile: p, options: o, server: server.NewKind(model, &server.Options{
		Now: o.Now, Rand: o.Rand, Log: o.Log, WrapAEAD: o.WrapAEAD,
	})}, nil
}

func (k *kind) world() moment { return k.worldAt(k.options.Now()) }

func (k *kind) worldAt(host time.Time) moment { return momentOf(host.Add(k.options.WorldOffset)) }

// local is what a clock shows at a moment.
func (k *kind) local(m moment) time.Time { return m.time().In(k.options.Zone) }

// Meter is one simulated meter. It is safe for concurrent use.
type Meter struct {
	kind   *kind
	server *server.Server

	mu     sync.Mutex
	memory nvm.Memory
	state  state
	full   int // the size of the memory at which it is compacted
	live   [roles]*liveKey
	view   *view // of the GET that is being served
	bench  *benchKeys
}

var (
	_ server.Device   = (*Meter)(nil)
	_ server.PeerKeys = (*Meter)(nil)
)

// firstFull is the least size at which a memory is compacted, in bytes.
const firstFull = 32 << 10

// Birth is a meter as it leaves the factory and is installed.
type Birth struct {
	Row shipment.Meter
	// Installed is the world's time of the installation; the load curve begins then.
	Installed time.Time
	// ScalePerMille and Shift make the meter's own copy of the load.
	ScalePerMille int
	Shift         time.Duration
	// Cold starts the meter with a clock that was lost. Offset is the error of a clock that was not.
	Cold   bool
	Offset time.Duration
}

// restore makes a meter of its memory. It returns nil when the memory is empty.
func restore(k *kind, title dlms.SystemTitle, memory nvm.Memory) (*Meter, error) {
	m := &Meter{kind: k, memory: memory, full: firstFull}
	if err := memory.Load(m.state.apply); err != nil {
		return nil, fmt.Errorf("meter %s: %w", title, err)
	}
	switch got := m.state.birth.title; {
	case got.IsZero():
		return nil, nil //nolint:nilnil // an empty memory is no error and no meter
	case got != title:
		return nil, fmt.Errorf("meter %s: %w: it is of meter %s", title, ErrMemory, got)
	}
	m.start()
	return m, nil
}

// start completes a meter whose state is there.
func (m *Meter) start() {
	m.full = max(firstFull, 2*m.memory.Size())
	m.server = m.kind.server.New(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range roles {
		if k := &m.state.keys[r]; k.unproven && !k.key.IsZero() {
			m.kind.options.Log.Error("meter.key.unproven", "system_title", m.state.birth.title,
				"role", r.String(), "generation", k.generation)
			m.noteLocked(logMain, codeUnproven)
		}
	}
}

// bear makes a new meter in an empty memory.
func bear(k *kind, b Birth, memory nvm.Memory) (*Meter, error) {
	w := new(frameWriter)
	defer func() { clear(w.b) }()
	world, installed := k.world(), momentOf(b.Installed)
	w.birth(birth{
		title: b.Row.Title, installed: installed,
		scale: uint32(b.ScalePerMille), shift: int32(b.Shift / time.Second),
	})
	w.clock(clockStep{at: installed})
	if b.Cold {
		w.clock(clockStep{at: world, offset: int64(momentOf(coldStart()) - world), cold: true})
	} else if b.Offset != 0 {
		w.clock(clockStep{at: world, offset: b.Offset.Milliseconds()})
	}
	w.master(b.Row.CCC)
	for r, first := range map[role.Role]key.Unicast{role.CCLAN: b.Row.LAN, role.CCLOCALE: b.Row.Locale, role.CCIS: b.Row.IS} {
		if !first.IsZero() {
			w.key(r, 1, installed, first)
		}
	}
	w.breaker(breakerState{position: cosem.Connected, since: installed})
	m := &Meter{kind: k, memory: memory, full: firstFull}
	m.mu.Lock()
	err := m.commitLocked(w, true)
	m.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("meter %s: %w", b.Row.Title, err)
	}
	m.start()
	return m, nil
}

// commitLocked makes records durable and then has them take effect.
func (m *Meter) commitLocked(w *frameWriter, durable bool) error {
	if err := m.memory.Append(w.b, durable); err != nil {
		return err
	}
	if err := m.state.apply(w.b); err != nil {
		return err
	}
	if m.memory.Size() > m.full {
		m.compactLocked()
	}
	return nil
}

// compactLocked writes the memory anew without what no longer counts. When that fails, nothing is lost: the memory
// goes on growing, or refuses what comes next.
func (m *Meter) compactLocked() {
	b := m.state.snapshot()
	defer clear(b)
	if err := m.memory.Replace([][]byte{b}); err != nil {
		m.kind.options.Log.Error("meter.memory.compact", "system_title", m.state.birth.title, "error", err)
	}
	m.full = max(firstFull, 2*m.memory.Size())
}

// SystemTitle implements server.Device.
func (m *Meter) SystemTitle() dlms.SystemTitle { return m.state.birth.title }

// Profile returns the name of the meter's profile.
func (m *Meter) Profile() string { return m.kind.profile.Name }

// Server returns the meter's end of DLMS/COSEM; Handler of it serves a link.
func (m *Meter) Server() *server.Server { return m.server }

// Load returns what the meter measures.
func (m *Meter) Load() loadcurve.Load {
	b := m.state.birth
	return m.kind.options.Curve.Copy(int(b.scale), time.Duration(b.shift)*time.Second)
}

// Clock returns what the meter's clock shows, and whether it means nothing.
func (m *Meter) Clock() (shows time.Time, cold bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, cold := m.state.clock.read(m.kind.world())
	return m.kind.local(t), cold
}

// Held names the key of a role that is in force: its check value and its generation, counted from 1 in the factory.
func (m *Meter) Held(r role.Role) (check key.CheckValue, generation uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r == role.CCC {
		return m.state.master.CheckValue(), 1
	}
	if r >= roles {
		return key.CheckValue{}, 0
	}
	k := &m.state.keys[r]
	return k.key.CheckValue(), k.generation
}

// Close gives up the memory.
func (m *Meter) Close() error { return m.memory.Close() }
