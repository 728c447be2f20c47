package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central"
)

// errDead is what everything answers in a process that has died.
var errDead = errors.New("sim: this process is dead")

// leaseTTL is such that leases are not renewed, every third of it, at the very instant at which the first exchange under
// them gives up: a seed would not replay.
const leaseTTL = 31 * time.Second

// node is one process of the central system.
type node struct {
	w     *World
	title dlms.SystemTitle
	cfg   central.Config
	skew  time.Duration // of its clock

	is      *central.IS
	zombie  *central.IS // a process of the same name that was taken for dead and goes on
	dead    bool
	crashIn int // it dies at this point from now, 0 never
	up      func(context.Context, dlms.SystemTitle, bus.Up) error
}

var _ central.WAN = (*node)(nil)

func (w *World) newNode(i int) *node {
	n := &node{w: w, title: dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, byte(i + 1)}}
	n.cfg = central.Config{
		Data: filepath.Join(w.opt.Dir, fmt.Sprintf("central-%d", i+1)), Journal: filepath.Join(w.opt.Dir, "journal", fmt.Sprintf("node-%d.journal", i+1)),
		SystemTitle: n.title.String(), RetryMin: 5 * time.Second, RetryMax: 30 * time.Minute, LeaseTTL: leaseTTL,
	}
	return n
}

func (n *node) now() time.Time { return n.w.now().Add(n.skew) }

func (n *node) deps() central.Deps {
	return central.Deps{
		Now: n.now, Rand: n.w.keys, WrapAEAD: n.w.oracle.wrap("central " + n.title.String()), WAN: n, Store: n.w.db, Block: 8, ReSeal: 40, Crash: n.crash, Log: n.w.opt.Log,
		Without: n.w.opt.Without, Serial: true,
	}
}

// start begins a process over what its directory holds.
func (n *node) start(ctx context.Context) error {
	n.dead, n.crashIn = false, 0
	is, err := central.Open(ctx, n.cfg, n.deps())
	if err != nil {
		n.dead, n.is = true, nil
		return err
	}
	n.is = is
	return is.Serve()
}

// crash is asked at every point where something becomes durable.
func (n *node) crash(point string) error {
	if n.dead {
		return errDead
	}
	if n.crashIn > 0 {
		if n.crashIn--; n.crashIn == 0 {
			n.w.fault("central system dies: " + point)
			n.dead = true
			return errDead
		}
	}
	return nil
}

// restart ends the process, dead or not, and starts another.
func (n *node) restart(ctx context.Context) {
	n.close()
	if err := n.start(ctx); err != nil {
		n.w.broken("the central system does not start again: %v", err)
	}
}

// close ends the process where it is.
func (n *node) close() {
	n.dead = true
	for _, is := range []*central.IS{n.is, n.zombie} {
		if is == nil {
			continue
		}
		if err := is.Close(); err != nil {
			n.w.note("central system closes: %v", shape(err))
		}
	}
	n.is, n.zombie = nil, nil
}

// twin starts a second process of the same name beside the first, which was paused and taken for dead.
func (n *node) twin(ctx context.Context) {
	if n.dead || n.zombie != nil {
		return
	}
	n.w.fault("a process that was taken for dead goes on beside its successor")
	first, crashIn := n.is, n.crashIn
	if err := n.start(ctx); err != nil {
		n.w.broken("a successor does not start: %v", err)
		return
	}
	n.zombie, n.crashIn = first, crashIn
}

// both has a process that was taken for dead and its successor work side by side, on the same meter.
func (n *node) both(ctx context.Context) {
	u := n.w.units[n.w.IntN(len(n.w.units))]
	for range 2 {
		for _, is := range []*central.IS{n.is, n.zombie} {
			if _, err := is.BreakerStatus(ctx, u.title); err != nil {
				n.w.note("breaker of %s: %v", u.title, shape(err))
			}
		}
	}
	if n.w.one(2) {
		if _, err := n.zombie.Beat(ctx); err != nil {
			n.w.note("a process that was taken for dead: %v", shape(err))
		}
	}
}

// beat does the work that is due.
func (n *node) beat(ctx context.Context) int {
	if n.dead {
		return 0
	}
	if n.zombie != nil {
		n.both(ctx)
	}
	if n.dead {
		return 0
	}
	did, err := n.is.Beat(ctx)
	if err != nil {
		n.w.note("central system: %v", shape(err))
	}
	return did
}

// HandleUp implements central.WAN.
func (n *node) HandleUp(h func(context.Context, dlms.SystemTitle, bus.Up) error) error {
	n.up = func(ctx context.Context, from dlms.SystemTitle, u bus.Up) error {
		data, err := json.Marshal(u) // what crosses the WAN is bytes
		if err != nil {
			return err
		}
		var copied bus.Up
		if err := json.Unmarshal(data, &copied); err != nil {
			return err
		}
		return h(ctx, from, copied)
	}
	return nil
}

// Stats implements central.WAN.
func (*node) Stats() bus.Stats { return bus.Stats{} }

// Close implements central.WAN.
func (*node) Close() {}

// Order implements central.WAN.
func (n *node) Order(ctx context.Context, d dlms.SystemTitle, o bus.Order) (bus.Reply, error) {
	if n.dead {
		return bus.Reply{}, errDead
	}
	s := n.w.station(d)
	if s == nil || s.down || s.evicted {
		return bus.Reply{}, &bus.Fault{Code: bus.FaultUnreachable, Text: "not on the WAN"}
	}
	data, err := bus.PrepareOrder(ctx, &o, n.now, n.w.keys)
	if err != nil {
		return bus.Reply{}, err
	}
	n.w.note("order %s to %s", o.Kind(), d)
	answer := n.carry(ctx, s, data)
	if n.dead {
		return bus.Reply{}, errDead
	}
	if answer == nil {
		n.w.sleep(ctx, 30*time.Second, 31*time.Second)
		return bus.Reply{}, &bus.Fault{Code: bus.FaultUnknown, Text: "no answer"}
	}
	return bus.ReadReply(d, o.ID, answer)
}

// carry brings an order to a concentrator and the answer back, or loses either.
func (n *node) carry(ctx context.Context, s *station, data []byte) []byte {
	w := n.w
	w.arrive(ctx, s)
	w.interleave(n)
	switch w.draw(wanFaults) {
	case "order lost":
		return nil
	case "order late":
		s.late = append(s.late, data)
		return nil
	case "order repeated":
		s.deliver(ctx, data)
	case "reply lost":
		s.deliver(ctx, data)
		return nil
	case "concentrator dies before the order":
		s.restart()
		return nil
	case "concentrator dies after the order":
		s.deliver(ctx, data)
		s.restart()
		return nil
	case "central system dies before the order":
		n.dead = true
		return nil
	case "central system dies after the order":
		s.deliver(ctx, data)
		n.dead = true
		return nil
	}
	return s.deliver(ctx, data)
}
