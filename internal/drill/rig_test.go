package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// factory writes a sealed file of one meter.
func factory(t *testing.T, profile string) (meter.Config, shipment.Meter) {
	t.Helper()
	dir := t.TempDir()
	id := must(age.GenerateX25519Identity())
	rows := must(shipment.Generate(rand.Reader, "MSL", 1, profile, 1))
	var file bytes.Buffer
	err := shipment.WriteFactory(&file, "MSL", rows, id.Recipient())
	cfg := meter.Config{
		Factory: filepath.Join(dir, "meters.age"), FactoryIdentity: filepath.Join(dir, "factory.txt"),
		Data: filepath.Join(dir, "data"), LANListen: "127.0.0.1:0",
	}
	if err := errors.Join(err, os.WriteFile(cfg.Factory, file.Bytes(), 0o600),
		os.WriteFile(cfg.FactoryIdentity, []byte(id.String()+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return cfg, rows[0]
}

// serveMeter runs the one meter of a factory until the test ends.
func serveMeter(t *testing.T, cfg meter.Config) *meter.Fleet {
	t.Helper()
	f, err := meter.OpenFleet(cfg, meter.Deps{Now: time.Now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return f
}

// serve answers on a port of its own with h until the test ends.
func serve(t *testing.T, h func(ctx context.Context, r link.Request) []byte) (address string) {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- wrapper.Serve(ctx, ln, link.HandlerFunc(h), wrapper.Options{}) }()
	t.Cleanup(func() { cancel(); <-done })
	return ln.Addr().String()
}

func tap(t *testing.T, target string, record io.Writer) *Tap {
	t.Helper()
	tp, err := NewTap(context.Background(), target, record)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tp.Close(); err != nil {
			t.Error(err)
		}
	})
	return tp
}

// honest is what the central system and a concentrator do on the line of one meter.
type honest struct {
	t    *testing.T
	row  shipment.Meter
	at   string
	keys map[role.Role]key.Unicast
	long map[key.Fingerprint]security.LongTerm
}

func newHonest(t *testing.T, row shipment.Meter, at string) *honest {
	h := &honest{t: t, row: row, at: at, long: map[key.Fingerprint]security.LongTerm{}}
	h.keys = map[role.Role]key.Unicast{role.CCLAN: row.LAN, role.CCLOCALE: row.Locale}
	if !row.IS.IsZero() {
		h.keys[role.CCIS] = row.IS
	}
	return h
}

func (h *honest) title(sap dlms.SAP) dlms.SystemTitle {
	if sap == role.SAPIS {
		return dlms.SystemTitle{'I', 'S', 'A', 0, 0, 0, 0, 1}
	}
	return dlms.SystemTitle{'D', 'C', 'A', 0, 0, 0, 0, 1}
}

func (h *honest) config(sap dlms.SAP) client.Config {
	r, _ := roleAt(sap)
	k := h.keys[r]
	lt, ok := h.long[k.Fingerprint()]
	if !ok {
		lt = security.LongTerm{
			Cipher: must(security.NewCipher(must(k.AEAD()), key.Authentication{})),
			Send:   security.NewMemoryCounter(), Floor: security.NewMemoryFloor(h.row.Title, 0),
		}
		h.long[k.Fingerprint()] = lt
	}
	return client.Linky(h.title(sap), h.row.Title, lt, rand.Reader)
}

func (h *honest) tryOpen(sap dlms.SAP, cfg client.Config) (*client.Association, error) {
	h.t.Helper()
	conn, err := wrapper.Dial(context.Background(), h.at, sap, role.SAPServer)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return client.Open(context.Background(), conn, cfg)
}

func (h *honest) open(sap dlms.SAP) *client.Association {
	h.t.Helper()
	a, err := h.tryOpen(sap, h.config(sap))
	if err != nil {
		h.t.Fatalf("honest client %s: %v", sap, err)
	}
	return a
}

// broadcast delivers a broadcast session key.
func (h *honest) broadcast() {
	h.t.Helper()
	cfg := h.config(role.SAPBroadcast)
	cfg.Dedicated = false
	cfg.Broadcast = must(client.NewBroadcast(client.BroadcastConfig{Title: cfg.Title, Rand: rand.Reader}))
	if _, err := h.tryOpen(role.SAPBroadcast, cfg); err != nil {
		h.t.Fatalf("honest broadcast client: %v", err)
	}
}

func (h *honest) read(a *client.Association) {
	h.t.Helper()
	if _, err := a.Get(context.Background(), clockTime()); err != nil {
		h.t.Fatalf("honest read: %v", err)
	}
}

// rekey replaces all keys of the meter, in the order in which a rotation takes them.
func (h *honest) rekey() {
	h.t.Helper()
	sender := role.SAPReadWrite
	if !h.row.IS.IsZero() {
		sender = role.SAPIS
	}
	for _, r := range role.Associations() {
		if _, has := h.keys[r]; !has {
			continue
		}
		a := h.open(sender)
		k := must(key.GenerateUnicast(rand.Reader))
		setup, _ := r.Setup()
		_, err := a.Action(context.Background(), dlms.MethodRef{
			Class: dlms.ClassSecuritySetup, Instance: setup, Method: cosem.MethodKeyTransfer,
		}, cosem.KeyTransfer(cosem.KeyGlobalUnicast, must(h.row.CCC.Wrap(k))))
		if err != nil {
			h.t.Fatalf("honest transfer of %s: %v", r, err)
		}
		a.Abandon()
		h.keys[r] = k
	}
}

// live plays a day: associations, a read, two changes of every key, and associations under the newest ones.
func (h *honest) live() {
	h.t.Helper()
	h.read(h.open(role.SAPReadWrite))
	h.broadcast()
	h.rekey()
	h.read(h.open(role.SAPReadWrite))
	h.rekey()
	h.broadcast()
	h.read(h.open(role.SAPReadWrite))
	if !h.row.IS.IsZero() {
		h.read(h.open(role.SAPIS))
	}
}

// scene is a real meter that was read and re-keyed over a tapped line.
type scene struct {
	honest *honest
	tap    *Tap
	cfg    meter.Config
	meter  *meter.Meter
	target Target
}

func newScene(t *testing.T, profile string) *scene {
	t.Helper()
	cfg, row := factory(t, profile)
	f := serveMeter(t, cfg)
	lan := f.Addresses()[0].LAN.String()
	s := &scene{tap: tap(t, lan, nil), cfg: cfg, meter: f.Meters()[0]}
	s.honest = newHonest(t, row, s.tap.Addr())
	s.honest.live()
	s.target = Target{Row: row, LAN: lan, Profile: profile, Frames: s.tap.Frames()}
	return s
}

func (s *scene) attack(t *testing.T) Result {
	t.Helper()
	r, err := Attack(context.Background(), s.target, Deps{Rand: rand.Reader, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantAccepted fails the test unless an attack with these words was accepted.
func wantAccepted(t *testing.T, r Result, words ...string) {
	t.Helper()
	for _, w := range words {
		if !slices.ContainsFunc(r.Accepted, func(s string) bool { return strings.Contains(s, w) }) {
			t.Errorf("want %q among what was accepted, got %q", w, r.Accepted)
		}
	}
}

// counting counts what is handed to h.
func counting(n *atomic.Int64, h func(context.Context, link.Request) []byte) func(context.Context, link.Request) []byte {
	return func(ctx context.Context, r link.Request) []byte { n.Add(1); return h(ctx, r) }
}
