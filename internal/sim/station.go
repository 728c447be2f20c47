package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/concentrator"
)

// station is one concentrator: the real one, with its data directory, and the process it runs in.
type station struct {
	w       *World
	title   dlms.SystemTitle
	dir     string
	skew    time.Duration // of its clock
	liar    bool
	evicted bool

	c     *concentrator.Concentrator
	inbox *bus.Inbox
	take  func(context.Context, bus.Order) bus.Reply
	late  [][]byte    // orders that are still on the WAN
	hoard []bus.Order // orders a liar has kept, with the wrapped keys in them
	old   []bus.Reply // answers a liar may tell again
	down  bool
	// hold, in a test, says which orders stay on the WAN.
	hold func(o bus.Order) bool
}

var _ concentrator.WAN = (*station)(nil)

func (w *World) newStation(i int) *station {
	t := dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, byte(i + 1)}
	return &station{w: w, title: t, dir: filepath.Join(w.opt.Dir, fmt.Sprintf("concentrator-%d", i+1))}
}

func (s *station) now() time.Time { return s.w.now().Add(s.skew) }

// start begins a process over what the data directory holds.
func (s *station) start() error {
	lines := make([]concentrator.Line, 0, len(s.w.units))
	for _, u := range s.w.units { // every meter can be heard by every concentrator
		lines = append(lines, &line{w: s.w, dc: s, unit: u})
	}
	cfg := concentrator.Config{Data: s.dir, ISURL: "none", ISCA: "none", Parallel: 1, Timeout: stationTimeout}
	var err error
	s.c, err = concentrator.New(cfg, concentrator.Deps{
		Now: s.now, Rand: s.w.keys, WrapAEAD: s.w.oracle.wrap("concentrator " + s.title.String()), WAN: s, Lines: lines,
	})
	if err != nil {
		return err
	}
	s.inbox, s.down = bus.NewInbox(s.now, nil), false
	return s.c.Serve()
}

// kill ends the process where it is: sessions and what it remembers of orders are gone.
func (s *station) kill() error {
	s.down = true
	return s.c.Close()
}

// restart is kill and start.
func (s *station) restart() {
	if err := errors.Join(s.kill(), s.start()); err != nil {
		s.w.broken("concentrator %s does not start again: %v", s.title, err)
	}
}

// HandleOrder implements concentrator.WAN.
func (s *station) HandleOrder(h func(context.Context, bus.Order) bus.Reply) error {
	s.take = h
	return nil
}

// SendUp implements concentrator.WAN: it tells whichever node of the central system is up.
func (s *station) SendUp(ctx context.Context, u bus.Up) (bus.Ack, error) {
	if u.ID == "" {
		u.ID = fmt.Sprintf("up-%d", s.w.Uint64())
	}
	if s.evicted || s.w.draw([]odds{{"message up lost", 30}}) != "" {
		return bus.Ack{}, &bus.Fault{Code: bus.FaultUnreachable, Text: "lost"}
	}
	n := s.w.alive()
	if n == nil {
		return bus.Ack{}, &bus.Fault{Code: bus.FaultUnreachable, Text: "the central system is not there"}
	}
	if err := n.up(ctx, s.title, u); err != nil {
		s.w.note("the central system does not take what %s tells: %v", s.title, shape(err))
		var gap *bus.Fault
		if errors.As(err, &gap) && gap.Code == bus.FaultLogGap {
			return bus.Ack{}, gap
		}
		return bus.Ack{}, &bus.Fault{Code: bus.FaultRefused, Text: "not taken"}
	}
	if s.w.draw([]odds{{"acknowledgement lost", 30}}) != "" {
		return bus.Ack{}, &bus.Fault{Code: bus.FaultUnknown, Text: "no answer"}
	}
	return bus.Ack{ID: u.ID}, nil
}

// Up implements concentrator.WAN.
func (s *station) Up() bool { return s.w.alive() != nil }

// Close implements concentrator.WAN.
func (*station) Close() {}

// beat is what a concentrator does by itself now and then.
func (s *station) beat(ctx context.Context) {
	if s.down || s.evicted {
		return
	}
	if err := s.c.Beat(ctx); err != nil {
		s.w.note("concentrator %s: %v", s.title, shape(err))
	}
}

// deliver has the concentrator take one order as it came over the WAN.
func (s *station) deliver(ctx context.Context, data []byte) []byte {
	if s.down {
		return nil
	}
	if s.hold != nil {
		if o, err := bus.ReadOrder(data); err == nil && s.hold(o) {
			s.late = append(s.late, data)
			return nil
		}
	}
	if !s.liar || s.w.calm {
		return s.inbox.Take(ctx, data, s.take)
	}
	return s.lie(ctx, data)
}

// hoardable bounds what is hoarded of each kind.
const hoardable = 200

// keep hoards what a liar may carry out again: wrapped keys that it cannot open, and envelopes of which it cannot say what
// is in them.
func (s *station) keep(data []byte) {
	o, err := bus.ReadOrder(data)
	if err != nil || o.Perform == nil && o.Relay == nil {
		return
	}
	same := func(h bus.Order) bool { return (h.Relay == nil) == (o.Relay == nil) }
	n := 0
	for _, h := range s.hoard {
		if same(h) {
			n++
		}
	}
	if n == hoardable {
		i := slices.IndexFunc(s.hoard, same)
		s.hoard = slices.Delete(s.hoard, i, i+1)
	}
	s.hoard = append(s.hoard, o)
}

// again carries out a hoarded order in a session of the liar's own.
func (s *station) again(ctx context.Context) {
	if s.down || len(s.hoard) == 0 {
		return
	}
	s.w.fault("lie: an old order carried out again")
	ctx, cancel := context.WithTimeout(ctx, bus.MaxOrderLife)
	defer cancel()
	s.take(ctx, s.hoard[s.w.IntN(len(s.hoard))])
}

// lie is a dishonest concentrator's way with an order.
func (s *station) lie(ctx context.Context, data []byte) []byte {
	s.keep(data)
	switch s.w.draw(lies) {
	case "lie: done, and it was not":
		return s.pretend(data, 0)
	case "lie: failed, and it was done":
		s.inbox.Take(ctx, data, s.take)
		return s.pretend(data, 3)
	case "lie: another meter's answer":
		if answer := s.another(data); answer != nil {
			s.inbox.Take(ctx, data, s.take)
			return answer
		}
	case "lie: held back past its deadline":
		s.late = append(s.late, data)
		return nil
	}
	answer := s.inbox.Take(ctx, data, s.take)
	if o, err := bus.ReadOrder(data); err == nil {
		if r, err := bus.ReadReply(s.title, o.ID, answer); err == nil {
			s.old = append(s.old[max(0, len(s.old)-hoardable):], r)
		}
	}
	return answer
}

// another is an earlier answer of the same kind, made to fit this order: of another meter, or of another time.
func (s *station) another(data []byte) []byte {
	o, err := bus.ReadOrder(data)
	if err != nil {
		return nil
	}
	var fit []bus.Reply
	for _, r := range s.old {
		if (r.Relay != nil) == (o.Relay != nil) && (r.Perform != nil) == (o.Perform != nil) && (r.Provision != nil) == (o.Provision != nil) {
			fit = append(fit, r)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	r := fit[s.w.IntN(len(fit))]
	r.ID = o.ID
	b, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return b
}
