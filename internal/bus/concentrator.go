package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/meterseal/meterseal/dlms"
)

// Limits of a concentrator's end.
const (
	ordersAtOnce = 64
	dialTimeout  = 10 * time.Second
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 30 * time.Second
	sendTimeout  = 30 * time.Second
	noBuffer     = -1 // nothing is kept while the line is down: messages here have deadlines, old ones are worth nothing
)

// ConcentratorConfig says how a concentrator reaches the IS.
type ConcentratorConfig struct {
	Title dlms.SystemTitle
	// URL is what Server.URL says, CAFile a copy of the IS's CAFile.
	URL    string
	CAFile string
	// NKey is the key pair that the concentrator was enrolled with. The caller wipes it after Close.
	NKey nkeys.KeyPair
	Now  func() time.Time
	Rand io.Reader
	Log  *slog.Logger // nil discards
	// Connected, if set, is called in a goroutine of its own each time the line is up.
	Connected func()
}

// Concentrator is a concentrator's connection to the IS. It comes back for ever when the line is lost. It is safe
// for concurrent use.
type Concentrator struct {
	cfg    ConcentratorConfig
	nc     *nats.Conn
	done   <-chan struct{}
	ctx    context.Context //nolint:containedctx // ends the handlers at Close
	cancel context.CancelFunc
	slots  chan struct{}
	inbox  *Inbox
	bytes  counter

	lost atomic.Pointer[lineEnd]

	mu      sync.Mutex // held to start something, so that Close waits for all of it
	closed  bool
	sub     *nats.Subscription
	running sync.WaitGroup
}

// Connect starts to connect and returns at once: the IS may be away. It fails only for a configuration that can
// never work.
func Connect(cfg ConcentratorConfig) (*Concentrator, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	tlsConfig, err := clientTLS(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	public, err := cfg.NKey.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("bus: own key: %w", err)
	}
	closed := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	c := &Concentrator{
		cfg: cfg, done: closed, ctx: ctx, cancel: cancel,
		slots: make(chan struct{}, ordersAtOnce), inbox: NewInbox(cfg.Now, cfg.Log),
	}
	c.newLine()
	up := func(*nats.Conn) { c.up() }
	c.nc, err = nats.Connect(cfg.URL, nats.Name(cfg.Title.String()), nats.CustomInboxPrefix(inboxOf(cfg.Title)),
		nats.Secure(tlsConfig), nats.Nkey(public, cfg.NKey.Sign), nats.SetCustomDialer(&c.bytes),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.IgnoreDiscoveredServers(),
		nats.CustomReconnectDelay(backoff), nats.ReconnectBufSize(noBuffer), nats.PingInterval(20*time.Second),
		nats.ConnectHandler(up), nats.ReconnectHandler(up), nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.down(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { cfg.Log.Debug("bus.connect_failed", "error", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { cfg.Log.Warn("bus.error", "error", err) }))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("bus: connect: %w", err)
	}
	return c, nil
}

// backoff grows with the number of tries in a row.
func backoff(tries int) time.Duration {
	return min(backoffFirst<<min(max(tries-1, 0), 16), backoffMax)
}

// lineEnd ends what waits for an answer on a line that is gone.
type lineEnd struct {
	ctx context.Context //nolint:containedctx // it is the life of a connection
	end context.CancelFunc
}

func (c *Concentrator) newLine() {
	ctx, end := context.WithCancel(c.ctx)
	c.lost.Store(&lineEnd{ctx, end})
}

func (c *Concentrator) down(err error) {
	c.cfg.Log.Info("bus.disconnected", "error", err)
	c.lost.Load().end()
}

func (c *Concentrator) up() {
	c.newLine()
	c.cfg.Log.Info("bus.connected")
	if c.cfg.Connected != nil {
		c.start(c.cfg.Connected)
	}
}

// start runs f unless Close has begun.
func (c *Concentrator) start(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Go(f)
	}
}

// Close ends the connection and waits for what it had started.
func (c *Concentrator) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.nc.Close()
	<-c.done
	c.running.Wait()
}

// Up reports whether the line is up.
func (c *Concentrator) Up() bool { return c.nc.IsConnected() }

// Stats counts the bytes on the wire, TLS included.
func (c *Concentrator) Stats() Stats {
	return Stats{BytesIn: c.bytes.in.Load(), BytesOut: c.bytes.out.Load()}
}

// HandleOrder calls h with the orders of the IS, several at once, until Close. An order after its deadline, or one
// that is not of this contract, does not reach h; an order seen before is answered as it was the first time. The
// context that h gets ends at the order's deadline. HandleOrder is called once.
func (c *Concentrator) HandleOrder(h func(ctx context.Context, o Order) Reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sub != nil {
		return errors.New("bus: HandleOrder called twice")
	}
	sub, err := c.nc.Subscribe(orderSubject(c.cfg.Title), func(m *nats.Msg) {
		select {
		case c.slots <- struct{}{}:
		default:
			c.respond(m, c.inbox.answer(Reply{Fault: fault(FaultRefused, "busy with %d orders", ordersAtOnce)}))
			return
		}
		c.start(func() {
			defer func() { <-c.slots }()
			c.order(m, h)
		})
	})
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	c.sub = sub
	return nil
}

func (c *Concentrator) order(m *nats.Msg, h func(context.Context, Order) Reply) {
	c.respond(m, c.inbox.Take(c.ctx, m.Data, h))
}

func (c *Concentrator) respond(m *nats.Msg, data []byte) {
	if m.Reply == "" {
		return
	}
	if err := m.Respond(data); err != nil {
		c.cfg.Log.Warn("bus.order.unanswered", "error", err)
	}
}

// SendUp tells the IS something and waits until the IS has it durably. It fills in the ID. The error is a *Fault:
// FaultRefused from the IS, FaultUnreachable when nothing was told, FaultUnknown when it was and no answer came.
func (c *Concentrator) SendUp(ctx context.Context, u Up) (Ack, error) {
	if u.ID == "" {
		id, err := newID(c.cfg.Rand)
		if err != nil {
			return Ack{}, err
		}
		u.ID = id
	}
	if err := u.Check(); err != nil {
		return Ack{}, err
	}
	data, err := encode(u)
	if err != nil {
		return Ack{}, err
	}
	if !c.nc.IsConnected() {
		return Ack{}, fmt.Errorf("up: %w", fault(FaultUnreachable, "the line to the central system is down"))
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	defer context.AfterFunc(c.lost.Load().ctx, cancel)()
	m, err := c.nc.RequestWithContext(ctx, upSubject(c.cfg.Title), data)
	if errors.Is(err, nats.ErrNoResponders) {
		return Ack{}, fmt.Errorf("up: %w", fault(FaultUnreachable, "the central system is not listening"))
	}
	if err != nil {
		return Ack{}, fmt.Errorf("up: %w", errors.Join(fault(FaultUnknown, "no answer from the central system"), err))
	}
	return readAck(u.ID, m.Data)
}

func readAck(id string, data []byte) (Ack, error) {
	var a Ack
	if err := decode(data, &a); err != nil {
		return Ack{}, fmt.Errorf("up: %w", err)
	}
	if a.Fault != nil {
		return a, fmt.Errorf("up: %w", a.Fault)
	}
	if a.ID != id {
		return a, fmt.Errorf("up: %w: an answer to another message", ErrMessage)
	}
	return a, nil
}

// counter dials, and counts the bytes of the connections below TLS.
type counter struct{ in, out atomic.Uint64 }

// Dial implements nats.CustomDialer.
func (c *counter) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, dialTimeout)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: conn, counter: c}, nil
}

type countedConn struct {
	net.Conn
	counter *counter
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.counter.in.Add(uint64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.counter.out.Add(uint64(n))
	return n, err
}
