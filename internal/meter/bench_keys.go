package meter

import (
	"errors"
	"fmt"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/keysfile"
)

// benchKeys is the keys of a bench meter: in a keys file, with the counters file beside it. A new key is written to
// the keys file, where a client that reads the same file finds it. Keys that were replaced are remembered while the
// process lives; their counters stay in the file for good, so that even a key that comes back repeats no nonce.
type benchKeys struct {
	kind     *kind
	path     string
	counters *keysfile.Counters
	title    dlms.SystemTitle
	setup    dlms.OBIS

	mu         sync.Mutex
	keys       keysfile.Keys
	generation uint32
	changed    moment
	prints     map[key.Fingerprint]struct{}
	send       security.SendCounter
	floor      *keysfile.Floor
}

func newBenchKeys(k *kind, path string, held *keysfile.Keys, counters *keysfile.Counters) *benchKeys {
	b := &benchKeys{
		kind: k, path: path, counters: counters, title: held.SystemTitle, setup: setupObject(setupGeneric).Instance,
		prints: map[key.Fingerprint]struct{}{}, changed: k.world(),
	}
	for _, v := range []key.Key{held.KEK, held.AK} {
		if !v.IsZero() {
			b.prints[v.Fingerprint()] = struct{}{}
		}
	}
	b.use(*held)
	return b
}

// use puts keys in force, with the counters of their encryption key.
func (b *benchKeys) use(k keysfile.Keys) {
	name := keysfile.Name{Key: k.EK.CheckValue(), Title: b.title}
	b.keys, b.generation = k, b.generation+1
	b.send, b.floor = b.counters.Send(name), b.counters.Floor(name)
	b.prints[k.EK.Fingerprint()] = struct{}{}
}

func (b *benchKeys) longTerm(setup dlms.OBIS) (*security.LongTerm, error) {
	if setup != b.setup {
		return nil, ErrNoSuchKey
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.kind.cipher(b.keys.EK, b.keys.AK)
	if err != nil {
		return nil, err
	}
	return &security.LongTerm{Cipher: c, Send: b.send, Floor: b.floor, Generation: b.generation}, nil
}

func (b *benchKeys) highest(setup dlms.OBIS) (dlms.InvocationCounter, error) {
	if setup != b.setup {
		return 0, dlms.DataAccessObjectUndefined
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.floor.Highest(), nil
}

func (b *benchKeys) checkValue(m *Meter, setup dlms.OBIS) (dlms.Data, error) {
	if setup != b.setup {
		return dlms.Null(), dlms.DataAccessObjectUndefined
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	check := b.keys.EK.CheckValue()
	return dlms.Structure(dlms.OctetString(check[:]), dlms.Uint32(b.generation),
		dlms.DateTimeOf(m.kind.local(b.changed), 0).Octets()), nil
}

// transfer is Meter.transfer for the one key of a bench meter.
func (b *benchKeys) transfer(env *cosem.Env, m *Meter, setup dlms.OBIS, id uint8, wrapped []byte) error {
	if setup != b.setup {
		return dlms.ActionObjectUndefined
	}
	replaced, err := b.take(id, wrapped)
	if err != nil {
		m.kind.options.Log.Warn("meter.key.refused", "system_title", b.title, "client", env.ClientName, "error", err)
		return transferResult(err)
	}
	env.After(func() { m.server.CloseGeneration(setup, replaced) })
	return nil
}

func (b *benchKeys) take(id uint8, wrapped []byte) (replaced uint32, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if id != cosem.KeyGlobalUnicast {
		return 0, fmt.Errorf("%w: %d", ErrKeyID, id)
	}
	k, err := b.keys.KEK.UnwrapUnicast(wrapped)
	if err != nil {
		return 0, err
	}
	if k.Weak() {
		return 0, key.ErrWeak
	}
	if _, known := b.prints[k.Fingerprint()]; known {
		return 0, ErrKeyKnown
	}
	if len(b.prints) >= maxPrints {
		return 0, ErrPrintsFull
	}
	next := b.keys
	next.EK = k
	if !b.counters.Ephemeral() {
		if err := next.Write(b.path); err != nil {
			return 0, errors.Join(dlms.ActionHardwareFault, err)
		}
	}
	replaced = b.generation
	b.use(next)
	b.changed = b.kind.world()
	return replaced, nil
}
