package bus

import (
	"context"
	"encoding/json"
	"sync"
)

// Bounds of the memory of answered orders.
const (
	memoryOrders = 1024
	memoryBytes  = 8 << 20
)

// memory keeps the answers of the last orders, so that one that comes twice is carried out once.
type memory struct {
	mu    sync.Mutex
	known map[string]*remembered
	order []string // oldest first
	bytes int
}

type remembered struct {
	done  chan struct{}
	reply Reply
	size  int
}

func newMemory() *memory { return &memory{known: map[string]*remembered{}} }

// once runs f for an ID that was not seen, and else returns what f returned for it, waiting for it if need be.
func (m *memory) once(ctx context.Context, id string, f func() Reply) (Reply, error) {
	m.mu.Lock()
	r, seen := m.known[id]
	if !seen {
		r = &remembered{done: make(chan struct{})}
		m.known[id] = r
	}
	m.mu.Unlock()
	if seen {
		select {
		case <-r.done: // an answer that is there is given, however late it is asked for
			return r.reply, nil
		default:
		}
		select {
		case <-r.done:
			return r.reply, nil
		case <-ctx.Done():
			return Reply{}, context.Cause(ctx)
		}
	}
	r.reply = f()
	m.keep(id, r)
	close(r.done)
	return r.reply, nil
}

// keep counts a finished order, and forgets the oldest ones beyond the bounds. Orders under way are never forgotten:
// how many there are is bounded elsewhere.
func (m *memory) keep(id string, r *remembered) {
	if b, err := json.Marshal(r.reply); err == nil {
		r.size = len(b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.order = append(m.order, id)
	m.bytes += r.size
	for len(m.order) > memoryOrders || (m.bytes > memoryBytes && len(m.order) > 1) {
		m.bytes -= m.known[m.order[0]].size
		delete(m.known, m.order[0])
		m.order = m.order[1:]
	}
}
