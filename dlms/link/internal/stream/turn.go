package stream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Turn is a lock that a context ends the wait for. Without anybody in the way it costs one atomic operation. The zero
// value is free; a Turn must not be copied.
type Turn struct {
	held    atomic.Bool
	waiting atomic.Int32

	mu    sync.Mutex
	queue []chan struct{}
}

// Take waits until it is the caller's turn, or returns the cause of ctx when that ends first.
func (t *Turn) Take(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.held.CompareAndSwap(false, true) {
		return nil
	}
	return t.wait(ctx)
}

func (t *Turn) wait(ctx context.Context) error {
	// Whoever gives looks at waiting after it has set held: either it sees this waiter, or this waiter sees it free.
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	t.mu.Lock()
	if t.held.CompareAndSwap(false, true) {
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	t.queue = append(t.queue, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.queue, mine)
	if i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // it was handed over in the same moment
		t.Give()
	}
	return context.Cause(ctx)
}

// Give ends the turn, and hands it to who waits longest.
func (t *Turn) Give() {
	t.held.Store(false)
	if t.waiting.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) > 0 && t.held.CompareAndSwap(false, true) {
		close(t.queue[0])
		t.queue = slices.Delete(t.queue, 0, 1)
	}
}
