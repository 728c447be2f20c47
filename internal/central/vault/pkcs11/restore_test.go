//go:build pkcs11

package pkcs11

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/backup"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// proven fails unless every key of two meters, in so many rows, and of one device opened.
func proven(t *testing.T, d backup.Drilled, err error, keys int) {
	t.Helper()
	if err != nil || !d.Sound() || d.Proof.Meters != 2 || d.Proof.Keys != keys || d.Proof.Devices != 1 {
		t.Errorf("want 2 meters and %d keys, got %+v, %v", keys, d, err)
	}
}

// empty fails unless nothing was put into a directory.
func empty(t *testing.T, what, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%s: %v is left in %s, %v", what, left, dir, err)
	}
}

// TestLaw5AVaultInATokenIsRestoredWithItsJournal goes on where the backup does not reach.
func TestLaw5AVaultInATokenIsRestoredWithItsJournal(t *testing.T) {
	for name, pass := range map[string][]byte{"a root file with a passphrase": housePass, "one in clear, kept apart": nil} {
		t.Run(name, func(t *testing.T) {
			w := newHouse(t, pass)
			from := w.backup("backup")
			w.change(w.meters[0], role.CCLAN)
			w.change(w.meters[1], role.CCIS)
			before, err := w.vault.History(t.Context(), w.meters[0])
			must(t, err)

			o := w.restoring(from, w.journal)
			o.Passphrase = pass
			if pass == nil {
				if _, err := backup.Drill(t.Context(), o, t.TempDir()); !errors.Is(err, backup.ErrNoRoot) {
					t.Errorf("without its root file: want ErrNoRoot, got %v", err)
				}
				o.RootFile = filepath.Join(w.h.dir, vault.RootFile)
			}
			d, err := backup.Drill(t.Context(), o, t.TempDir()) // beside the process that is at work in the token
			proven(t, d, err, 10)
			w.change(w.meters[0], role.CCLOCALE) // which goes on
			w.close()

			into := filepath.Join(w.base, "restored")
			r, err := backup.Restore(t.Context(), o, into)
			if err != nil || r.Sealed || r.Batches == 0 {
				t.Fatalf("got %+v, %v", r, err)
			}
			w.h.dir = into
			w.open(pass)
			after, err := w.vault.History(t.Context(), w.meters[0])
			if err != nil || len(after) != len(before)+1 {
				t.Errorf("got %d versions after %d, %v", len(after), len(before), err)
			}
			for i := range before {
				if after[i].Fingerprint != before[i].Fingerprint && after[i].Ref == before[i].Ref {
					t.Errorf("%s is another key", before[i].Ref)
				}
			}
			w.change(w.meters[1], role.CCLAN)
			if b, err := os.ReadFile(filepath.Join(into, backup.TLSDir, "server.key")); err != nil || string(b) != "a private key" {
				t.Errorf("certificates: %q, %v", b, err)
			}
		})
	}
}

// TestLaw5AVaultInATokenIsRestoredWithoutItsJournal has two people open it under a new title.
func TestLaw5AVaultInATokenIsRestoredWithoutItsJournal(t *testing.T) {
	w := newHouse(t, housePass)
	from := w.backup("backup")
	w.change(w.meters[0], role.CCLAN)
	d, err := backup.Drill(t.Context(), w.restoring(from), t.TempDir())
	proven(t, d, err, 8)
	w.close()
	into := filepath.Join(w.base, "restored")
	r, err := backup.Restore(t.Context(), w.restoring(from), into)
	if err != nil || !r.Sealed || len(r.Lost) != 1 || r.Lost[0].Node != houseNode.String() {
		t.Fatalf("got %+v, %v", r, err)
	}
	hold, err := vault.UnsealHold(into, housePass, w.token)
	must(t, err)
	defer hold.Close()
	db, err := store.Open(t.Context(), into, store.Options{})
	must(t, err)
	defer db.Close()
	log := audit.New(db, audit.Options{Now: w.clock})
	open := func(node string) (*vault.Software, error) {
		return vault.Open(t.Context(), into, hold, db, log, vault.Options{Journal: filepath.Join(w.base, "new.journal"), Node: node, Now: w.clock, Alone: true})
	}
	if _, err := open(houseNode.String()); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("want ErrSealed, got %v", err)
	}
	for _, who := range []audit.Actor{"person:alice", "person:bob"} {
		must(t, vault.Approve(t.Context(), db, log, vault.Approval{By: who, Reason: "burnt", At: w.now}))
	}
	space, err := vault.OpenSealed(t.Context(), db, log, w.now, w.h.options().Rand, func(vault.Seal, vault.Approval) error { return nil })
	must(t, err)
	v, err := open(space.Title.String())
	must(t, err)
	defer v.Close()
	g, err := v.Generate(t.Context(), by, []vault.Target{{Meter: w.meters[0], Role: role.CCLAN}})
	must(t, err)
	if g[0].Err != nil || g[0].Info.Ref.Version < space.FirstVersion {
		t.Errorf("got %+v", g[0])
	}
}

// trouble is what befalls a token in the middle of something, from one of its calls on.
var trouble = map[string]func(w *house, call string) error{
	"removed": func(*house, string) error { return p11.Error(p11.CKR_DEVICE_REMOVED) },
	"broken":  func(*house, string) error { return p11.Error(p11.CKR_DEVICE_ERROR) },
	"locked": func(w *house, call string) error {
		if call == "Login" {
			return p11.Error(p11.CKR_PIN_LOCKED)
		}
		return p11.Error(p11.CKR_USER_NOT_LOGGED_IN)
	},
	"full": func(_ *house, call string) error {
		if call == "UnwrapKey" || call == "GenerateKey" {
			return p11.Error(p11.CKR_DEVICE_MEMORY)
		}
		return nil
	},
}

// TestATokenThatStopsToServeInADrillOrARestoreIsToldAndLosesNothing lets it stop at every other one of its calls.
func TestATokenThatStopsToServeInADrillOrARestoreIsToldAndLosesNothing(t *testing.T) {
	w := newHouse(t, housePass)
	from := w.backup("backup")
	w.change(w.meters[0], role.CCLAN)
	journal, err := os.ReadFile(w.journal)
	must(t, err)
	w.close()
	o := w.restoring(from, w.journal)
	scratch, into := t.TempDir(), t.TempDir()
	for what, do := range map[string]func() error{
		"drill":   func() error { _, err := backup.Drill(t.Context(), o, scratch); return err },
		"restore": func() error { _, err := backup.Restore(t.Context(), o, into); return err },
	} {
		for name, befalls := range trouble {
			refused := 0
			for at := int64(1); ; at += 2 {
				var hit atomic.Bool
				w.m.set(func(n int64, call string) error {
					if n < at {
						return nil
					}
					err := befalls(w, call)
					if err != nil {
						hit.Store(true)
					}
					return err
				})
				err := do()
				w.m.set(nil)
				switch {
				case err != nil && !errors.Is(err, vault.ErrToken):
					t.Errorf("%s, %s at call %d: want ErrToken, got %v", what, name, at, err)
				case err == nil && hit.Load() && name != "full": // its GCM is then done without
					t.Errorf("%s, %s at call %d: it passed all the same", what, name, at)
				}
				if err == nil {
					break
				}
				refused++
				empty(t, what+", "+name, scratch)
				empty(t, what+", "+name, into)
			}
			if refused < 5 {
				t.Errorf("%s, %s: refused %d times only", what, name, refused)
			}
			if what == "restore" { // it was done in the end
				must(t, os.RemoveAll(into))
				must(t, os.Mkdir(into, 0o700))
			}
		}
	}
	if now, err := os.ReadFile(w.journal); err != nil || string(now) != string(journal) {
		t.Errorf("the journal was changed, %v", err)
	}
	d, err := backup.Drill(t.Context(), o, scratch)
	proven(t, d, err, 9)
}

// TestAWrongTokenIsRefusedBeforeAnythingIsRestored tries a token that is not there, another vault's, one that has keys of
// the right names, and none at all.
func TestAWrongTokenIsRefusedBeforeAnythingIsRestored(t *testing.T) {
	w, other := newHouse(t, housePass), newHSM(t)
	from := w.backup("backup")
	w.close()
	instead := func(label string) func(root *vault.TokenRoot) (vault.Hold, error) {
		return func(root *vault.TokenRoot) (vault.Hold, error) {
			return w.token(root.In(vault.TokenPlace{Module: root.Place().Module, Label: label}))
		}
	}
	into := t.TempDir()
	refused := func(name string, token func(root *vault.TokenRoot) (vault.Hold, error), want error, says string) {
		t.Helper()
		o := w.restoring(from, w.journal)
		o.Token = token
		for what, do := range map[string]func() error{
			"drill":   func() error { _, err := backup.Drill(t.Context(), o, into); return err },
			"restore": func() error { _, err := backup.Restore(t.Context(), o, into); return err },
		} {
			if err := do(); !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s, %s: want %v, got %v", what, name, want, err)
			}
			empty(t, name, into)
		}
	}
	refused("none in any slot", instead("nowhere"), vault.ErrToken, "nowhere")
	refused("empty, or another vault's", instead(other.place.Label), vault.ErrRoot, "another vault's")
	refused("a program without PKCS#11", nil, vault.ErrInToken, w.h.place.Label)
	wrong := func(root *vault.TokenRoot) (vault.Hold, error) {
		o := w.options()
		o.PIN = pinOf("00000000")
		return Open(root, o)
	}
	refused("the wrong PIN", wrong, vault.ErrToken, "refuses the PIN")

	hold, err := vault.UnsealHold(w.h.dir, housePass, func(root *vault.TokenRoot) (vault.Hold, error) {
		v, err := newToken(root.In(other.place), w.options())
		must(t, err)
		must(t, errors.Join(v.makeTerm(1), v.makeTransport()))
		return v, nil
	})
	must(t, err)
	must(t, hold.Close())
	refused("one whose keys were made anew", instead(other.place.Label), backup.ErrOtherKeys, "bring the token")
	d, err := backup.Drill(t.Context(), w.restoring(from, w.journal), into)
	proven(t, d, err, 8)
}

// otherRestore is what TestRestoresInAnotherProcess does, where it is one.
const otherRestore = "METERSEAL_TEST_RESTORE"

type restoreJob struct{ Backup, Journal, Into string }

// TestTheTokenOfARestoreMayBeACopy takes a token of SoftHSM away in the middle of a drill, for real. For another process it
// is back, once as it was and once as the copy that was made of it; each drills, restores and goes on.
func TestTheTokenOfARestoreMayBeACopy(t *testing.T) {
	w := newHouse(t, housePass)
	from := w.backup("backup")
	w.change(w.meters[0], role.CCLAN)
	w.close()
	copied := filepath.Join(t.TempDir(), "tokens")
	must(t, os.CopyFS(filepath.Join(copied, filepath.Base(w.h.files)), os.DirFS(w.h.files)))
	conf := filepath.Join(t.TempDir(), "softhsm2.conf")
	must(t, os.WriteFile(conf, []byte("directories.tokendir = "+copied+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600))

	away, scratch := w.h.files+".away", t.TempDir()
	o := w.restoring(from, w.journal)
	o.Progress = func(step string, done, _ int) {
		if step == "key journals taken over" && done == 1 {
			must(t, os.Rename(w.h.files, away))
			s, err := w.h.ctx.OpenSession(w.h.slot, p11.CKF_SERIAL_SESSION)
			must(t, err)
			must(t, errors.Join(w.h.ctx.Logout(s), w.h.ctx.CloseSession(s)))
		}
	}
	if _, err := backup.Drill(t.Context(), o, scratch); !errors.Is(err, vault.ErrToken) {
		t.Errorf("removed in the middle of a drill: want ErrToken, got %v", err)
	}
	empty(t, "removed", scratch)

	again := func(name, conf string) {
		t.Helper()
		journal := filepath.Join(t.TempDir(), "key.journal") // which the other process goes on with
		b, err := os.ReadFile(w.journal)
		must(t, err)
		must(t, os.WriteFile(journal, b, 0o600))
		text, err := json.Marshal(restoreJob{from, journal, filepath.Join(w.base, name)})
		must(t, err)
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRestoresInAnotherProcess$", "-test.v")
		c.Env = append(os.Environ(), otherDir+"="+w.h.dir, otherRestore+"="+string(text), "SOFTHSM2_CONF="+conf)
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "restored in another process") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	again("with the copy", conf)
	must(t, os.Rename(away, w.h.files))
	again("with the token", os.Getenv("SOFTHSM2_CONF"))
}

// TestRestoresInAnotherProcess drills and restores what it is told of, or what it makes.
func TestRestoresInAnotherProcess(t *testing.T) {
	var j restoreJob
	if text := os.Getenv(otherRestore); text != "" {
		must(t, json.Unmarshal([]byte(text), &j))
	} else {
		w := newHouse(t, housePass)
		j = restoreJob{w.backup("backup"), w.journal, filepath.Join(w.base, "restored")}
		w.change(w.meters[0], role.CCLAN)
		w.close()
	}
	w := &house{t: t, h: &hsm{}, m: new(meddler), journal: j.Journal, now: time.Date(2026, 11, 4, 8, 0, 0, 0, time.UTC)}
	d, err := backup.Drill(t.Context(), w.restoring(j.Backup, j.Journal), t.TempDir())
	proven(t, d, err, 9)
	_, err = backup.Restore(t.Context(), w.restoring(j.Backup, j.Journal), j.Into)
	must(t, err)
	w.h.dir = j.Into
	w.open(housePass)
	meters, err := w.db.Meters(t.Context())
	must(t, err)
	w.change(meters[0].Title, role.CCIS)
	must(t, w.vault.Close())
	if !t.Failed() {
		t.Log("restored in another process")
	}
}
