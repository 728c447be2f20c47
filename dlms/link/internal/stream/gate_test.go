package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted is a stream that counts how often its read deadline is set.
type counted struct {
	net.Conn
	set int
}

func (c *counted) SetReadDeadline(t time.Time) error {
	c.set++
	return c.Conn.SetReadDeadline(t)
}

func pair(t *testing.T) (*counted, net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return &counted{Conn: a}, b
}

// read is one call through a gate, as a link makes it.
func read(ctx context.Context, g *Gate, r io.Reader, by time.Time) error {
	if err := g.Enter(ctx, by); err != nil {
		return err
	}
	for {
		_, err := r.Read(make([]byte, 1))
		if err == nil || !g.Again(err, by) {
			return err
		}
	}
}

func gateOf(c io.Closer) *Gate {
	g := new(Gate)
	g.OfReads(c)
	return g
}

func feed(w io.Writer, n int) { _, _ = w.Write(make([]byte, n)) }

func TestManyCallsSetTheDeadlineOnce(t *testing.T) {
	c, other := pair(t)
	g := gateOf(c)
	defer g.Close()
	go feed(other, 100)
	for range 100 {
		if err := read(t.Context(), g, c, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if c.set != 1 {
		t.Errorf("the deadline was set %d times", c.set)
	}
}

func TestAnOldDeadlineDoesNotEndALaterCall(t *testing.T) {
	c, other := pair(t)
	g := gateOf(c)
	defer g.Close()
	go feed(other, 1)
	if err := read(t.Context(), g, c, time.Now().Add(20*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(60 * time.Millisecond)
		feed(other, 2)
	}()
	for _, by := range []time.Time{time.Now().Add(time.Minute), {}} {
		if err := read(t.Context(), g, c, by); err != nil {
			t.Errorf("bound %v: %v", by, err)
		}
	}
	start := time.Now()
	if err := read(t.Context(), g, c, start.Add(30*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took < 30*time.Millisecond || took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestTheEndOfAContextEndsTheCallUnderWayAndNoneAfterIt(t *testing.T) {
	c, other := pair(t)
	g := gateOf(c)
	defer g.Close()
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		if err := read(ctx, g, c, time.Time{}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if err := read(ctx, g, c, time.Time{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("again under the same context: %v", err)
		}
		go feed(other, 1)
		if err := read(t.Context(), g, c, time.Now().Add(time.Minute)); err != nil {
			t.Fatalf("under another context: %v", err)
		}
	}
	// A context may end between two calls.
	ctx, cancel := context.WithCancel(t.Context())
	go feed(other, 2)
	if err := read(ctx, g, c, time.Time{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := read(t.Context(), g, c, time.Time{}); err != nil {
		t.Errorf("after a context that ended meanwhile: %v", err)
	}
}

func TestACallThatLastsIsExtendedOnce(t *testing.T) {
	c, other := pair(t)
	g := gateOf(c)
	defer g.Close()
	const d = 30 * time.Millisecond
	call := func() error {
		if err := g.EnterFor(t.Context(), d); err != nil {
			return err
		}
		for extended := false; ; extended = true {
			_, err := c.Read(make([]byte, 1))
			if err == nil || extended || !g.Extend(err, d) {
				return err
			}
		}
	}
	go feed(other, 1)
	if err := call(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := call(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took < d || took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

// bare is a stream without deadlines.
type bare struct {
	io.Reader
	io.Closer
}

// stubborn has deadlines and refuses them, as some files do.
type stubborn struct{ bare }

func (stubborn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

func TestAStreamWithoutDeadlinesIsClosedWhenItsContextEnds(t *testing.T) {
	for name, wrap := range map[string]func(bare) io.ReadCloser{
		"none": func(b bare) io.ReadCloser { return b }, "refused": func(b bare) io.ReadCloser { return stubborn{b} },
	} {
		r, w := io.Pipe()
		c := wrap(bare{r, r})
		g := gateOf(c)
		if g.Bound(time.Now().Add(time.Minute)) {
			t.Errorf("%s: a time would bound it", name)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		if err := read(ctx, g, c, time.Time{}); err == nil {
			t.Errorf("%s: the call did not end", name)
		}
		if _, err := w.Write([]byte{1}); err == nil {
			t.Errorf("%s: the stream is still open", name)
		}
		if err := read(t.Context(), g, c, time.Now().Add(time.Minute)); !errors.Is(err, os.ErrNoDeadline) {
			t.Errorf("%s: a time: %v", name, err)
		}
		g.Close()
	}
}

func TestCloseForgetsTheContext(t *testing.T) {
	c, other := pair(t)
	g := gateOf(c)
	ctx, cancel := context.WithCancel(t.Context())
	go feed(other, 1)
	if err := read(ctx, g, c, time.Time{}); err != nil {
		t.Fatal(err)
	}
	g.Close()
	n := c.set
	cancel()
	time.Sleep(10 * time.Millisecond)
	if c.set != n {
		t.Error("the deadline was set after Close")
	}
}

// combined is a stream that counts how often both of its deadlines are set at once.
type combined struct {
	*counted
	both int
}

func (c *combined) SetDeadline(t time.Time) error {
	c.both++
	return c.Conn.SetDeadline(t)
}

func gatesOf(c io.Closer) (reads, writes *Gate) {
	reads, writes = new(Gate), new(Gate)
	reads.OfReads(c)
	writes.OfWrites(c)
	return reads, writes
}

func TestBothDirectionsBeginWithOneDeadlineAndGoOnWithTheirOwn(t *testing.T) {
	inner, other := pair(t)
	c := &combined{counted: inner}
	reads, writes := gatesOf(c)
	defer reads.Close()
	by := time.Now().Add(20 * time.Millisecond)
	if !BoundBoth(reads, writes, by) || !BoundBoth(reads, writes, by.Add(time.Minute)) {
		t.Fatal("not bound")
	}
	if c.both != 1 || inner.set != 0 {
		t.Errorf("set together %d times, for reads %d times", c.both, inner.set)
	}
	if err := read(t.Context(), reads, c, by); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reads: %v", err)
	}
	if _, err := c.Write([]byte{1}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writes: %v", err)
	}
	// What an old deadline ends is begun again with one of its own.
	go feed(other, 1)
	if err := read(t.Context(), reads, c, time.Now().Add(time.Minute)); err != nil || c.both != 1 || inner.set != 1 {
		t.Errorf("got %v, set together %d times, for reads %d times", err, c.both, inner.set)
	}
}

func TestABoundOfBothDoesNotUndoAContextThatHasEnded(t *testing.T) {
	inner, _ := pair(t)
	c := &combined{counted: inner}
	reads, writes := gatesOf(c)
	defer reads.Close()
	ctx, cancel := context.WithCancel(t.Context())
	if err := reads.Enter(ctx, time.Time{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	for !reads.cut.Load() {
		time.Sleep(time.Millisecond)
	}
	BoundBoth(reads, writes, time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || c.both != 0 {
		t.Errorf("got %v, set together %d times", err, c.both)
	}
}

func TestAGateWatchesOneContextOverManyStreams(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := new(Gate)
	defer g.Close()
	for range 3 {
		c, other := pair(t)
		g.OfReads(c)
		go feed(other, 1)
		if err := read(ctx, g, c, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if g.watch != 1 || c.set != 1 {
			t.Errorf("watch %d, the deadline was set %d times", g.watch, c.set)
		}
		g.Rest()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	last, _ := pair(t)
	g.OfReads(last)
	time.AfterFunc(5*time.Millisecond, cancel)
	if err := read(ctx, g, last, time.Time{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAContextThatEndsWhileAGateRestsEndsNothing(t *testing.T) {
	r, w := io.Pipe()
	c := bare{r, r}
	g := gateOf(c)
	defer g.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go feed(w, 1)
	if err := read(ctx, g, c, time.Time{}); err != nil {
		t.Fatal(err)
	}
	g.Rest()
	cancel()
	time.Sleep(10 * time.Millisecond)
	go feed(w, 1)
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("the stream of before: %v", err)
	}
	if err := g.Enter(ctx, time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the next call: %v", err)
	}
}
