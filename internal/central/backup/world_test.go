package backup_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/backup"
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
	pass  = []byte("correct horse battery staple")
	node1 = dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 1}
	node2 = dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 2}
	dc1   = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 1}
	dc2   = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 2}
	tsp   = dlms.SystemTitle{'M', 'S', 'T', 0, 0, 0, 0, 1}
)

// world is a central system of one or more nodes on one database, without its network.
type world struct {
	t    *testing.T
	base string
	data string
	now  time.Time
	db   *store.Store
	root *vault.Root
	n    int // restores

	maker shipment.MakerKey
}

var keys transporttest.Keys

func transportKey(t *testing.T) transport.Private {
	t.Helper()
	k, err := keys.Key(0)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// system is one node of it.
type system struct {
	store   *store.Store
	fleet   *fleet.Fleet
	vault   *vault.Software
	journal string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() { // a restore writes and syncs whole databases
		t.Setenv("TMPDIR", "/dev/shm")
	}
	base := t.TempDir()
	w := &world{t: t, base: base, data: filepath.Join(base, "data"), now: time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)}
	w.must(os.MkdirAll(filepath.Join(w.data, backup.TLSDir), 0o700))
	w.must(os.WriteFile(filepath.Join(w.data, backup.TLSDir, "server.key"), []byte("a private key"), 0o600))
	_, err := vault.Init(w.data, vault.InitOptions{Passphrase: pass, ScryptWork: 10, Rand: rand.Reader, Transport: transportKey(t)})
	w.must(err)
	w.maker, err = shipment.NewMakerKey(rand.Reader, "MSL")
	w.must(err)
	w.open()
	t.Cleanup(func() { _ = w.db.Close() })
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) clock() time.Time { return w.now }

func (w *world) open() {
	w.t.Helper()
	var err error
	w.root, err = vault.Unseal(w.data, pass)
	w.must(err)
	w.db, err = store.Open(w.t.Context(), w.data, store.Options{})
	w.must(err)
}

func (w *world) path(name string) string { return filepath.Join(w.base, name) }

func (w *world) tryNode(title dlms.SystemTitle, alone bool) (*system, error) {
	s := &system{journal: w.path("journal-" + title.String())}
	var err error
	if s.store, err = w.db.As(w.t.Context(), store.NodeOptions{Name: title.String(), At: w.now}); err != nil {
		return nil, err
	}
	log := audit.New(s.store, audit.Options{Now: w.clock})
	s.vault, err = vault.Open(w.t.Context(), w.data, w.root, s.store, log, vault.Options{
		Journal: s.journal, Node: title.String(), Alone: alone, Now: w.clock,
	})
	if err != nil {
		return nil, err
	}
	s.fleet = fleet.New(fleet.Journalled(s.store, s.vault, w.clock), log, w.clock, rand.Reader)
	w.t.Cleanup(func() { _ = s.vault.Close() })
	return s, s.fleet.RegisterNode(w.t.Context(), by, title)
}

func (w *world) node(title dlms.SystemTitle) *system {
	w.t.Helper()
	s, err := w.tryNode(title, false)
	w.must(err)
	return s
}

func (w *world) ship(s *system, batch string, first uint64, n int) []dlms.SystemTitle {
	w.t.Helper()
	meters, err := shipment.Generate(rand.Reader, "MSL", n, shipment.ProfileHardened, first)
	w.must(err)
	w.must(s.vault.AddMaker(w.t.Context(), by, w.maker.Public(), w.maker.Public().Fingerprint()))
	var b bytes.Buffer
	w.must(shipment.Write(&b, rand.Reader, w.maker, batch, meters, s.vault.Transport()))
	r, err := s.vault.ImportShipment(w.t.Context(), by, &b)
	w.must(err)
	if !r.Clean() {
		w.t.Fatal(r)
	}
	out := make([]dlms.SystemTitle, n)
	for i, m := range meters {
		out[i] = m.Title
	}
	return out
}

func (w *world) enrol(s *system, kind enrol.Kind, title dlms.SystemTitle) *enrol.Identity {
	w.t.Helper()
	id, err := enrol.NewIdentity(kind, title, rand.Reader)
	w.must(err)
	f, err := id.File(s.vault.Transport(), rand.Reader)
	w.must(err)
	w.must(s.vault.EnrolDevice(w.t.Context(), by, f, f.Fingerprint()))
	return id
}

// change makes a new version of a key and brings it as far as to.
func (w *world) change(s *system, m dlms.SystemTitle, r role.Role, to vault.State) vault.KeyInfo {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	g, err := s.vault.Generate(w.t.Context(), by, []vault.Target{{Meter: m, Role: r}})
	w.must(err)
	w.must(g[0].Err)
	ref := []role.KeyRef{g[0].Info.Ref}
	if to == vault.Sent || to == vault.Active {
		w.must(s.vault.MarkSent(w.t.Context(), by, ref))
	}
	if to == vault.Active {
		w.now = w.now.Add(time.Second)
		w.must(s.vault.MarkActive(w.t.Context(), by, ref, "test"))
	}
	return g[0].Info
}

func (w *world) backup(name string) string {
	w.t.Helper()
	dir := w.path(name)
	_, err := backup.Make(w.t.Context(), backup.Source{Store: w.db, Data: w.data, Root: w.root, Now: w.clock}, dir)
	w.must(err)
	return dir
}

func (w *world) options(from string, journals ...string) backup.Options {
	return backup.Options{Backup: from, Journals: journals, Passphrase: pass, By: by, Now: w.clock}
}

// restore brings a backup back into a new data directory and goes on with that.
func (w *world) restore(from string, journals ...string) backup.Report {
	w.t.Helper()
	_ = w.db.Close()
	w.n++
	w.data = w.path(fmt.Sprintf("restored-%d", w.n))
	r, err := backup.Restore(w.t.Context(), w.options(from, journals...), w.data)
	w.must(err)
	w.open()
	return r
}

func (s *system) history(w *world, m dlms.SystemTitle) []vault.KeyInfo {
	w.t.Helper()
	all, err := s.vault.History(w.t.Context(), m)
	w.must(err)
	return all
}
