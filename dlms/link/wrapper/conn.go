package wrapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

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
	reading   stream.Gate
	writing   stream.Gate
	readTurn  stream.Turn
	writeTurn stream.Turn
	decoder   Decoder
	out       []byte
	by        time.Time // bound of Within, zero for none
	broken    atomic.Bool
	closed    atomic.Bool
}

var _ link.Timed = (*Conn)(nil)

// NewConn returns the connection of client to server over rw, which it owns from now on.
func NewConn(rw io.ReadWriteCloser, client, server dlms.SAP) *Conn {
	c := &Conn{
		addresses: addresses{client, server},
		rw:        rw,
		decoder:   Decoder{maxAPDU: MaxAPDU},
	}
	c.reading.OfReads(rw)
	c.writing.OfWrites(rw)
	return c
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
	if err := c.writeTurn.Take(ctx); err != nil {
		return fmt.Errorf("wrapper: send: %w", err)
	}
	defer c.writeTurn.Give()
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

// write sends what is in c.out. A deadline that an earlier call left behind may stop it in the middle.
func (c *Conn) write(ctx context.Context) error {
	if err := c.usable(); err != nil {
		return err
	}
	defer c.writing.Leave()
	if err := c.writing.Enter(ctx, c.by); err != nil {
		return err
	}
	for sent := 0; ; {
		n, err := c.rw.Write(c.out[sent:])
		sent += n
		switch {
		case err == nil:
			return nil
		case c.writing.Again(err, c.by):
			continue
		case sent > 0:
			c.abandon() // the other end waits for the rest of a frame
		}
		return c.reason(ctx, err)
	}
}

// Within implements [link.Timed], for a stream that has deadlines.
func (c *Conn) Within(d time.Duration) bool {
	if c.by = (time.Time{}); d <= 0 {
		return true
	}
	by := c.reading.In(d)
	if !stream.BoundBoth(&c.reading, &c.writing, by) {
		return false
	}
	c.by = by
	return true
}

// Receive returns the next APDU for this client. Frames for others are dropped.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	if err := c.readTurn.Take(ctx); err != nil {
		return nil, fmt.Errorf("wrapper: receive: %w", err)
	}
	defer c.readTurn.Give()
	if err := c.usable(); err != nil {
		return nil, fmt.Errorf("wrapper: receive: %w", err)
	}
	defer c.reading.Leave()
	if err := c.reading.Enter(ctx, c.by); err != nil {
		return nil, fmt.Errorf("wrapper: receive: %w", err)
	}
	for {
		f, err := c.decoder.ReadFrame(c.rw)
		switch {
		case err == nil && c.wants(f):
			return f.APDU, nil
		case err == nil:
			// A flood of frames for others does not outlast the bounds.
			if err := c.over(ctx); err != nil {
				return nil, fmt.Errorf("wrapper: receive: %w", err)
			}
		case c.decoder.err != nil:
			c.abandon()
			return nil, fmt.Errorf("wrapper: receive: %w", err)
		case !c.reading.Again(err, c.by):
			return nil, fmt.Errorf("wrapper: receive: %w", c.reason(ctx, err))
		}
	}
}

func (c *Conn) over(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !c.by.IsZero() && !time.Now().Before(c.by):
		return link.ErrTimeout
	}
	return nil
}

// Close closes the stream.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.reading.Close()
	c.writing.Close()
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
	if !c.by.IsZero() && stream.IsTimeout(err) {
		return link.ErrTimeout
	}
	return err
}
