package wrapper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
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
	// IdleTimeout closes a TCP connection on which no whole frame has come for so long, at the latest for twice as
	// long. Default 10 minutes.
	IdleTimeout time.Duration
	// WriteTimeout closes a TCP connection that does not take an answer for so long, at the latest for twice as long.
	// Default 30 s.
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
	var spare sessions
	defer spare.end()
	s := stream.Server{
		MaxConns: o.MaxConns,
		Log:      o.Log,
		Conn: func(ctx context.Context, c net.Conn) error {
			s := spare.take()
			defer spare.give(s)
			return s.serve(ctx, c, h, o)
		},
	}
	if err := s.Run(ctx, ln); err != nil {
		return fmt.Errorf("wrapper: serve: %w", err)
	}
	return nil
}

// ServeConn answers the client on c until it goes (nil), ctx ends (nil), it is silent or deaf for too long, or it
// sends what is no frame. It owns c and closes it.
func ServeConn(ctx context.Context, c net.Conn, h link.Handler, o Options) error {
	var s session
	defer s.end()
	return s.serve(ctx, c, h, o.withDefaults())
}

func (s *session) serve(ctx context.Context, c net.Conn, h link.Handler, o Options) error {
	s.begin(c, h, o)
	defer s.close()
	for {
		f, err := s.next(ctx)
		if err != nil || ctx.Err() != nil {
			return ending(ctx, err)
		}
		if err := s.know(f.Source); err != nil {
			return err
		}
		if s.out, err = answer(ctx, h, f, s.remote, s.out[:0]); err != nil {
			return err
		}
		if len(s.out) == 0 {
			continue
		}
		if err := s.write(); err != nil {
			return err
		}
	}
}

// session is one connection being served. It is used again for another one under the same context.
type session struct {
	conn    net.Conn
	handler link.Handler
	options Options
	remote  net.Addr

	reading, writing stream.Gate
	decoder          Decoder
	out              []byte
	clients          []dlms.SAP // seen
}

func (s *session) begin(c net.Conn, h link.Handler, o Options) {
	s.conn, s.handler, s.options, s.remote = c, h, o, c.RemoteAddr()
	s.decoder.maxAPDU = o.MaxAPDU
	s.reading.OfReads(c)
	s.writing.OfWrites(c)
	// One timer for both to begin with: what it ends too early is extended by its own time. A stream that takes no
	// deadline says so in the first call.
	stream.BoundBoth(&s.reading, &s.writing, time.Now().Add(min(o.IdleTimeout, o.WriteTimeout)))
}

func (s *session) close() {
	s.reading.Rest()
	s.writing.Rest()
	_ = s.conn.Close() // whatever there is to report has been
	for _, sap := range s.clients {
		link.Disconnected(s.handler, sap)
	}
}

// end gives up what a session keeps for another connection.
func (s *session) end() {
	s.reading.Close()
	s.writing.Close()
}

// know keeps the SAPs seen on the connection. Most have one.
func (s *session) know(sap dlms.SAP) error {
	if slices.Contains(s.clients, sap) {
		return nil
	}
	if len(s.clients) == maxClients {
		return fmt.Errorf("wrapper: want at most %d client addresses on a connection", maxClients)
	}
	s.clients = append(s.clients, sap)
	return nil
}

// next waits for a whole frame. The time counts from the last one, so that dribbled bytes do not hold a connection
// open. When ctx ends, reads end and not the connection: an answer under way goes out.
func (s *session) next(ctx context.Context) (Frame, error) {
	if err := s.reading.EnterFor(ctx, s.options.IdleTimeout); err != nil {
		return Frame{}, fmt.Errorf("wrapper: %w", err)
	}
	for extended := false; ; extended = true {
		f, err := s.decoder.ReadFrame(s.conn)
		if err == nil {
			return f, nil
		}
		if err == io.EOF { //nolint:errorlint // the decoder returns it itself, between frames
			return Frame{}, io.EOF
		}
		if extended || !s.reading.Extend(err, s.options.IdleTimeout) {
			return Frame{}, fmt.Errorf("wrapper: receive: %w", err)
		}
	}
}

// write sends s.out. It does not end with the context.
func (s *session) write() error {
	if err := s.writing.EnterFor(context.Background(), s.options.WriteTimeout); err != nil {
		return fmt.Errorf("wrapper: %w", err)
	}
	extended := false
	for sent := 0; ; extended = true {
		n, err := s.conn.Write(s.out[sent:])
		sent += n
		switch {
		case err == nil:
			return nil
		case extended || !s.writing.Extend(err, s.options.WriteTimeout):
			return fmt.Errorf("wrapper: send: %w", err)
		}
	}
}

// answer appends the frame that answers f to dst, or nothing: a handler may be silent, and a broadcast is never
// answered (GB: it carries unconfirmed services only).
func answer(ctx context.Context, h link.Handler, f Frame, from net.Addr, dst []byte) ([]byte, error) {
	r := link.Request{Client: f.Source, Server: f.Destination, APDU: f.APDU, Remote: from}
	start := len(dst)
	dst = appendHeader(dst, f.Destination, f.Source)
	silent := true
	if a, ok := h.(link.Appender); ok {
		dst = a.AppendAPDU(ctx, r, dst)
		silent = len(dst) <= start+HeaderSize
	} else if reply := h.HandleAPDU(ctx, r); reply != nil {
		dst, silent = append(dst, reply...), false
	}
	if silent || f.Destination == dlms.SAPAllStations {
		return dst[:start], nil
	}
	return dst, setLength(dst[start:])
}

// ending tells the ordinary ends of a connection from the others.
func ending(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
