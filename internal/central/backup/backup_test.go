package backup_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/backup"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// TestLaw5ARestoreWithTheJournalHasEverythingThatEverLeft does after the backup whatever can be done, and compares.
func TestLaw5ARestoreWithTheJournalHasEverythingThatEverLeft(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	meters := w.ship(a, "b1", 1, 3)
	w.enrol(a, enrol.Concentrator, dc1)
	w.must(a.fleet.Assign(t.Context(), by, dc1, meters[:2]))
	w.change(a, meters[0], role.CCIS, vault.Active)
	from := w.backup("backup")

	meters = append(meters, w.ship(a, "b2", 4, 1)...)
	w.enrol(a, enrol.Concentrator, dc2)
	w.enrol(a, enrol.Terminal, tsp)
	w.must(a.fleet.Assign(t.Context(), by, dc2, meters[2:]))
	w.change(a, meters[0], role.CCIS, vault.Active)
	w.change(a, meters[1], role.CCLAN, vault.Sent)
	w.change(a, meters[3], role.CCLOCALE, vault.Pending)
	live, err := a.fleet.Grant(t.Context(), by, fleet.Grant{Terminal: tsp, Meters: meters[:1], NotBefore: w.now, NotAfter: w.now.Add(time.Hour)})
	w.must(err)
	ended, err := a.fleet.Grant(t.Context(), by, fleet.Grant{Terminal: tsp, Meters: meters[1:2], NotBefore: w.now, NotAfter: w.now.Add(time.Hour)})
	w.must(err)
	w.must(a.fleet.End(t.Context(), by, ended))
	w.must(a.fleet.Revoke(t.Context(), by, dc1, "stolen"))
	opened, err := a.vault.OpenFor(t.Context(), by, node1, "test", []role.KeyRef{{Meter: meters[0], Role: role.CCLAN, Version: 1}})
	w.must(err)
	before := map[dlms.SystemTitle][]vault.KeyInfo{}
	for _, m := range meters {
		before[m] = a.history(w, m)
	}
	spent, err := opened[0].Use.LongTerm().Send.Next()
	w.must(err)
	w.must(a.vault.Close())

	r := w.restore(from, a.journal)
	if r.Sealed || r.Batches == 0 {
		t.Errorf("got %+v", r)
	}
	a = w.node(node1)
	for _, m := range meters {
		if d := cmp.Diff(before[m], a.history(w, m)); d != "" {
			t.Errorf("keys of %s (-before +after):\n%s", m, d)
		}
	}
	again, err := a.vault.OpenFor(t.Context(), by, node1, "test", []role.KeyRef{{Meter: meters[0], Role: role.CCLAN, Version: 1}})
	w.must(err)
	if ic, err := again[0].Use.LongTerm().Send.Next(); err != nil || ic <= spent {
		t.Errorf("counter %d was spent, got %d, %v", spent, ic, err)
	}
	if d, err := a.fleet.Device(t.Context(), dc1); err != nil || d.State != fleet.DeviceRevoked {
		t.Errorf("the stolen concentrator: %+v, %v", d, err)
	}
	if m, err := a.fleet.Find(t.Context(), meters[2]); err != nil || m.Concentrator != dc2 {
		t.Errorf("the meter that was placed: %+v, %v", m, err)
	}
	grants, err := a.fleet.Grants(t.Context(), fleet.GrantLive)
	if err != nil || len(grants) != 1 || grants[0].ID != live.ID {
		t.Errorf("live grants: %+v, %v", grants, err)
	}
	if grants, err = a.fleet.Grants(t.Context(), fleet.GrantEnded); err != nil || len(grants) != 1 || grants[0].ID != ended.ID {
		t.Errorf("ended grants: %+v, %v", grants, err)
	}
	if b, err := os.ReadFile(filepath.Join(w.data, backup.TLSDir, "server.key")); err != nil || string(b) != "a private key" {
		t.Errorf("certificates: %q, %v", b, err)
	}
}

// TestLaw5TheJournalsOfAllNodesAreTakenOverTogether has one node go on with what the other has made, there and back.
func TestLaw5TheJournalsOfAllNodesAreTakenOverTogether(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(node1), w.node(node2)
	from := w.backup("backup")
	meters := w.ship(a, "b1", 1, 1)
	w.enrol(b, enrol.Concentrator, dc1)
	w.must(a.fleet.Assign(t.Context(), by, dc1, meters))
	w.enrol(a, enrol.Concentrator, dc2)
	k := w.change(b, meters[0], role.CCIS, vault.Pending)
	w.now = w.now.Add(time.Second)
	w.must(a.vault.MarkSent(t.Context(), by, []role.KeyRef{k.Ref}))
	w.now = w.now.Add(time.Second)
	w.must(b.vault.MarkActive(t.Context(), by, []role.KeyRef{k.Ref}, "test"))
	before := a.history(w, meters[0])
	w.must(errors.Join(a.vault.Close(), b.vault.Close()))

	if r := w.restore(from, b.journal, a.journal); r.Sealed {
		t.Errorf("got %+v", r)
	}
	for _, n := range []dlms.SystemTitle{node1, node2} {
		s := w.node(n)
		if d := cmp.Diff(before, s.history(w, meters[0])); d != "" {
			t.Errorf("keys (-before +after):\n%s", d)
		}
		if m, err := s.fleet.Find(t.Context(), meters[0]); err != nil || m.Concentrator != dc1 {
			t.Errorf("got %+v, %v", m, err)
		}
	}
}

// TestLaw5ANodeAloneKeepsWhatGoesOnFromAnother starts the node first whose journal goes on from the other's.
func TestLaw5ANodeAloneKeepsWhatGoesOnFromAnother(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(node1), w.node(node2)
	m := w.ship(a, "b1", 1, 1)[0]
	from := w.backup("backup")
	w.enrol(a, enrol.Concentrator, dc1)
	w.must(b.fleet.Assign(t.Context(), by, dc1, []dlms.SystemTitle{m}))
	w.must(b.fleet.Revoke(t.Context(), by, dc1, "stolen"))
	k := w.change(a, m, role.CCIS, vault.Pending)
	w.must(b.vault.MarkSent(t.Context(), by, []role.KeyRef{k.Ref}))
	w.must(errors.Join(a.vault.Close(), b.vault.Close(), w.db.Close()))
	w.must(os.Remove(filepath.Join(w.data, store.FileName)))
	w.must(os.Link(filepath.Join(from, store.FileName), filepath.Join(w.data, store.FileName)))
	w.open()
	b = w.node(node2)
	a = w.node(node1)
	for _, s := range []*system{a, b} {
		if got := s.history(w, m); got[len(got)-1].State != vault.Sent || got[len(got)-1].Fingerprint != k.Fingerprint {
			t.Errorf("got %+v", got[len(got)-1])
		}
	}
	if d, err := a.fleet.Device(t.Context(), dc1); err != nil || d.State != fleet.DeviceRevoked {
		t.Errorf("the stolen concentrator: %+v, %v", d, err)
	}
	if got, err := a.fleet.Find(t.Context(), m); err != nil || got.Concentrator != dc1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWhatIsNotABackupOfThisVaultIsRefusedAndNothingIsLost(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	m := w.ship(a, "b1", 1, 1)[0]
	early, err := os.ReadFile(a.journal)
	w.must(err)
	w.change(a, m, role.CCIS, vault.Active)
	from := w.backup("backup")
	w.change(a, m, role.CCLAN, vault.Active)
	cut, damaged := w.path("cut"), w.path("damaged")
	w.must(os.WriteFile(cut, early, 0o600))
	whole, err := os.ReadFile(a.journal)
	w.must(err)
	whole[len(early)+100] ^= 1
	w.must(os.WriteFile(damaged, whole, 0o600))
	other := newWorld(t)
	foreign := other.node(node1).journal

	change := func(file string, f func([]byte) []byte) func(dir string) {
		return func(dir string) {
			b, err := os.ReadFile(filepath.Join(dir, file))
			w.must(err)
			w.must(os.WriteFile(filepath.Join(dir, file), f(b), 0o600))
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	for name, c := range map[string]struct {
		tamper  func(dir string)
		o       func(*backup.Options)
		want    error
		journal string
	}{
		"a byte of the database":   {tamper: change(store.FileName, flip), want: backup.ErrTampered},
		"a cut database":           {tamper: change(store.FileName, func(b []byte) []byte { return b[:len(b)-4096] }), want: backup.ErrTampered},
		"a byte of the manifest":   {tamper: change(backup.ManifestName, func(b []byte) []byte { b[40] ^= 1; return b }), want: backup.ErrForeign},
		"no manifest":              {tamper: func(d string) { w.must(os.Remove(filepath.Join(d, backup.ManifestName))) }, want: backup.ErrTampered},
		"another file":             {tamper: func(d string) { w.must(os.WriteFile(filepath.Join(d, "x"), nil, 0o600)) }, want: backup.ErrTampered},
		"a root in another place":  {tamper: func(d string) { w.must(os.Remove(filepath.Join(d, vault.RootFile))) }, want: backup.ErrNoRoot},
		"the root of another one":  {o: func(o *backup.Options) { o.RootFile = filepath.Join(other.data, vault.RootFile) }, want: backup.ErrForeign},
		"the wrong passphrase":     {o: func(o *backup.Options) { o.Passphrase = []byte("x") }, want: vault.ErrPassphrase},
		"a foreign journal":        {journal: foreign, want: vault.ErrJournalForeign},
		"a cut journal":            {journal: cut, want: vault.ErrJournalBehind},
		"a damaged journal":        {journal: damaged, want: vault.ErrJournal},
		"a journal that is no one": {journal: filepath.Join(from, store.FileName), want: vault.ErrJournal},
	} {
		t.Run(name, func(t *testing.T) {
			dir, data := w.path("copy of "+name), w.path("data of "+name)
			w.must(os.CopyFS(dir, os.DirFS(from)))
			w.must(filepath.Walk(dir, func(p string, i os.FileInfo, err error) error {
				if err == nil && !i.IsDir() {
					err = os.Chmod(p, 0o600)
				}
				return err
			}))
			if c.tamper != nil {
				c.tamper(dir)
			}
			o := w.options(dir, a.journal)
			if c.journal != "" {
				o.Journals = []string{c.journal}
			}
			if c.o != nil {
				c.o(&o)
			}
			if _, err := backup.Restore(t.Context(), o, data); !errors.Is(err, c.want) {
				t.Errorf("restore: want %v, got %v", c.want, err)
			}
			if left, err := os.ReadDir(data); err != nil || len(left) != 0 {
				t.Errorf("a refused restore left %v, %v", left, err)
			}
			if _, err := backup.Drill(t.Context(), o, t.TempDir()); !errors.Is(err, c.want) {
				t.Errorf("drill: want %v, got %v", c.want, err)
			}
		})
	}
	if now, err := os.ReadFile(a.journal); err != nil || len(now) != len(whole) {
		t.Errorf("the journal was changed: %d bytes, %v", len(now), err)
	}
}

func TestARestoreReplacesNoCentralSystem(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	from := w.backup("backup")
	if _, err := backup.Restore(t.Context(), w.options(from, a.journal), w.data); !errors.Is(err, backup.ErrOccupied) {
		t.Errorf("want ErrOccupied, got %v", err)
	}
	if _, err := backup.Make(t.Context(), backup.Source{Store: w.db, Data: w.data, Root: w.root, Now: w.clock}, from); err == nil {
		t.Error("a backup was written over")
	}
}

func TestABackupHoldsNoRootInClear(t *testing.T) {
	w := newWorld(t)
	w.must(os.Remove(filepath.Join(w.data, vault.RootFile)))
	var err error
	w.root, err = vault.Init(w.data, vault.InitOptions{Rand: rand.Reader, Transport: transportKey(t)})
	w.must(err)
	a := w.node(node1)
	w.ship(a, "b1", 1, 1)
	from := w.backup("backup")
	if _, err := os.Stat(filepath.Join(from, vault.RootFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root is in the backup: %v", err)
	}
	o := w.options(from, a.journal)
	o.Passphrase = nil
	if _, err := backup.Drill(t.Context(), o, t.TempDir()); !errors.Is(err, backup.ErrNoRoot) {
		t.Errorf("want ErrNoRoot, got %v", err)
	}
	o.RootFile = filepath.Join(w.data, vault.RootFile)
	if d, err := backup.Drill(t.Context(), o, t.TempDir()); err != nil || !d.Sound() {
		t.Errorf("got %+v, %v", d, err)
	}
	err = filepath.Walk(from, func(p string, i os.FileInfo, err error) error {
		if err != nil || i.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if strings.Contains(string(b), "a private key") {
			t.Errorf("%s holds a certificate's key in clear", p)
		}
		return err
	})
	w.must(err)
}

func TestADrillProvesEveryKeyAndNamesTheOneThatDoesNotOpen(t *testing.T) {
	w := newWorld(t)
	a := w.node(node1)
	meters := w.ship(a, "b1", 1, 5)
	w.enrol(a, enrol.Concentrator, dc1)
	from := w.backup("backup")
	w.change(a, meters[0], role.CCIS, vault.Sent)
	scratch := t.TempDir()
	var last int
	o := w.options(from, a.journal)
	o.Progress = func(step string, done, all int) {
		if step == "keys proven" {
			last = done
		}
	}
	d, err := backup.Drill(t.Context(), o, scratch)
	w.must(err)
	if !d.Sound() || d.Meters != 5 || d.Keys != 21 || d.Proof.Devices != 1 || last != 21 {
		t.Errorf("got %+v, progress %d", d, last)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("the drill left %v, %v", left, err)
	}

	// A row put in the place of another does not open.
	w.must(w.db.Update(t.Context(), func(ctx context.Context) error {
		rows, err := w.db.KeyRowsAfter(ctx, role.KeyRef{}, 2)
		w.must(err)
		moved := rows[0]
		moved.Ref.Version = 7
		moved.Fingerprint[0] ^= 1
		return w.db.AddKeys(ctx, []vault.KeyRow{moved})
	}))
	p, err := backup.Prove(t.Context(), w.db, w.root, nil)
	w.must(err)
	if p.Sound() || p.Failed != 1 || !strings.Contains(p.Refused[0], meters[0].String()+" CCC v7") {
		t.Errorf("got %+v", p)
	}
}
