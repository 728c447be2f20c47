package vault_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// settle does what a node does until there is nothing more to do at once.
func settle(ctx context.Context, v *vault.Software) error {
	if err := v.Follow(ctx); err != nil {
		return err
	}
	for {
		more, err := v.ReSeal(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// opens proves, with the root file of a directory as it is now, that every row of the store opens, and says under which
// terms they are.
func (w *world) opens(dir string) map[uint32]int {
	w.t.Helper()
	root, err := vault.Unseal(dir, nil)
	w.ok(err)
	terms := map[uint32]int{}
	rows, err := w.store.KeyRowsAfter(w.t.Context(), role.KeyRef{}, 100000)
	w.ok(err)
	for _, row := range rows {
		if err := root.CheckRow(row); err != nil {
			w.t.Fatalf("%s: %v", row.Ref, err)
		}
		terms[row.Term]++
	}
	devices, err := w.store.Devices(w.t.Context())
	w.ok(err)
	for _, d := range devices {
		row, _, err := w.store.DeviceRow(w.t.Context(), d.Title)
		w.ok(err)
		w.ok(root.CheckDevice(row))
		terms[row.KEK.Term]++
		terms[row.MAC.Term]++
	}
	return terms
}

func only(terms map[uint32]int, term uint32, rows int) bool {
	return len(terms) == 1 && terms[term] == rows
}

func TestARotationOfTheRootSealsEverythingAnewWithoutAStop(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(3)
	w.enrolled(enrol.Concentrator, dc)
	w.ok(w.fleet.Assign(t.Context(), by, dc, []dlms.SystemTitle{meters[0].Title}))
	if terms := w.opens(w.dir); !only(terms, 1, 14) {
		t.Fatalf("before: %v", terms)
	}
	before, err := w.vault.History(t.Context(), meters[0].Title)
	w.ok(err)
	w.ok(w.vault.RotateRoot(t.Context(), by, "test", nil))
	w.ok(w.vault.Follow(t.Context()))
	k := w.generated(meters[0].Title, role.CCLAN) // while the others are still to do
	rows, err := w.store.KeyRows(t.Context(), []role.KeyRef{k})
	w.ok(err)
	if rows[k].Term != 2 {
		t.Errorf("a new row is under term %d", rows[k].Term)
	}
	if _, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{k}); err != nil {
		t.Error(err)
	}
	w.ok(settle(t.Context(), w.vault))
	if terms := w.opens(w.dir); !only(terms, 2, 15) {
		t.Errorf("after: %v", terms)
	}
	s, err := w.vault.RootStatus(t.Context())
	if err != nil || !s.Finished || s.Done != 14 || s.All != 14 || s.Failed != 0 || len(s.Waiting) != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	w.restart()
	after, err := w.vault.History(t.Context(), meters[0].Title)
	w.ok(err)
	if len(after) != len(before)+1 || after[0] != before[0] {
		t.Errorf("keys changed: %v, %v", before, after)
	}
	if sealed, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{k}); err != nil || sealed[0].Err != nil {
		t.Error(err, sealed)
	}
	w.enrolled(enrol.Terminal, tsp)
	w.ok(settle(t.Context(), w.vault))
	if terms := w.opens(w.dir); !only(terms, 2, 17) {
		t.Errorf("after a restart: %v", terms)
	}
}

// backed is the newest rotation, as a backup made now has it.
func (w *world) backed() vault.Backed {
	w.t.Helper()
	b, err := w.store.VaultState(w.t.Context(), vault.StateRotation)
	w.ok(err)
	r, err := vault.ParseRotation(b)
	w.ok(err)
	return vault.Backed{Rotation: r}
}

func TestATermIsRetiredOnlyWhenNothingNeedsIt(t *testing.T) {
	w := newWorld(t)
	w.imported(2)
	refused := func(what string, term uint32, b vault.Backed, want error) {
		t.Helper()
		if err := w.vault.RetireTerm(t.Context(), by, term, b); !errors.Is(err, want) {
			t.Errorf("%s: want %v, got %v", what, want, err)
		}
		w.opens(w.dir)
	}
	refused("never rotated", 1, vault.Backed{}, vault.ErrTermOrder)
	w.ok(w.vault.RotateRoot(t.Context(), by, "test", nil))
	early := w.backed()
	refused("staged", 1, early, vault.ErrStillNeeded)
	w.ok(w.vault.Follow(t.Context()))
	refused("rows are under it", 1, early, vault.ErrStillNeeded)
	w.now = w.now.Add(time.Hour)
	w.ok(settle(t.Context(), w.vault))
	refused("a backup from before the end", 1, early, vault.ErrStillNeeded)
	refused("no backup", 1, vault.Backed{}, vault.ErrStillNeeded)
	refused("a backup from before the end, by its time", 1, vault.Backed{At: w.now.Add(-time.Minute)}, vault.ErrStillNeeded)
	refused("a backup of tomorrow", 1, vault.Backed{At: w.now.Add(24 * time.Hour)}, vault.ErrStillNeeded)
	refused("the term that seals", 2, w.backed(), vault.ErrTermOrder)
	forged := w.backed()
	forged.Rotation.Reason = "forged"
	refused("a forged backup", 1, forged, vault.ErrRotation)

	old := w.copyRoot()
	w.ok(w.vault.RetireTerm(t.Context(), by, 1, w.backed()))
	w.ok(w.vault.RetireTerm(t.Context(), by, 1, w.backed()))
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	if !slices.Equal(root.Terms(), []uint32{2}) || root.TermStates()[0].State != vault.TermRetired {
		t.Errorf("got %+v", root.TermStates())
	}
	w.opens(w.dir)
	w.restart()
	w.opens(w.dir)

	// A row under the term that is gone says so, and so does a store with one.
	before, err := vault.Unseal(old, nil)
	w.ok(err)
	if !slices.Equal(before.Terms(), []uint32{1, 2}) {
		t.Fatalf("got %v", before.Terms())
	}
	other := newWorld(t)
	other.imported(1)
	rows, err := other.store.KeyRowsAfter(t.Context(), role.KeyRef{}, 1)
	w.ok(err)
	if err := root.CheckRow(rows[0]); !errors.Is(err, vault.ErrTermRetired) || !errors.Is(err, vault.ErrRow) {
		t.Errorf("want ErrTermRetired, got %v", err)
	}
	if err := vault.CheckTerms(t.Context(), root, other.store); !errors.Is(err, vault.ErrTermRetired) {
		t.Errorf("want ErrTermRetired, got %v", err)
	}
	rows[0].Term = 9
	if err := root.CheckRow(rows[0]); !errors.Is(err, vault.ErrTerm) || !errors.Is(err, vault.ErrRow) {
		t.Errorf("want ErrTerm, got %v", err)
	}

	// The root file from before is put back: it is refused by the process that runs. A restart with it sees no harm in it.
	b, err := os.ReadFile(filepath.Join(old, vault.RootFile))
	w.ok(err)
	w.ok(os.WriteFile(filepath.Join(w.dir, vault.RootFile), b, 0o600))
	w.ok(w.vault.Follow(t.Context())) // it is destroyed once more
	if root, err = vault.Unseal(w.dir, nil); err != nil || !slices.Equal(root.Terms(), []uint32{2}) {
		t.Errorf("got %v, %v", root.Terms(), err)
	}
}

// copyRoot keeps the root file as it is now in a directory of its own.
func (w *world) copyRoot() string {
	w.t.Helper()
	dir := w.t.TempDir()
	b, err := os.ReadFile(filepath.Join(w.dir, vault.RootFile))
	w.ok(err)
	w.ok(os.WriteFile(filepath.Join(dir, vault.RootFile), b, 0o600))
	return dir
}

func TestARootFileThatIsOlderIsRefused(t *testing.T) {
	w := newWorld(t)
	w.imported(1)
	old := filepath.Join(w.copyRoot(), vault.RootFile)
	w.ok(w.vault.RotateRoot(t.Context(), by, "test", nil))
	w.ok(settle(t.Context(), w.vault))
	now := w.copyRoot()
	b, err := os.ReadFile(old)
	w.ok(err)
	w.ok(os.WriteFile(filepath.Join(w.dir, vault.RootFile), b, 0o600))
	if err := w.vault.Follow(t.Context()); !errors.Is(err, vault.ErrRoot) {
		t.Errorf("while it runs: want ErrRoot, got %v", err)
	}
	w.opens(now)
	w.stop()
	if err := w.tryStart(); !errors.Is(err, vault.ErrTerm) {
		t.Errorf("at its start: want ErrTerm, got %v", err)
	}
	w.ok(os.Rename(filepath.Join(now, vault.RootFile), filepath.Join(w.dir, vault.RootFile)))
	w.start()
	w.opens(w.dir)
}

// crashes fails at the n-th time that it is asked.
type crashes struct {
	left  int
	where string
}

func (c *crashes) at(point string) error {
	if c.left--; c.left == -1 {
		c.where = point
	}
	if c.left < 0 {
		return fmt.Errorf("%w at %q", errCrash, point)
	}
	return nil
}

// rotating is a store that asks before each write of a rotation.
type rotating struct {
	*store.Store
	c *crashes
}

func (r rotating) ReSealKeys(ctx context.Context, rows []vault.KeyRow) error {
	return errors.Join(r.c.at("re-seal keys"), r.Store.ReSealKeys(ctx, rows))
}

func (r rotating) ReSealDevices(ctx context.Context, rows []vault.DeviceRow) error {
	return errors.Join(r.c.at("re-seal devices"), r.Store.ReSealDevices(ctx, rows))
}

func (r rotating) SetVaultState(ctx context.Context, name string, value []byte) error {
	return errors.Join(r.c.at("state "+name), r.Store.SetVaultState(ctx, name, value))
}

func (r rotating) Durable(ctx context.Context, fn func(ctx context.Context) error) error {
	err := r.Store.Durable(ctx, fn)
	return errors.Join(err, r.c.at("after a commit"))
}

// TestLaw5ACrashAtAnyStepOfARotationOfTheRootLosesNoKey lets the power fail at every step of a rotation and of the end of the
// old term. After each crash every key opens with the root file as it is; then all is done over, and comes out.
func TestLaw5ACrashAtAnyStepOfARotationOfTheRootLosesNoKey(t *testing.T) {
	inMemory(t)
	seen := map[string]bool{}
	n := 0
	for ; ; n++ {
		w := newWorld(t)
		meters := w.imported(2)
		w.enrolled(enrol.Concentrator, dc)
		c := &crashes{left: 1 << 30}
		w.reopen(rotating{w.store, c}, c.at)
		c.left = n
		all := func() error {
			if err := w.vault.RotateRoot(t.Context(), by, "test", nil); err != nil {
				return err
			}
			if err := settle(t.Context(), w.vault); err != nil {
				return err
			}
			return w.vault.RetireTerm(t.Context(), by, 1, w.backed())
		}
		err := all()
		if err == nil {
			break
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("at %d: %v", n, err)
		}
		seen[c.where] = true
		w.opens(w.dir)
		w.restart()
		w.opens(w.dir)
		k := w.generated(meters[0].Title, role.CCIS)
		if s, err := w.vault.RootStatus(t.Context()); err == nil && s.Rotation == nil || !s.Finished {
			w.ok(w.vault.RotateRoot(t.Context(), by, "again", nil))
		}
		w.ok(settle(t.Context(), w.vault))
		w.ok(w.vault.RetireTerm(t.Context(), by, 1, w.backed()))
		terms := w.opens(w.dir)
		if !only(terms, 2, 11) {
			t.Errorf("after a crash at %q: %v", c.where, terms)
		}
		if w.state(k) != vault.Pending {
			t.Errorf("after a crash at %q: %s is %s", c.where, k, w.state(k))
		}
		left, err := filepath.Glob(filepath.Join(w.dir, ".vault.root.*"))
		if err != nil || len(left) > 0 {
			t.Errorf("after a crash at %q: %v is left", c.where, left)
		}
	}
	for _, want := range []string{
		"stage, file, before", "stage, file, written", "stage, file, in place", "seal, file, in place", "retire, file, in place",
		"rotation, staged", "rotation, seals", "rotation, retired", "re-seal, before", "re-seal, after", "re-seal, pass ended",
		"re-seal keys", "re-seal devices", "after a commit", "state root-rotation",
	} {
		if !seen[want] {
			t.Errorf("no crash at %q", want)
		}
	}
	t.Logf("%d crashes at %d places", n, len(seen))
}

// reopen puts another store in place of the vault's.
func (w *world) reopen(s vault.Store, crash func(string) error) {
	w.t.Helper()
	_ = w.vault.Close()
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	w.vault, err = vault.Open(w.t.Context(), w.dir, root, s, w.log, vault.Options{Journal: w.journal, Now: func() time.Time { return w.now }, Crash: crash})
	w.ok(err)
}

// station is a node with a root file of its own.
type station struct {
	*vault.Software
	dir string
}

func (w *world) station(name string) station {
	w.t.Helper()
	s := station{dir: w.copyRoot()}
	db, err := w.store.As(w.t.Context(), store.NodeOptions{Name: name, At: w.now})
	w.ok(err)
	root, err := vault.Unseal(s.dir, nil)
	w.ok(err)
	s.Software, err = vault.Open(w.t.Context(), s.dir, root, db, audit.New(db, audit.Options{}), vault.Options{
		Journal: filepath.Join(w.data, name), Node: name, Now: func() time.Time { return w.now },
	})
	w.ok(err)
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// carry brings the root file of one node to another, as a person does.
func (w *world) carry(from, to station) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(from.dir, vault.RootFile))
	w.ok(err)
	w.ok(os.WriteFile(filepath.Join(to.dir, "new"), b, 0o600))
	w.ok(os.Rename(filepath.Join(to.dir, "new"), filepath.Join(to.dir, vault.RootFile)))
}

func TestARotationWaitsForTheRootFileOfEveryNode(t *testing.T) {
	w, m := nodes(t)
	a, b := w.station("a"), w.station("b")
	w.ok(a.RotateRoot(t.Context(), by, "test", []string{"first"}))
	for range 3 {
		w.ok(settle(t.Context(), a.Software))
		w.ok(settle(t.Context(), b.Software))
	}
	s, err := a.RootStatus(t.Context())
	if err != nil || !slices.Equal(s.Waiting, []string{"a", "b"}) || s.Finished {
		t.Errorf("got %+v, %v", s, err)
	}
	if s, err := b.RootStatus(t.Context()); err != nil || !slices.Equal(s.Waiting, []string{"b"}) {
		t.Errorf("the node that lacks the term: %+v, %v", s, err)
	}
	if terms := w.opens(b.dir); !only(terms, 1, 4) {
		t.Fatalf("a node without the term meets rows under it: %v", terms)
	}
	if err := b.RotateRoot(t.Context(), by, "another", nil); !errors.Is(err, vault.ErrTerm) {
		t.Errorf("a second rotation, elsewhere: want ErrTerm, got %v", err)
	}
	w.carry(a, b)
	for range 3 {
		w.ok(settle(t.Context(), a.Software))
		w.ok(settle(t.Context(), b.Software))
	}
	if s, err := a.RootStatus(t.Context()); err != nil || !s.Finished || len(s.Waiting) != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, n := range []station{a, b} {
		if terms := w.opens(n.dir); !only(terms, 2, 4) {
			t.Errorf("got %v", terms)
		}
	}
	g, err := b.Generate(t.Context(), by, []vault.Target{{Meter: m.Title, Role: role.CCIS}})
	w.ok(err)
	if rows, err := w.store.KeyRows(t.Context(), []role.KeyRef{g[0].Info.Ref}); err != nil || rows[g[0].Info.Ref].Term != 2 {
		t.Errorf("got %+v, %v", rows, err)
	}
	w.ok(a.RetireTerm(t.Context(), by, 1, w.backed()))
	w.ok(b.Follow(t.Context()))
	for _, n := range []station{a, b} {
		if root, err := vault.Unseal(n.dir, nil); err != nil || !slices.Equal(root.Terms(), []uint32{2}) {
			t.Errorf("got %v, %v", root.Terms(), err)
		}
		w.opens(n.dir)
	}
}

// TestANodeThatMeetsARowOfAnUnknownTermReadsItsRootAgainOrRefuses has a node that was believed to be gone come back.
func TestANodeThatMeetsARowOfAnUnknownTermReadsItsRootAgainOrRefuses(t *testing.T) {
	w, m := nodes(t)
	a, b := w.station("a"), w.station("b")
	w.ok(a.RotateRoot(t.Context(), by, "b burnt", []string{"first", "b"}))
	w.ok(settle(t.Context(), a.Software))
	w.ok(settle(t.Context(), a.Software))
	if terms := w.opens(a.dir); !only(terms, 2, 4) {
		t.Fatalf("got %v", terms)
	}
	ref := []role.KeyRef{first(m, role.CCIS)}
	use := func() error {
		o, err := b.OpenFor(t.Context(), by, node, "test", ref)
		if err != nil {
			return err
		}
		return o[0].Err
	}
	if err := use(); !errors.Is(err, vault.ErrTerm) || !errors.Is(err, vault.ErrRow) {
		t.Errorf("want ErrTerm, got %v", err)
	}
	w.carry(a, b)
	if err := use(); err != nil {
		t.Errorf("with its root file brought: %v", err)
	}
}

// TestAForgedRotationIsRefused has whoever can write the store, and has no root, ask for one, and for the end of a term.
func TestAForgedRotationIsRefused(t *testing.T) {
	w := newWorld(t)
	w.imported(1)
	w.ok(w.vault.RotateRoot(t.Context(), by, "test", nil))
	w.ok(w.vault.Follow(t.Context()))
	r := w.backed().Rotation
	forge := func(change func(*vault.RootRotation)) {
		t.Helper()
		f := *r
		change(&f)
		b, err := json.Marshal(f)
		w.ok(err)
		w.ok(w.store.Update(t.Context(), func(ctx context.Context) error { return w.store.SetVaultState(ctx, vault.StateRotation, b) }))
		if err := w.vault.Follow(t.Context()); !errors.Is(err, vault.ErrRotation) {
			t.Errorf("%+v: want ErrRotation, got %v", f, err)
		}
		if terms := w.opens(w.dir); !only(terms, 1, 4) {
			t.Errorf("got %v", terms)
		}
	}
	forge(func(f *vault.RootRotation) { f.Retired = []uint32{1} })
	forge(func(f *vault.RootRotation) { f.DoneAt = w.now })
	forge(func(f *vault.RootRotation) { f.Without = []string{"x"} })
	forge(func(f *vault.RootRotation) { f.Term = 1 })
	forge(func(f *vault.RootRotation) { f.MAC = nil })

	// Signed as it is, the end of a term is not carried out while rows are under it.
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	if err := root.RetireTerm(2, w.now); !errors.Is(err, vault.ErrTermOrder) {
		t.Errorf("the term that seals: want ErrTermOrder, got %v", err)
	}
}

func TestARowThatDoesNotOpenIsToldAndKeepsItsTerm(t *testing.T) {
	w := newWorld(t)
	m := w.imported(2)[0]
	rows, err := w.store.KeyRows(t.Context(), []role.KeyRef{first(m, role.CCIS)})
	w.ok(err)
	bad := rows[first(m, role.CCIS)]
	bad.Ref.Version, bad.Fingerprint[0] = 7, bad.Fingerprint[0]^1
	w.ok(w.store.Update(t.Context(), func(ctx context.Context) error { return w.store.AddKeys(ctx, []vault.KeyRow{bad}) }))
	w.ok(w.vault.RotateRoot(t.Context(), by, "test", nil))
	for range 3 {
		w.ok(settle(t.Context(), w.vault))
	}
	s, err := w.vault.RootStatus(t.Context())
	if err != nil || s.Finished || s.Failed != 1 || len(s.Refused) != 1 || s.Done != 8 {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := w.vault.RetireTerm(t.Context(), by, 1, w.backed()); !errors.Is(err, vault.ErrStillNeeded) {
		t.Errorf("want ErrStillNeeded, got %v", err)
	}
}

// TestTwoProcessesWithOneRootFileTakeTurns changes one file from two sides at once.
func TestTwoProcessesWithOneRootFileTakeTurns(t *testing.T) {
	dir := t.TempDir()
	if _, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 2 {
		go func() {
			r, err := vault.Unseal(dir, nil)
			for range 20 {
				var term uint32
				if err == nil {
					term, err = r.StageTerm(rand.Reader, ceremonyAt)
				}
				if err == nil {
					err = r.SealUnder(term)
				}
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	r, err := vault.Unseal(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Terms()); n < 21 || n > 41 || int(r.Term()) != n {
		t.Errorf("got terms %v, sealing %d", r.Terms(), r.Term())
	}
}

// TestARotationOfASealedRootKeepsItSealed goes through a passphrase.
func TestARotationOfASealedRootKeepsItSealed(t *testing.T) {
	dir, r, _ := heldCeremony(t, nil)
	term, err := r.StageTerm(rand.Reader, ceremonyAt)
	if err == nil {
		err = r.SealUnder(term)
	}
	if err != nil || term != 2 || r.Term() != 2 {
		t.Fatal(term, err)
	}
	if _, err := vault.Unseal(dir, nil); !errors.Is(err, vault.ErrPassphrase) {
		t.Errorf("want ErrPassphrase, got %v", err)
	}
	again, err := vault.Unseal(dir, []byte("correct horse battery"))
	if err != nil || again.Term() != 2 || again.Made().Tenant != "Example Grid North" || again.ID() != r.ID() {
		t.Errorf("got %v, %v", again, err)
	}
	if err := r.RetireTerm(1, ceremonyAt); err != nil {
		t.Fatal(err)
	}
	if err := again.Reload(); err != nil || !slices.Equal(again.Terms(), []uint32{2}) {
		t.Errorf("got %v, %v", again.Terms(), err)
	}
}

// TestARotationIsFinishedInADatabaseThatWasBroughtBackIntoIt has the root file ahead of what the database knows: by one more
// rotation, which a fail-over has forgotten.
func TestARotationIsFinishedInADatabaseThatWasBroughtBackIntoIt(t *testing.T) {
	w := newWorld(t)
	w.imported(2)
	w.ok(w.vault.RotateRoot(t.Context(), by, "first", nil))
	before, err := w.store.VaultState(t.Context(), vault.StateRotation)
	w.ok(err)
	w.ok(settle(t.Context(), w.vault))
	w.ok(w.vault.RotateRoot(t.Context(), by, "second", nil))
	w.ok(settle(t.Context(), w.vault))
	w.ok(w.store.Update(t.Context(), func(ctx context.Context) error {
		return errors.Join(w.store.SetVaultState(ctx, vault.StateRotation, before), w.store.SetVaultState(ctx, "root-re-seal", nil))
	}))
	w.restart()
	w.ok(settle(t.Context(), w.vault))
	if s, err := w.vault.RootStatus(t.Context()); err != nil || !s.Finished || s.Rotation.Term != 2 {
		t.Errorf("got %+v, %v", s, err)
	}
	w.ok(w.vault.RetireTerm(t.Context(), by, 1, w.backed()))
	w.ok(w.vault.RotateRoot(t.Context(), by, "third", nil))
	w.ok(settle(t.Context(), w.vault))
	w.ok(w.vault.RetireTerm(t.Context(), by, 3, w.backed()))
	if terms := w.opens(w.dir); !only(terms, 4, 8) {
		t.Errorf("got %v", terms)
	}
}
