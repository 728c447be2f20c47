package relay

import (
	"sync"

	"github.com/meterseal/meterseal/dlms"
)

// locks is one mutex per meter, kept only while somebody holds or waits for it.
type locks struct {
	mu   sync.Mutex
	held map[dlms.SystemTitle]*lock
}

type lock struct {
	sync.Mutex
	users int
}

// hold locks a meter and returns what unlocks it.
func (l *locks) hold(meter dlms.SystemTitle) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[dlms.SystemTitle]*lock{}
	}
	m := l.held[meter]
	if m == nil {
		m = &lock{}
		l.held[meter] = m
	}
	m.users++
	l.mu.Unlock()
	m.Lock()
	return func() {
		m.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if m.users--; m.users == 0 {
			delete(l.held, meter)
		}
	}
}
