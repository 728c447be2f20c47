package terminal

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport/transporttest"
)

var (
	own     = dlms.SystemTitle{'T', 'S', 'P', 1}
	granted = dlms.SystemTitle{'M', 'S', 'L', 1}
	other   = dlms.SystemTitle{'M', 'S', 'L', 2}
	noon    = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
)

// vaults are the transport keys of central systems.
var vaults transporttest.Keys

func terminalAt(t *testing.T, now time.Time) *Terminal {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tsp")
	vault, err := vaults.Key(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, own, vault.Public(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tsp, err := Open(Config{Data: dir}, Deps{Now: func() time.Time { return now }, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tsp.Close() })
	return tsp
}

// grantFor seals one key of the granted meter, as the vault does, with a range of counters.
func grantFor(t *testing.T, tsp *Terminal, k key.Unicast, first dlms.InvocationCounter) enrol.Grant {
	t.Helper()
	sealed, err := enrol.Seal(enrol.SealedKey{
		Meter: granted, Role: role.CCLOCALE, Version: 1, Recipient: own, FirstCounter: first, LastCounter: first + 99,
	}, tsp.id.KEK(), tsp.id.MAC(), k)
	if err != nil {
		t.Fatal(err)
	}
	g, err := enrol.SealGrant(enrol.Grant{
		ID: "1", Terminal: own, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), Keys: []enrol.SealedKey{sealed},
	}, tsp.id.MAC())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func unicast(t *testing.T) key.Unicast {
	t.Helper()
	k, err := key.GenerateUnicast(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTheHonestTerminalRefusesByItself(t *testing.T) {
	k := unicast(t)
	late, now := terminalAt(t, noon.Add(2*time.Hour)), terminalAt(t, noon)
	if _, err := late.Associate(t.Context(), grantFor(t, late, k, 1), granted, "127.0.0.1:1"); !errors.Is(err, enrol.ErrGrantTime) {
		t.Errorf("an expired grant: got %v", err)
	}
	longer := grantFor(t, late, k, 1)
	longer.NotAfter = noon.Add(24 * time.Hour)
	if _, err := late.Associate(t.Context(), longer, granted, "127.0.0.1:1"); !errors.Is(err, enrol.ErrGrant) {
		t.Errorf("a grant made longer by hand: got %v", err)
	}
	if _, err := now.Associate(t.Context(), grantFor(t, late, k, 1), granted, "127.0.0.1:1"); !errors.Is(err, enrol.ErrGrant) {
		t.Errorf("another terminal's grant: got %v", err)
	}
	if _, err := now.Associate(t.Context(), grantFor(t, now, k, 1), other, "127.0.0.1:1"); !errors.Is(err, enrol.ErrNotGranted) {
		t.Errorf("a meter that is not granted: got %v", err)
	}
	if entries, err := now.Log(0); err != nil || len(entries) != 0 {
		t.Errorf("refusals used no key, and the log has %d entries (%v)", len(entries), err)
	}
}

func TestLaw4ALaterGrantGoesOnAboveEveryEarlierRangeAndEndsWithItsOwn(t *testing.T) {
	tsp, k := terminalAt(t, noon), unicast(t)
	last := dlms.InvocationCounter(0)
	for _, first := range []dlms.InvocationCounter{1, 1 << 22, 1 << 27} {
		sealed, err := grantFor(t, tsp, k, first).For(granted)
		if err != nil {
			t.Fatal(err)
		}
		long, err := tsp.longTerm(sealed)
		if err != nil {
			t.Fatalf("grant from %d on: %v", first, err)
		}
		for {
			ic, err := long.Send.Next()
			if errors.Is(err, dlms.ErrCounterExhausted) {
				break
			}
			if err != nil || ic <= last || ic < first || ic > first+99 {
				t.Fatalf("grant %d to %d: counter %d after %d, %v", first, first+99, ic, last, err)
			}
			last = ic
		}
		if last < first {
			t.Fatalf("grant from %d on gave no counter", first)
		}
	}
}

// derivedGrant is a grant of a meter of the profile hardened.
func derivedGrant(t *testing.T, tsp *Terminal, k key.Unicast, last dlms.Day) enrol.Grant {
	t.Helper()
	d, err := k.Derive(own, last)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := enrol.SealDerived(enrol.SealedKey{
		Meter: granted, Role: role.CCLOCALE, Version: 1, Recipient: own, FirstCounter: 1, LastCounter: 99, LastDay: last,
	}, tsp.id.KEK(), tsp.id.MAC(), d)
	if err != nil {
		t.Fatal(err)
	}
	g, err := enrol.SealGrant(enrol.Grant{
		ID: "1", Terminal: own, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), Keys: []enrol.SealedKey{sealed},
	}, tsp.id.MAC())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAGrantOfADerivedKeyThatWasAlteredOrForgedIsRefusedBeforeAnythingIsSent(t *testing.T) {
	tsp, k := terminalAt(t, noon), unicast(t)
	last := role.LastDayOf(noon, role.MetersZone())
	later := role.LastDayOf(noon.AddDate(0, 1, 0), role.MetersZone())
	good := derivedGrant(t, tsp, k, last)
	if err := good.Verify(own, tsp.id.MAC()); err != nil {
		t.Fatal(err)
	}
	stranger := terminalAt(t, noon) // with the same title, and keys of its own
	elsewhere := grantFor(t, tsp, k, 1)
	for what, c := range map[string]struct {
		change func(g *enrol.Grant)
		want   error
	}{
		"a later day":           {func(g *enrol.Grant) { g.Keys[0].LastDay = later }, enrol.ErrSealed},
		"no day":                {func(g *enrol.Grant) { g.Keys[0].LastDay = dlms.Day{} }, enrol.ErrSealed},
		"a longer range":        {func(g *enrol.Grant) { g.Keys[0].LastCounter++ }, enrol.ErrSealed},
		"another blob":          {func(g *enrol.Grant) { g.Keys[0].Blob = elsewhere.Keys[0].Blob }, enrol.ErrSealed},
		"another grant's key":   {func(g *enrol.Grant) { g.Keys[0] = elsewhere.Keys[0] }, enrol.ErrGrant},
		"a later end":           {func(g *enrol.Grant) { g.NotAfter = noon.AddDate(0, 1, 0) }, enrol.ErrGrant},
		"another id":            {func(g *enrol.Grant) { g.ID = "2" }, enrol.ErrGrant},
		"a forger's own":        {func(g *enrol.Grant) { *g = derivedGrant(t, stranger, k, last) }, enrol.ErrGrant},
		"no signature at all":   {func(g *enrol.Grant) { g.MAC = nil }, enrol.ErrGrant},
		"before its time":       {func(g *enrol.Grant) { *g = shifted(t, tsp, *g, 48*time.Hour) }, enrol.ErrGrantTime},
		"after its time":        {func(g *enrol.Grant) { *g = shifted(t, tsp, *g, -48*time.Hour) }, enrol.ErrGrantTime},
		"without the one meter": {func(g *enrol.Grant) { *g = without(t, tsp, *g) }, enrol.ErrNotGranted},
	} {
		g := good
		g.Keys = append([]enrol.SealedKey(nil), good.Keys...)
		c.change(&g)
		if _, err := tsp.Associate(t.Context(), g, granted, "127.0.0.1:1"); !errors.Is(err, c.want) {
			t.Errorf("%s: want %v, got %v", what, c.want, err)
		}
	}
	if entries, err := tsp.Log(0); err != nil || len(entries) != 0 {
		t.Errorf("refusals used no key, and the log has %d entries (%v)", len(entries), err)
	}
}

// shifted is the grant as the central system gives it for another time.
func shifted(t *testing.T, tsp *Terminal, g enrol.Grant, by time.Duration) enrol.Grant {
	t.Helper()
	g.NotBefore, g.NotAfter = g.NotBefore.Add(by), g.NotAfter.Add(by)
	g, err := enrol.SealGrant(g, tsp.id.MAC())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func without(t *testing.T, tsp *Terminal, g enrol.Grant) enrol.Grant {
	t.Helper()
	g.Keys = nil
	return shifted(t, tsp, g, 0)
}
