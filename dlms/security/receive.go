package security

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/meterseal/meterseal/dlms"
)

// Bounds on receiving under a long-term key (ours).
const (
	// MaxJump is how far above the floor a counter may be. Who holds the key can still burn it, but not in one step.
	MaxJump = 1 << 24
	// MaxTitles is how many peers one key version serves.
	MaxTitles = 8
)

// Errors of receive floors.
var (
	// ErrReplay is returned for a counter below the floor: an APDU seen before, or an older one.
	ErrReplay = errors.New("security: invocation counter below the floor")
	// ErrJump is returned for a counter further above the floor than the bound.
	ErrJump = errors.New("security: invocation counter too far above the floor")
	// ErrTitles is returned for a ninth peer under one key.
	ErrTitles = errors.New("security: too many system titles under one key; change the key")
	// ErrTitle is returned for a system title that does not belong to the association.
	ErrTitle = errors.New("security: system title refused")
)

// CounterError is the refusal of an invocation counter. It matches ErrReplay or ErrJump.
type CounterError struct {
	// Expected is the lowest value that is accepted.
	Expected dlms.InvocationCounter
	// Got is what came.
	Got dlms.InvocationCounter

	reason error
}

// Error says what was expected and what came.
func (e *CounterError) Error() string {
	return fmt.Sprintf("%v: want at least %d, got %d", e.reason, e.Expected, e.Got)
}

// Unwrap returns ErrReplay or ErrJump.
func (e *CounterError) Unwrap() error { return e.reason }

// ReceiveFloor decides which invocation counters of which peers are still accepted under one key. Safe for
// concurrent use.
type ReceiveFloor interface {
	// Check says whether ic would be accepted. It changes nothing: what is checked is not authentic yet. It returns
	// a *CounterError, ErrTitles or ErrTitle.
	Check(title dlms.SystemTitle, ic dlms.InvocationCounter) error
	// Commit checks again and makes ic+1 the floor, durably, before the authentic APDU takes effect.
	Commit(title dlms.SystemTitle, ic dlms.InvocationCounter) error
}

// CommitInner moves the floor over the counter inside a verified HLS reply, unless it is above it already.
func CommitInner(f ReceiveFloor, title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	err := f.Commit(title, ic)
	if errors.Is(err, ErrReplay) {
		return nil
	}
	return err
}

// Floor is the state of one peer under one key.
type Floor struct {
	// Title is the peer.
	Title dlms.SystemTitle
	// Last is the highest counter accepted. The floor is Last+1; at dlms.MaxInvocationCounter nothing more is.
	Last dlms.InvocationCounter
}

// next returns the floor in 33 bits, as the one after the last counter does not fit in 32.
func (f Floor) next() uint64 { return uint64(f.Last) + 1 }

func saturate(v uint64) dlms.InvocationCounter {
	return dlms.InvocationCounter(min(v, uint64(dlms.MaxInvocationCounter)))
}

func checkCounter(floor uint64, ic dlms.InvocationCounter, jump uint32) error {
	switch {
	case uint64(ic) < floor:
		return &CounterError{Expected: saturate(floor), Got: ic, reason: ErrReplay}
	case jump != 0 && uint64(ic) > floor+uint64(jump):
		return &CounterError{Expected: saturate(floor), Got: ic, reason: ErrJump}
	}
	return nil
}

// MemoryFloor is the floor of a session key: one peer, gone with the process.
type MemoryFloor struct {
	title dlms.SystemTitle
	jump  uint32
	floor atomic.Uint64 // it never falls
}

// NewMemoryFloor accepts counters of title alone. A maxJump of 0 means no bound.
func NewMemoryFloor(title dlms.SystemTitle, maxJump uint32) *MemoryFloor {
	return &MemoryFloor{title: title, jump: maxJump}
}

// Check implements ReceiveFloor.
func (f *MemoryFloor) Check(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	return f.check(f.floor.Load(), title, ic)
}

// Commit implements ReceiveFloor.
func (f *MemoryFloor) Commit(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	for {
		floor := f.floor.Load()
		if err := f.check(floor, title, ic); err != nil {
			return err
		}
		if f.floor.CompareAndSwap(floor, uint64(ic)+1) { // else another one was committed meanwhile: look again
			return nil
		}
	}
}

// Expected returns the floor of title: the lowest counter that is accepted.
func (f *MemoryFloor) Expected(dlms.SystemTitle) dlms.InvocationCounter {
	return saturate(f.floor.Load())
}

func (f *MemoryFloor) check(floor uint64, title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	if title != f.title {
		return fmt.Errorf("%w: want %s, got %s", ErrTitle, f.title, title)
	}
	return checkCounter(floor, ic, f.jump)
}

// FloorConfig configures a FloorTable.
type FloorConfig struct {
	// Floors is the state on disk. Who cannot read it refuses the key instead of starting with an empty table:
	// every old session would replay.
	Floors []Floor
	// MaxJump bounds a step; 0 means MaxJump of this package.
	MaxJump uint32
	// Persist makes f durable before it returns nil. It is called with the table's lock held and must not call back.
	Persist func(f Floor) error
}

// FloorTable is the floors of a long-term key, one for each of at most eight peers.
type FloorTable struct {
	jump    uint32
	persist func(Floor) error

	mu     sync.Mutex
	floors []Floor
}

// NewFloorTable goes on where cfg.Floors ends.
func NewFloorTable(cfg FloorConfig) (*FloorTable, error) {
	if cfg.Persist == nil {
		return nil, errors.New("security: floor table: no persist function")
	}
	if len(cfg.Floors) > MaxTitles {
		return nil, fmt.Errorf("security: floor table: want at most %d titles, got %d", MaxTitles, len(cfg.Floors))
	}
	if cfg.MaxJump == 0 {
		cfg.MaxJump = MaxJump
	}
	t := &FloorTable{jump: cfg.MaxJump, persist: cfg.Persist}
	for _, f := range cfg.Floors {
		if t.indexLocked(f.Title) >= 0 {
			return nil, fmt.Errorf("security: floor table: title %s twice", f.Title)
		}
		t.floors = append(t.floors, f)
	}
	return t, nil
}

// Check implements ReceiveFloor.
func (t *FloorTable) Check(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.checkLocked(title, ic)
	return err
}

// Commit implements ReceiveFloor. When it cannot persist, the floor stays and the APDU must not take effect.
func (t *FloorTable) Commit(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, err := t.checkLocked(title, ic)
	if err != nil {
		return err
	}
	f := Floor{Title: title, Last: ic}
	if err := t.persist(f); err != nil {
		return fmt.Errorf("invocation counter: keep floor of %s: %w", title, err)
	}
	if i < 0 {
		t.floors = append(t.floors, f)
		return nil
	}
	t.floors[i] = f
	return nil
}

// Expected returns the floor of title: the lowest counter that is accepted, 0 for a peer not seen yet.
func (t *FloorTable) Expected(title dlms.SystemTitle) dlms.InvocationCounter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.indexLocked(title); i >= 0 {
		return saturate(t.floors[i].next())
	}
	return 0
}

// Highest returns the highest floor of any peer, 0 before the first.
func (t *FloorTable) Highest() dlms.InvocationCounter {
	t.mu.Lock()
	defer t.mu.Unlock()
	var top uint64
	for _, f := range t.floors {
		top = max(top, f.next())
	}
	return saturate(top)
}

// Floors returns a copy of the table.
func (t *FloorTable) Floors() []Floor {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Floor(nil), t.floors...)
}

func (t *FloorTable) checkLocked(title dlms.SystemTitle, ic dlms.InvocationCounter) (int, error) {
	i := t.indexLocked(title)
	if i < 0 {
		if len(t.floors) >= MaxTitles {
			return i, ErrTitles
		}
		return i, checkCounter(0, ic, t.jump)
	}
	return i, checkCounter(t.floors[i].next(), ic, t.jump)
}

func (t *FloorTable) indexLocked(title dlms.SystemTitle) int {
	for i, f := range t.floors {
		if f.Title == title {
			return i
		}
	}
	return -1
}
