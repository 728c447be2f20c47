package hdlc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/internal/stream"
)

// Options bound a server. The zero value takes the defaults.
type Options struct {
	ServerConfig
	// MaxConns is how many TCP connections Serve has open at once; one more is closed at once. Default 64.
	MaxConns int
	// IdleTimeout ends a stream on which no frame for this device has come for so long. The default is 10 minutes
	// in Serve, and never in ServeConn, since a serial line stays.
	IdleTimeout time.Duration
	// WriteTimeout ends a stream that does not take an answer for so long. Default 30 s.
	WriteTimeout time.Duration
	// Push gives what ServeConn sends without being asked (see Secondary.Push). What cannot be sent is logged.
	// Serve, which has many lines, takes none.
	Push <-chan Push
	// Log gets connections refused and ended. Default: nowhere.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxConns <= 0 {
		o.MaxConns = 64
	}
	o.WriteTimeout = orDefault(o.WriteTimeout, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// ErrIdle is why a stream was ended on which no frame came for too long.
var ErrIdle = errors.New("hdlc: idle timeout")

// Serve answers clients that speak HDLC over TCP until ctx ends; then it closes ln, waits for every connection and
// returns nil. It returns an error only if ln fails or the options are wrong. Each connection is a line of its own:
// what one client sends does not reach the links of another.
func Serve(ctx context.Context, ln net.Listener, h link.Handler, o Options) error {
	o = o.withDefaults()
	o.IdleTimeout = orDefault(o.IdleTimeout, 10*time.Minute)
	o.Push = nil
	if _, err := NewSecondary(o.ServerConfig); err != nil {
		return err
	}
	s := stream.Server{
		MaxConns: o.MaxConns,
		Log:      o.Log,
		Conn:     func(ctx context.Context, c net.Conn) error { return ServeConn(ctx, c, h, o) },
	}
	if err := s.Run(ctx, ln); err != nil {
		return fmt.Errorf("hdlc: serve: %w", err)
	}
	return nil
}

// maxWork is how many events wait for the handler. When it is behind further, the line is not read.
const maxWork = 16

// ServeConn answers the clients on rw, a serial line or one TCP connection, until ctx ends (nil), the stream ends
// (nil) or fails, or it is idle or deaf for too long. It owns rw and closes it; Close of rw must end a Read of it.
//
// While the handler works the line stays alive: a client that asks in between is told to wait.
func ServeConn(ctx context.Context, rw io.ReadWriteCloser, h link.Handler, o Options) error {
	o = o.withDefaults()
	s, err := NewSecondary(o.ServerConfig)
	if err != nil {
		return errors.Join(err, rw.Close())
	}
	l := &line{
		s: s, rw: rw, o: o, h: h,
		writing: stream.WriteGuard(rw),
		chunks:  make(chan []byte),
		stop:    make(chan struct{}),
		ended:   make(chan struct{}),
		events:  make(chan Event, maxWork),
		replies: make(chan reply),
	}
	if c, ok := rw.(interface{ RemoteAddr() net.Addr }); ok {
		l.remote = c.RemoteAddr()
	}
	return l.run(ctx)
}

// line joins a Secondary, a stream and a handler. One goroutine reads, one calls the handler, and run, which alone
// touches the Secondary, stands between them.
type line struct {
	s       *Secondary
	rw      io.ReadWriteCloser
	o       Options
	h       link.Handler
	remote  net.Addr
	writing stream.Guard
	heard   time.Time // when a frame came last

	chunks  chan []byte
	stop    chan struct{} // ends the reader
	ended   chan struct{} // the reader has ended; readErr is set
	readErr error
	events  chan Event
	replies chan reply // closed when the handler's goroutine has ended
}

type reply struct {
	id   uint64
	apdu []byte
}

func (l *line) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go l.read()
	go l.handle(ctx)
	err := l.loop(ctx)
	cancel()
	close(l.events)
	for r := range l.replies { // the answer under way still goes out, if it can
		l.reply(r)
		_ = l.flush(ctx) // the error that ended the loop is the one to report
	}
	close(l.stop)
	closed := l.rw.Close()
	<-l.ended
	l.forget()
	if err == nil && closed != nil && !errors.Is(closed, net.ErrClosed) {
		err = fmt.Errorf("hdlc: close: %w", closed)
	}
	return err
}

func (l *line) read() {
	defer close(l.ended)
	l.readErr = readChunks(l.rw, l.chunks, l.stop)
}

// handle calls the handler, event by event. After the end of ctx requests are not begun any more.
func (l *line) handle(ctx context.Context) {
	defer close(l.replies)
	for e := range l.events {
		switch {
		case e.Kind == EventDisconnected:
			link.Disconnected(l.h, e.Client)
		case e.Kind == EventConnected || ctx.Err() != nil:
		default:
			r := link.Request{Client: e.Client, Server: e.Server, APDU: e.APDU, Remote: l.remote}
			apdu := l.h.HandleAPDU(ctx, r)
			if e.ID != 0 {
				l.replies <- reply{e.ID, apdu}
			}
		}
	}
}

// forget tells the handler of the links that end with the stream.
func (l *line) forget() {
	for e, ok := l.s.Event(); ok; e, ok = l.s.Event() {
		if e.Kind == EventDisconnected {
			link.Disconnected(l.h, e.Client)
		}
	}
	for _, client := range l.s.Clients() {
		link.Disconnected(l.h, client)
	}
}

func (l *line) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for l.heard = time.Now(); ; {
		now := time.Now()
		if l.o.IdleTimeout > 0 && now.Sub(l.heard) >= l.o.IdleTimeout {
			return ErrIdle
		}
		l.s.Tick(now)
		l.dispatch()
		if err := l.flush(ctx); err != nil {
			return err
		}
		timer.Reset(l.pause(now))
		select {
		case chunk := <-l.chunks:
			if now := time.Now(); l.s.Receive(now, chunk) > 0 {
				l.heard = now
			}
		case r := <-l.replies:
			l.reply(r)
		case p, ok := <-l.o.Push:
			l.push(p, ok)
		case <-timer.C:
		case <-l.ended:
			return l.end()
		case <-ctx.Done():
			return nil
		}
	}
}

// end tells a stream that came to its end from one that failed.
func (l *line) end() error {
	if errors.Is(l.readErr, io.EOF) {
		return nil
	}
	return fmt.Errorf("hdlc: receive: %w", l.readErr)
}

// pause is how long nothing is due.
func (l *line) pause(now time.Time) time.Duration {
	d := time.Hour
	if at, ok := l.s.Deadline(); ok {
		d = min(d, at.Sub(now))
	}
	if l.o.IdleTimeout > 0 {
		d = min(d, l.heard.Add(l.o.IdleTimeout).Sub(now))
	}
	return max(d, 0)
}

// dispatch hands the events to the handler. If too many wait for it, the line waits, taking answers meanwhile.
func (l *line) dispatch() {
	for e, ok := l.s.Event(); ok; e, ok = l.s.Event() {
		for handed := false; !handed; {
			select {
			case l.events <- e:
				handed = true
			case r := <-l.replies:
				l.reply(r)
			}
		}
	}
}

func (l *line) reply(r reply) {
	err := l.s.Reply(r.id, r.apdu)
	if err != nil && !errors.Is(err, ErrNoRequest) { // a link that ended meanwhile is no news
		l.o.Log.Warn("hdlc.reply.dropped", "remote", l.remote, "error", err)
	}
}

func (l *line) push(p Push, ok bool) {
	if !ok {
		l.o.Push = nil
		return
	}
	if err := l.s.Push(p); err != nil {
		l.o.Log.Warn("hdlc.push.dropped", "remote", l.remote, "client", p.Client, "error", err)
	}
}

func (l *line) flush(ctx context.Context) error {
	out := l.s.Output()
	if len(out) == 0 {
		return nil
	}
	// An answer under way goes out after the end of ctx as well, but not for longer than this.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.o.WriteTimeout)
	defer cancel()
	end := l.writing.Start(ctx)
	_, err := l.rw.Write(out)
	end()
	if err != nil {
		return fmt.Errorf("hdlc: send: %w", err)
	}
	return nil
}
