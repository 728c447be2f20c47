package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Gate bounds the blocking calls of one direction of a stream by a context and by a time, for a link on which many
// short calls follow each other under one context: it goes on watching a context between calls, and it touches the
// deadline of the stream only when the one that is set will not do.
//
// The deadline that is set may be earlier than the bound of the call under way, one that an earlier call left
// behind: a call that it ends is begun again ([Gate.Again]). It is never later.
//
// One call is under way at a time. Close may come from elsewhere. A Gate must not be copied.
type Gate struct {
	stream io.Closer
	reads  readDeadline // the stream, if these are reads and it bounds them
	writes writeDeadline

	// sure is set for a stream that takes deadlines as long as it is open: nobody needs to know whether a call is under way.
	sure bool

	// What the caller alone reads without the lock; it writes under it.
	done  <-chan struct{} // of the context that is watched
	armed time.Time       // the deadline that is set, zero for none

	cut   atomic.Bool // the context that is watched has ended, and the deadline is in the past
	under atomic.Bool // a call is under way, for all that the gate knows

	mu    sync.Mutex
	stop  func() bool
	watch uint64 // number of the context that is watched
}

type (
	readDeadline  interface{ SetReadDeadline(time.Time) error }
	writeDeadline interface{ SetWriteDeadline(time.Time) error }
)

// OfReads makes this the gate of the reads of c. It comes before everything else, or after Rest.
func (g *Gate) OfReads(c io.Closer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(c)
	g.reads, _ = c.(readDeadline)
}

// OfWrites makes this the gate of the writes of c. It comes before everything else, or after Rest.
func (g *Gate) OfWrites(c io.Closer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(c)
	g.writes, _ = c.(writeDeadline)
}

func (g *Gate) turn(c io.Closer) {
	g.stream, g.armed = c, time.Time{}
	_, g.sure = c.(*net.TCPConn)
}

// Rest lets go of a stream that is finished. The watch over the context goes on, for another stream under it.
func (g *Gate) Rest() {
	g.Leave()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stream, g.reads, g.writes = nil, nil, nil
}

// timed reports whether the stream has deadlines.
func (g *Gate) timed() bool { return g.reads != nil || g.writes != nil }

func (g *Gate) set(t time.Time) error {
	switch {
	case g.reads != nil:
		return g.reads.SetReadDeadline(t)
	case g.writes != nil:
		return g.writes.SetWriteDeadline(t)
	}
	return os.ErrNoDeadline
}

// Bound sets the deadline by, unless one that is no later is set. It reports false when the stream takes none.
func (g *Gate) Bound(by time.Time) bool {
	return g.timed() && (g.soon(by) || g.arm(by) == nil)
}

// BoundBoth is Bound for both gates of one stream. Where none of them has a deadline yet they get the same one, for
// which the runtime keeps one timer in place of two.
func BoundBoth(reads, writes *Gate, by time.Time) bool {
	if reads.armed.IsZero() && writes.armed.IsZero() && armBoth(reads, writes, by) {
		return true
	}
	return reads.Bound(by) && writes.Bound(by)
}

func armBoth(reads, writes *Gate, by time.Time) bool {
	reads.mu.Lock()
	defer reads.mu.Unlock()
	writes.mu.Lock()
	defer writes.mu.Unlock()
	s, ok := reads.stream.(interface{ SetDeadline(time.Time) error })
	if !ok || reads.cut.Load() || writes.cut.Load() || s.SetDeadline(by) != nil {
		return false
	}
	reads.armed, writes.armed = by, by
	return true
}

// In returns the time d from now. Where a deadline is set it is told from that, by the one clock that deadlines go by.
func (g *Gate) In(d time.Duration) time.Time {
	if g.armed.IsZero() {
		return time.Now().Add(d)
	}
	return g.armed.Add(d - time.Until(g.armed))
}

// soon reports whether a deadline is set that will do for by.
func (g *Gate) soon(by time.Time) bool { return !g.armed.IsZero() && !g.armed.After(by) }

// Enter prepares a call that ends with ctx, or at the time by if it is not zero. It returns the error of a context
// that has ended. When the call has returned, Leave says so; without it all that follows is one call.
func (g *Gate) Enter(ctx context.Context, by time.Time) error {
	if !g.sure {
		g.under.Store(true) // before the look at ctx: what ends it afterwards finds a call
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if done := ctx.Done(); done != g.done {
		if err := g.turnTo(ctx, done); err != nil {
			return err
		}
	}
	if by.IsZero() || g.soon(by) {
		return nil
	}
	return g.arm(by)
}

// Leave says that the call has returned. A stream without deadlines is not closed for a context that ends after it.
func (g *Gate) Leave() {
	if !g.sure {
		g.under.Store(false)
	}
}

// Again reports whether a call that ended with err is to be begun again: only an old deadline had passed, and the
// bound of the call has not.
func (g *Gate) Again(err error, by time.Time) bool {
	if !IsTimeout(err) {
		return false
	}
	if g.armed.IsZero() || !by.IsZero() && !time.Now().Before(by) {
		return false
	}
	return g.arm(by) == nil && !g.cut.Load()
}

// EnterFor is Enter for a call that may last for d, without looking at the clock: an earlier deadline is left in
// place, and the first one that passes within the call is followed by another d ([Gate.Extend]). So the call ends
// between d and twice d from now.
func (g *Gate) EnterFor(ctx context.Context, d time.Duration) error {
	if err := g.Enter(ctx, time.Time{}); err != nil {
		return err
	}
	if !g.armed.IsZero() {
		return nil
	}
	return g.arm(time.Now().Add(d))
}

// Extend reports whether a call of EnterFor that ended with err is to be begun again: a deadline had passed, and
// another d has been set. The caller extends a call once.
func (g *Gate) Extend(err error, d time.Duration) bool {
	return IsTimeout(err) && g.arm(time.Now().Add(d)) == nil && !g.cut.Load()
}

// Close ends the watch over a context.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
}

// turnTo watches another context, and undoes what the end of the last one has done.
func (g *Gate) turnTo(ctx context.Context, done <-chan struct{}) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
	g.done = done
	if g.cut.Swap(false) && g.timed() {
		g.armed = time.Time{}
		if err := g.set(g.armed); err != nil {
			return err
		}
	}
	if done != nil {
		watch := g.watch
		g.stop = context.AfterFunc(ctx, func() { g.interrupt(watch) })
	}
	return nil
}

func (g *Gate) forget() {
	if g.stop != nil {
		g.stop()
	}
	g.stop = nil
	g.watch++ // an interruption under way finds that it comes too late
}

// interrupt ends the blocking call. A stream that refuses deadlines (os.ErrNoDeadline) is closed if there is one: else
// the caller would hang.
func (g *Gate) interrupt(watch uint64) {
	g.mu.Lock()
	if watch != g.watch {
		g.mu.Unlock()
		return
	}
	g.cut.Store(true)
	stuck := g.set(past) != nil
	if stuck {
		g.cut.Store(false) // there is no deadline to undo
	}
	s := g.stream
	g.mu.Unlock()
	if stuck && g.under.Load() && s != nil {
		_ = s.Close() // the call that is ended reports the error
	}
}

// arm sets the deadline, unless the context has ended.
func (g *Gate) arm(by time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut.Load() {
		return nil
	}
	if err := g.set(by); err != nil {
		return err
	}
	g.armed = by
	return nil
}

// IsTimeout reports whether a call on a stream ended at its deadline.
func IsTimeout(err error) bool {
	if err == io.EOF { //nolint:errorlint // the ordinary end, before anything is looked up
		return false
	}
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
