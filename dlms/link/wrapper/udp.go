package wrapper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/internal/stream"
)

// UDPConn is the client's end over UDP: one datagram, one frame. What is no frame is dropped, since anybody can
// send it. UDP loses and reorders; a Receive without a deadline may wait for ever. One Send and one Receive may be
// under way at a time.
type UDPConn struct {
	addresses
	c       net.Conn
	reading stream.Gate
	writing stream.Gate
	in, out []byte
	by      time.Time // bound of Within, zero for none
	closed  atomic.Bool
}

var _ link.Timed = (*UDPConn)(nil)

// NewUDPConn returns the connection of client to server over c, a connected datagram socket (net.Dial "udp"), which
// it owns from now on.
func NewUDPConn(c net.Conn, client, server dlms.SAP) *UDPConn {
	u := &UDPConn{addresses: addresses{client, server}, c: c, in: make([]byte, HeaderSize+MaxAPDU)}
	u.reading.OfReads(c)
	u.writing.OfWrites(c)
	return u
}

// Send sends apdu as one datagram.
func (c *UDPConn) Send(ctx context.Context, apdu []byte) error {
	out, err := AppendFrame(c.out[:0], Frame{Source: c.client, Destination: c.server, APDU: apdu})
	if err != nil {
		return err
	}
	c.out = out
	defer c.writing.Leave()
	if err := c.writing.Enter(ctx, c.by); err != nil {
		return fmt.Errorf("wrapper: send: %w", c.reason(ctx, err))
	}
	for {
		_, err = c.c.Write(out)
		switch {
		case err == nil:
			return nil
		case !c.writing.Again(err, c.by): // a datagram goes whole or not at all
			return fmt.Errorf("wrapper: send: %w", c.reason(ctx, err))
		}
	}
}

// Within implements [link.Timed].
func (c *UDPConn) Within(d time.Duration) bool {
	if c.by = (time.Time{}); d > 0 {
		c.by = time.Now().Add(d)
	}
	return true
}

// Receive returns the next APDU for this client.
func (c *UDPConn) Receive(ctx context.Context) ([]byte, error) {
	defer c.reading.Leave()
	if err := c.reading.Enter(ctx, c.by); err != nil {
		return nil, fmt.Errorf("wrapper: receive: %w", c.reason(ctx, err))
	}
	for {
		n, err := c.c.Read(c.in)
		if err == nil {
			if f, err := ParseFrame(c.in[:n]); err == nil && c.wants(f) {
				return f.APDU, nil
			}
			err = c.over(ctx) // a flood of what is for others does not outlast the bounds
			if err == nil {
				continue
			}
			return nil, fmt.Errorf("wrapper: receive: %w", err)
		}
		if !c.reading.Again(err, c.by) {
			return nil, fmt.Errorf("wrapper: receive: %w", c.reason(ctx, err))
		}
	}
}

func (c *UDPConn) over(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !c.by.IsZero() && !time.Now().Before(c.by):
		return link.ErrTimeout
	}
	return nil
}

// Close closes the socket.
func (c *UDPConn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.reading.Close()
	c.writing.Close()
	if err := c.c.Close(); err != nil {
		return fmt.Errorf("wrapper: close: %w", err)
	}
	return nil
}

func (c *UDPConn) reason(ctx context.Context, err error) error {
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

const (
	udpWorkers = 4  // handlers at work at the same time
	udpQueue   = 16 // datagrams that wait for each of them; more are dropped, as a full socket buffer does
)

type datagram struct {
	frame Frame
	from  net.Addr
}

// ServeUDP answers datagrams that come to pc until ctx ends; then it closes pc, waits for the handlers and returns
// nil. Datagrams of one sender are handled in their order, those of different senders side by side. Answers go to
// the sender's address, which can be made up: a server open to strangers should answer them shortly.
func ServeUDP(ctx context.Context, pc net.PacketConn, h link.Handler, o Options) error {
	o = o.withDefaults()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = pc.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var queues [udpWorkers]chan datagram
	for i := range queues {
		queues[i] = make(chan datagram, udpQueue)
		wg.Go(func() { udpWorker(ctx, pc, h, o, queues[i]) })
	}
	// The seed keeps a sender from choosing whose queue it shares.
	seed := maphash.MakeSeed()
	in := make([]byte, HeaderSize+o.MaxAPDU+1) // one more, to see that a datagram is too long
	for {
		n, from, err := pc.ReadFrom(in)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			_ = pc.Close() // the error of ReadFrom is the one to report
			return fmt.Errorf("wrapper: serve udp: %w", err)
		}
		f, err := ParseFrame(in[:n])
		if err == nil && len(f.APDU) > o.MaxAPDU {
			err = ErrTooLong
		}
		if err != nil {
			o.Log.Debug("wrapper.datagram.dropped", "remote", from, "error", err)
			continue
		}
		f.APDU = bytes.Clone(f.APDU)
		select {
		case queues[maphash.String(seed, from.String())%udpWorkers] <- datagram{f, from}:
		default:
			o.Log.Debug("wrapper.datagram.dropped", "remote", from, "error", "queue full")
		}
	}
}

func udpWorker(ctx context.Context, pc net.PacketConn, h link.Handler, o Options, queue <-chan datagram) {
	var out []byte
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-queue:
			reply, err := answer(ctx, h, d.frame, d.from, out[:0])
			if err == nil && len(reply) > 0 {
				out = reply
				_, err = pc.WriteTo(reply, d.from)
			}
			if err != nil && ctx.Err() == nil {
				o.Log.Info("wrapper.answer.failed", "remote", d.from, "error", err)
			}
		}
	}
}
