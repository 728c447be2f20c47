package central

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
)

// reach is the way to the concentrators of a node with a bus of its own, and remembers which of them were not on it. Of
// several nodes on one store, the one that a concentrator is connected to has to do its work: the others leave it alone
// for a while when they find that it is not there.
type reach struct {
	WAN
	now  func() time.Time
	wait time.Duration

	mu   sync.Mutex
	away map[dlms.SystemTitle]time.Time
}

func newReach(w WAN, now func() time.Time, wait time.Duration) *reach {
	return &reach{WAN: w, now: now, wait: wait, away: map[dlms.SystemTitle]time.Time{}}
}

// Order implements WAN.
func (r *reach) Order(ctx context.Context, d dlms.SystemTitle, o bus.Order) (bus.Reply, error) {
	reply, err := r.WAN.Order(ctx, d, o)
	var f *bus.Fault
	gone := errors.As(err, &f) && f.Code == bus.FaultUnreachable
	r.mu.Lock()
	defer r.mu.Unlock()
	if gone {
		r.away[d] = r.now()
	} else {
		delete(r.away, d)
	}
	return reply, err
}

// HandleUp implements WAN: whoever tells something is there.
func (r *reach) HandleUp(h func(context.Context, dlms.SystemTitle, bus.Up) error) error {
	return r.WAN.HandleUp(func(ctx context.Context, from dlms.SystemTitle, u bus.Up) error {
		r.mu.Lock()
		delete(r.away, from)
		r.mu.Unlock()
		return h(ctx, from, u)
	})
}

// Away reports whether a concentrator was not on the bus a short while ago.
func (r *reach) Away(d dlms.SystemTitle) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, ok := r.away[d]
	if !ok {
		return false
	}
	if ago := r.now().Sub(since); ago < 0 || ago >= r.wait {
		delete(r.away, d)
		return false
	}
	return true
}
