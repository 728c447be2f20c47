package concentrator

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
	sim "github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var own = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 1}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// world is real meters, a real bus, and the central system's side of it as far as a concentrator sees it.
type world struct {
	t      *testing.T
	dir    string
	oracle *dlmstest.Oracle
	rows   []shipment.Meter
	fleet  *sim.Fleet
	now    func() time.Time
	ahead  time.Duration // of the concentrator's clock

	server *bus.Server
	is     *bus.IS
	user   bus.User
	kek    key.Wrapping
	mac    key.MAC

	mu       sync.Mutex
	refuse   func(bus.Up) error // what the central system does not take
	epoch    uint64
	log      []keylog.Entry
	blocks   []bus.DayBlock
	received int // deliveries of readings, taken or not
}

// midday is the world's time at the start: noon of a day after some days of load curve.
func midday() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

const yesterday = "2026-03-03"

// vaults are the transport keys of central systems.
var vaults transporttest.Keys

func newWorld(t *testing.T, profile string, count int) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), oracle: dlmstest.NewOracle(t)}
	w.manufacture(profile, count)
	w.startBus()
	w.enrol()
	return w
}

func (w *world) manufacture(profile string, count int) {
	w.t.Helper()
	id := must(age.GenerateX25519Identity())
	w.rows = must(shipment.Generate(rand.Reader, "MSL", count, profile, 1))
	var file bytes.Buffer
	if err := shipment.WriteFactory(&file, "MSL", w.rows, id.Recipient()); err != nil {
		w.t.Fatal(err)
	}
	cfg := sim.Config{
		Factory: filepath.Join(w.dir, "meters.age"), FactoryIdentity: filepath.Join(w.dir, "factory.txt"),
		Data: filepath.Join(w.dir, "meters"), LANListen: "127.0.0.1:0",
		Clock: sim.ClockConfig{Start: midday()}, InstalledAt: midday().Add(-3 * 24 * time.Hour),
	}
	if err := errors.Join(os.WriteFile(cfg.Factory, file.Bytes(), 0o600),
		os.WriteFile(cfg.FactoryIdentity, []byte(id.String()+"\n"), 0o600)); err != nil {
		w.t.Fatal(err)
	}
	fleet, err := sim.OpenFleet(cfg, sim.Deps{Now: time.Now, Rand: rand.Reader, WrapAEAD: w.oracle.Wrap})
	if err != nil {
		w.t.Fatal(err)
	}
	w.fleet, w.now = fleet, fleet.Now
	w.background(fleet.Run)
}

// background runs f until the test ends.
func (w *world) background(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *world) startBus() {
	w.t.Helper()
	tls := filepath.Join(w.dir, "tls")
	if err := bus.InitTLS(tls, time.Now(), rand.Reader); err != nil {
		w.t.Fatal(err)
	}
	w.server = must(bus.NewServer(bus.ServerConfig{TLSDir: tls, Rand: rand.Reader}))
	if err := w.server.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.server.Close)
	w.is = must(bus.NewIS(w.server, bus.ISConfig{Now: w.now, Rand: rand.Reader}))
	w.t.Cleanup(w.is.Close)
	if err := w.is.HandleUp(w.takeUp); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) enrol() {
	w.t.Helper()
	vault := must(vaults.Key(0))
	f, err := Init(w.data(), own, rand.Reader, vault.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	if w.kek, w.mac, err = f.OpenKeys(vault); err != nil {
		w.t.Fatal(err)
	}
	w.user = bus.User{Title: own, NKeyPublic: f.NKeyPublic}
	if err := w.server.AddUser(w.user); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) data() string { return filepath.Join(w.dir, "concentrator") }

// takeUp is the central system: it takes each thing once, and notices what does not follow.
func (w *world) takeUp(_ context.Context, _ dlms.SystemTitle, u bus.Up) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u.Readings != nil {
		w.received++
	}
	if w.refuse != nil {
		if err := w.refuse(u); err != nil {
			return err
		}
	}
	switch {
	case u.Hello != nil:
		if u.Hello.Epoch <= w.epoch {
			return errors.New("boot counter does not rise")
		}
		w.epoch = u.Hello.Epoch
	case u.Log != nil:
		return w.takeLog(u.Log.Entries)
	case u.Readings != nil:
		w.blocks = append(w.blocks, u.Readings.Blocks...)
	}
	return nil
}

func (w *world) takeLog(entries []keylog.Entry) error {
	var last keylog.Entry
	if n := len(w.log); n > 0 {
		last = w.log[n-1]
	}
	for len(entries) > 0 && entries[0].Sequence <= last.Sequence {
		entries = entries[1:]
	}
	if err := keylog.Verify(last, entries); err != nil {
		w.t.Errorf("key log: %v", err)
	}
	w.log = append(w.log, entries...)
	return nil
}

func (w *world) setRefuse(f func(bus.Up) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = f
}

func (w *world) delivered() (blocks []bus.DayBlock, deliveries int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]bus.DayBlock(nil), w.blocks...), w.received
}

func (w *world) logged() []keylog.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]keylog.Entry(nil), w.log...)
}

// lan lists the addresses of the real meters.
func (w *world) lan() []string {
	var out []string
	for _, a := range w.fleet.Addresses() {
		out = append(out, a.LAN.String())
	}
	return out
}

func (w *world) config(lan ...string) Config {
	return Config{
		Data: w.data(), ISURL: w.server.URL(), ISCA: filepath.Join(w.dir, "tls", bus.CAFile),
		LAN: lan, Timeout: 2 * time.Second, DialTimeout: time.Second,
	}
}

func (w *world) deps() Deps {
	now := func() time.Time { return w.now().Add(w.ahead) }
	d := Deps{Now: now, Rand: rand.Reader, WrapAEAD: w.oracle.Wrap}
	if os.Getenv("METERSEAL_TEST_LOG") != "" {
		d.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return d
}

// run starts a concentrator and waits until it is on the bus.
func (w *world) run(cfg Config) (c *Concentrator, stop func()) {
	w.t.Helper()
	c, err := New(cfg, w.deps())
	if err != nil {
		w.t.Fatal(err)
	}
	stop = w.background(c.Run)
	w.eventually("the concentrator is on the bus", func() bool {
		_, err := w.is.Order(w.t.Context(), own, bus.Order{Status: &bus.Status{}})
		return err == nil
	})
	return c, stop
}

// start runs a concentrator with all meters and their first keys.
func (w *world) start() (c *Concentrator, stop func()) {
	w.t.Helper()
	c, stop = w.run(w.config(w.lan()...))
	w.provisionAll()
	return c, stop
}

func (w *world) provisionAll() {
	w.t.Helper()
	p := &bus.Provision{}
	for _, m := range w.rows {
		p.Keys = append(p.Keys, w.sealed(m.Title, 1, bus.PhaseActive, m.LAN, 1))
	}
	r := w.order(bus.Order{Provision: p})
	if len(r.Provision.Held) != len(w.rows) || len(r.Provision.Refused) != 0 {
		w.t.Fatalf("provisioned: %+v", r.Provision)
	}
}

func (w *world) sealed(m dlms.SystemTitle, version uint32, phase bus.Phase, k key.Unicast, first dlms.InvocationCounter) bus.ProvisionKey {
	s := must(enrol.Seal(enrol.SealedKey{
		Meter: m, Role: role.CCLAN, Version: version, Recipient: own, FirstCounter: first, LastCounter: first + 1<<20 - 1,
	}, w.kek, w.mac, k))
	return bus.ProvisionKey{Meter: m, Version: version, Phase: phase, Sealed: &s}
}

// order sends an order and wants no fault.
func (w *world) order(o bus.Order) bus.Reply {
	w.t.Helper()
	r := w.ask(o, 10*time.Second)
	if r.Fault != nil {
		w.t.Fatalf("%s: %v", o.Kind(), r.Fault)
	}
	return r
}

// ask sends an order that has to be answered within its time.
func (w *world) ask(o bus.Order, within time.Duration) bus.Reply {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	r, err := w.is.Order(ctx, own, o)
	if err != nil {
		w.t.Fatalf("%s: %v", o.Kind(), err)
	}
	return r
}

func (w *world) wantFault(o bus.Order, code bus.FaultCode) {
	w.t.Helper()
	r := w.ask(o, 5*time.Second)
	if r.Fault == nil || r.Fault.Code != code {
		w.t.Errorf("%s: want fault %s, got %v", o.Kind(), code, r.Fault)
	}
}

func (w *world) collect(meters ...dlms.SystemTitle) *bus.CollectResult {
	w.t.Helper()
	return w.order(bus.Order{Collect: &bus.Collect{Meters: meters, Day: yesterday}}).Collect
}

func (w *world) associations() []bus.AssociationStatus {
	w.t.Helper()
	return w.order(bus.Order{Status: &bus.Status{}}).Status.Associations
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for range 1500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("waited in vain until %s", what)
}

// stranger serves every connection to a new address with f.
func (w *world) stranger(f func(net.Conn)) (address string) {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() { defer c.Close(); f(c) })
		}
	})
	w.t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// gate is a proxy before a meter, with a hand on what goes to the meter.
type gate struct {
	address string
	mu      sync.Mutex
	// pass decides over one read of bytes to the meter: false cuts the connection instead.
	pass func([]byte) bool
}

func (g *gate) set(f func([]byte) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass = f
}

func (g *gate) passes(b []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pass == nil || g.pass(b)
}

func (w *world) gate(meter string) *gate {
	g := &gate{}
	g.address = w.stranger(func(c net.Conn) {
		up, err := net.Dial("tcp", meter)
		if err != nil {
			return
		}
		var back sync.WaitGroup
		back.Go(func() { _, _ = io.Copy(c, up); _ = c.Close() })
		defer back.Wait()
		defer up.Close()
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil || !g.passes(buf[:n]) {
				return
			}
			if _, err := up.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	return g
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
