package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Gate bounds the blocking calls of one direction of a stream by a context and by a time, for a link on which many
// short calls follow each other under one context: it goes on watching a context between calls, and it touches the
// deadline of the stream only when the one that is set will not do.
//
// The deadline that is set may be earlier than the bound of the call under way, one that an earlier call left
// behind: a call that it ends is begun again ([Gate.Again]). It is never later.
type Gate struct {
	set     func(time.Time) error // nil for a stream without deadlines
	abandon func() error

	mu    sync.Mutex
	done  <-chan struct{} // of the context that is watched
	stop  func() bool
	watch uint64 // number of the context that is watched
	cut   bool   // that context has ended, and the deadline is in the past
	armed time.Time
}

// NewReadGate bounds reads of c.
func NewReadGate(c io.Closer) *Gate {
	g := &Gate{abandon: c.Close}
	if d, ok := c.(interface{ SetReadDeadline(time.Time) error }); ok {
		g.set = d.SetReadDeadline
	}
	return g
}

// NewWriteGate bounds writes of c.
func NewWriteGate(c io.Closer) *Gate {
	g := &Gate{abandon: c.Close}
	if d, ok := c.(interface{ SetWriteDeadline(time.Time) error }); ok {
		g.set = d.SetWriteDeadline
	}
	return g
}

// CanBound reports whether the stream takes deadlines, so that a time can bound a call.
func (g *Gate) CanBound() bool {
	if g.set == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cut || g.set(g.armed) == nil
}

// Enter prepares a call that ends with ctx, or at the time by if it is not zero. It returns the error of a context
// that has ended.
func (g *Gate) Enter(ctx context.Context, by time.Time) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if done := ctx.Done(); done != g.done {
		g.forget()
		if err := g.restore(); err != nil {
			return err
		}
		g.observe(ctx, done)
	}
	if by.IsZero() || !g.armed.IsZero() && !g.armed.After(by) || g.cut {
		return nil
	}
	return g.arm(by)
}

// Again reports whether a call that ended with err is to be begun again: only an old deadline had passed, and the
// bound of the call has not.
func (g *Gate) Again(err error, by time.Time) bool {
	if !IsTimeout(err) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut || g.armed.IsZero() || !by.IsZero() && !time.Now().Before(by) {
		return false
	}
	return g.arm(by) == nil
}

// Close ends the watch over a context.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
}

func (g *Gate) forget() {
	if g.stop != nil {
		g.stop()
	}
	g.done, g.stop = nil, nil
	g.watch++ // an interruption under way finds that it comes too late
}

func (g *Gate) observe(ctx context.Context, done <-chan struct{}) {
	if done == nil {
		return
	}
	watch := g.watch
	g.done = done
	g.stop = context.AfterFunc(ctx, func() { g.interrupt(watch) })
}

// interrupt ends the blocking call. A stream that refuses deadlines (os.ErrNoDeadline) is closed: else the caller
// would hang.
func (g *Gate) interrupt(watch uint64) {
	g.mu.Lock()
	if watch != g.watch {
		g.mu.Unlock()
		return
	}
	g.cut = true
	stuck := g.set == nil || g.set(past) != nil
	g.mu.Unlock()
	if stuck {
		_ = g.abandon() // the call that is ended reports the error
	}
}

func (g *Gate) restore() error {
	if !g.cut {
		return nil
	}
	g.cut = false
	if g.set == nil {
		return nil
	}
	return g.arm(time.Time{})
}

func (g *Gate) arm(by time.Time) error {
	if g.set == nil {
		return os.ErrNoDeadline
	}
	if err := g.set(by); err != nil {
		return err
	}
	g.armed = by
	return nil
}

// IsTimeout reports whether a call on a stream ended at its deadline.
func IsTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
