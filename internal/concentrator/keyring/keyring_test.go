package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

var (
	own   = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 1}
	meter = dlms.SystemTitle{'M', 'S', 'M', 0, 0, 0, 0, 9}
	other = dlms.SystemTitle{'M', 'S', 'M', 0, 0, 0, 0, 8}
)

// world is a concentrator's identity, and the central system that seals to it.
type world struct {
	t      *testing.T
	id     *enrol.Identity
	dir    string
	oracle *dlmstest.Oracle
	keys   map[uint32]key.Unicast
}

func newWorld(t *testing.T) *world {
	t.Helper()
	id, err := enrol.NewIdentity(enrol.Concentrator, own, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, id: id, dir: filepath.Join(t.TempDir(), "keys"), keys: map[uint32]key.Unicast{}}
}

func (w *world) open() *Ring {
	w.t.Helper()
	cfg := Config{Dir: w.dir, Owner: w.id}
	if w.oracle != nil {
		cfg.WrapAEAD = w.oracle.Wrap
	}
	r, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = r.Close() })
	return r
}

func (w *world) restart(r *Ring) *Ring {
	w.t.Helper()
	if err := r.Close(); err != nil {
		w.t.Fatal(err)
	}
	return w.open()
}

func (w *world) key(version uint32) key.Unicast {
	w.t.Helper()
	if w.keys[version].IsZero() {
		k, err := key.GenerateUnicast(rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		w.keys[version] = k
	}
	return w.keys[version]
}

func (w *world) seal(s enrol.SealedKey) *enrol.SealedKey {
	w.t.Helper()
	sealed, err := enrol.Seal(s, w.id.KEK(), w.id.MAC(), w.key(s.Version))
	if err != nil {
		w.t.Fatal(err)
	}
	return &sealed
}

func (w *world) provision(version uint32, phase bus.Phase, first, last dlms.InvocationCounter) bus.ProvisionKey {
	return bus.ProvisionKey{Meter: meter, Version: version, Phase: phase, Sealed: w.seal(enrol.SealedKey{
		Meter: meter, Role: role.CCLAN, Version: version, Recipient: own, FirstCounter: first, LastCounter: last,
	})}
}

func take(t *testing.T, r *Ring, p bus.ProvisionKey) {
	t.Helper()
	if err := r.Take(p); err != nil {
		t.Fatal(err)
	}
}

func phaseOf(version uint32, phase bus.Phase) bus.ProvisionKey {
	return bus.ProvisionKey{Meter: meter, Version: version, Phase: phase}
}

func next(t *testing.T, k security.LongTerm) dlms.InvocationCounter {
	t.Helper()
	ic, err := k.Send.Next()
	if err != nil {
		t.Fatal(err)
	}
	return ic
}

func longTerm(t *testing.T, r *Ring, version uint32) security.LongTerm {
	t.Helper()
	k, err := r.LongTerm(meter, version)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAKeyIsTriedFromTheTimeItWasSentAndOldOnesGoWhenItIsActive(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	steps := []struct {
		p      bus.ProvisionKey
		usable []Version
	}{
		{w.provision(1, bus.PhaseActive, 1, 1000), []Version{{1, bus.PhaseActive}}},
		{w.provision(2, bus.PhasePending, 1, 1000), []Version{{1, bus.PhaseActive}}},
		{phaseOf(2, bus.PhaseSent), []Version{{2, bus.PhaseSent}, {1, bus.PhaseActive}}},
		{phaseOf(2, bus.PhasePending), []Version{{2, bus.PhaseSent}, {1, bus.PhaseActive}}}, // late and out of order
		{w.provision(3, bus.PhaseSent, 1, 1000), []Version{{3, bus.PhaseSent}, {2, bus.PhaseSent}, {1, bus.PhaseActive}}},
		{phaseOf(2, bus.PhaseActive), []Version{{3, bus.PhaseSent}, {2, bus.PhaseActive}}},
		{phaseOf(3, bus.PhaseActive), []Version{{3, bus.PhaseActive}}},
	}
	for i, s := range steps {
		take(t, r, s.p)
		if diff := cmp.Diff(s.usable, r.Usable(meter)); diff != "" {
			t.Errorf("step %d: %s", i+1, diff)
		}
		r = w.restart(r)
		if diff := cmp.Diff(s.usable, r.Usable(meter)); diff != "" {
			t.Errorf("step %d, after a restart: %s", i+1, diff)
		}
	}
	if n := filesWithKeys(t, w.dir); n != 1 {
		t.Errorf("want one file with a key, got %d", n)
	}
	if err := r.Take(w.provision(2, bus.PhaseSent, 2000, 3000)); !errors.Is(err, ErrRefused) {
		t.Errorf("an old version came back: %v", err)
	}
	want := []bus.HeldKey{{Meter: meter, Version: 3, Phase: bus.PhaseActive}}
	if diff := cmp.Diff(want, r.Held()); diff != "" {
		t.Error(diff)
	}
	if got := r.Meters(); len(got) != 1 || got[0] != meter {
		t.Errorf("meters: %v", got)
	}
}

func filesWithKeys(t *testing.T, dir string) (n int) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if i, err := f.Info(); err != nil || i.Size() > 0 {
			n++
		}
	}
	return n
}

func TestAnOldVersionThatTheMeterProvedInForceComesBackWithCountersOfItsOwn(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(2, bus.PhaseSent, 1, 1000))
	take(t, r, w.provision(3, bus.PhaseActive, 1, 1000))
	if err := r.Take(w.provision(2, bus.PhaseActive, 1, 1000)); !errors.Is(err, ErrLost) {
		t.Errorf("its old counters: %v", err)
	}
	take(t, r, w.provision(2, bus.PhaseActive, 1001, 2000))
	want := []Version{{3, bus.PhaseSent}, {2, bus.PhaseActive}}
	for range 2 {
		if diff := cmp.Diff(want, r.Usable(meter)); diff != "" {
			t.Error(diff)
		}
		r = w.restart(r)
	}
}

func TestTheOldestVersionThatIsNotActiveMakesRoom(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1000))
	for v := range uint32(maxVersions + 4) {
		take(t, r, w.provision(v+2, bus.PhaseSent, 1, 1000))
	}
	got := r.Usable(meter)
	if len(got) != maxVersions || got[0].Number != maxVersions+5 || got[len(got)-1] != (Version{1, bus.PhaseActive}) {
		t.Errorf("held: %v", got)
	}
}

func TestLaw7OnlyItsOwnCCLANIsTaken(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	good := w.provision(1, bus.PhaseSent, 1, 1000)
	local := bus.ProvisionKey{Meter: meter, Version: 1, Phase: bus.PhaseSent, Sealed: w.seal(enrol.SealedKey{
		Meter: meter, Role: role.CCLOCALE, Version: 1, Recipient: own, FirstCounter: 1, LastCounter: 9,
	})}
	foreign := bus.ProvisionKey{Meter: meter, Version: 1, Phase: bus.PhaseSent, Sealed: w.seal(enrol.SealedKey{
		Meter: meter, Role: role.CCLAN, Version: 1, Recipient: other, FirstCounter: 1, LastCounter: 9,
	})}
	forged := *good.Sealed
	forged.LastCounter++
	for name, p := range map[string]bus.ProvisionKey{
		"another role":      local,
		"another recipient": foreign,
		"another meter":     {Meter: other, Version: 1, Phase: bus.PhaseSent, Sealed: good.Sealed},
		"another version":   {Meter: meter, Version: 2, Phase: bus.PhaseSent, Sealed: good.Sealed},
		"forged":            {Meter: meter, Version: 1, Phase: bus.PhaseSent, Sealed: &forged},
		"no phase":          {Meter: meter, Version: 1, Sealed: good.Sealed},
		"no key":            {Meter: meter, Version: 1, Phase: bus.PhaseSent},
	} {
		if err := r.Take(p); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if held := r.Held(); len(held) != 0 {
		t.Fatalf("held: %v", held)
	}
	take(t, r, good)
	again := w.provision(2, bus.PhaseSent, 1, 1000)
	w.keys[2] = w.keys[1]
	if err := r.Take(w.provision(2, bus.PhaseSent, 1, 1000)); !errors.Is(err, ErrRefused) {
		t.Errorf("the same key as another version: %v", err)
	}
	again.Sealed.Version = 1
	w.keys[1] = key.Unicast{}
	if err := r.Take(w.provision(1, bus.PhaseSent, 2000, 3000)); !errors.Is(err, ErrRefused) {
		t.Errorf("another key under the same version: %v", err)
	}
}

func TestLaw4CountersNeverRepeatOverRestarts(t *testing.T) {
	w := newWorld(t)
	w.oracle = dlmstest.NewOracle(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 500, 1<<20))
	var last dlms.InvocationCounter
	for range 5 {
		for range 100 {
			k := longTerm(t, r, 1)
			ic := next(t, k)
			if ic < 500 || ic <= last {
				t.Fatalf("counter %d after %d", ic, last)
			}
			last = ic
			if _, err := k.Cipher.Seal(nil, security.AuthenticatedEncrypted, own, ic, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		r = w.restart(r) // as after a kill: nothing is written at the end
	}
}

func TestCountersEndWithTheirRangeAndGoOnWhenSealedAnew(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 10))
	k := longTerm(t, r, 1)
	for want := dlms.InvocationCounter(1); want <= 10; want++ {
		if ic := next(t, k); ic != want {
			t.Fatalf("want %d, got %d", want, ic)
		}
	}
	if _, err := k.Send.Next(); !errors.Is(err, dlms.ErrCounterExhausted) {
		t.Fatalf("beyond the range: %v", err)
	}
	take(t, r, w.provision(1, bus.PhaseActive, 11, 20))
	take(t, r, w.provision(1, bus.PhaseActive, 1, 10)) // the first one again, late: changes nothing
	if ic := next(t, k); ic != 11 {                    // in the hands of an association that was open all the time
		t.Errorf("want 11, got %d", ic)
	}
	r = w.restart(r)
	if _, err := longTerm(t, r, 1).Send.Next(); !errors.Is(err, dlms.ErrCounterExhausted) {
		t.Errorf("all of the range was reserved: %v", err)
	}
	if files, err := os.ReadDir(w.dir); err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	}
}

func TestTheFloorOfTheMeterSurvives(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1000))
	k := longTerm(t, r, 1)
	if err := k.Floor.Commit(meter, 41); err != nil {
		t.Fatal(err)
	}
	if err := k.Floor.Commit(other, 50); err == nil {
		t.Error("a counter of another meter was taken")
	}
	r = w.restart(r)
	if err := longTerm(t, r, 1).Floor.Check(meter, 41); !errors.Is(err, security.ErrReplay) {
		t.Errorf("got %v", err)
	}
	if err := longTerm(t, r, 1).Floor.Check(meter, 42); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestALongHistoryIsCompacted(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1<<20))
	k := longTerm(t, r, 1)
	for ic := range dlms.InvocationCounter(2000) {
		if err := k.Floor.Commit(meter, ic); err != nil {
			t.Fatal(err)
		}
	}
	ic := next(t, k)
	info, err := os.Stat(r.path(id{meter, 1}, 1<<20))
	if err != nil || info.Size() > compactAt+200 {
		t.Errorf("size %d, %v", info.Size(), err)
	}
	r = w.restart(r)
	if again := next(t, longTerm(t, r, 1)); again <= ic {
		t.Errorf("counter %d after %d", again, ic)
	}
	if err := longTerm(t, r, 1).Floor.Check(meter, 1999); !errors.Is(err, security.ErrReplay) {
		t.Errorf("got %v", err)
	}
}

// damaged flips one bit in the middle of the file of version 1.
func (w *world) damage(r *Ring, last dlms.InvocationCounter) {
	w.t.Helper()
	path := r.path(id{meter, 1}, last)
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	b[bytes.IndexByte(b, '\n')-5] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestAVersionWhoseCountersAreLostIsRefusedUntilANewOne(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	old := w.provision(1, bus.PhaseActive, 1, 1000)
	take(t, r, old)
	next(t, longTerm(t, r, 1))
	w.damage(r, 1000)
	r = w.restart(r)
	if got := r.Usable(meter); len(got) != 0 {
		t.Fatalf("usable: %v", got)
	}
	for name, p := range map[string]bus.ProvisionKey{
		"as it was": old, "phase alone": phaseOf(1, bus.PhaseActive), "overlapping": w.provision(1, bus.PhaseActive, 1000, 2000),
	} {
		if err := r.Take(p); !errors.Is(err, ErrLost) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	take(t, r, w.provision(2, bus.PhaseSent, 1, 1000))      // a newer version
	take(t, r, w.provision(1, bus.PhaseActive, 1001, 2000)) // sealed anew
	if ic := next(t, longTerm(t, r, 1)); ic != 1001 {       // above all that was lost
		t.Errorf("want 1001, got %d", ic)
	}
	r = w.restart(r)
	if got := r.Usable(meter); len(got) != 2 {
		t.Errorf("usable: %v", got)
	}
}

func TestATornEndSkipsCounters(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1<<20))
	var last dlms.InvocationCounter
	for range counterBlock + 1 {
		last = next(t, longTerm(t, r, 1))
	}
	path := r.path(id{meter, 1}, 1<<20)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-1); err != nil { // the last reservation, which was in use
		t.Fatal(err)
	}
	r = w.restart(r)
	if ic := next(t, longTerm(t, r, 1)); ic <= last {
		t.Errorf("counter %d after %d", ic, last)
	}
}

func TestTheKeysOfAMeterThatLeftAreGoneAndItsCountersAreNot(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	p := w.provision(1, bus.PhaseActive, 1, 1000)
	take(t, r, p)
	k := longTerm(t, r, 1)
	next(t, k)
	if err := r.Remove(meter); err != nil {
		t.Fatal(err)
	}
	if _, err := r.LongTerm(meter, 1); !errors.Is(err, ErrNoKey) {
		t.Errorf("got %v", err)
	}
	if err := k.Floor.Commit(meter, 1); err == nil {
		t.Error("an association of a removed key goes on")
	}
	for range 2 {
		if err := r.Take(p); !errors.Is(err, ErrLost) {
			t.Errorf("the same seal again: %v", err)
		}
		r = w.restart(r)
	}
	b, err := os.ReadFile(r.path(id{meter, 1}, 1000))
	if err != nil || len(b) != 0 {
		t.Errorf("left of the key: %q, %v", b, err)
	}
	take(t, r, w.provision(1, bus.PhaseActive, 1001, 2000))
}

func TestWhatACrashLeftIsPutInOrder(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1000))
	next(t, longTerm(t, r, 1))
	before, err := os.ReadFile(r.path(id{meter, 1}, 1000))
	if err != nil {
		t.Fatal(err)
	}
	take(t, r, w.provision(1, bus.PhaseActive, 1001, 2000))
	last := next(t, longTerm(t, r, 1))
	// A crash after the new file and before the old one was removed, and one in the middle of writing.
	if err := errors.Join(os.WriteFile(r.path(id{meter, 1}, 1000), before, 0o600),
		os.WriteFile(filepath.Join(w.dir, ".a.1.new"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r = w.restart(r)
	if ic := next(t, longTerm(t, r, 1)); ic <= last {
		t.Errorf("counter %d after %d", ic, last)
	}
	if files, err := os.ReadDir(w.dir); err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: w.dir, Owner: w.id}); err == nil {
		t.Error("a strange file is no matter")
	}
}

func TestNoKeyIsOnDiskInClear(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1000))
	b, err := os.ReadFile(r.path(id{meter, 1}, 1000))
	if err != nil || !bytes.Contains(b, []byte(meter.String())) {
		t.Fatalf("%q, %v", b, err)
	}
	k := key.Reveal(w.keys[1])
	for _, form := range []string{
		string(k), hex.EncodeToString(k), strings.ToUpper(hex.EncodeToString(k)), base64.RawStdEncoding.EncodeToString(k)[:21],
	} {
		if strings.Contains(string(b), form) {
			t.Error("it is")
		}
	}
}

func TestEachKeyOfAnOrderHasAnOutcomeOfItsOwnAndWhatWasTakenStays(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1000))
	take(t, r, w.provision(2, bus.PhaseSent, 1, 1000))
	foreign := w.provision(3, bus.PhaseSent, 1, 1000)
	foreign.Meter = other
	errs := r.TakeAll([]bus.ProvisionKey{phaseOf(2, bus.PhaseActive), foreign, w.provision(4, bus.PhasePending, 1, 1000), phaseOf(9, bus.PhaseSent)})
	for i, want := range []error{nil, ErrRefused, nil, ErrNoKey} {
		if !errors.Is(errs[i], want) {
			t.Errorf("key %d: want %v, got %v", i+1, want, errs[i])
		}
	}
	want := []bus.HeldKey{{Meter: meter, Version: 2, Phase: bus.PhaseActive}, {Meter: meter, Version: 4, Phase: bus.PhasePending}}
	for range 2 {
		if d := cmp.Diff(want, r.Held()); d != "" {
			t.Error(d)
		}
		if err := r.Take(w.provision(1, bus.PhaseSent, 1, 1000)); !errors.Is(err, ErrLost) {
			t.Errorf("the version before, with counters that may be spent: got %v", err)
		}
		r = w.restart(r)
	}
}

func TestTwoVersionsInForceAsACrashLeavesThemAreTriedNewestFirstAndTheOlderGoes(t *testing.T) {
	w := newWorld(t)
	r := w.open()
	take(t, r, w.provision(1, bus.PhaseActive, 1, 1000))
	take(t, r, w.provision(2, bus.PhaseSent, 1, 1000))
	if err := r.meters[meter][2].setPhase(bus.PhaseActive); err != nil { // and there the power went
		t.Fatal(err)
	}
	r = w.restart(r)
	if d := cmp.Diff([]Version{{2, bus.PhaseActive}, {1, bus.PhaseActive}}, r.Usable(meter)); d != "" {
		t.Error(d)
	}
	take(t, r, phaseOf(2, bus.PhaseActive)) // as the central system says once more
	if d := cmp.Diff([]Version{{2, bus.PhaseActive}}, r.Usable(meter)); d != "" {
		t.Error(d)
	}
}
