package vault

import (
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// The actions of the vault in the audit log.
const (
	ActionImported  audit.Action = "vault.meter.imported"
	ActionRefused   audit.Action = "vault.shipment.refused"
	ActionShipment  audit.Action = "vault.shipment.read"
	ActionEnrolled  audit.Action = "vault.device.enrolled"
	ActionGenerated audit.Action = "vault.key.generated"
	ActionWrapped   audit.Action = "vault.key.wrapped"
	ActionSealed    audit.Action = "vault.key.sealed"
	ActionUsed      audit.Action = "vault.key.used"
	ActionSent      audit.Action = "vault.key.sent"
	ActionActive    audit.Action = "vault.key.active"
	ActionEnded     audit.Action = "vault.key.superseded"
	ActionAbandoned audit.Action = "vault.key.abandoned"
	ActionGrant     audit.Action = "vault.grant.sealed"
	ActionReplayed  audit.Action = "vault.journal.taken-over"
)

// ErrNoJournal is returned for a store that belongs to a journal which is not there.
var ErrNoJournal = errors.New("vault: the key journal is missing")

// Options of Open. The zero value works.
type Options struct {
	// Journal is the path of the key journal, best on another disk than the store; key.journal in the vault's
	// directory by default.
	Journal string
	// Node names whose journal it is, in a journal that is begun: the system title of this node.
	Node string
	// Alone says that no other process shares the store: then a store that knows of a journal does not do without it
	// because the node got another name.
	Alone bool
	// Block is how many counters are reserved at a time for one key, 64 by default.
	Block uint32
	// Held is how many keys at least are remembered with their counters between two uses, 32,768 by default, about 1 kB each.
	// One that is not takes a new block of counters.
	Held int
	// ReSeal is how many rows are sealed anew with one commit, 500 by default.
	ReSeal int
	// Now is the clock, time.Now by default.
	Now func() time.Time
	// Rand is the source of keys, crypto/rand by default.
	Rand io.Reader
	// Log receives what an operator should know. Nothing by default.
	Log *slog.Logger
	// WrapAEAD, if set, stands between each key and its use, for a nonce oracle.
	WrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
	// Crash, if set, is asked before and after each append to the key journal and at each step of a rotation of the root, for
	// a test of crashes: an error ends the operation there.
	Crash func(point string) error
	// Zone is that of the meters' clocks, in which they count days: role.MetersZone by default.
	Zone *time.Location
	// Admit, if set, is asked before a shipment whose signature was verified is taken in.
	Admit Admit
	// Without takes defences away, for the simulation alone.
	Without defence.Set
}

// Admit says whether a shipment may be taken in. What it returns is told in the end how many meters came in.
type Admit func(ctx context.Context, a Arrival) (told func(ctx context.Context, imported int) error, err error)

// Arrival is a shipment whose signature was verified, and of which nothing has come in yet.
type Arrival struct {
	shipment.Header
	// Sum names the file.
	Sum []byte
	// Fresh counts its meters that are not there yet, which takes a look at all of it.
	Fresh func(ctx context.Context) (int, error)
}

const defaultHeld = 1 << 15

// JournalName is the name of the key journal where no path is given.
const JournalName = "key.journal"

// Software is the vault over a [Hold] of its keys: their order, journal, audit and counters.
type Software struct {
	keys    Hold
	store   Store
	audit   *audit.Log
	journal *journal
	block   uint32
	zone    *time.Location // of the meters' clocks
	now     func() time.Time
	rand    io.Reader
	log     *slog.Logger

	wrapAEAD func(cipher.AEAD, key.Fingerprint) cipher.AEAD
	crash    func(point string) error
	without  defence.Set
	admit    Admit
	space    *Space // nil: the vault was never opened without its journal

	node  string // whose journal it is
	alone bool

	dir    string // for files that come in
	floors *floors

	mu     sync.Mutex
	uses   *held[useKey, handle] // one per key version and own title
	tables *held[role.KeyRef, security.FloorTable]
	// stated are the versions that this process has put into its journal, the last ones and those before them.
	stated, statedBefore map[role.KeyRef]bool
	// reSealed is the term that all rows are known to be under, but for those that do not open.
	reSealed uint32
	batch    int // rows with one commit
	// destroyed are the retired terms whose keys this process has destroyed, or found to be gone.
	destroyed []uint32
}

var _ Vault = (*Software)(nil)

// Open opens the vault in dir over the hold of its keys, which stays the caller's, and its store, and takes over what the key journal has and the store
// has not. The log is that of the same store.
func Open(ctx context.Context, dir string, hold Hold, store Store, log *audit.Log, o Options) (*Software, error) {
	v := &Software{
		keys: hold, store: store, audit: log, block: o.Block, now: o.Now, rand: o.Rand, log: o.Log,
		dir: dir, uses: newHeld[useKey, handle](cmp.Or(o.Held, defaultHeld)), tables: newHeld[role.KeyRef, security.FloorTable](0), floors: newFloors(store), wrapAEAD: o.WrapAEAD, crash: o.Crash, without: o.Without,
		admit: o.Admit,
	}
	if v.block == 0 {
		v.block = 64
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.rand == nil {
		v.rand = rand.Reader
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if v.zone = o.Zone; v.zone == nil {
		v.zone = role.MetersZone()
	}
	if v.crash == nil {
		v.crash = func(string) error { return nil }
	}
	v.node, v.alone, v.batch = o.Node, o.Alone, cmp.Or(o.ReSeal, reSealBatch)
	if r, ok := hold.(interface {
		crashAt(crash func(point string) error)
	}); ok && o.Crash != nil {
		r.crashAt(o.Crash)
	}
	if o.Journal == "" {
		o.Journal = filepath.Join(dir, JournalName)
	}
	if err := v.checkOpen(ctx); err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	if err := v.openJournal(ctx, o); err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	if err := v.store.Durable(ctx, v.begin); err != nil {
		return nil, errors.Join(fmt.Errorf("open vault: %w", err), v.journal.Close())
	}
	return v, nil
}

// openJournal begins a journal for a store that has never had one, or for a node that is new to it, and for no other:
// without its journal a restored store could hand out counters and versions for a second time.
func (v *Software) openJournal(ctx context.Context, o Options) error {
	p, known, err := v.store.JournalPosition(ctx)
	if err != nil {
		return err
	}
	if known && p.Vault != v.keys.ID() {
		return fmt.Errorf("%w: the store belongs to vault %s, this root is of vault %s", ErrRoot, p.Vault, v.keys.ID())
	}
	create := !known
	if create && o.Alone {
		if create, err = v.newHere(ctx, o.Node); err != nil {
			return err
		}
	}
	v.journal, err = openJournal(o.Journal, v.keys.ID(), o.Node, create)
	if !create && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: want it at %s; bring it back before this store is used", ErrNoJournal, o.Journal)
	}
	return err
}

// begin takes over what the journal has. A journal that is begun in a new nonce space tells so first.
func (v *Software) begin(ctx context.Context) error {
	_, known, err := v.store.JournalPosition(ctx)
	if err != nil {
		return err
	}
	if err := v.catchUp(ctx); err != nil || known || v.space == nil || v.without.Off(defence.Journal) {
		return err
	}
	return v.store.BeforeCommit(ctx, v.journal, leave([]record{{Space: v.space}}), v.writeJournal)
}

// newHere reports whether the only node of a store may begin a journal: where there never was one, or where the vault was
// opened anew for it.
func (v *Software) newHere(ctx context.Context, node string) (bool, error) {
	places, err := v.store.JournalPlaces(ctx)
	if err != nil || len(places) == 0 {
		return err == nil, err
	}
	return v.space != nil && v.space.Title.String() == node, nil
}

// Close closes the key journal. Handles that are still out reserve nothing more.
func (v *Software) Close() error { return v.journal.Close() }

// ID implements Vault.
func (v *Software) ID() string { return v.keys.ID() }

// Transport implements Vault.
func (v *Software) Transport() transport.Public { return v.keys.Transport() }

// String names the vault.
func (v *Software) String() string { return v.keys.String() }

// Format prints String for every verb.
func (v *Software) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, v.String()) }

// time is the clock as it is stored: microseconds, UTC.
func (v *Software) time() time.Time { return v.now().UTC().Truncate(time.Microsecond) }

// step runs one durable commit: what the journal has first, then plan, then what plan wants changed.
func (v *Software) step(ctx context.Context, plan func(ctx context.Context, c *change) error) error {
	return v.store.Durable(ctx, func(ctx context.Context) error { return v.planned(ctx, plan) })
}

// join is a step that may be part of a caller's Update.
func (v *Software) join(ctx context.Context, plan func(ctx context.Context, c *change) error) error {
	return v.store.Update(ctx, func(ctx context.Context) error { return v.planned(ctx, plan) })
}

func (v *Software) planned(ctx context.Context, plan func(ctx context.Context, c *change) error) error {
	if err := v.catchUp(ctx); err != nil {
		return err
	}
	var c change
	if err := plan(ctx, &c); err != nil {
		return err
	}
	return v.save(ctx, &c)
}

// op names one operation in the audit log.
func (v *Software) op() (string, error) {
	var b [8]byte
	if _, err := io.ReadFull(v.rand, b[:]); err != nil {
		return "", fmt.Errorf("vault: read randomness: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// background is the context of what a handle must make durable while its user waits.
func background() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

// info describes a row.
func (k KeyRow) info() KeyInfo {
	return KeyInfo{
		Ref: k.Ref, Suite: k.Suite, State: k.State, CheckValue: k.CheckValue, Fingerprint: k.Fingerprint,
		CreatedAt: k.CreatedAt, SentAt: k.SentAt, ActiveAt: k.ActiveAt, EndedAt: k.EndedAt,
	}
}

func (k KeyRow) subject() audit.Subject { return audit.KeySubject(k.Ref, k.CheckValue.String()) }

// Candidates implements Vault.
func (v *Software) Candidates(ctx context.Context, keys []Target) ([][]KeyInfo, error) {
	versions, err := v.store.KeyVersions(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("vault: candidates: %w", err)
	}
	out := make([][]KeyInfo, len(keys))
	for i, rows := range versions {
		for _, k := range rows {
			if k.State != Pending {
				out[i] = append(out[i], k.info())
			}
		}
	}
	return out, nil
}

// Active implements Vault.
func (v *Software) Active(ctx context.Context, keys []Target) ([]KeyInfo, error) {
	versions, err := v.store.LiveKeyVersions(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("vault: active: %w", err)
	}
	out := make([]KeyInfo, len(keys))
	for i, rows := range versions {
		row, ok := activeOf(rows)
		if !ok {
			return nil, fmt.Errorf("%w: %s has no active version", ErrUnknownKey, keys[i])
		}
		out[i] = row.info()
	}
	return out, nil
}

func activeOf(rows []KeyRow) (KeyRow, bool) {
	for _, k := range rows {
		if k.State == Active {
			return k, true
		}
	}
	return KeyRow{}, false
}

// Info implements Vault.
func (v *Software) Info(ctx context.Context, keys []role.KeyRef) ([]KeyInfo, error) {
	rows, err := v.store.KeyRows(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("vault: info: %w", err)
	}
	out := make([]KeyInfo, len(keys))
	for i, ref := range keys {
		row, ok := rows[ref]
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrUnknownKey, ref)
		}
		out[i] = row.info()
	}
	return out, nil
}

// States tells how versions stand; all of them must be there.
func (v *Software) States(ctx context.Context, keys []role.KeyRef) (map[role.KeyRef]State, error) {
	states, err := v.store.KeyStates(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("vault: states: %w", err)
	}
	for _, ref := range keys {
		if _, ok := states[ref]; !ok {
			return nil, fmt.Errorf("%w: %s", ErrUnknownKey, ref)
		}
	}
	return states, nil
}

// History implements Vault.
func (v *Software) History(ctx context.Context, meter dlms.SystemTitle) ([]KeyInfo, error) {
	rows, err := v.store.MeterKeyRows(ctx, meter)
	if err != nil {
		return nil, fmt.Errorf("vault: history: %w", err)
	}
	out := make([]KeyInfo, len(rows))
	for i, k := range rows {
		out[i] = k.info()
	}
	return out, nil
}

// reservation is a counter row as dlms/security takes it.
func (c CounterRow) reservation() security.Reservation {
	return security.Reservation{Ceiling: dlms.InvocationCounter(c.Ceiling), Raised: c.Raised}
}
