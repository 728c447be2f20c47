package bus

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// Inbox takes orders as they come off the wire, whoever carried them, and holds what the contract promises: an order
// after its deadline, or one that is not of this contract, is refused; one that was seen before is answered as it was
// the first time and is not carried out again.
type Inbox struct {
	now    func() time.Time
	log    *slog.Logger
	memory *memory
}

// NewInbox returns an empty one. A nil log discards.
func NewInbox(now func() time.Time, log *slog.Logger) *Inbox {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Inbox{now: now, log: log, memory: newMemory()}
}

// Take hands one order to h and returns the answer for the wire. The context that h gets ends at the order's deadline.
func (b *Inbox) Take(ctx context.Context, data []byte, h func(ctx context.Context, o Order) Reply) []byte {
	var o Order
	err := decodeOrder(data, &o)
	if err == nil {
		err = o.Check()
	}
	if err != nil {
		b.log.Warn("bus.order.refused", "error", err)
		return b.answer(Reply{ID: o.ID, Fault: fault(FaultRefused, "not an order of this contract")})
	}
	left := o.NotAfter.Sub(b.now())
	if left <= 0 {
		return b.answer(Reply{ID: o.ID, Fault: fault(FaultExpired, "the order came %s after its deadline; are the clocks right?", -left)})
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	answer, err := b.memory.once(ctx, o.ID, func() []byte {
		r := h(ctx, o)
		r.ID = o.ID
		return b.answer(r)
	})
	if err != nil {
		return b.answer(Reply{ID: o.ID, Fault: fault(FaultUnknown, "the order is still being carried out")})
	}
	return answer
}

func (b *Inbox) answer(r Reply) []byte {
	data, err := encodeReply(&r)
	if err != nil {
		b.log.Warn("bus.order.unanswered", "id", r.ID, "error", err)
		data, _ = encode(Reply{ID: r.ID, Fault: fault(FaultUnknown, "the order was carried out, and its answer is too long for the bus")}) // this one always fits
	}
	return data
}

// PrepareOrder completes an order as IS.Order does and returns it as it goes over the wire, for another carrier than
// the bus. It fills in ID and NotAfter.
func PrepareOrder(ctx context.Context, o *Order, now func() time.Time, rand io.Reader) ([]byte, error) {
	if err := complete(ctx, o, now, rand); err != nil {
		return nil, err
	}
	return encodeOrder(o)
}

// ReadOrder reads an order as it goes over the wire.
func ReadOrder(data []byte) (Order, error) {
	var o Order
	err := decodeOrder(data, &o)
	return o, err
}

// ReadReply reads the answer of a concentrator to the order with that ID.
func ReadReply(c dlms.SystemTitle, id string, data []byte) (Reply, error) {
	return readReply(c, id, data)
}
