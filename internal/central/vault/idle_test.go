package vault_test

import (
	"runtime"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// TestLaw4AHandleThatWasDroppedRepeatsNoCounter uses more keys than are remembered, round and round, one of them by a user
// that never gives it back.
func TestLaw4AHandleThatWasDroppedRepeatsNoCounter(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(30)
	w.held = 4
	w.restart()
	spent := map[role.KeyRef]map[dlms.InvocationCounter]bool{}
	next := func(u *vault.Use) {
		t.Helper()
		ic, err := u.LongTerm().Send.Next()
		w.ok(err)
		if spent[u.Ref] == nil {
			spent[u.Ref] = map[dlms.InvocationCounter]bool{}
		}
		if spent[u.Ref][ic] {
			t.Fatalf("%s: counter %d was used twice", u.Ref, ic)
		}
		spent[u.Ref][ic] = true
	}
	opens := func(k role.KeyRef) *vault.Use {
		t.Helper()
		opened, err := w.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{k})
		w.ok(err)
		w.ok(opened[0].Err)
		return opened[0].Use
	}
	out := opens(first(meters[0], role.CCIS))
	for range 4 {
		for _, m := range meters {
			u := opens(first(m, role.CCIS))
			next(u)
			next(out)
			next(u)
		}
		runtime.GC()
	}
	if a, b := out.LongTerm().Floor, opens(out.Ref).LongTerm().Floor; a != b {
		t.Error("a second table of floors was made while one is out")
	}
}
