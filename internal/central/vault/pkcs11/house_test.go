//go:build pkcs11

package pkcs11

import (
	"bytes"
	"crypto/rand"
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
)

const by audit.Actor = "test"

var (
	houseNode = dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 1}
	housePass = []byte("correct horse battery staple")
)

// house is a central system without its network, whose vault is in a token with a meddler in between.
type house struct {
	t       *testing.T
	h       *hsm
	m       *meddler
	v       *Token
	base    string
	journal string
	now     time.Time
	file    *store.Store
	db      *store.Store // the node's own
	vault   *vault.Software
	meters  []dlms.SystemTitle
}

// newHouse has two meters and a concentrator. Its root file is sealed with a passphrase, if there is one.
func newHouse(t *testing.T, pass []byte) *house {
	t.Helper()
	w := &house{t: t, h: newHSM(t), m: new(meddler), base: t.TempDir(), now: time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)}
	w.h.dir = filepath.Join(w.base, "data")
	w.journal = filepath.Join(w.base, "key.journal")
	must(t, os.MkdirAll(filepath.Join(w.h.dir, backup.TLSDir), 0o700))
	must(t, os.WriteFile(filepath.Join(w.h.dir, backup.TLSDir, "server.key"), []byte("a private key"), 0o600))
	o := initOptions()
	if o.Passphrase = pass; pass != nil {
		o.ScryptWork = 10
	}
	v, err := Init(w.h.dir, o, w.h.place, w.options())
	must(t, err)
	must(t, v.Close())
	w.open(pass)
	w.fill()
	return w
}

func (w *house) options() Options {
	o := w.h.options()
	o.between = func(c cryptoki) cryptoki { w.m.cryptoki = c; return w.m }
	return o
}

// token opens the token that a root file names, as the configuration of a central system has it opened.
func (w *house) token(root *vault.TokenRoot) (vault.Hold, error) {
	v, err := Open(root, w.options())
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (w *house) clock() time.Time { return w.now }

// open begins a process over the data directory.
func (w *house) open(pass []byte) {
	w.t.Helper()
	hold, err := vault.UnsealHold(w.h.dir, pass, w.token)
	must(w.t, err)
	w.v = hold.(*Token)
	w.file, err = store.Open(w.t.Context(), w.h.dir, store.Options{})
	must(w.t, err)
	w.db, err = w.file.As(w.t.Context(), store.NodeOptions{Name: houseNode.String(), At: w.now})
	must(w.t, err)
	w.start(w.db, nil)
	w.t.Cleanup(w.close)
}

// start opens the vault on a store, which is the house's own or stands before it.
func (w *house) start(s vault.Store, crash func(string) error) {
	w.t.Helper()
	var err error
	w.vault, err = vault.Open(w.t.Context(), w.h.dir, w.v, s, audit.New(w.db, audit.Options{Now: w.clock}), vault.Options{
		Journal: w.journal, Node: houseNode.String(), Now: w.clock, Crash: crash,
	})
	must(w.t, err)
}

// close ends the process without a farewell.
func (w *house) close() {
	_ = w.vault.Close()
	_ = w.v.Close()
	_ = w.file.Close()
}

func (w *house) fill() {
	w.t.Helper()
	f := fleet.New(fleet.Journalled(w.db, w.vault, w.clock), audit.New(w.db, audit.Options{Now: w.clock}), w.clock, rand.Reader)
	must(w.t, f.RegisterNode(w.t.Context(), by, houseNode))
	maker, err := shipment.NewMakerKey(rand.Reader, "MSL")
	must(w.t, err)
	meters, err := shipment.Generate(rand.Reader, "MSL", 2, shipment.ProfileHardened, 1)
	must(w.t, err)
	must(w.t, w.vault.AddMaker(w.t.Context(), by, maker.Public(), maker.Public().Fingerprint()))
	var b bytes.Buffer
	must(w.t, shipment.Write(&b, rand.Reader, maker, "b1", meters, w.vault.Transport()))
	r, err := w.vault.ImportShipment(w.t.Context(), by, &b)
	must(w.t, err)
	if !r.Clean() {
		w.t.Fatal(r)
	}
	for _, m := range meters {
		w.meters = append(w.meters, m.Title)
	}
	id, err := enrol.NewIdentity(enrol.Concentrator, aConcentrator, rand.Reader)
	must(w.t, err)
	file, err := id.File(w.vault.Transport(), rand.Reader)
	must(w.t, err)
	must(w.t, w.vault.EnrolDevice(w.t.Context(), by, file, file.Fingerprint()))
	must(w.t, f.Assign(w.t.Context(), by, aConcentrator, w.meters))
}

// change makes a new version of a key, which is in force.
func (w *house) change(m dlms.SystemTitle, r role.Role) role.KeyRef {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	g, err := w.vault.Generate(w.t.Context(), by, []vault.Target{{Meter: m, Role: r}})
	must(w.t, err)
	must(w.t, g[0].Err)
	ref := []role.KeyRef{g[0].Info.Ref}
	_, err = w.vault.Wrap(w.t.Context(), by, ref)
	must(w.t, err)
	must(w.t, w.vault.MarkSent(w.t.Context(), by, ref))
	must(w.t, w.vault.MarkActive(w.t.Context(), by, ref, "test"))
	return ref[0]
}

func (w *house) backup(name string) string {
	w.t.Helper()
	dir := filepath.Join(w.base, name)
	_, err := backup.Make(w.t.Context(), backup.Source{Store: w.db, Data: w.h.dir, Root: w.v, Now: w.clock}, dir)
	must(w.t, err)
	return dir
}

func (w *house) restoring(from string, journals ...string) backup.Options {
	return backup.Options{Backup: from, Journals: journals, Passphrase: housePass, Token: w.token, By: by, Now: w.clock}
}
