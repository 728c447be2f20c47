//go:build pkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/internal/central/backup"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

var errCrash = errors.New("crash")

// crashes fails at the n-th time that it is asked, and ever after.
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

// rotating is a store that asks before each write of a rotation, and after each commit.
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

// settle does what a node does until there is nothing more to do at once.
func (w *house) settle() error {
	if err := w.vault.Follow(w.t.Context()); err != nil {
		return err
	}
	for {
		more, err := w.vault.ReSeal(w.t.Context())
		if err != nil || !more {
			return err
		}
	}
}

// restart ends the process and begins another.
func (w *house) restart() {
	w.t.Helper()
	w.close()
	w.open(nil)
}

// opens proves that every row opens in the token with the root file as it is, and counts rows by their terms.
func (w *house) opens(what string) map[uint32]int {
	w.t.Helper()
	hold, err := vault.UnsealHold(w.h.dir, nil, w.token)
	must(w.t, err)
	defer hold.Close()
	p, err := backup.Prove(w.t.Context(), w.db, hold, nil)
	if err != nil || !p.Sound() || p.Meters != len(w.meters) || p.Devices != 1 {
		w.t.Fatalf("%s: %+v, %v", what, p, err)
	}
	counts, err := w.db.TermCounts(w.t.Context())
	must(w.t, err)
	return counts
}

// kept counts the keys of a term in the token.
func (w *house) kept(term uint32) (n int) {
	w.t.Helper()
	must(w.t, w.v.do("count", func(s *session) error {
		for _, what := range []string{"wrap", "mac"} {
			got, err := s.objects(p11.CKO_SECRET_KEY, w.v.label(what, term))
			if err != nil {
				return err
			}
			n += len(got)
		}
		return nil
	}))
	return n
}

func (w *house) rotateAndRetire(old uint32) error {
	if err := w.vault.RotateRoot(w.t.Context(), by, "test", nil); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	return w.retire(old)
}

// retire ends a term, with a rotation as a backup made now would have it.
func (w *house) retire(old uint32) error {
	b, err := w.db.VaultState(w.t.Context(), vault.StateRotation)
	if err != nil {
		return err
	}
	r, err := vault.ParseRotation(b)
	if err != nil {
		return err
	}
	return w.vault.RetireTerm(w.t.Context(), by, old, vault.Backed{Rotation: r})
}

// TestLaw5ACrashAtAnyStepOfARotationOfTheRootInATokenLosesNoKey lets the power fail at every write of a rotation and of the
// end of the old term: of the root file, of the token and of the database. After each crash every key opens in the token;
// then all is done over, and the token is left with the keys of one term.
func TestLaw5ACrashAtAnyStepOfARotationOfTheRootInATokenLosesNoKey(t *testing.T) {
	w := newHouse(t, nil)
	seen := map[string]bool{}
	n := 0
	for done := false; !done; n++ {
		old := w.v.Term()
		c := &crashes{left: 1 << 30}
		must(t, w.vault.Close())
		w.start(rotating{w.db, c}, c.at)
		c.left = n
		w.m.set(func(_ int64, call string) error {
			if call != "GenerateKey" && call != "DestroyObject" {
				return nil
			}
			if c.at("token: "+call) != nil {
				return p11.Error(p11.CKR_DEVICE_REMOVED)
			}
			return nil
		})
		err := w.rotateAndRetire(old)
		w.m.set(nil)
		if done = err == nil; !done && !errors.Is(err, errCrash) && !errors.Is(err, vault.ErrToken) {
			t.Fatalf("at %d, %q: %v", n, c.where, err)
		}
		seen[c.where] = true
		w.opens("after a crash at " + c.where)
		w.restart()
		w.opens("after a restart, after a crash at " + c.where)
		w.now = w.now.Add(time.Second)
		w.change(w.meters[0], role.CCIS)
		must(t, w.settle())
		if w.v.Term() == old { // the crash came before anything was begun
			must(t, w.rotateAndRetire(old))
		} else if slices.Contains(w.v.Terms(), old) {
			must(t, w.retire(old))
		}
		if terms := w.opens("done over, after a crash at " + c.where); len(terms) != 1 || terms[w.v.Term()] == 0 || w.v.Term() != old+1 {
			t.Errorf("after a crash at %q: rows under %v, sealing %d", c.where, terms, w.v.Term())
		}
		if gone, there := w.kept(old), w.kept(old+1); gone != 0 || there != 2 {
			t.Errorf("after a crash at %q: the token has %d keys of the old term and %d of the new", c.where, gone, there)
		}
	}
	for _, want := range []string{
		"stage, file, before", "stage, file, in place", "seal, file, in place", "retire, file, in place", "token: GenerateKey",
		"token: DestroyObject", "rotation, staged", "rotation, seals", "rotation, retired", "re-seal keys", "re-seal devices",
		"re-seal, pass ended", "after a commit", "state root-rotation",
	} {
		if !seen[want] {
			t.Errorf("no crash at %q", want)
		}
	}
	t.Logf("%d crashes at %d places", n-1, len(seen)-1)
}
