package meter

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/keysfile"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/shipment"
)

func keysFile(t *testing.T, withAK bool) string {
	t.Helper()
	held := keysfile.Keys{
		SystemTitle: dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 9},
		EK:          must(key.GenerateUnicast(seeded(21))), KEK: must(key.GenerateMaster(seeded(22))),
	}
	if withAK {
		held.AK = must(key.GenerateAuthentication(seeded(23)))
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := held.Write(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// bench serves a bench meter until the test or stop ends it.
func bench(t *testing.T, path string, d Deps) (b *Bench, stop func()) {
	t.Helper()
	b, err := OpenBench(BenchConfig{Listen: "127.0.0.1:0", Keys: path, Clock: noon(), InstalledAt: installed()}, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return b, stop
}

// openBench associates as the management client with what is in the keys file and beside it.
func openBench(t *testing.T, b *Bench, path string, o *dlmstest.Oracle, change func(*client.Config)) (*client.Association, error) {
	t.Helper()
	held := must(keysfile.Load(path))
	counters := must(keysfile.OpenCounters(path))
	own := must(counters.OwnTitle(seeded(31)))
	c := must(security.NewCipher(o.Wrap(must(held.EK.AEAD()), held.EK.Fingerprint()), held.AK))
	send := counters.Send(keysfile.Name{Key: held.EK.CheckValue(), Title: own})
	lt := security.LongTerm{Cipher: c, Send: send, Floor: security.NewMemoryFloor(held.SystemTitle, 0)}
	cfg := client.Config{
		Title: own, PeerTitle: held.SystemTitle, Mechanism: apdu.MechanismHLSGMAC,
		Policy: security.PolicyAuthenticatedEncrypted, Global: lt, Rand: deviceRand(), WrapAEAD: o.Wrap,
	}
	if change != nil {
		change(&cfg)
	}
	link, err := wrapper.Dial(context.Background(), b.Addr().String(), dlms.SAPManagement, dlms.SAPManagement)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	return client.Open(context.Background(), link, cfg)
}

func TestABenchMeterTakesEveryFormOfCiphering(t *testing.T) {
	for _, withAK := range []bool{false, true} {
		path, o := keysFile(t, withAK), dlmstest.NewOracle(t)
		b, _ := bench(t, path, deps(o))
		for what, change := range map[string]func(*client.Config){
			"global":            nil,
			"dedicated":         func(c *client.Config) { c.Dedicated = true },
			"general-glo":       func(c *client.Config) { c.General = true },
			"general-ded":       func(c *client.Config) { c.General, c.Dedicated = true, true },
			"authenticated":     func(c *client.Config) { c.Policy = security.PolicyAuthenticated },
			"title not known":   func(c *client.Config) { c.PeerTitle = dlms.SystemTitle{} },
			"strict, dedicated": func(c *client.Config) { c.Strict, c.Dedicated = true, true },
		} {
			a, err := openBench(t, b, path, o, change)
			if err != nil {
				t.Errorf("ak %v, %s: %v", withAK, what, err)
				continue
			}
			if _, err := a.Get(context.Background(), ref(importObject(0), 2)); err != nil {
				t.Errorf("ak %v, %s: %v", withAK, what, err)
			}
			if err := a.Release(context.Background()); err != nil {
				t.Errorf("ak %v, %s: release: %v", withAK, what, err)
			}
		}
	}
}

func TestABenchMeterHasWhatABenchLooksForAtTheStandardPlaces(t *testing.T) {
	path, o := keysFile(t, true), dlmstest.NewOracle(t)
	b, _ := bench(t, path, deps(o))
	a := must(openBench(t, b, path, o, nil))
	ctx := context.Background()
	for _, name := range []string{
		"1/0.0.42.0.0.255/2", "8/0.0.1.0.0.255/2", "15/0.0.40.0.0.255/2", "64/0.0.43.0.0.255/2", "1/0.0.43.1.0.255/2",
		"3/1.0.1.8.0.255/2", "3/1.0.1.8.0.255/3", "7/1.0.99.1.0.255/3", "7/1.0.99.1.0.255/7",
	} {
		d, err := a.Get(ctx, must(dlms.ParseAttributeRef(name)))
		if err != nil || d.IsNull() {
			t.Errorf("%s: %s, %v", name, d, err)
		}
	}
	rows, err := a.GetSelected(ctx, ref(curveObject(0), 2), day(installed()))
	if err != nil || rows.Len() != 48 {
		t.Errorf("want 48 rows, got %d, %v", rows.Len(), err)
	}
	public := must(wrapper.Dial(ctx, b.Addr().String(), dlms.SAPPublic, dlms.SAPManagement))
	defer public.Close()
	if floor, err := client.ReadFloor(ctx, public, setupObject(setupGeneric).Instance); err != nil || floor < 1 {
		t.Errorf("want a floor of at least 1, got %d, %v", floor, err)
	}
}

func TestABenchMeterTakesANewKeyIntoTheKeysFileAndKeepsCountersOverRestarts(t *testing.T) {
	path, o := keysFile(t, false), dlmstest.NewOracle(t)
	first := must(keysfile.Load(path))
	setup := setupObject(setupGeneric)
	for round := range 3 {
		b, stop := bench(t, path, deps(o))
		a := must(openBench(t, b, path, o, nil))
		k := must(key.GenerateUnicast(seeded(uint64(40 + round))))
		err := invoke(a, setup, cosem.MethodKeyTransfer, cosem.KeyTransfer(0, must(first.KEK.Wrap(k))))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := must(keysfile.Load(path)).EK; !got.Equal(k) {
			t.Fatalf("round %d: the new key is not in the file", round)
		}
		again := must(openBench(t, b, path, o, nil))
		old := cosem.KeyTransfer(0, must(first.KEK.Wrap(k)))
		wantAction(t, "the same key again", invoke(again, setup, cosem.MethodKeyTransfer, old), dlms.ActionOtherReason)
		wantAction(t, "another key id", invoke(again, setup, cosem.MethodKeyTransfer,
			cosem.KeyTransfer(2, must(first.KEK.Wrap(must(key.GenerateUnicast(seeded(60)))))),
		), dlms.ActionScopeViolated)
		stop()
	}
}

func TestABenchMeterRefusesWhatItCannotServeSafely(t *testing.T) {
	d := Deps{Now: time.Now, Rand: seeded(1)}
	noMaster := filepath.Join(t.TempDir(), "keys.json")
	text := `{"system_title":"4D534C0000000009","ek":"` + hex.EncodeToString(key.Reveal(must(key.GenerateUnicast(seeded(1))))) + `"}`
	if err := os.WriteFile(noMaster, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := keysFile(t, false)
	if err := os.WriteFile(broken+keysfile.Suffix, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, path := range map[string]string{"kek": noMaster, "--ephemeral-keys": broken, "no such file": broken + ".not"} {
		b, err := OpenBench(BenchConfig{Listen: "127.0.0.1:0", Keys: path}, d)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
		if b != nil {
			b.Close()
		}
	}
	b, err := OpenBench(BenchConfig{Listen: "127.0.0.1:0", HDLC: "127.0.0.1:0", Keys: broken, Ephemeral: true}, d)
	if err != nil || b.HDLCAddr() == nil {
		t.Fatalf("ephemeral: %v", err)
	}
	b.Close()
}

// idle makes n meters in memory.
func idle(tb testing.TB, n int) []*Meter {
	tb.Helper()
	k := must(newKind(Hardened(), Options{
		Now: noon, Rand: seeded(1), Curve: loadcurve.Household(installed(), 1),
	}))
	rows := must(shipment.Generate(seeded(2), "MSL", n, ProfileHardened, 1))
	out := make([]*Meter, n)
	for i, r := range rows {
		out[i] = must(bear(k, Birth{Row: r, Installed: installed(), ScalePerMille: 1000}, drained{}))
	}
	return out
}

// drained is a memory that keeps nothing in this process, as a file does.
type drained struct{}

func (drained) Load(func([]byte) error) error { return nil }
func (drained) Append([]byte, bool) error     { return nil }
func (drained) Replace([][]byte) error        { return nil }
func (drained) Size() int                     { return 0 }
func (drained) Close() error                  { return nil }

var _ nvm.Memory = drained{}

func TestAnIdleMeterIsSmall(t *testing.T) {
	const n, most = 2000, 2048
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	meters := idle(t, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d bytes a meter", per)
	if per > most {
		t.Errorf("want at most %d bytes a meter, got %d", most, per)
	}
	runtime.KeepAlive(meters)
}

func BenchmarkAssociateAndReadADay(b *testing.B) {
	r := newRig(b, ProfileHardened)
	for b.Loop() {
		a := r.open(readWrite)
		if _, err := a.GetSelected(context.Background(), ref(curveObject(1), 2), day(installed())); err != nil {
			b.Fatal(err)
		}
	}
}
