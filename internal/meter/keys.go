package meter

import (
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/role"
)

// Reasons to refuse a key. On the line they are result codes; the log of the process tells them.
var (
	// ErrNoSuchKey: the meter has no key for the security setup.
	ErrNoSuchKey = errors.New("meter: no key for this security setup")
	// ErrUnproven: a counter of the key cannot be read, so that it must not be used (law 5).
	ErrUnproven = errors.New("meter: the counters of the key cannot be read; the key is refused until it is replaced")
	// ErrKeyID: another key id than that of the global unicast encryption key.
	ErrKeyID = errors.New("key transfer: key id refused")
	// ErrKeyKnown: a role of the meter holds or once held the key (law 6).
	ErrKeyKnown = errors.New("key transfer: the meter has held this key before")
	// ErrPrintsFull: the meter cannot remember another key, and so takes none (law 6).
	ErrPrintsFull = errors.New("key transfer: no room to remember another key")
)

// liveKey is the counters of one version of a key while the process lives. They write through to the memory.
type liveKey struct {
	generation uint32
	send       *security.BlockCounter
	floor      *security.FloorTable
}

// roleOf returns the role whose key a security setup takes.
func roleOf(setup dlms.OBIS) (role.Role, bool) {
	for _, r := range role.Associations() {
		if s, ok := r.Setup(); ok && s == setup {
			return r, true
		}
	}
	return 0, false
}

// LongTerm implements server.Device.
func (m *Meter) LongTerm(setup dlms.OBIS) (*security.LongTerm, error) {
	if m.bench != nil {
		return m.bench.longTerm(setup)
	}
	r, ok := roleOf(setup)
	if !ok || m.kind.profile.derived(setup) {
		return nil, ErrNoSuchKey
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &m.state.keys[r]
	switch {
	case k.key.IsZero():
		return nil, ErrNoSuchKey
	case k.unproven:
		return nil, fmt.Errorf("%s: %w", r, ErrUnproven)
	}
	live, err := m.liveLocked(r)
	if err != nil {
		return nil, err
	}
	c, err := m.kind.cipher(k.key, key.Authentication{})
	if err != nil {
		return nil, err
	}
	return &security.LongTerm{Cipher: c, Send: live.send, Floor: live.floor, Generation: k.generation}, nil
}

// opener is a key that opens associations: one that is held, or one derived from it.
type opener interface {
	AEAD() (cipher.AEAD, error)
	Fingerprint() key.Fingerprint
}

func (k *kind) cipher(u opener, ak key.Authentication) (*security.Cipher, error) {
	aead, err := u.AEAD()
	if err != nil {
		return nil, err
	}
	if wrap := k.options.WrapAEAD; wrap != nil {
		aead = wrap(aead, u.Fingerprint())
	}
	return security.NewCipher(aead, ak)
}

// liveLocked returns the counters of the version in force. A replaced version keeps those it has: an association that
// is being closed under it answers once more.
func (m *Meter) liveLocked(r role.Role) (*liveKey, error) {
	k := &m.state.keys[r]
	if l := m.live[r]; l != nil && l.generation == k.generation {
		return l, nil
	}
	generation := k.generation
	send, err := security.NewBlockCounter(security.BlockConfig{
		Start: k.send,
		Reserve: func(v security.Reservation) error {
			if m.kind.options.Without.Off(defence.CounterReservation) {
				return nil
			}
			return m.keep(func(w *frameWriter) { w.send(r, generation, v) })
		},
	})
	if err != nil {
		return nil, err
	}
	floor, err := security.NewFloorTable(security.FloorConfig{
		Floors: k.floors,
		Persist: func(v security.Floor) error {
			return m.keep(func(w *frameWriter) { w.floor(r, generation, v) })
		},
	})
	if err != nil {
		return nil, err
	}
	m.live[r] = &liveKey{generation: generation, send: send, floor: floor}
	return m.live[r], nil
}

func (m *Meter) keep(write func(*frameWriter)) error {
	w := new(frameWriter)
	write(w)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commitLocked(w, true)
}

// transfer takes a wrapped key (BB 4.4.7, key_transfer; laws 5 and 6). A key that is taken is one frame in the memory:
// key, fresh counters, fingerprint and log entry, durable before the answer leaves. A key that is not taken changes
// nothing but the log.
func (m *Meter) transfer(env *cosem.Env, setup dlms.OBIS, id uint8, wrapped []byte) error {
	r, ok := roleOf(setup)
	if !ok {
		return dlms.ActionObjectUndefined
	}
	fault := m.kind.options.keyFault()
	if fault == KeyFeigned {
		return nil
	}
	replaced, err := m.take(r, id, wrapped)
	if err != nil {
		m.kind.options.Log.Warn("meter.key.refused", "system_title", m.state.birth.title, "role", r.String(),
			"client", env.ClientName, "error", err)
		return transferResult(err)
	}
	m.kind.options.Log.Info("meter.key.changed", "system_title", m.state.birth.title, "role", r.String(),
		"client", env.ClientName, "generation", replaced+1)
	if !m.kind.options.Without.Off(defence.ClosingOldAssociations) {
		env.After(func() { m.server.CloseGeneration(setup, replaced) })
	}
	if fault == KeyDenied {
		return dlms.ActionOtherReason
	}
	return nil
}

func (m *Meter) take(r role.Role, id uint8, wrapped []byte) (replaced uint32, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, err := m.unwrapLocked(id, wrapped)
	if err != nil {
		m.noteLocked(logCommunication, failed(r))
		if errors.Is(err, ErrPrintsFull) {
			m.noteLocked(logMain, codePrintsFull)
		}
		return 0, err
	}
	replaced = m.state.keys[r].generation
	world := m.kind.world()
	e := m.entryLocked(logMain, changed(r), world)
	w := new(frameWriter)
	defer func() { clear(w.b) }()
	w.key(r, replaced+1, e.at, k)
	w.event(e)
	if err := m.commitLocked(w, true); err != nil {
		return 0, fmt.Errorf("%w: %w", dlms.ActionHardwareFault, err)
	}
	return replaced, nil
}

// unwrapLocked opens a wrapped key and refuses what must not come into force.
func (m *Meter) unwrapLocked(id uint8, wrapped []byte) (key.Unicast, error) {
	if id != cosem.KeyGlobalUnicast {
		return key.Unicast{}, fmt.Errorf("%w: %d", ErrKeyID, id)
	}
	k, err := m.state.master.UnwrapUnicast(wrapped)
	if err != nil {
		return key.Unicast{}, err
	}
	switch {
	case k.Weak():
		return key.Unicast{}, key.ErrWeak
	case m.state.known(k.Fingerprint()) && !m.kind.options.Without.Off(defence.Fingerprints):
		return key.Unicast{}, ErrKeyKnown
	case len(m.state.prints) >= maxPrints:
		return key.Unicast{}, ErrPrintsFull
	}
	return k, nil
}

// transferResult is what the line is told: what is wrong with the form, and no more about the key.
func transferResult(err error) dlms.ActionResult {
	switch {
	case errors.Is(err, ErrKeyID):
		return dlms.ActionScopeViolated
	case errors.Is(err, dlms.ActionHardwareFault):
		return dlms.ActionHardwareFault
	}
	return dlms.ActionOtherReason
}

// floorOf is the receive floor that the meter shows of a security setup.
func (m *Meter) floorOf(setup dlms.OBIS) (dlms.InvocationCounter, error) {
	if m.bench != nil {
		return m.bench.highest(setup)
	}
	r, ok := roleOf(setup)
	if !ok {
		return 0, dlms.DataAccessObjectUndefined
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &m.state.keys[r]
	if k.key.IsZero() {
		return 0, dlms.DataAccessObjectUnavailable
	}
	if k.unproven {
		return 0, dlms.DataAccessHardwareFault
	}
	return k.highest(), nil
}
