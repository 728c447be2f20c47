package rotationbench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/concentrator"
	"github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// perConcentrator is how many meters are under one concentrator.
const perConcentrator = 50

// shipped is how many meters come in one shipment.
const shipped = 10_000

// world is a fleet under one central system. The central system works on a disk; concentrators and meters, which are
// other machines, in memory.
type world struct {
	dir    string // of the central system
	field  string // of the concentrators
	cfg    central.Config
	db     *store.Store
	is     *central.IS
	kind   *meter.Kind
	rows   []shipment.Meter // of the meters that are asked something
	next   int              // the concentrator that is next
	up     func(context.Context, dlms.SystemTitle, bus.Up) error
	asked  dlms.SystemTitle            // the meter that was asked for last
	number int                         // of changes asked for, for their reasons
	rounds int                         // of the floor
	floors map[dlms.SystemTitle]uint32 // how often it had each meter

	orders atomic.Int64 // that were sent to concentrators

	mu       sync.Mutex
	stations map[dlms.SystemTitle]*station
}

var _ central.WAN = (*world)(nil)

// size of a world: meters in the store, and how many of them can be asked something.
type size struct{ meters, live int }

// newWorld imports a fleet. url is a PostgreSQL database, SQLite when empty. Close gives everything up.
func newWorld(ctx context.Context, url string, s size) (w *world, err error) {
	w = &world{stations: map[dlms.SystemTitle]*station{}, floors: map[dlms.SystemTitle]uint32{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "meterseal-bench-"); err != nil {
		return w, err
	}
	if w.field, err = os.MkdirTemp(inMemory(), "meterseal-bench-"); err != nil {
		return w, err
	}
	w.cfg = central.Config{Data: w.dir, SystemTitle: dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 1}.String()}
	w.kind, err = meter.NewKind(shipment.ProfileHardened, meter.Options{
		Now: time.Now, Rand: rand.Reader, Curve: loadcurve.Household(time.Now().Add(-time.Hour), 1),
	})
	if err != nil {
		return w, err
	}
	if w.db, err = store.Open(ctx, filepath.Join(w.dir, "store"), store.Options{URL: url}); err != nil {
		return w, err
	}
	return w, w.build(ctx, s)
}

// inMemory is where the disks of others are: the machine's memory, if it has such a place.
func inMemory() string {
	if s, err := os.Stat("/dev/shm"); err == nil && s.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func (w *world) deps() central.Deps {
	return central.Deps{Now: time.Now, Rand: rand.Reader, WAN: w, Store: w.db}
}

func (w *world) build(ctx context.Context, s size) error {
	recipient, err := central.Init(ctx, w.cfg, w.deps())
	if err != nil {
		return err
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	for first := 0; first < s.live; first += shipped {
		if err := w.ship(ctx, recipient, first, min(shipped, s.live-first)); err != nil {
			return err
		}
	}
	for i := range s.live / perConcentrator {
		if err := w.enrol(ctx, recipient, i); err != nil {
			return err
		}
	}
	if s.meters > s.live {
		return w.fill(ctx, s.live, s.meters)
	}
	return nil
}

func (w *world) open(ctx context.Context) (err error) {
	if w.is, err = central.Open(ctx, w.cfg, w.deps()); err != nil {
		return err
	}
	if err := w.is.Serve(); err != nil {
		return err
	}
	_, err = w.is.Beat(ctx)
	return err
}

func (w *world) close() error {
	var errs []error
	for _, s := range w.stations {
		errs = append(errs, s.c.Close())
	}
	if w.is != nil {
		errs = append(errs, w.is.Close())
	}
	if w.db != nil {
		errs = append(errs, w.db.Close())
	}
	for _, dir := range []string{w.dir, w.field} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// ship makes one shipment and has it imported.
func (w *world) ship(ctx context.Context, recipient transport.Public, first, count int) error {
	rows, err := shipment.Generate(rand.Reader, "MSL", count, shipment.ProfileHardened, uint64(first+1))
	if err != nil {
		return err
	}
	maker, err := shipment.NewMakerKey(rand.Reader, "MSL")
	if err != nil {
		return err
	}
	p := maker.Public()
	if err := w.is.AddMaker(ctx, api.MakerRequest{Key: p, Fingerprint: p.Fingerprint()}); err != nil {
		return err
	}
	var file bytes.Buffer
	if err := shipment.Write(&file, rand.Reader, maker, fmt.Sprintf("bench %d", first), rows, recipient); err != nil {
		return err
	}
	report, err := w.is.ImportShipment(ctx, &file)
	if err == nil && report.Imported != count {
		err = fmt.Errorf("import: %s", report)
	}
	w.rows = append(w.rows, rows...)
	return err
}

// enrol makes a concentrator known and assigns its meters.
func (w *world) enrol(ctx context.Context, recipient transport.Public, i int) error {
	t := stationTitle(i)
	file, err := concentrator.Init(filepath.Join(w.field, t.String()), t, rand.Reader, recipient)
	if err != nil {
		return err
	}
	if err := w.is.Enrol(ctx, api.Enrolment{File: file, Fingerprint: file.Fingerprint()}); err != nil {
		return err
	}
	meters := make([]dlms.SystemTitle, perConcentrator)
	for k := range meters {
		if meters[k], err = shipment.Title("MSL", uint64(i*perConcentrator+k+1)); err != nil {
			return err
		}
	}
	return w.is.Assign(ctx, api.Assignment{Concentrator: t, Meters: meters})
}

// station is one concentrator with its meters.
type station struct {
	w     *world
	title dlms.SystemTitle
	c     *concentrator.Concentrator
	inbox *bus.Inbox
	take  func(context.Context, bus.Order) bus.Reply
}

var _ concentrator.WAN = (*station)(nil)

// ready brings up the i-th concentrator with its meters, and gives it its keys, where that was not done before.
func (w *world) ready(ctx context.Context, i int) error {
	t := stationTitle(i)
	if w.station(t) != nil {
		return nil
	}
	s := &station{w: w, title: t, inbox: bus.NewInbox(time.Now, nil)}
	var lines []concentrator.Line
	for _, row := range w.rows[i*perConcentrator : (i+1)*perConcentrator] {
		m, err := w.kind.Bear(meter.Birth{Row: row, Installed: time.Now(), ScalePerMille: loadcurve.Unscaled}, new(nvm.Volatile))
		if err != nil {
			return err
		}
		lines = append(lines, line{m})
	}
	var err error
	s.c, err = concentrator.New(concentrator.Config{Data: filepath.Join(w.field, t.String()), ISURL: "none", ISCA: "none"},
		concentrator.Deps{Now: time.Now, Rand: rand.Reader, WAN: s, Lines: lines})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.stations[t] = s
	w.mu.Unlock()
	if err := s.c.Serve(); err != nil {
		return err
	}
	if err := s.c.Beat(ctx); err != nil {
		return err
	}
	given, err := w.is.Provision(ctx, t)
	if err == nil && given.Held != perConcentrator {
		err = fmt.Errorf("concentrator %s holds %d keys: %v", t, given.Held, given.Refused)
	}
	return err
}

func (w *world) station(t dlms.SystemTitle) *station {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stations[t]
}

// HandleUp implements central.WAN.
func (w *world) HandleUp(h func(context.Context, dlms.SystemTitle, bus.Up) error) error {
	w.up = h
	return nil
}

// Stats implements central.WAN.
func (*world) Stats() bus.Stats { return bus.Stats{} }

// Close implements central.WAN.
func (*world) Close() {}

// Order implements central.WAN: what the bus does, without its sockets.
func (w *world) Order(ctx context.Context, d dlms.SystemTitle, o bus.Order) (bus.Reply, error) {
	w.orders.Add(1)
	s := w.station(d)
	if s == nil {
		return bus.Reply{}, &bus.Fault{Code: bus.FaultUnreachable, Text: "not on the WAN"}
	}
	data, err := bus.PrepareOrder(ctx, &o, time.Now, rand.Reader)
	if err != nil {
		return bus.Reply{}, err
	}
	return bus.ReadReply(d, o.ID, s.inbox.Take(ctx, data, s.take))
}

// HandleOrder implements concentrator.WAN.
func (s *station) HandleOrder(h func(context.Context, bus.Order) bus.Reply) error {
	s.take = h
	return nil
}

// SendUp implements concentrator.WAN.
func (s *station) SendUp(ctx context.Context, u bus.Up) (bus.Ack, error) {
	u.ID = cmp.Or(u.ID, rand.Text())
	return bus.Ack{ID: u.ID}, s.w.up(ctx, s.title, u)
}

// Up implements concentrator.WAN.
func (*station) Up() bool { return true }

// Close implements concentrator.WAN.
func (*station) Close() {}

// line is a power line without delay.
type line struct{ meter *meter.Meter }

var _ concentrator.Line = line{}

// Address implements concentrator.Line.
func (l line) Address() string { return l.meter.SystemTitle().String() }

// Close implements concentrator.Line.
func (line) Close() {}

// Exchange implements concentrator.Line.
func (l line) Exchange(ctx context.Context, client, server dlms.SAP, apdu []byte) ([]byte, error) {
	answer := l.meter.Server().Handle(ctx, meter.LinkLAN, link.Request{Client: client, Server: server, APDU: apdu})
	if len(answer) == 0 {
		return nil, errors.New("no answer from the meter")
	}
	return answer, nil
}

// Broadcast implements concentrator.Line.
func (line) Broadcast(context.Context, dlms.SAP, []byte) error {
	return errors.New("not in this benchmark")
}

// some makes ready whole concentrators, one after the other of the fleet, with n meters or a few more, and lists them.
func (w *world) some(ctx context.Context, n int) (stations []int, err error) {
	for range min((n+perConcentrator-1)/perConcentrator, len(w.rows)/perConcentrator) {
		if err := w.ready(ctx, w.next); err != nil {
			return nil, err
		}
		stations = append(stations, w.next)
		w.next = (w.next + 1) % (len(w.rows) / perConcentrator)
	}
	return stations, nil
}

// calm is how long no concentrator is told anything once all have been welcomed: the central system looks for those that
// have come up every 2 s.
const calm = 5 * time.Second

// greeted waits until the central system has given all concentrators that came up what they should hold, as it does once
// after each start of theirs: that is not part of a rotation.
func (w *world) greeted(ctx context.Context) error {
	for sent, since := w.orders.Load(), time.Now(); time.Since(since) < calm; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
		if n := w.orders.Load(); n != sent {
			sent, since = n, time.Now()
		}
	}
	return nil
}

// ask asks for a new CC_LAN of n meters of these concentrators.
func (w *world) ask(ctx context.Context, stations []int, n int) error {
	w.number++
	q := api.Rotation{Roles: []role.Role{role.CCLAN}, Reason: fmt.Sprintf("benchmark %d", w.number)}
	for _, i := range stations {
		for _, row := range w.rows[i*perConcentrator : (i+1)*perConcentrator] {
			if len(q.Meters) < n {
				q.Meters = append(q.Meters, row.Title)
			}
		}
	}
	last := slices.Max(stations) // concentrators are worked on in their order
	w.asked = w.rows[last*perConcentrator].Title
	a, err := w.is.Rotate(ctx, q)
	if err == nil && a.Asked != len(q.Meters) {
		err = fmt.Errorf("asked for %d changes, want %d", a.Asked, len(q.Meters))
	}
	return err
}

// run lets the central system work until the function that it returns is called.
func (w *world) run(b *testing.B) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	done := make(chan error, 1)
	go func() { done <- w.is.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	}
}

// poll is how often it is looked whether a benchmark is through. The looking is in the figures.
const poll = 100 * time.Millisecond

// last waits until the change that was asked for last is done: to look at one is cheap, to count all is not.
func (w *world) last(ctx context.Context) error {
	for begun := time.Now(); time.Since(begun) < time.Hour; time.Sleep(poll) {
		c, err := w.db.Changes().Last(ctx, rotation.MeterRole{Meter: w.asked, Role: role.CCLAN})
		if err != nil || c.Step == rotation.StepDone || c.LastError != "" {
			return err
		}
	}
	return errors.New("the last change does not come through")
}

// finish waits until no change is open and every audit entry has its number. What has to be tried again would be a fault.
func (w *world) finish(ctx context.Context) error {
	if err := w.last(ctx); err != nil {
		return err
	}
	for {
		open, next, err := w.db.Changes().Open(ctx)
		if err != nil {
			return err
		}
		if open == 0 {
			break
		}
		if next.After(time.Now()) {
			return fmt.Errorf("%d changes did not come through at once", open)
		}
		time.Sleep(poll)
	}
	_, err := audit.New(w.db, audit.Options{}).Sequence(ctx)
	return err
}
