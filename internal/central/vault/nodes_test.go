package vault_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// nodes makes a world whose database knows nodes: the place in the world's own journal has gone to one of them.
func nodes(t *testing.T) (*world, shipment.Meter) {
	t.Helper()
	w := newWorld(t)
	m := w.imported(1)[0]
	_, err := w.store.As(t.Context(), store.NodeOptions{Name: "first", At: w.now})
	w.ok(err)
	return w, m
}

// node starts a node of the central system, with a key journal of its own.
func (w *world) node(name, journal string) (*dying, *vault.Software) {
	w.t.Helper()
	s, err := w.store.As(w.t.Context(), store.NodeOptions{Name: name, At: w.now})
	w.ok(err)
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	d := &dying{Store: s}
	v, err := vault.Open(w.t.Context(), w.dir, root, d, audit.New(s, audit.Options{}), vault.Options{
		Journal: filepath.Join(w.data, journal), Block: 4,
	})
	w.ok(err)
	w.t.Cleanup(func() { _ = v.Close() })
	return d, v
}

// diesAtCommit makes the transaction of ctx fail when the journal has been written.
func diesAtCommit(ctx context.Context, s *store.Store) error {
	return s.BeforeCommit(ctx, "the commit", 1, func(context.Context, []any) error { return errCrash })
}

// dying is a store whose node dies between its journal and its commit.
type dying struct {
	*store.Store
	dead bool
}

func (d *dying) Durable(ctx context.Context, fn func(ctx context.Context) error) error {
	return d.Store.Durable(ctx, d.last(fn))
}

func (d *dying) Update(ctx context.Context, fn func(ctx context.Context) error) error {
	if d.InUpdate(ctx) {
		return d.Store.Update(ctx, fn)
	}
	return d.Store.Update(ctx, d.last(fn))
}

// last is fn, and then death.
func (d *dying) last(fn func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		if err := fn(ctx); err != nil || !d.dead {
			return err
		}
		return diesAtCommit(ctx, d.Store)
	}
}

func TestLaw5ANodeThatDiedBeforeItsCommitComesBackAfterAnotherTookOver(t *testing.T) {
	w, m := nodes(t)
	target := []vault.Target{{Meter: m.Title, Role: role.CCIS}}
	_, b := w.node("b", "b")
	d, a := w.node("a", "a")
	d.dead = true
	if _, err := a.Generate(t.Context(), by, target); !errors.Is(err, errCrash) {
		t.Fatalf("want the crash, got %v", err)
	}
	w.ok(a.Close())

	// b makes the version that a has in its journal alone, and brings it into force.
	made, err := b.Generate(t.Context(), by, target)
	w.ok(err)
	ref := []role.KeyRef{made[0].Info.Ref}
	w.ok(b.MarkSent(t.Context(), by, ref))
	w.ok(b.MarkActive(t.Context(), by, ref, "test"))

	_, a = w.node("a", "a")
	now, err := a.Active(t.Context(), target)
	w.ok(err)
	if now[0].Ref != ref[0] || now[0].Fingerprint != made[0].Info.Fingerprint {
		t.Errorf("want %s as b made it, got %+v", ref[0], now[0])
	}
	next, err := a.Generate(t.Context(), by, target)
	w.ok(err)
	if next[0].Err != nil || next[0].Info.Ref.Version != ref[0].Version+1 {
		t.Errorf("want the version behind it, got %+v", next[0])
	}
}

func TestAStoreThatWentOnWithoutTheJournalOfASentVersionIsRefused(t *testing.T) {
	w, m := nodes(t)
	target := []vault.Target{{Meter: m.Title, Role: role.CCIS}}
	_, b := w.node("b", "b")
	d, a := w.node("a", "a")
	// What is in a's journal alone here was committed in truth, and lost when the store was brought back from a backup.
	d.dead = true
	if _, err := a.Generate(t.Context(), by, target); !errors.Is(err, errCrash) {
		t.Fatalf("want the crash, got %v", err)
	}
	ref := role.KeyRef{Meter: m.Title, Role: role.CCIS, Version: 2}
	err := d.Update(t.Context(), func(ctx context.Context) error { // the step takes the version over from the journal first
		return errors.Join(a.MarkSent(ctx, by, []role.KeyRef{ref}), diesAtCommit(ctx, d.Store))
	})
	if !errors.Is(err, errCrash) {
		t.Fatalf("want the crash, got %v", err)
	}
	w.ok(a.Close())
	made, err := b.Generate(t.Context(), by, target)
	w.ok(err)
	if made[0].Info.Ref != ref {
		t.Fatalf("want %s, got %s", ref, made[0].Info.Ref)
	}
	s, err := w.store.As(t.Context(), store.NodeOptions{Name: "a", At: w.now})
	w.ok(err)
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	_, err = vault.Open(t.Context(), w.dir, root, s, audit.New(s, audit.Options{}), vault.Options{Journal: filepath.Join(w.data, "a")})
	if !errors.Is(err, vault.ErrTwoVersions) {
		t.Errorf("want ErrTwoVersions, got %v", err)
	}
}

func TestANodeThatComesBackLeavesWhatAnotherHasBroughtFurther(t *testing.T) {
	w, m := nodes(t)
	_, b := w.node("b", "b")
	d, a := w.node("a", "a")
	made, err := a.Generate(t.Context(), by, []vault.Target{{Meter: m.Title, Role: role.CCIS}})
	w.ok(err)
	ref := []role.KeyRef{made[0].Info.Ref}
	err = d.Update(t.Context(), func(ctx context.Context) error {
		return errors.Join(a.MarkSent(ctx, by, ref), diesAtCommit(ctx, d.Store))
	})
	if !errors.Is(err, errCrash) {
		t.Fatalf("want the crash, got %v", err)
	}
	w.ok(a.Close())
	w.ok(b.MarkSent(t.Context(), by, ref))
	w.ok(b.MarkActive(t.Context(), by, ref, "test"))

	_, a = w.node("a", "a")
	info, err := a.Info(t.Context(), ref)
	w.ok(err)
	if info[0].State != vault.Active {
		t.Errorf("want the state that b has proven, got %s", info[0].State)
	}
}

func TestLaw4ACounterThatAnotherNodeAcceptedIsRefused(t *testing.T) {
	w, m := nodes(t)
	var floors []security.ReceiveFloor
	for _, name := range []string{"a", "b"} {
		_, v := w.node(name, name)
		opened, err := v.OpenFor(t.Context(), by, node, "test", []role.KeyRef{first(m, role.CCLAN)})
		w.ok(err)
		w.ok(opened[0].Err)
		floors = append(floors, opened[0].Use.LongTerm().Floor)
	}
	w.ok(floors[0].Commit(m.Title, 100))
	for _, replayed := range []dlms.InvocationCounter{50, 100} {
		if err := floors[1].Commit(m.Title, replayed); !errors.Is(err, store.ErrFloor) {
			t.Errorf("counter %d: want ErrFloor, got %v", replayed, err)
		}
	}
	w.ok(floors[1].Commit(m.Title, 101))
}

// TestLaw4AReplacedProcessReservesNothing starts a second process of one node, over a copy of its journal, while the
// first one still runs.
func TestLaw4AReplacedProcessReservesNothing(t *testing.T) {
	w, m := nodes(t)
	k := []role.KeyRef{first(m, role.CCLAN)}
	spent := map[dlms.InvocationCounter]bool{}
	draw := func(o []vault.Opened, n int) (err error) {
		for range n {
			var ic dlms.InvocationCounter
			if ic, err = o[0].Use.LongTerm().Send.Next(); err != nil {
				return err
			}
			if spent[ic] {
				t.Fatalf("counter %d was handed out twice", ic)
			}
			spent[ic] = true
		}
		return nil
	}
	_, a := w.node("a", "a")
	old, err := a.OpenFor(t.Context(), by, node, "test", k)
	w.ok(err)
	w.ok(draw(old, 3))
	journal, err := os.ReadFile(filepath.Join(w.data, "a"))
	w.ok(err)
	w.ok(os.WriteFile(filepath.Join(w.data, "copy"), journal, 0o600))
	_, second := w.node("a", "copy")
	fresh, err := second.OpenFor(t.Context(), by, node, "test", k)
	w.ok(err)
	w.ok(draw(fresh, 30))
	if err := draw(old, 100); !errors.Is(err, store.ErrFenced) {
		t.Errorf("want ErrFenced when its block is used up, got %v", err)
	}
	w.ok(draw(fresh, 30))
}

// TestLaw5AfterARestoreTheNodesBringTheirJournalsInAnyOrder lets two nodes work on each other's keys, takes the database
// back to before that, and starts them again: what one has of the other's versions waits for them.
func TestLaw5AfterARestoreTheNodesBringTheirJournalsInAnyOrder(t *testing.T) {
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		w, m := nodes(t)
		_, a := w.node("a", "a")
		_, b := w.node("b", "b")
		k := role.KeyRef{Meter: m.Title, Role: role.CCIS, Version: 2}
		backup := filepath.Join(t.TempDir(), "backup")
		w.ok(w.store.Backup(t.Context(), backup))

		made, err := b.Generate(t.Context(), by, []vault.Target{{Meter: m.Title, Role: role.CCIS}})
		w.ok(err)
		w.ok(a.MarkSent(t.Context(), by, []role.KeyRef{k}))
		w.ok(a.MarkActive(t.Context(), by, []role.KeyRef{k}, "test"))
		spent := map[dlms.InvocationCounter]bool{}
		draw := func(v *vault.Software) {
			t.Helper()
			o, err := v.OpenFor(t.Context(), by, node, "test", []role.KeyRef{k})
			w.ok(err)
			w.ok(o[0].Err)
			for range 10 {
				ic, err := o[0].Use.LongTerm().Send.Next()
				w.ok(err)
				if spent[ic] {
					t.Fatalf("counter %d was handed out twice", ic)
				}
				spent[ic] = true
			}
		}
		draw(a)
		w.ok(errors.Join(a.Close(), b.Close()))
		w.restored(backup)

		vaults := map[string]*vault.Software{}
		for _, name := range order {
			_, vaults[name] = w.node(name, name)
		}
		info, err := vaults["a"].Info(t.Context(), []role.KeyRef{k})
		w.ok(err)
		if info[0].State != vault.Active || info[0].Fingerprint != made[0].Info.Fingerprint {
			t.Errorf("%v: want the version that was proven, got %+v", order, info[0])
		}
		draw(vaults["a"])
	}
}

// restored puts a backup in the place of the database.
func (w *world) restored(backup string) {
	w.t.Helper()
	w.stop()
	to := filepath.Join(w.data, store.FileName)
	for _, old := range []string{to, to + "-wal", to + "-shm"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	b, err := os.ReadFile(backup)
	w.ok(err)
	w.ok(os.WriteFile(to, b, 0o600))
	w.store, err = store.Open(w.t.Context(), w.data, store.Options{})
	w.ok(err)
	w.t.Cleanup(func() { _ = w.store.Close() })
}
