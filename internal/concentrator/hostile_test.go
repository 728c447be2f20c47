package concentrator

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/enrol"
	sim "github.com/meterseal/meterseal/internal/meter"
)

// garbage answers every request with bytes that are no frame.
func garbage(c net.Conn) {
	buf := make([]byte, 1024)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
		if _, err := c.Write(bytes.Repeat([]byte{0x7E, 0xA0}, 50)); err != nil {
			return
		}
	}
}

// echo sends every frame back, and a flood of frames for others with it.
func echo(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if n < 8 {
			continue
		}
		back := bytes.Clone(buf[:n])
		copy(back[2:4], buf[4:6])
		copy(back[4:6], buf[2:4])
		other := []byte{0, 1, 0, 9, 0, 9, 0, 1, 0}
		if _, err := c.Write(append(bytes.Repeat(other, 500), back...)); err != nil {
			return
		}
	}
}

func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func TestHostileAndSlowMetersHoldNobodyUp(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 3)
	strangers := []string{w.stranger(garbage), w.stranger(echo), w.stranger(silent), w.stranger(silent), "127.0.0.1:1"}
	cfg := w.config(append(strangers, w.lan()...)...)
	cfg.Parallel, cfg.Timeout = 2, time.Second
	w.run(cfg)
	w.provisionAll()
	if r := w.collect(); r.Read != 3 {
		t.Fatalf("collect: %+v", r)
	}
	if s := w.order(bus.Order{Status: &bus.Status{}}).Status; len(s.Found) != 3 {
		t.Errorf("found: %+v", s.Found)
	}
}

func TestASlowMeterDoesNotBlockTheOthers(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 4)
	lan := w.lan()
	g := w.gate(lan[0])
	cfg := w.config(append([]string{g.address}, lan[1:]...)...)
	cfg.Parallel, cfg.Timeout = 2, 1500*time.Millisecond
	w.run(cfg)
	w.provisionAll()
	w.order(bus.Order{Status: &bus.Status{Associate: true}})
	g.set(func([]byte) bool { time.Sleep(2 * time.Second); return false })
	begin := time.Now()
	slow := make(chan bus.Reply, 1)
	go func() {
		slow <- w.ask(bus.Order{Collect: &bus.Collect{Meters: []dlms.SystemTitle{w.rows[0].Title}, Day: yesterday}}, 20*time.Second)
	}()
	if r := w.collect(w.rows[1].Title, w.rows[2].Title, w.rows[3].Title); r.Read != 3 {
		t.Errorf("the others: %+v", r)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the others took %s", took)
	}
	if r := (<-slow).Collect; r == nil || len(r.Failed) != 1 || r.Failed[0].Code != bus.FaultUnreachable {
		t.Errorf("the slow one: %+v", r)
	}
}

// An operation is sent once, and when its answer is lost nobody knows what became of it.
func TestALostAnswerLeavesAPerformUnknownAndIsNotRepeated(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	g := w.gate(w.lan()[0])
	w.run(w.config(g.address))
	w.provisionAll()
	m := w.rows[0].Title
	get := bus.Op{Kind: bus.OpGet, Class: dlms.ClassClock, Instance: clockRef().Instance, Index: 2}
	w.order(bus.Order{Perform: &bus.Perform{Meter: m, Ops: []bus.Op{get}}})
	var sent atomic.Int32
	g.set(func([]byte) bool { return sent.Add(1) != 2 }) // the clock is read, then the operation is lost
	r := w.ask(bus.Order{Perform: &bus.Perform{Meter: m, Ops: []bus.Op{get, get}}}, 8*time.Second)
	if r.Fault == nil || r.Fault.Code != bus.FaultUnknown || sent.Load() != 2 {
		t.Fatalf("got %+v after %d requests", r, sent.Load())
	}
	g.set(nil)
	if r := w.collect(); r.Read != 1 { // with a new association
		t.Errorf("the next honest order: %+v", r)
	}
	// The same for a relay.
	g.set(func([]byte) bool { return false })
	w.wantFault(bus.Order{Relay: &bus.Relay{Meter: m, ClientSAP: 64, ServerSAP: 1, APDU: publicAARQ(t)}}, bus.FaultUnknown)
}

func TestReadingGoesOnOverACutConnection(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 1)
	g := w.gate(w.lan()[0])
	w.run(w.config(g.address))
	w.provisionAll()
	w.order(bus.Order{Status: &bus.Status{Associate: true}})
	var sent atomic.Int32
	g.set(func([]byte) bool { return sent.Add(1) != 3 }) // once, in the middle of the block
	if r := w.collect(); r.Read != 1 {
		t.Errorf("collect: %+v", r)
	}
}

// Whoever says that he is a meter is asked to prove it, and the meter that he names is found all the same.
func TestALiarIsNotBelieved(t *testing.T) {
	w := newWorld(t, sim.ProfileHardened, 2)
	// The liar answers discovery with the title of meter 0 and everything else by meter 1.
	real0, real1 := w.lan()[0], w.lan()[1]
	var moved atomic.Bool
	liar := w.stranger(func(c net.Conn) {
		to := real1
		if !moved.Load() {
			to = real0
		}
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(c, up); _ = c.Close() }()
		_, _ = io.Copy(up, c)
		_ = up.Close()
	})
	cfg := w.config(liar, real0)
	cfg.Rediscover = 100 * time.Millisecond // both ask one meter at once, and may disturb each other
	c, _ := w.run(cfg)
	w.provisionAll()
	w.eventually("both are found", func() bool { return len(c.lan.known(w.rows[0].Title)) == 2 })
	moved.Store(true)
	for _, l := range c.lan.lines {
		l.Close() // the next connection of the liar goes to meter 1
	}
	if r := w.collect(w.rows[0].Title); r.Read != 1 {
		t.Fatalf("collect: %+v", r)
	}
	if l := c.lan.known(w.rows[0].Title); len(l) == 0 || l[0].Address() != real0 {
		t.Errorf("meter 0 is looked for at %s first", l[0].Address())
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	zone := 90 * time.Second
	good := Config{Data: "d", ISURL: "tls://x", ISCA: "ca.pem"}
	for name, change := range map[string]func(*Config){
		"no data": func(c *Config) { c.Data = "" }, "no url": func(c *Config) { c.ISURL = "" }, "no ca": func(c *Config) { c.ISCA = "" },
		"no port": func(c *Config) { c.LAN = []string{"localhost"} }, "no host": func(c *Config) { c.LAN = []string{":6000"} },
		"port 0": func(c *Config) { c.LAN = []string{"a:0"} }, "backwards": func(c *Config) { c.LAN = []string{"a:9-8"} },
		"many": func(c *Config) { c.LAN = []string{"a:1-65535"} }, "negative": func(c *Config) { c.Parallel = -1 },
		"odd zone": func(c *Config) { c.UTCOffset = &zone },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	list, err := addresses([]string{"127.0.0.1:6000-6002", "127.0.0.1:6001", "[::1]:7"})
	if err != nil || strings.Join(list, " ") != "127.0.0.1:6000 127.0.0.1:6001 127.0.0.1:6002 [::1]:7" {
		t.Errorf("addresses: %v, %v", list, err)
	}
}

func TestInitKeepsAnIdentityThatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	vault := must(vaults.Key(0))
	first := must(Init(dir, own, rand.Reader, vault.Public()))
	again := must(Init(dir, own, rand.Reader, vault.Public()))
	if first.NKeyPublic != again.NKeyPublic {
		t.Error("another identity")
	}
	if _, err := Init(dir, isTitle, rand.Reader, vault.Public()); err == nil {
		t.Error("another title: taken")
	}
	d := Deps{Now: time.Now, Rand: rand.Reader}
	if _, err := New(Config{Data: t.TempDir(), ISURL: "x", ISCA: "x"}, d); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("an empty directory: %v", err)
	}
	tsp := filepath.Join(t.TempDir(), "tsp.json")
	if err := must(enrol.NewIdentity(enrol.Terminal, own, rand.Reader)).Save(tsp); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Data: t.TempDir(), Identity: tsp, ISURL: "x", ISCA: "x"}, d); err == nil {
		t.Error("a terminal's identity: taken")
	}
	c := must(New(Config{Data: dir, ISURL: "x", ISCA: "x"}, d))
	if err := c.Run(t.Context()); err == nil {
		t.Error("without the certificate of the bus: runs")
	}
	if err := os.WriteFile(filepath.Join(dir, ackedFile), []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Data: dir, ISURL: "x", ISCA: "x"}, d); err == nil {
		t.Error("a key log that was cut: taken")
	}
}

func TestTheSpoolDropsWhatIsDamagedAndKeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	s := must(openSpool(dir, discard()))
	for i := range 3 {
		b := bus.DayBlock{Meter: own, Day: "2026-03-0" + string(rune('3'-i)), Channel: loadCurve, Values: make([]int64, 48), Status: make([]byte, 48)}
		if err := s.put(b); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, blockName(own, "2026-03-02", loadCurve))
	raw := must(os.ReadFile(name))
	raw[20] ^= 1
	if err := errors.Join(os.WriteFile(name, raw, 0o600), os.WriteFile(filepath.Join(dir, ".a.1.new"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.next(); !errors.Is(err, durable.ErrDamaged) {
		t.Errorf("damaged while it runs: %v", err)
	}
	s = must(openSpool(dir, discard()))
	blocks := must(s.next())
	if len(blocks) != 2 || blocks[0].Day != "2026-03-01" || blocks[1].Day != "2026-03-03" {
		t.Fatalf("left: %+v", blocks)
	}
	if err := s.done(blocks[:1]); err != nil || s.len() != 1 || !s.has(own, "2026-03-03", loadCurve) {
		t.Errorf("after one was delivered: %d, %v", s.len(), err)
	}
	if files := must(os.ReadDir(dir)); len(files) != 1 {
		t.Errorf("files: %v", files)
	}
}

func TestADeliveryIsBounded(t *testing.T) {
	s := must(openSpool(t.TempDir(), discard()))
	for i := range maxDelivery + 5 {
		m := own
		m[7] = byte(i)
		b := bus.DayBlock{Meter: m, Day: yesterday, Channel: loadCurve, Values: make([]int64, 1440), Status: make([]byte, 1440)}
		for j := range b.Values {
			b.Values[j] = 1 << 50
		}
		if err := s.put(b); err != nil {
			t.Fatal(err)
		}
	}
	for s.len() > 0 {
		blocks := must(s.next())
		raw := must(json.Marshal(bus.Up{ID: "x", Readings: &bus.Readings{Blocks: blocks}}))
		if len(blocks) == 0 || len(blocks) > maxDelivery || len(raw) > bus.MaxMessage {
			t.Fatalf("%d blocks, %d bytes", len(blocks), len(raw))
		}
		if err := s.done(blocks); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRowsAreHeldAgainstTheirDay(t *testing.T) {
	start := time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	b := bus.DayBlock{Day: yesterday, PeriodSeconds: 21600}
	rows := []row{{at(6 * time.Hour), 0, 1}, {at(6 * time.Hour), 2, 7}, {at(24 * time.Hour), 0, 4}}
	if err := fillBlock(&b, rows, start); err != nil {
		t.Fatal(err)
	}
	if b.Values[0] != 7 || b.Values[1] != 0 || b.Values[3] != 4 || !bytes.Equal(b.Status, []byte{2, bus.StatusMissing, bus.StatusMissing, 0}) {
		t.Errorf("block: %+v", b)
	}
	for name, bad := range map[string]row{
		"midnight before": {at: at(0)}, "next day": {at: at(30 * time.Hour)}, "off the grid": {at: at(time.Hour)},
	} {
		if err := fillBlock(&b, []row{bad}, start); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := fillBlock(&b, nil, start); err == nil {
		t.Error("no rows: taken")
	}
}

func TestRowsOfAnyOtherShapeAreRefused(t *testing.T) {
	when := dlms.DateTimeOf(midday(), 0).Octets()
	for name, d := range map[string]dlms.Data{
		"null": dlms.Null(), "two columns": dlms.Structure(when, dlms.Uint8(0)),
		"no time":  dlms.Structure(dlms.OctetString([]byte{1}), dlms.Uint8(0), dlms.Uint32(1)),
		"wildcard": dlms.Structure(dlms.DateTimeUnspecified().Octets(), dlms.Uint8(0), dlms.Uint32(1)),
		"status":   dlms.Structure(when, dlms.Uint16(256), dlms.Uint32(1)),
		"negative": dlms.Structure(when, dlms.Uint8(0), dlms.Int32(-1)),
		"text":     dlms.Structure(when, dlms.Uint8(0), dlms.VisibleString("1")),
	} {
		if _, err := parseRow(d, time.UTC); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, c := range map[string]struct {
		unit dlms.Data
		want int64
	}{
		"Wh": {dlms.Structure(dlms.Int8(0), dlms.Enum(30)), 1234}, "kWh": {dlms.Structure(dlms.Int8(3), dlms.Enum(30)), 1234000},
		"0.1 Wh": {dlms.Structure(dlms.Int8(-1), dlms.Enum(30)), 123}, "varh": {dlms.Structure(dlms.Int8(0), dlms.Enum(32)), -1},
		"huge": {dlms.Structure(dlms.Int8(100), dlms.Enum(30)), -1}, "null": {dlms.Null(), -1},
	} {
		got, err := inWh(1234, c.unit)
		if (err == nil) != (c.want >= 0) || err == nil && got != c.want {
			t.Errorf("%s: got %d, %v", name, got, err)
		}
	}
}
