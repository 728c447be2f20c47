package hdlc

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/internal/stream"
)

// Conn is the client's end of a link over a stream: a serial line, or TCP that carries HDLC.
//
// A half-duplex line has one user: one call of Connect, Send or Receive is under way at a time, others wait. After
// a context has ended within a call the Conn stays usable, and the next call goes on with what was begun.
//
// To dlms.SAPAllStations a Conn sends UI frames, without connecting.
type Conn struct {
	rw      io.ReadWriteCloser
	p       *Primary
	timeout time.Duration
	writing stream.Guard
	lock    chan struct{}

	chunks  chan []byte
	done    chan struct{} // the reader has ended; readErr is set
	readErr error
	closing chan struct{}
	close   sync.Once
	err     error
}

var _ link.Conn = (*Conn)(nil)

// NewConn returns the client's end over rw, which it owns from now on: Close of rw must end a Read of it. Nothing is
// sent before the first Connect or Send.
func NewConn(rw io.ReadWriteCloser, c Config) (*Conn, error) {
	p, err := NewPrimary(c)
	if err != nil {
		return nil, err
	}
	conn := &Conn{
		rw:      rw,
		p:       p,
		timeout: p.cfg.ResponseTimeout,
		writing: stream.WriteGuard(rw),
		lock:    make(chan struct{}, 1),
		chunks:  make(chan []byte),
		done:    make(chan struct{}),
		closing: make(chan struct{}),
	}
	go conn.read()
	return conn, nil
}

// Dial connects to an HDLC server at address ("host:port") over TCP. SNRM is sent by the first Connect or Send.
func Dial(ctx context.Context, address string, c Config) (*Conn, error) {
	var d net.Dialer
	rw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("hdlc: %w", err)
	}
	conn, err := NewConn(rw, c)
	if err != nil {
		_ = rw.Close() // the configuration is what is wrong
		return nil, err
	}
	return conn, nil
}

func (c *Conn) read() {
	defer close(c.done)
	c.readErr = readChunks(c.rw, c.chunks, c.closing)
}

// readChunks hands on what r gives until r fails or stop is closed. Two buffers take turns: who has received from
// chunks for the second time is done with the first.
func readChunks(r io.Reader, chunks chan<- []byte, stop <-chan struct{}) error {
	var buf [2][1024]byte
	for i := 0; ; i = 1 - i {
		n, err := r.Read(buf[i][:])
		if n > 0 {
			select {
			case chunks <- buf[i][:n]:
			case <-stop:
				return link.ErrClosed
			}
		}
		if err != nil {
			return err
		}
	}
}

// Connect connects with SNRM, unless the link is up.
func (c *Conn) Connect(ctx context.Context) error {
	if err := c.enter(ctx); err != nil {
		return fmt.Errorf("hdlc: connect: %w", err)
	}
	defer c.leave()
	return c.connect(ctx)
}

func (c *Conn) connect(ctx context.Context) error {
	if c.p.State() == StateConnected {
		return nil
	}
	if c.p.State() == StateDisconnected {
		if err := c.p.Connect(time.Now()); err != nil {
			return err
		}
	}
	return c.drive(ctx, "connect", func() bool { return c.p.State() == StateConnected })
}

// Send sends apdu and returns when the other end has all of it. It connects first if the link is not up.
//
// When it fails, whether the APDU has arrived is not known.
func (c *Conn) Send(ctx context.Context, apdu []byte) error {
	if err := c.enter(ctx); err != nil {
		return fmt.Errorf("hdlc: send: %w", err)
	}
	defer c.leave()
	if c.p.server.Broadcast() {
		if err := c.p.SendUnnumbered(apdu); err != nil {
			return err
		}
		return c.flush(ctx, "send")
	}
	if err := c.connect(ctx); err != nil {
		return err
	}
	if err := c.drive(ctx, "send", c.p.Idle); err != nil { // what an earlier call left unfinished
		return err
	}
	if err := c.p.Send(time.Now(), apdu); err != nil {
		return err
	}
	return c.drive(ctx, "send", c.p.Idle)
}

// Receive returns the next APDU, and asks the other end for it until it comes. It fails if the link is not up.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	if err := c.enter(ctx); err != nil {
		return nil, fmt.Errorf("hdlc: receive: %w", err)
	}
	defer c.leave()
	apdu, ok := c.p.APDU()
	if ok {
		return apdu, nil
	}
	if c.p.State() != StateConnected && !c.p.server.Broadcast() {
		return nil, fmt.Errorf("hdlc: receive: %w", c.ended())
	}
	c.p.Listen(time.Now(), true)
	defer func() { c.p.Listen(time.Now(), false) }()
	err := c.drive(ctx, "receive", func() bool {
		apdu, ok = c.p.APDU()
		return ok
	})
	return apdu, err
}

// Close ends the link with DISC, waiting at most one response timeout for the answer, and closes the stream. A call
// that is stuck in a write which the other end does not take has as long to end, then the stream is closed under it.
func (c *Conn) Close() error {
	c.close.Do(func() {
		close(c.closing) // ends the call under way
		cut := make(chan error, 1)
		stuck := time.AfterFunc(c.timeout, func() { cut <- c.rw.Close() })
		c.lock <- struct{}{}
		defer c.leave()
		if !stuck.Stop() {
			c.closed(<-cut)
			<-c.done
			return
		}
		if c.p.State() == StateConnected && c.p.Disconnect(time.Now()) == nil {
			c.farewell()
		}
		c.closed(c.rw.Close())
		<-c.done
	})
	return c.err
}

func (c *Conn) closed(err error) {
	if err != nil {
		c.err = fmt.Errorf("hdlc: close: %w", err)
	}
}

// farewell sends DISC and lets the answer come. A server that does not answer has its own timer.
func (c *Conn) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	if c.flush(ctx, "close") != nil {
		return
	}
	for c.p.State() == StateDisconnecting {
		select {
		case chunk := <-c.chunks:
			c.p.Receive(time.Now(), chunk)
		case <-c.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (c *Conn) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-c.closing:
		return link.ErrClosed
	case c.lock <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-c.closing:
		c.leave()
		return link.ErrClosed
	default:
		return nil
	}
}

func (c *Conn) leave() { <-c.lock }

// drive moves octets and time until done, or until the link, the stream or the context ends.
func (c *Conn) drive(ctx context.Context, doing string, done func() bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.p.Tick(time.Now())
		if err := c.flush(ctx, doing); err != nil {
			return err
		}
		if done() {
			return nil
		}
		if c.p.State() == StateDisconnected && !c.p.server.Broadcast() {
			return fmt.Errorf("hdlc: %s: %w", doing, c.ended())
		}
		var due <-chan time.Time
		if at, ok := c.p.Deadline(); ok {
			timer.Reset(time.Until(at))
			due = timer.C
		}
		select {
		case chunk := <-c.chunks:
			c.p.Receive(time.Now(), chunk)
		case <-due:
		case <-c.done:
			return fmt.Errorf("hdlc: %s: %w", doing, c.readErr)
		case <-c.closing:
			return fmt.Errorf("hdlc: %s: %w", doing, link.ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("hdlc: %s: %w", doing, context.Cause(ctx))
		}
	}
}

// flush writes what the machine has to say. What a write that was interrupted did not get out counts as lost on the
// line, and is repeated like it.
func (c *Conn) flush(ctx context.Context, doing string) error {
	out := c.p.Output()
	if len(out) == 0 {
		return nil
	}
	end := c.writing.Start(ctx)
	_, err := c.rw.Write(out)
	end()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("hdlc: %s: %w", doing, context.Cause(ctx))
	}
	return fmt.Errorf("hdlc: %s: %w", doing, err)
}

// ended is why the link is not up.
func (c *Conn) ended() error {
	if err := c.p.Err(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %v", ErrState, c.p.State())
}
