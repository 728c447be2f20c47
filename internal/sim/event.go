package sim

import (
	"context"
	"time"
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
		if w.one(2) {
			w.failOver(ctx)
		}
	case 14:
		if w.one(4) {
			w.restore(ctx)
		}
	case 10:
		w.sleep(ctx, time.Hour, 30*time.Hour)
	}
}

// jump is how far a clock goes wrong: mostly seconds, sometimes days, both ways.
func (w *World) jump() time.Duration {
	most := []time.Duration{5 * time.Second, 10 * time.Minute, 72 * time.Hour}[w.IntN(3)]
	return time.Duration(w.Int64N(int64(2*most))) - most
}
