package relay

import (
	"context"
	"fmt"
	"sync"

	"github.com/meterseal/meterseal/dlms"
)

// locks is one lock per meter, kept only while somebody holds or waits for it.
type locks struct {
	mu   sync.Mutex
	held map[dlms.SystemTitle]*lock
}

// lock is held by whoever has put something into its one slot.
type lock struct {
	slot  chan struct{}
	users int
}

// hold locks a meter and returns what unlocks it, or gives up with ctx.
func (l *locks) hold(ctx context.Context, meter dlms.SystemTitle) (unlock func(), err error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("meter %s: %w", meter, context.Cause(ctx))
	}
	m := l.join(meter)
	select {
	case m.slot <- struct{}{}:
		return func() { <-m.slot; l.leave(meter, m) }, nil
	case <-ctx.Done():
		l.leave(meter, m)
		return nil, fmt.Errorf("meter %s is busy: %w", meter, ctx.Err())
	}
}

func (l *locks) join(meter dlms.SystemTitle) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[dlms.SystemTitle]*lock{}
	}
	m := l.held[meter]
	if m == nil {
		m = &lock{slot: make(chan struct{}, 1)}
		l.held[meter] = m
	}
	m.users++
	return m
}

func (l *locks) leave(meter dlms.SystemTitle, m *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.users--; m.users == 0 {
		delete(l.held, meter)
	}
}
