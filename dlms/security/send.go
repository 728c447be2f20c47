package security

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/meterseal/meterseal/dlms"
)

// Bounds on raising a sending counter on a peer's word (ours).
const (
	MaxRaise       = 1 << 20 // at a time
	MaxRaisePerKey = 1 << 26 // over the life of a key version
)

// ErrRaise is returned when a peer asks for a sending counter beyond the bounds.
var ErrRaise = errors.New("security: counter raise refused")

// SendCounter hands out invocation counters for one (key, system title). A value is durably spent before Next
// returns it. At its end it returns dlms.ErrCounterExhausted; it never wraps. Safe for concurrent use.
type SendCounter interface {
	// Next spends the next value and returns it.
	Next() (dlms.InvocationCounter, error)
}

// MemoryCounter is the counter of a session key, which lives and dies with the process. The zero value starts at 1.
type MemoryCounter struct {
	last atomic.Uint32
}

// NewMemoryCounter returns a counter that starts at 1.
func NewMemoryCounter() *MemoryCounter { return new(MemoryCounter) }

// Next returns the next value.
func (c *MemoryCounter) Next() (dlms.InvocationCounter, error) {
	for {
		last := c.last.Load()
		if dlms.InvocationCounter(last) == dlms.MaxInvocationCounter {
			return 0, dlms.ErrCounterExhausted
		}
		if c.last.CompareAndSwap(last, last+1) {
			return dlms.InvocationCounter(last + 1), nil
		}
	}
}

// Reservation is what a BlockCounter keeps on disk for one (key version, system title). The zero value is a new key.
type Reservation struct {
	// Ceiling is the highest value that may have been handed out.
	Ceiling dlms.InvocationCounter
	// Raised is the sum of all raises on a peer's word.
	Raised uint32
}

// BlockConfig configures a BlockCounter.
type BlockConfig struct {
	// Start is the reservation on disk. Counting goes on at Start.Ceiling+1: values that were reserved and perhaps
	// not used are skipped.
	Start Reservation
	// Size is the number of values reserved at a time; 0 means 64.
	Size uint32
	// Limit is the last value that may be handed out; 0 means dlms.MaxInvocationCounter. A key that is lent with a
	// reserved range has the end of the range here.
	Limit dlms.InvocationCounter
	// Reserve makes r durable before it returns nil. After an error, whose outcome on disk nobody knows, it is called
	// again with an r that is at least as high. It is called with the counter's lock held and must not call back.
	Reserve func(r Reservation) error
}

const defaultBlock = 64

// BlockCounter is the counter of a long-term key. It reserves blocks of values durably before it hands any of them
// out, so that a crash skips values and repeats none.
type BlockCounter struct {
	reserve func(Reservation) error
	size    uint32
	limit   dlms.InvocationCounter

	mu   sync.Mutex
	last dlms.InvocationCounter // handed out or skipped
	kept Reservation            // durable; last <= kept.Ceiling
	// tried is the highest reservation that Reserve was asked for. After an error it may be on disk or not, and
	// what is on disk is never lowered.
	tried Reservation
}

// NewBlockCounter goes on where cfg.Start ends.
func NewBlockCounter(cfg BlockConfig) (*BlockCounter, error) {
	if cfg.Reserve == nil {
		return nil, errors.New("security: block counter: no reserve function")
	}
	if cfg.Size == 0 {
		cfg.Size = defaultBlock
	}
	if cfg.Limit == 0 {
		cfg.Limit = dlms.MaxInvocationCounter
	}
	return &BlockCounter{
		reserve: cfg.Reserve, size: cfg.Size, limit: cfg.Limit,
		last: cfg.Start.Ceiling, kept: cfg.Start, tried: cfg.Start,
	}, nil
}

// Next returns the next value, after reserving a block when the last one is used up. When the reservation fails
// nothing is handed out.
func (c *BlockCounter) Next() (dlms.InvocationCounter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last >= c.limit {
		return 0, dlms.ErrCounterExhausted
	}
	if c.last == c.kept.Ceiling {
		if err := c.reserveLocked(c.last, c.kept.Raised); err != nil {
			return 0, err
		}
	}
	c.last++
	return c.last, nil
}

// RaiseTo makes v the lowest value that Next may return, for a peer that says it accepts nothing below. The word
// of a peer never lowers the counter: a v at or below the next value changes nothing. Beyond MaxRaise at a time or
// MaxRaisePerKey in sum it returns ErrRaise.
func (c *BlockCounter) RaiseTo(v dlms.InvocationCounter) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v == 0 || v-1 <= c.last {
		return nil
	}
	by := uint32(v - 1 - c.last)
	switch {
	case v > c.limit:
		return fmt.Errorf("%w: to %d, beyond the last value %d", ErrRaise, v, c.limit)
	case by > MaxRaise:
		return fmt.Errorf("%w: by %d, want at most %d at a time", ErrRaise, by, MaxRaise)
	case uint64(c.kept.Raised)+uint64(by) > MaxRaisePerKey:
		return fmt.Errorf("%w: by %d after %d, want at most %d per key; change the key",
			ErrRaise, by, c.kept.Raised, MaxRaisePerKey)
	}
	// Even within the block at hand the sum is made durable first: else a crash would forget it.
	if err := c.reserveLocked(v-1, c.kept.Raised+by); err != nil {
		return err
	}
	c.last = v - 1
	return nil
}

// Reservation returns what is on disk.
func (c *BlockCounter) Reservation() Reservation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

// reserveLocked makes a block after last durable, never lowering what may be on disk.
func (c *BlockCounter) reserveLocked(last dlms.InvocationCounter, raised uint32) error {
	ceiling := min(uint64(last)+uint64(c.size), uint64(c.limit))
	c.tried = Reservation{
		Ceiling: max(dlms.InvocationCounter(ceiling), c.tried.Ceiling),
		Raised:  max(raised, c.tried.Raised),
	}
	if err := c.reserve(c.tried); err != nil {
		return fmt.Errorf("invocation counter: reserve up to %d: %w", c.tried.Ceiling, err)
	}
	c.kept = c.tried
	return nil
}
