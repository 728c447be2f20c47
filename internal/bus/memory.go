package bus

import (
	"context"
	"sync"
)

// Bounds of the memory of answered orders.
const (
	memoryOrders = 1024
	memoryBytes  = 8 << 20
)

// memory keeps the answers of the last orders, as they went over the wire, so that one that comes twice is carried out
// once.
type memory struct {
	mu      sync.Mutex
	running map[string]*underWay
	known   map[string][]byte
	order   []string // oldest first
	bytes   int
}

// underWay is an order that is being carried out.
type underWay struct {
	done   chan struct{} // closed when the answer is there
	answer []byte
}

func newMemory() *memory {
	return &memory{running: map[string]*underWay{}, known: map[string][]byte{}}
}

// once runs f for an ID that was not seen, and else returns what f returned for it, waiting for it if need be.
func (m *memory) once(ctx context.Context, id string, f func() []byte) ([]byte, error) {
	m.mu.Lock()
	if answer, ok := m.known[id]; ok { // an answer that is there is given, however late it is asked for
		m.mu.Unlock()
		return answer, nil
	}
	if w := m.running[id]; w != nil {
		m.mu.Unlock()
		select {
		case <-w.done:
			return w.answer, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	w := &underWay{done: make(chan struct{})}
	m.running[id] = w
	m.mu.Unlock()
	w.answer = f()
	m.keep(id, w.answer)
	close(w.done)
	return w.answer, nil
}

// keep counts a finished order, and forgets the oldest ones beyond the bounds. Orders under way are never forgotten:
// how many there are is bounded elsewhere.
func (m *memory) keep(id string, answer []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.running, id)
	m.known[id] = answer
	m.order = append(m.order, id)
	m.bytes += len(answer)
	for len(m.order) > memoryOrders || (m.bytes > memoryBytes && len(m.order) > 1) {
		m.bytes -= len(m.known[m.order[0]])
		delete(m.known, m.order[0])
		m.order = m.order[1:]
	}
}
