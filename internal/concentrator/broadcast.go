package concentrator

import (
	"context"
	"sync"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/role"
)

// failures collects what failed in work on many meters.
type failures struct {
	mu   sync.Mutex
	list []bus.MeterFault
}

func (f *failures) add(t dlms.SystemTitle, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, meterFault(t, err))
}

// each runs f on meters, several at a time and begun in their order; a meter that is slow takes one place of all. Errors are
// collected.
func (c *Concentrator) each(ctx context.Context, meters []dlms.SystemTitle, f func(context.Context, *meter) error) []bus.MeterFault {
	var failed failures
	var wg sync.WaitGroup
	turn := make(chan struct{}, 1)
	for _, t := range meters {
		turn <- struct{}{}
		wg.Go(func() {
			next := sync.OnceFunc(func() { <-turn })
			defer next()
			if err := c.workOn(ctx, t, next, f); err != nil {
				failed.add(t, err)
			}
		})
	}
	wg.Wait()
	return failed.list
}

// workOn calls next when the meter after this one may begin: when this one has its place, or has to wait for whoever has
// claimed it, who holds up no other.
func (c *Concentrator) workOn(ctx context.Context, t dlms.SystemTitle, next func(), f func(context.Context, *meter) error) error {
	m := c.meter(t)
	release := m.ownNow(c.deps.Now)
	if release == nil {
		next()
		var err error
		if release, err = m.own(ctx, c.deps.Now); err != nil {
			return err
		}
	}
	defer release()
	if ctx.Err() != nil {
		return errBusy(t)
	}
	select {
	case c.pool <- struct{}{}:
		defer func() { <-c.pool }()
	case <-ctx.Done():
		return errBusy(t)
	}
	next()
	return f(ctx, m)
}

// openAll opens both associations with every meter that there is a key for, and returns how many hold the broadcast
// key in use.
//
// The broadcast key goes to all or to none: when one meter joins or comes back, there is a new key for all, or old
// broadcasts could be replayed to it (domain rule 11). Only this concentrator seals under it.
func (c *Concentrator) openAll(ctx context.Context) (b *client.Broadcast, holders []*session, failed []bus.MeterFault) {
	c.broadcasting.Lock()
	defer c.broadcasting.Unlock()
	meters := c.ring.Meters()
	failed = c.each(ctx, meters, func(ctx context.Context, m *meter) error {
		_, _, err := c.ready(ctx, m)
		return err
	})
	meters = without(meters, failed)
	if !c.allHold(meters) {
		key, err := c.newBroadcast()
		if err != nil {
			for _, t := range meters {
				failed = append(failed, meterFault(t, err))
			}
			return nil, nil, failed
		}
		c.key, c.keySince = key, c.deps.Now()
		failed = append(failed, c.each(ctx, meters, func(ctx context.Context, m *meter) error {
			s, err := c.associate(ctx, m.title, key)
			if err != nil {
				m.setBroadcast(nil)
				return err
			}
			m.setBroadcast(s)
			return nil
		})...)
	}
	return c.key, c.holders(), failed
}

func without(meters []dlms.SystemTitle, failed []bus.MeterFault) []dlms.SystemTitle {
	bad := map[dlms.SystemTitle]bool{}
	for _, f := range failed {
		bad[f.Meter] = true
	}
	var out []dlms.SystemTitle
	for _, t := range meters {
		if !bad[t] {
			out = append(out, t)
		}
	}
	return out
}

func (c *Concentrator) newBroadcast() (*client.Broadcast, error) {
	return client.NewBroadcast(client.BroadcastConfig{Title: c.id.Title(), Rand: c.deps.Rand, WrapAEAD: c.deps.WrapAEAD})
}

// allHold reports whether all these meters hold the key in use, and it is not too old.
func (c *Concentrator) allHold(meters []dlms.SystemTitle) bool {
	if c.key == nil || c.deps.Now().Sub(c.keySince) >= maxBroadcast {
		return false
	}
	for _, t := range meters {
		if _, s := c.meter(t).sessions(); s == nil || s.broadcast != c.key {
			return false
		}
	}
	return true
}

// holders lists the sessions under the key in use.
func (c *Concentrator) holders() []*session {
	var out []*session
	for _, m := range c.allMeters() {
		if _, s := m.sessions(); s != nil && s.broadcast == c.key {
			out = append(out, s)
		}
	}
	return out
}

// broadcastClock sends this concentrator's time to all stations. Its meters take it within their bound, and nothing
// answers.
func (c *Concentrator) broadcastClock(ctx context.Context) bus.Reply {
	key, holders, failed := c.openAll(ctx)
	if key == nil || len(holders) == 0 {
		return bus.Reply{Broadcast: &bus.BroadcastResult{Failed: failed}}
	}
	value := dlms.DateTimeOf(c.deps.Now().In(c.cfg.zone()), 0).Octets()
	frame, err := key.AppendSet(nil, apdu.Attribute{Ref: clockRef()}, value)
	if err != nil {
		return fail(err)
	}
	// One APDU for all: on a power line it would be sent once. Each meter takes it once.
	sent := map[Line]bool{}
	var wg sync.WaitGroup
	var lost failures
	for _, s := range holders {
		if sent[s.line] {
			continue
		}
		sent[s.line] = true
		wg.Go(func() {
			if err := s.line.Broadcast(ctx, role.SAPBroadcast, frame); err != nil {
				lost.add(s.assoc.PeerTitle(), err)
			}
		})
	}
	wg.Wait()
	return bus.Reply{Broadcast: &bus.BroadcastResult{Meters: len(holders), Failed: append(failed, lost.list...)}}
}
