package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server accepts connections and bounds how many are open.
type Server struct {
	// MaxConns is the number of connections open at once; one more is closed at once, unserved.
	MaxConns int
	// Log must not be nil.
	Log *slog.Logger
	// Conn serves one connection, which Server closes afterwards. It returns soon after ctx ends.
	Conn func(ctx context.Context, c net.Conn) error
}

// maxIdle is how many goroutines that have served a connection wait for another one. Their stacks have grown to what
// serving takes; a new one would grow again.
const maxIdle = 16

// running is a Server at work.
type running struct {
	Server
	open  atomic.Int32  // connections
	next  chan net.Conn // taken by a goroutine that is idle
	idle  atomic.Int32  // how many of them there are
	group sync.WaitGroup
}

// Run accepts until ctx ends, then closes ln, waits for all connections and returns nil. If ln fails it does the
// same and returns the error.
func (s Server) Run(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	r := &running{Server: s, next: make(chan net.Conn)}
	defer r.group.Wait()
	defer close(r.next)
	defer cancel()
	for {
		c, err := accept(ctx, ln)
		if err != nil {
			_ = ln.Close() // the error of Accept is the one to report
			return err
		}
		if c == nil {
			return nil
		}
		if int(r.open.Add(1)) <= s.MaxConns {
			r.start(ctx, c)
			continue
		}
		r.open.Add(-1)
		s.Log.Warn("link.connection.refused", "remote", c.RemoteAddr(), "max_connections", s.MaxConns)
		_ = c.Close()
	}
}

// start has c served by a goroutine that is idle, or by a new one.
func (r *running) start(ctx context.Context, c net.Conn) {
	select {
	case r.next <- c:
	default:
		r.group.Go(func() { r.work(ctx, c) })
	}
}

// work serves c, and then other connections as long as few enough wait for one.
func (r *running) work(ctx context.Context, c net.Conn) {
	for {
		r.serve(ctx, c)
		r.open.Add(-1)
		ok := false
		if r.idle.Add(1) <= maxIdle {
			c, ok = <-r.next
		}
		r.idle.Add(-1)
		if !ok {
			return
		}
	}
}

func (s Server) serve(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }()
	if err := s.Conn(ctx, c); err != nil && ctx.Err() == nil {
		s.Log.Info("link.connection.closed", "remote", c.RemoteAddr(), "error", err)
	}
}

// accept returns the next connection, nil when ctx has ended, or the error of a listener that is finished. Want of
// files or memory passes: it waits, with growing pauses, rather than end the server.
func accept(ctx context.Context, ln net.Listener) (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		c, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return nil, nil
		case err == nil:
			return c, nil
		case !passing(err):
			return nil, fmt.Errorf("accept: %w", err)
		}
		sleep(ctx, pause)
	}
}

func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
