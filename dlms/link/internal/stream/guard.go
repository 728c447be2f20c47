// Package stream holds what the stream links share: blocking calls that a context can end, and the accept loop.
package stream

import (
	"context"
	"io"
	"time"
)

// past is a deadline that has gone by, whatever the clock says.
var past = time.Unix(1, 0)

// Guard lets a context end a blocking Write.
type Guard struct {
	deadline func(time.Time) error
	abandon  func() error
}

// WriteGuard guards writes of c: by its write deadline if it has one, else by closing c.
func WriteGuard(c io.Closer) Guard {
	if d, ok := c.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return Guard{deadline: d.SetWriteDeadline, abandon: c.Close}
	}
	return Guard{abandon: c.Close}
}

// Start arms the guard for one call. The returned function disarms it and must be called when the call has
// returned; it waits for an interruption under way, so that the next call starts with a clean deadline.
func (g Guard) Start(ctx context.Context) (end func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		g.interrupt()
		close(fired)
	})
	return func() {
		if stop() {
			return
		}
		<-fired
		g.restore()
	}
}

// interrupt ends the blocking call. A stream that refuses deadlines (os.ErrNoDeadline) is closed: else the
// caller would hang.
func (g Guard) interrupt() {
	if g.deadline != nil && g.deadline(past) == nil {
		return
	}
	_ = g.abandon() // the call that is ended reports the error
}

func (g Guard) restore() {
	if g.deadline != nil {
		_ = g.deadline(time.Time{}) // a failure shows in the next read or write
	}
}
