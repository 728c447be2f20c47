package bus

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/meterseal/meterseal/dlms"
)

// Limits of orders and of what concentrators tell.
const (
	// MaxOrderLife is the deadline of an order whose sender set none.
	MaxOrderLife = 30 * time.Second
	// answerMargin is kept back from the caller's deadline for the answer to travel.
	answerMargin = 500 * time.Millisecond
	upsAtOnce    = 16
	upTimeout    = 30 * time.Second
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("bus: closed")

// Stats counts bytes. On the IS's side they are those of the messages, on a concentrator's those on the wire.
type Stats struct {
	BytesIn  uint64
	BytesOut uint64
}

// ISConfig configures the IS's own connection.
type ISConfig struct {
	Now  func() time.Time
	Rand io.Reader
	Log  *slog.Logger // nil discards
}

// IS is the central system's hand on the bus. It is safe for concurrent use.
type IS struct {
	cfg     ISConfig
	nc      *nats.Conn
	done    <-chan struct{}
	cancel  context.CancelFunc
	ctx     context.Context //nolint:containedctx // ends the handlers at Close
	slots   chan struct{}
	running sync.WaitGroup
	in, out atomic.Uint64

	mu  sync.Mutex
	sub *nats.Subscription
}

// NewIS connects to the server of this process.
func NewIS(s *Server, cfg ISConfig) (*IS, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	public, err := s.internal.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("bus: own key: %w", err)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect("", nats.InProcessServer(s.ns), nats.Name("is"), nats.CustomInboxPrefix("_INBOX.IS"),
		nats.Nkey(public, s.internal.Sign), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.IgnoreAuthErrorAbort(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			cfg.Log.Warn("bus.is", "error", err)
		}))
	if err != nil {
		return nil, fmt.Errorf("bus: connect: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &IS{cfg: cfg, nc: nc, done: closed, ctx: ctx, cancel: cancel, slots: make(chan struct{}, upsAtOnce)}, nil
}

// Close ends the connection and waits for the handlers.
func (b *IS) Close() {
	b.cancel()
	b.nc.Close()
	<-b.done
	b.running.Wait()
}

// Stats counts the bytes of the messages from and to all concentrators.
func (b *IS) Stats() Stats { return Stats{BytesIn: b.in.Load(), BytesOut: b.out.Load()} }

// Order sends an order and waits for its answer. It fills in ID, and NotAfter from the deadline of ctx, at most
// MaxOrderLife. The error is a *Fault where the bus itself knows: FaultExpired and FaultUnreachable (the concentrator
// is not there) when nothing was sent, so nothing was done; FaultUnknown when no answer came in time, so it may have
// been. A fault that the
// concentrator reports is in the Reply.
func (b *IS) Order(ctx context.Context, concentrator dlms.SystemTitle, o Order) (Reply, error) {
	data, err := PrepareOrder(ctx, &o, b.cfg.Now, b.cfg.Rand)
	if err != nil {
		return Reply{}, err
	}
	left := o.NotAfter.Sub(b.cfg.Now())
	if left <= 0 || ctx.Err() != nil {
		return Reply{}, fmt.Errorf("order: %w", fault(FaultExpired, "its deadline was over before it was sent"))
	}
	ctx, cancel := context.WithTimeout(ctx, left+answerMargin)
	defer cancel()
	b.out.Add(uint64(len(data)))
	msg, err := b.nc.RequestWithContext(ctx, orderSubject(concentrator), data)
	if err != nil {
		return Reply{}, orderError(concentrator, err)
	}
	b.in.Add(uint64(len(msg.Data)))
	return readReply(concentrator, o.ID, msg.Data)
}

func complete(ctx context.Context, o *Order, now func() time.Time, rand io.Reader) error {
	if o.ID == "" {
		id, err := newID(rand)
		if err != nil {
			return err
		}
		o.ID = id
	}
	if o.NotAfter.IsZero() {
		life := MaxOrderLife
		if end, ok := ctx.Deadline(); ok {
			// The context's deadline is on the machine's clock, the order's on the injected one.
			if left := time.Until(end); left < life+answerMargin { //nolint:forbidigo // measures a context's deadline
				life = left - min(answerMargin, left/4)
			}
		}
		o.NotAfter = now().Add(life).UTC()
	}
	return o.Check()
}

func orderError(c dlms.SystemTitle, err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("order: %w", fault(FaultUnreachable, "concentrator %s is not on the bus", c))
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("order: %w", ErrClosed)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.Canceled):
		return fmt.Errorf("order: %w", errors.Join(fault(FaultUnknown, "no answer from concentrator %s in time", c), err))
	}
	return fmt.Errorf("order: %w", errors.Join(fault(FaultUnknown, "the order to concentrator %s may not have left", c), err))
}

func readReply(c dlms.SystemTitle, id string, data []byte) (Reply, error) {
	var r Reply
	if err := decodeReply(data, &r); err != nil {
		return Reply{}, fmt.Errorf("order: %w", errors.Join(fault(FaultUnknown, "concentrator %s answers nonsense", c), err))
	}
	if r.ID != id {
		return Reply{}, fmt.Errorf("order: %w", fault(FaultUnknown, "concentrator %s answers another order", c))
	}
	return r, nil
}

func newID(rand io.Reader) (string, error) {
	var b [idSize]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("bus: id: read randomness: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// HandleUp calls h with what concentrators tell, several at once, until Close. The Up is acknowledged after h has
// returned nil; after an error it is refused, and its concentrator says it again later: a FaultLogGap is told as it is. The sender is who the bus
// authenticated. HandleUp is called once.
func (b *IS) HandleUp(h func(ctx context.Context, from dlms.SystemTitle, u Up) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sub != nil {
		return errors.New("bus: HandleUp called twice")
	}
	sub, err := b.nc.Subscribe(subjectRoot+"*.up", func(m *nats.Msg) {
		select {
		case b.slots <- struct{}{}:
			b.running.Go(func() {
				defer func() { <-b.slots }()
				b.up(m, h)
			})
		case <-b.ctx.Done():
		}
	})
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	b.sub = sub
	return b.nc.Flush()
}

func (b *IS) up(m *nats.Msg, h func(context.Context, dlms.SystemTitle, Up) error) {
	b.in.Add(uint64(len(m.Data)))
	from, err := senderOf(m.Subject)
	if err != nil {
		b.cfg.Log.Warn("bus.up.refused", "error", err)
		return
	}
	// The IS may publish anywhere, its concentrators may not: what they name as the place for the answer must be
	// their own, or they would make the IS speak for them.
	if m.Reply != "" && !strings.HasPrefix(m.Reply, inboxOf(from)+".") {
		b.cfg.Log.Warn("bus.up.refused", "concentrator", from.String(), "error", "answer wanted at a foreign subject")
		return
	}
	ack := b.take(from, m.Data, h)
	if m.Reply == "" {
		return
	}
	data, err := encode(ack)
	if err == nil {
		b.out.Add(uint64(len(data)))
		err = m.Respond(data)
	}
	if err != nil {
		b.cfg.Log.Warn("bus.up.unacknowledged", "concentrator", from.String(), "error", err)
	}
}

func (b *IS) take(from dlms.SystemTitle, data []byte, h func(context.Context, dlms.SystemTitle, Up) error) Ack {
	var u Up
	err := decode(data, &u)
	if err == nil {
		err = u.Check()
	}
	if err != nil {
		b.cfg.Log.Warn("bus.up.refused", "concentrator", from.String(), "error", err)
		return Ack{Fault: fault(FaultRefused, "not a message of this contract")}
	}
	ctx, cancel := context.WithTimeout(b.ctx, upTimeout)
	defer cancel()
	if err := h(ctx, from, u); err != nil {
		b.cfg.Log.Warn("bus.up.not_taken", "concentrator", from.String(), "id", u.ID, "error", err)
		var gap *Fault
		if errors.As(err, &gap) && gap.Code == FaultLogGap { // the one refusal that says what to do
			return Ack{ID: u.ID, Fault: gap}
		}
		return Ack{ID: u.ID, Fault: fault(FaultRefused, "the central system did not take it; send it again later")}
	}
	return Ack{ID: u.ID}
}
