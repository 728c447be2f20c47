package wrapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/internal/stream"
)

// maxClients bounds how many client SAPs one connection may use. The standard defines a handful.
const maxClients = 64

// Options bound a server. The zero value takes the defaults.
type Options struct {
	// MaxAPDU is the longest APDU taken, in octets. Default 65,535.
	MaxAPDU int
	// MaxConns is the number of TCP connections open at once; one more is closed at once. Default 256.
	MaxConns int
	// IdleTimeout closes a TCP connection on which no whole frame has come for so long. Default 10 minutes.
	IdleTimeout time.Duration
	// WriteTimeout closes a TCP connection that does not take an answer for so long. Default 30 s.
	WriteTimeout time.Duration
	// Log gets connections refused and ended. Default: nowhere.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxAPDU <= 0 || o.MaxAPDU > MaxAPDU {
		o.MaxAPDU = MaxAPDU
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 256
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 10 * time.Minute
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Serve answers clients on ln until ctx ends; then it closes ln, lets the answers under way go out, waits for every
// connection and returns nil. It returns an error only if ln fails.
//
// After a framing error a connection is closed: the start of the next frame is not known. The others do not notice.
// When a connection ends, the handler's Disconnected is called for every client SAP seen on it.
func Serve(ctx context.Context, ln net.Listener, h link.Handler, o Options) error {
	o = o.withDefaults()
	s := stream.Server{
		MaxConns: o.MaxConns,
		Log:      o.Log,
		Conn:     func(ctx context.Context, c net.Conn) error { return ServeConn(ctx, c, h, o) },
	}
	if err := s.Run(ctx, ln); err != nil {
		return fmt.Errorf("wrapper: serve: %w", err)
	}
	return nil
}

// ServeConn answers the client on c until it goes (nil), ctx ends (nil), it is silent or deaf for too long, or it
// sends what is no frame. It owns c and closes it.
func ServeConn(ctx context.Context, c net.Conn, h link.Handler, o Options) error {
	defer func() { _ = c.Close() }() // whatever there is to report has been
	o = o.withDefaults()
	// Ending reads and not the connection lets an answer under way go out.
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	clients := make(map[dlms.SAP]struct{}, 1)
	defer func() {
		for sap := range clients {
			link.Disconnected(h, sap)
		}
	}()
	decoder := NewDecoder(o.MaxAPDU)
	var out []byte
	for {
		f, err := nextFrame(ctx, c, decoder, o.IdleTimeout)
		if err != nil || ctx.Err() != nil {
			return ending(ctx, err)
		}
		clients[f.Source] = struct{}{}
		if len(clients) > maxClients {
			return fmt.Errorf("wrapper: want at most %d client addresses on a connection", maxClients)
		}
		if out, err = answer(ctx, h, f, c.RemoteAddr(), out[:0]); err != nil {
			return err
		}
		if len(out) == 0 {
			continue
		}
		if err := write(c, out, o.WriteTimeout); err != nil {
			return err
		}
	}
}

// nextFrame waits for a whole frame. The deadline counts from the last one, so that dribbled bytes do not hold a
// connection open. The context is looked at after the deadline is set: either this sees its end, or the
// interruption comes later and overrides the deadline.
func nextFrame(ctx context.Context, c net.Conn, d *Decoder, idle time.Duration) (Frame, error) {
	if err := c.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return Frame{}, fmt.Errorf("wrapper: %w", err)
	}
	if ctx.Err() != nil {
		return Frame{}, nil
	}
	f, err := d.ReadFrame(c)
	if err != nil {
		return Frame{}, fmt.Errorf("wrapper: receive: %w", err)
	}
	return f, nil
}

// answer appends the frame that answers f to dst, or nothing: a handler may be silent, and a broadcast is never
// answered (GB: it carries unconfirmed services only).
func answer(ctx context.Context, h link.Handler, f Frame, from net.Addr, dst []byte) ([]byte, error) {
	reply := h.HandleAPDU(ctx, link.Request{Client: f.Source, Server: f.Destination, APDU: f.APDU, Remote: from})
	if reply == nil || f.Destination == dlms.SAPAllStations {
		return dst, nil
	}
	return AppendFrame(dst, Frame{Source: f.Destination, Destination: f.Source, APDU: reply})
}

func write(c net.Conn, b []byte, timeout time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return fmt.Errorf("wrapper: %w", err)
	}
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("wrapper: send: %w", err)
	}
	return nil
}

// ending tells the ordinary ends of a connection from the others.
func ending(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
