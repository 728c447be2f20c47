package wrapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/internal/stream"
)

// addresses are the two ends of a connection, and what they let through.
type addresses struct{ client, server dlms.SAP }

// wants reports whether f is for this client: from its server, or from any server if it speaks to all of them, and
// to its own SAP or to all stations.
func (a addresses) wants(f Frame) bool {
	from := f.Source == a.server || a.server == dlms.SAPAllStations
	to := f.Destination == a.client || f.Destination == dlms.SAPAllStations
	return from && to
}

// Conn is the client's end of a stream, usually TCP. Send and Receive may be called from two goroutines.
//
// A context that ends interrupts the call: through deadlines if the stream has them, else by closing it. An
// interrupted Receive goes on where it was; a Send cut in the middle of a frame breaks the connection.
type Conn struct {
	addresses
	rw        io.ReadWriteCloser
	reading   stream.Guard
	writing   stream.Guard
	readLock  chan struct{}
	writeLock chan struct{}
	decoder   *Decoder
	out       []byte
	broken    atomic.Bool
	closed    atomic.Bool
}

var _ link.Conn = (*Conn)(nil)

// NewConn returns the connection of client to server over rw, which it owns from now on.
func NewConn(rw io.ReadWriteCloser, client, server dlms.SAP) *Conn {
	return &Conn{
		addresses: addresses{client, server},
		rw:        rw,
		reading:   stream.ReadGuard(rw),
		writing:   stream.WriteGuard(rw),
		readLock:  make(chan struct{}, 1),
		writeLock: make(chan struct{}, 1),
		decoder:   NewDecoder(MaxAPDU),
	}
}

// Dial connects to a server at address ("host:port") over TCP.
func Dial(ctx context.Context, address string, client, server dlms.SAP) (*Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("wrapper: %w", err)
	}
	return NewConn(c, client, server), nil
}

// Send writes apdu as one frame.
func (c *Conn) Send(ctx context.Context, apdu []byte) error {
	if err := lock(ctx, c.writeLock); err != nil {
		return fmt.Errorf("wrapper: send: %w", err)
	}
	defer func() { <-c.writeLock }()
	out, err := AppendFrame(c.out[:0], Frame{Source: c.client, Destination: c.server, APDU: apdu})
	if err != nil {
		return err
	}
	c.out = out
	if err := c.write(ctx); err != nil {
		return fmt.Errorf("wrapper: send: %w", err)
	}
	return nil
}

func (c *Conn) write(ctx context.Context) error {
	if err := c.usable(); err != nil {
		return err
	}
	end := c.writing.Start(ctx)
	n, err := c.rw.Write(c.out)
	end()
	if err == nil {
		return nil
	}
	if n > 0 {
		c.abandon() // the other end waits for the rest of a frame
	}
	return c.reason(ctx, err)
}

// Receive returns the next APDU for this client. Frames for others are dropped.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	if err := lock(ctx, c.readLock); err != nil {
		return nil, fmt.Errorf("wrapper: receive: %w", err)
	}
	defer func() { <-c.readLock }()
	if err := c.usable(); err != nil {
		return nil, fmt.Errorf("wrapper: receive: %w", err)
	}
	end := c.reading.Start(ctx)
	defer end()
	for {
		f, err := c.decoder.ReadFrame(c.rw)
		if err != nil {
			if c.decoder.err != nil {
				c.abandon()
			}
			return nil, fmt.Errorf("wrapper: receive: %w", c.reason(ctx, err))
		}
		if c.wants(f) {
			return f.APDU, nil
		}
		if ctx.Err() != nil { // a flood of frames for others does not outlast the context
			return nil, fmt.Errorf("wrapper: receive: %w", context.Cause(ctx))
		}
	}
}

// Close closes the stream.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if err := c.rw.Close(); err != nil && !c.broken.Load() {
		return fmt.Errorf("wrapper: close: %w", err)
	}
	return nil
}

func (c *Conn) usable() error {
	switch {
	case c.closed.Load():
		return link.ErrClosed
	case c.broken.Load():
		return link.ErrBroken
	}
	return nil
}

// abandon gives the stream up: nothing that comes or goes on it can be placed any more.
func (c *Conn) abandon() {
	if !c.broken.Swap(true) {
		_ = c.rw.Close() // the error that led here is the one to report
	}
}

// reason is why a call failed: the context before the deadline it caused, our Close before the error of the stream.
func (c *Conn) reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.closed.Load() && errors.Is(err, net.ErrClosed) {
		return link.ErrClosed
	}
	return err
}

func lock(ctx context.Context, l chan struct{}) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
