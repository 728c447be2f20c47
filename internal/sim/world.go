package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/concentrator"
	"github.com/meterseal/meterseal/internal/defence"
	"github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// Options say what one world is.
type Options struct {
	Seed uint64
	// Dir is an empty directory, best in memory.
	Dir string
	// Profile is hardened or linky; empty lets the seed choose.
	Profile string
	// Root is a directory with the root of a vault that is taken for this world's, for to make one costs a fifth of all: of
	// a world that ran before, or empty, and then this one leaves its own there. Without it each world makes one.
	Root string
	// Concentrators and Meters (of each) are the size; 0 lets the seed choose.
	Concentrators, Meters int
	// Nodes of the central system on one database; 0 lets the seed choose one or two.
	Nodes int
	// Rounds is how often all keys are asked to be changed during the storm; 0 lets the seed choose.
	Rounds int
	// Honest lets no concentrator lie, and none be stolen.
	Honest bool
	// Without takes defences away.
	Without defence.Set
	// Log takes what the parts have to tell. nil discards.
	Log *slog.Logger
	// Keep is how many lines of the record are kept for a person.
	Keep int
}

// World is one run. It is used by one goroutine, inside a bubble of testing/synctest.
type World struct {
	*chance
	opt    Options
	oracle *oracle
	ctx    context.Context //nolint:containedctx // of the run: what a second node does has none of the first one's deadlines

	db       *store.Store
	past     []snapshot // that will come back
	last     snapshot   // of a system that is not durable before it sends
	taken    int
	nodes    []*node
	stations []*station
	units    []*unit
	calm     bool
	mild     int  // faults come so many times less often than their odds say
	inside   bool // a second node is at work inside the first one's step

	faults     map[string]int
	problems   []string
	rolledBack int
	outlived   int
	astray     int
	expelled   bool // somebody was to be evicted
	keepTerms  bool // a test brings a database back from before: the old terms of the root stay
}

// New makes the world of a seed: meters from the factory, concentrators enrolled, everything assigned and provisioned.
func New(ctx context.Context, opt Options) (*World, error) {
	w := &World{chance: newChance(opt.Seed, opt.Keep), opt: opt, ctx: ctx, faults: map[string]int{}, calm: true}
	w.oracle = newOracle(w.note)
	w.choose()
	if err := w.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("seed %d: %w", opt.Seed, err), w.Close())
	}
	return w, nil
}

func (w *World) choose() {
	o := &w.opt
	profile := []string{shipment.ProfileHardened, shipment.ProfileLinky}[w.IntN(2)]
	concentrators, meters, rounds, nodes := 2+w.IntN(2), 3+w.IntN(6), 3+w.IntN(3), 1+w.IntN(2)
	w.mild = []int{1, 2, 4}[w.IntN(3)]
	if o.Profile == "" {
		o.Profile = profile
	}
	if o.Concentrators == 0 {
		o.Concentrators = concentrators
	}
	if o.Meters == 0 {
		o.Meters = meters
	}
	if o.Rounds == 0 {
		o.Rounds = rounds
	}
	if o.Nodes == 0 {
		o.Nodes = nodes
	}
}

func (w *World) now() time.Time { return time.Now() } //nolint:forbidigo // the bubble's time, which is virtual

func (w *World) build(ctx context.Context) error {
	if err := w.openStore(ctx); err != nil {
		return err
	}
	to, err := w.buildNodes(ctx)
	if err != nil {
		return err
	}
	if err := w.meters(ctx, to); err != nil {
		return err
	}
	for i := range w.opt.Concentrators {
		if err := w.enrol(ctx, i, to); err != nil {
			return err
		}
	}
	return nil
}

// meters makes the shipment, the meters of it, and has the central system import it.
func (w *World) meters(ctx context.Context, to transport.Public) error {
	rows, err := shipment.Generate(w.keys, "MSL", w.opt.Concentrators*w.opt.Meters, w.opt.Profile, 1)
	if err != nil {
		return err
	}
	k, err := meter.NewKind(w.opt.Profile, meter.Options{
		Now: w.now, Rand: w.keys, WrapAEAD: w.oracle.wrap("meter"), Curve: loadcurve.Household(w.now().Add(-time.Hour), 1),
		Without: w.opt.Without, Log: w.opt.Log, KeyFault: w.keyFault,
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		u, err := w.newUnit(k, row)
		if err != nil {
			return err
		}
		w.units = append(w.units, u)
	}
	maker, err := shipment.NewMakerKey(w.keys, "MSL")
	if err != nil {
		return err
	}
	is, p := w.nodes[0].is, maker.Public()
	if err := is.AddMaker(ctx, api.MakerRequest{Key: p, Fingerprint: p.Fingerprint()}); err != nil {
		return err
	}
	var file bytes.Buffer
	if err := shipment.Write(&file, w.keys, maker, "sim", rows, to); err != nil {
		return err
	}
	report, err := is.ImportShipment(ctx, &file)
	if err == nil && report.Imported != len(rows) {
		err = fmt.Errorf("import: %s", report)
	}
	return err
}

// enrol makes a concentrator with its share of the meters.
func (w *World) enrol(ctx context.Context, i int, to transport.Public) error {
	s, is := w.newStation(i), w.nodes[0].is
	file, err := concentrator.Init(s.dir, s.title, w.keys, to)
	if err != nil {
		return err
	}
	if err := is.Enrol(ctx, api.Enrolment{File: file, Fingerprint: file.Fingerprint()}); err != nil {
		return err
	}
	w.stations = append(w.stations, s)
	if err := s.start(); err != nil {
		return err
	}
	s.beat(ctx)
	share := w.units[i*w.opt.Meters : (i+1)*w.opt.Meters]
	if err := is.Assign(ctx, api.Assignment{Concentrator: s.title, Meters: titles(share)}); err != nil {
		return err
	}
	_, err = is.Provision(ctx, s.title)
	return err
}

func titles(units []*unit) []dlms.SystemTitle {
	out := make([]dlms.SystemTitle, len(units))
	for i, u := range units {
		out[i] = u.title
	}
	return out
}

// Close ends every process.
func (w *World) Close() error {
	var errs []error
	for _, n := range w.nodes {
		n.close()
	}
	for _, s := range w.stations {
		if s.c != nil && !s.down {
			errs = append(errs, s.kill())
		}
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Clean(w.opt.Dir)))...)
}

// broken notes what must not happen and is none of the three counts: the harness or a part is wrong.
func (w *World) broken(format string, args ...any) {
	p := fmt.Sprintf(format, args...)
	w.note("BROKEN: %s", p)
	w.problems = append(w.problems, p)
}

// alive is a node of the central system that is up.
func (w *World) alive() *node {
	for _, n := range w.nodes {
		if !n.dead {
			return n
		}
	}
	return nil
}

func (w *World) station(t dlms.SystemTitle) *station {
	for _, s := range w.stations {
		if s.title == t {
			return s
		}
	}
	return nil
}

// arrive lets an order that is still on the WAN come in, perhaps. An honest concentrator refuses it by its deadline or
// answers it from memory; a liar carries it out all the same.
func (w *World) arrive(ctx context.Context, s *station) {
	if len(s.late) == 0 || w.calm || !w.one(3) {
		return
	}
	i := w.IntN(len(s.late))
	data := s.late[i]
	s.late = append(s.late[:i], s.late[i+1:]...)
	w.note("late order arrives at %s", s.title)
	if o, err := bus.ReadOrder(data); s.liar && err == nil {
		w.fault("lie: an order carried out after its deadline")
		ctx, cancel := context.WithTimeout(ctx, bus.MaxOrderLife)
		defer cancel()
		s.take(ctx, o)
		return
	}
	s.inbox.Take(ctx, data, s.take)
}

// interleave lets a second node of the central system work in the middle of the first one's step, as if the first one
// had been paused: for a moment, or past its lease.
func (w *World) interleave(paused *node) {
	if w.calm || w.inside || len(w.nodes) < 2 || !w.one(40) {
		return
	}
	w.inside = true
	defer func() { w.inside = false }()
	w.fault("a node is paused in the middle of a step")
	w.sleep(w.ctx, time.Second, 5*time.Minute)
	for _, n := range w.nodes {
		if n != paused {
			n.beat(w.ctx)
		}
	}
}

// shape is an error without what differs from run to run: addresses and identifiers stay, texts of systems below go.
func shape(err error) string {
	s := err.Error()
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s = s[:i]
	}
	return s[:min(len(s), 160)]
}
