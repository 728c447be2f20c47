package concentrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
)

// ErrNotSent marks a failure before anything left: the meter has done nothing.
var ErrNotSent = errors.New("meter not reached")

// Line is one place of the local network, half duplex: one exchange runs at a time, whoever's association it belongs
// to. It is safe for concurrent use.
type Line interface {
	// Address names the line in errors and logs.
	Address() string
	// Exchange sends an APDU once and returns the answer. An error that matches ErrNotSent says that nothing left;
	// after any other the meter may have taken it.
	Exchange(ctx context.Context, client, server dlms.SAP, apdu []byte) ([]byte, error)
	// Broadcast sends an APDU to all stations of the line. Nothing answers.
	Broadcast(ctx context.Context, client dlms.SAP, apdu []byte) error
	// Close ends what is open, after the exchange that may be running.
	Close()
}

// tcpLine is a Line: a COSEM wrapper over TCP.
type tcpLine struct {
	address string
	dial    time.Duration
	timeout time.Duration
	in, out *atomic.Uint64

	turn chan struct{} // holds one token while an exchange runs
	wire *wire         // of whoever has the turn; nil when not connected
}

var _ Line = (*tcpLine)(nil)

func newLine(address string, cfg Config, in, out *atomic.Uint64) *tcpLine {
	return &tcpLine{address: address, dial: cfg.DialTimeout, timeout: cfg.Timeout, in: in, out: out, turn: make(chan struct{}, 1)}
}

// take waits for the line's turn.
func (l *tcpLine) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %s: the line is busy: %w", ErrNotSent, l.address, context.Cause(ctx))
	}
}

// Address implements Line.
func (l *tcpLine) Address() string { return l.address }

// Exchange implements Line. After a failure the connection is closed, so that a late answer is
// never taken for the next one's.
func (l *tcpLine) Exchange(ctx context.Context, client, server dlms.SAP, apdu []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	if err := l.take(ctx); err != nil {
		return nil, err
	}
	defer func() { <-l.turn }()
	if err := l.send(ctx, client, server, apdu); err != nil {
		return nil, err
	}
	answer, err := l.wire.answer(ctx, client, server)
	if err != nil {
		l.hangUp()
		return nil, fmt.Errorf("%s: %w", l.address, err)
	}
	return answer, nil
}

// Broadcast implements Line.
func (l *tcpLine) Broadcast(ctx context.Context, client dlms.SAP, apdu []byte) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	if err := l.take(ctx); err != nil {
		return err
	}
	defer func() { <-l.turn }()
	return l.send(ctx, client, dlms.SAPAllStations, apdu)
}

func (l *tcpLine) send(ctx context.Context, client, server dlms.SAP, apdu []byte) error {
	frame, err := wrapper.AppendFrame(nil, wrapper.Frame{Source: client, Destination: server, APDU: apdu})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	if l.wire != nil && l.wire.gone() {
		l.hangUp()
	}
	if l.wire == nil {
		if err := l.connect(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrNotSent, err)
		}
	}
	l.wire.drain()
	if err := l.wire.write(ctx, frame); err != nil {
		l.hangUp()
		return fmt.Errorf("%s: %w", l.address, err)
	}
	return nil
}

func (l *tcpLine) connect(ctx context.Context) error {
	d := net.Dialer{Timeout: l.dial}
	c, err := d.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return err
	}
	l.wire = newWire(&countedConn{Conn: c, in: l.in, out: l.out})
	return nil
}

func (l *tcpLine) hangUp() {
	l.wire.close()
	l.wire = nil
}

// Close implements Line.
func (l *tcpLine) Close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.wire != nil {
		l.hangUp()
	}
}

// wire is one TCP connection, with a reader that notices its end also between exchanges.
type wire struct {
	conn   net.Conn
	frames chan wrapper.Frame
	done   chan struct{} // closed with err set when the reader has ended
	err    error
	reader sync.WaitGroup
}

// unasked is how many frames may wait that nobody asked for; more are dropped.
const unasked = 4

func newWire(c net.Conn) *wire {
	w := &wire{conn: c, frames: make(chan wrapper.Frame, unasked), done: make(chan struct{})}
	w.reader.Go(w.read)
	return w
}

func (w *wire) read() {
	defer close(w.done)
	d := wrapper.NewDecoder(wrapper.MaxAPDU)
	for {
		f, err := d.ReadFrame(w.conn)
		if err != nil {
			w.err = err
			return
		}
		f.APDU = bytes.Clone(f.APDU)
		select {
		case w.frames <- f:
		default:
		}
	}
}

func (w *wire) close() {
	_ = w.conn.Close() // the error that led here, if any, is the one that was reported
	w.reader.Wait()
}

func (w *wire) gone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// drain drops what came unasked.
func (w *wire) drain() {
	for {
		select {
		case <-w.frames:
		default:
			return
		}
	}
}

func (w *wire) write(ctx context.Context, frame []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetWriteDeadline(time.Unix(1, 0)) })
	_, err := w.conn.Write(frame)
	if !stop() { // the deadline is spoilt, and with it the connection
		err = context.Cause(ctx)
	}
	return err
}

// answer waits for a frame from server to client.
func (w *wire) answer(ctx context.Context, client, server dlms.SAP) ([]byte, error) {
	for {
		select {
		case f := <-w.frames:
			if f.Source == server && f.Destination == client {
				return f.APDU, nil
			}
		case <-w.done:
			if f, ok := w.last(client, server); ok {
				return f.APDU, nil
			}
			return nil, fmt.Errorf("the connection ended: %w", w.err)
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer: %w", context.Cause(ctx))
		}
	}
}

// last looks for the answer among the frames that came before the connection ended.
func (w *wire) last(client, server dlms.SAP) (wrapper.Frame, bool) {
	for {
		select {
		case f := <-w.frames:
			if f.Source == server && f.Destination == client {
				return f, true
			}
		default:
			return wrapper.Frame{}, false
		}
	}
}

// countedConn counts the bytes on the local network.
type countedConn struct {
	net.Conn
	in, out *atomic.Uint64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.in.Add(uint64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Add(uint64(n))
	return n, err
}

// pipe is a link.Conn of one client SAP on a line: each Send is one exchange.
type pipe struct {
	line   Line
	client dlms.SAP
	server dlms.SAP
	apdu   []byte
}

var _ link.Conn = (*pipe)(nil)

// Send keeps the APDU; the exchange happens in Receive.
func (p *pipe) Send(_ context.Context, apdu []byte) error {
	p.apdu = append(p.apdu[:0], apdu...)
	return nil
}

// Receive exchanges what Send kept, once.
func (p *pipe) Receive(ctx context.Context) ([]byte, error) {
	if len(p.apdu) == 0 {
		return nil, fmt.Errorf("%w: nothing to send", ErrNotSent)
	}
	answer, err := p.line.Exchange(ctx, p.client, p.server, p.apdu)
	p.apdu = p.apdu[:0]
	return answer, err
}

// Close does nothing: the line stays.
func (p *pipe) Close() error { return nil }
