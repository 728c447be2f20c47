package wrapper

import "sync"

// Bounds on what is kept for the next connection: sessions, and bytes of one of their buffers.
const (
	maxSpare = 16
	maxKept  = 4096
)

// sessions are those of a server that have no connection. A connection that opens, asks once and goes then costs
// little memory, and its context is watched already.
type sessions struct {
	mu    sync.Mutex
	spare []*session
}

func (p *sessions) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.spare)
	if n == 0 {
		return new(session)
	}
	s := p.spare[n-1]
	p.spare = p.spare[:n-1]
	return s
}

// give puts back a session whose connection is closed. What came and went is overwritten.
func (p *sessions) give(s *session) {
	s.decoder.reset(maxKept)
	clear(s.out)
	if cap(s.out) > maxKept {
		s.out = nil
	}
	s.conn, s.handler, s.remote, s.out, s.clients = nil, nil, nil, s.out[:0], s.clients[:0]
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spare) == maxSpare {
		s.end()
		return
	}
	p.spare = append(p.spare, s)
}

// end gives up all of them.
func (p *sessions) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.spare {
		s.end()
	}
	p.spare = nil
}
