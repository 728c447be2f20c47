package sim

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
)

// event is what happens between two turns, perhaps.
func (w *World) event(ctx context.Context) {
	if w.one(3) {
		n := w.nodes[w.IntN(len(w.nodes))]
		n.crashIn = 1 + w.IntN(120)
	}
	switch w.IntN(30) {
	case 0:
		w.fault("central system restarted")
		w.nodes[w.IntN(len(w.nodes))].restart(ctx)
	case 1, 2:
		w.fault("concentrator restarted")
		w.stations[w.IntN(len(w.stations))].restart()
	case 3, 4, 5:
		w.fault("meter restarted")
		w.units[w.IntN(len(w.units))].reboot()
	case 6:
		w.fault("clock of a concentrator jumps")
		w.stations[w.IntN(len(w.stations))].skew = w.jump()
	case 7:
		w.fault("clock of the central system jumps")
		w.nodes[w.IntN(len(w.nodes))].skew = w.jump()
	case 8, 9:
		w.fault("an old request is replayed by a stranger")
		u := w.units[w.IntN(len(w.units))]
		if len(u.heard) > 0 {
			u.handle(ctx, u.heard[w.IntN(len(u.heard))])
		}
	case 11, 12:
		for _, s := range w.stations {
			if s.liar {
				s.again(ctx)
			}
		}
	case 13:
		w.rotateRoot(ctx)
	case 14, 21:
		w.followRoot(ctx)
	case 17:
		w.move(ctx)
	case 18:
		if w.one(2) {
			w.evict(ctx)
		}
	case 19, 20:
		w.avenge(ctx)
	case 15, 16:
		w.nodes[w.IntN(len(w.nodes))].twin(ctx)
	case 10:
		w.sleep(ctx, time.Hour, 30*time.Hour)
	}
}

// move brings a meter under another concentrator.
func (w *World) move(ctx context.Context) {
	n, u := w.alive(), w.units[w.IntN(len(w.units))]
	to := w.stations[w.IntN(len(w.stations))]
	if n == nil || to.evicted {
		return
	}
	w.fault("meter moved to another concentrator")
	err := n.is.Assign(ctx, api.Assignment{Concentrator: to.title, Meters: []dlms.SystemTitle{u.title}})
	w.note("move %s to %s: %v", u.title, to.title, err)
}

// evict takes a concentrator for stolen: from here on it does what it likes with all that it ever had.
func (w *World) evict(ctx context.Context) {
	n := w.alive()
	var honest []*station
	for _, s := range w.stations {
		if !s.evicted {
			honest = append(honest, s)
		}
	}
	if n == nil || len(honest) < 2 || w.opt.Honest {
		return
	}
	i := w.IntN(len(honest))
	stolen, successor := honest[i], honest[(i+1)%len(honest)]
	w.fault("concentrator stolen and evicted")
	_, err := n.is.Evict(ctx, api.Eviction{Concentrator: stolen.title, Successor: successor.title, Why: "stolen"})
	w.note("evict %s: %v", stolen.title, err)
	w.expelled = true
	w.expel(ctx)
}

// expel sees who has been evicted: where the order to do it had an error, that may be so all the same, or become so when
// the key journal is taken over.
func (w *World) expel(ctx context.Context) {
	if !w.expelled {
		return
	}
	revoked, err := w.db.Revoked(ctx)
	if err != nil {
		w.broken("who is revoked: %v", err)
	}
	for _, t := range revoked {
		if s := w.station(t); s != nil {
			s.evicted, s.liar = true, true
		}
	}
}

// avenge has evicted concentrators replay what they ever saw: on the line, and the orders that they kept, in whatever
// sessions they still have.
func (w *World) avenge(ctx context.Context) {
	for _, s := range w.stations {
		if !s.evicted {
			continue
		}
		w.fault("an evicted concentrator replays all that it saw")
		for range 4 {
			s.again(ctx)
		}
		for _, u := range w.units {
			for range min(len(u.heard), 6) {
				u.handle(ctx, u.heard[w.IntN(len(u.heard))])
			}
		}
	}
}

// jump is how far a clock goes wrong: mostly seconds, sometimes days, both ways.
func (w *World) jump() time.Duration {
	most := []time.Duration{5 * time.Second, 10 * time.Minute, 72 * time.Hour}[w.IntN(3)]
	return time.Duration(w.Int64N(int64(2*most))) - most
}
