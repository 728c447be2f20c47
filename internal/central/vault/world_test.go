package vault_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
	"github.com/meterseal/meterseal/internal/transport/transporttest"
)

const by audit.Actor = "test"

var (
	node = dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 1}
	dc   = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 1}
	dc2  = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 2}
	tsp  = dlms.SystemTitle{'M', 'S', 'T', 0, 0, 0, 0, 1}
)

// world is a central system without its network: store, audit log, fleet and vault over real files.
type world struct {
	t       *testing.T
	data    string
	dir     string
	journal string
	now     time.Time
	held    int // handles that are remembered, 0 for the default
	rand    io.Reader

	store *store.Store
	log   *audit.Log
	fleet *fleet.Fleet
	vault *vault.Software
	maker shipment.MakerKey
}

// keys are those of all vaults, each with one of its own.
var (
	keys   transporttest.Keys
	worlds atomic.Int64
)

// transportKey gives one of a few keys, another one than the last.
func transportKey(t *testing.T) transport.Private {
	t.Helper()
	k, err := keys.Key(int(worlds.Add(1)) % 5)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func makerOf(t *testing.T, letters string) shipment.MakerKey {
	t.Helper()
	k, err := shipment.NewMakerKey(rand.Reader, letters)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, node)
}

// newWorldOf is one whose node has another title.
func newWorldOf(t *testing.T, own dlms.SystemTitle) *world {
	t.Helper()
	base := t.TempDir()
	w := &world{
		t: t, data: filepath.Join(base, "data"), dir: filepath.Join(base, "vault"),
		journal: filepath.Join(base, "second-disk", "key.journal"), now: time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC),
	}
	if _, err := vault.Init(w.dir, vault.InitOptions{Rand: rand.Reader, Transport: transportKey(t)}); err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(w.stop)
	w.maker = makerOf(t, "MSL")
	w.ok(w.vault.AddMaker(t.Context(), by, w.maker.Public(), w.maker.Public().Fingerprint()))
	if err := w.fleet.RegisterNode(t.Context(), by, own); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) start() {
	w.t.Helper()
	if err := w.tryStart(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryStart() error {
	root, err := vault.Unseal(w.dir, nil)
	if err != nil {
		return err
	}
	if w.store, err = store.Open(w.t.Context(), w.data, store.Options{}); err != nil {
		return err
	}
	clock := func() time.Time { return w.now }
	w.log = audit.New(w.store, audit.Options{Signer: root.Signer(), Now: clock})
	w.vault, err = vault.Open(w.t.Context(), w.dir, root, w.store, w.log, vault.Options{Journal: w.journal, Now: clock, Held: w.held, Rand: w.rand})
	if err != nil {
		w.vault = nil
		return errors.Join(err, w.store.Close())
	}
	w.fleet = fleet.New(fleet.Journalled(w.store, w.vault, clock), w.log, clock, rand.Reader)
	return nil
}

// stop ends everything without a farewell: nothing is written at the end that a crash would not have written.
func (w *world) stop() {
	if w.vault != nil {
		_ = w.vault.Close()
	}
	_ = w.store.Close()
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

func made(t *testing.T, n int, profile string, first uint64) []shipment.Meter {
	t.Helper()
	meters, err := shipment.Generate(rand.Reader, "MSL", n, profile, first)
	if err != nil {
		t.Fatal(err)
	}
	return meters
}

func (w *world) file(batch string, meters []shipment.Meter) []byte {
	w.t.Helper()
	var b bytes.Buffer
	if err := shipment.Write(&b, rand.Reader, w.maker, batch, meters, w.vault.Transport()); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) ship(batch string, meters []shipment.Meter) *shipment.Report {
	w.t.Helper()
	r, err := w.vault.ImportShipment(w.t.Context(), "maker:MSL", bytes.NewReader(w.file(batch, meters)))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// imported gives n meters that are in.
func (w *world) imported(n int) []shipment.Meter {
	w.t.Helper()
	meters := made(w.t, n, shipment.ProfileHardened, 1)
	if r := w.ship("b1", meters); !r.Clean() {
		w.t.Fatal(r)
	}
	return meters
}

func (w *world) enrolled(kind enrol.Kind, title dlms.SystemTitle) *enrol.Identity {
	w.t.Helper()
	id, err := enrol.NewIdentity(kind, title, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := id.File(w.vault.Transport(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.vault.EnrolDevice(w.t.Context(), by, f, f.Fingerprint()); err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) generated(m dlms.SystemTitle, r role.Role) role.KeyRef {
	w.t.Helper()
	g, err := w.vault.Generate(w.t.Context(), by, []vault.Target{{Meter: m, Role: r}})
	if err != nil || g[0].Err != nil {
		w.t.Fatal(err, g)
	}
	return g[0].Info.Ref
}

func (w *world) state(k role.KeyRef) vault.State {
	w.t.Helper()
	info, err := w.vault.Info(w.t.Context(), []role.KeyRef{k})
	if err != nil {
		w.t.Fatal(err)
	}
	return info[0].State
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func first(m shipment.Meter, r role.Role) role.KeyRef {
	return role.KeyRef{Meter: m.Title, Role: r, Version: 1}
}
