package vault_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

var node2 = dlms.SystemTitle{'M', 'S', 'I', 0, 0, 0, 0, 2}

// running is a head-end with two meters that have lived: associations, a key that a concentrator holds, a change that is
// complete, one that is under way and one that has only begun.
type running struct {
	*world
	meters []dlms.SystemTitle
	use    *vault.Use
	last   dlms.InvocationCounter // spent under CC_IS by our own title
	given  dlms.InvocationCounter // the last counter of the concentrator
}

func newRunning(t *testing.T) *running {
	t.Helper()
	w := newWorld(t)
	r := &running{world: w}
	for _, m := range w.imported(2) {
		r.meters = append(r.meters, m.Title)
	}
	m := r.meters[0]
	w.enrolled(enrol.Concentrator, dc)
	w.ok(w.fleet.Assign(t.Context(), by, dc, r.meters))
	done := w.generated(m, role.CCLAN)
	w.ok(w.vault.MarkSent(t.Context(), by, []role.KeyRef{done}))
	w.ok(w.vault.MarkActive(t.Context(), by, []role.KeyRef{done}, "association"))
	sealed, err := w.vault.SealTo(t.Context(), by, dc, []role.KeyRef{done})
	w.ok(err)
	w.ok(sealed[0].Err)
	r.given = sealed[0].Key.LastCounter
	w.ok(w.vault.MarkSent(t.Context(), by, []role.KeyRef{w.generated(m, role.CCLOCALE)}))
	w.generated(m, role.CCIS)
	r.use = w.open(node, role.KeyRef{Meter: m, Role: role.CCIS, Version: 1})
	for range 100 { // more than a block
		r.last, err = r.use.LongTerm().Send.Next()
		w.ok(err)
	}
	return r
}

func (w *world) open(own dlms.SystemTitle, k role.KeyRef) *vault.Use {
	w.t.Helper()
	u, err := w.vault.OpenFor(w.t.Context(), by, own, "test", []role.KeyRef{k})
	w.ok(err)
	w.ok(u[0].Err)
	return u[0].Use
}

func (r *running) exported(to transport.Public) []byte {
	r.t.Helper()
	var file bytes.Buffer
	n, err := r.vault.ExportMeters(r.t.Context(), by, to, r.meters, &file)
	if err != nil || n != 11 { // two meters of four keys, and three versions more
		r.t.Fatalf("%d versions, %v", n, err)
	}
	return file.Bytes()
}

// auditKey is how a head-end is known to another one.
func (w *world) auditKey() (audit.PublicKey, string) {
	w.t.Helper()
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	text := root.Signer().PublicKey()
	k, err := audit.ParsePublicKey(text)
	w.ok(err)
	return k, text
}

func (w *world) takeOver(file []byte, from *running) (*shipment.Report, error) {
	w.t.Helper()
	k, text := from.auditKey()
	return w.vault.ImportTransfer(w.t.Context(), by, bytes.NewReader(file), k, text)
}

// hasAllOf checks that every version that another head-end had opens here, and is the same key.
func (w *world) hasAllOf(from *running) {
	w.t.Helper()
	for _, m := range from.meters {
		want, err := from.vault.History(w.t.Context(), m)
		w.ok(err)
		got, err := w.vault.History(w.t.Context(), m)
		w.ok(err)
		if len(got) != len(want) || len(got) < 4 {
			w.t.Fatalf("meter %s has %d versions, want %d", m, len(got), len(want))
		}
		rows, err := w.store.MeterKeyRows(w.t.Context(), m)
		w.ok(err)
		root, err := vault.Unseal(w.dir, nil)
		w.ok(err)
		for i, k := range got {
			state := want[i].State
			if state == vault.Pending {
				state = vault.Abandoned
			}
			if k.Ref != want[i].Ref || k.Fingerprint != want[i].Fingerprint || k.State != state || !k.CreatedAt.Equal(want[i].CreatedAt) {
				w.t.Errorf("%s is another one: %+v, want %+v", k.Ref, k, want[i])
			}
			w.ok(root.CheckRow(rows[i]))
		}
	}
}

func TestLaw4AHeadEndThatGaveItsMetersAwayUsesThemNoMore(t *testing.T) {
	r, b := newRunning(t), newWorldOf(t, node2)
	active := role.KeyRef{Meter: r.meters[0], Role: role.CCLAN, Version: 2}
	r.exported(b.vault.Transport())
	for round := range 2 {
		u, err := r.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{active})
		r.ok(err)
		if !errors.Is(u[0].Err, vault.ErrExported) {
			t.Errorf("round %d: an association: want ErrExported, got %v", round, u[0].Err)
		}
		g, err := r.vault.Generate(t.Context(), by, []vault.Target{{Meter: r.meters[1], Role: role.CCLAN}})
		r.ok(err)
		if !errors.Is(g[0].Err, vault.ErrExported) {
			t.Errorf("round %d: a new key: want ErrExported, got %v", round, g[0].Err)
		}
		s, err := r.vault.SealTo(t.Context(), by, dc, []role.KeyRef{active})
		r.ok(err)
		if s[0].Err == nil {
			t.Errorf("round %d: a key was sealed to a concentrator", round)
		}
		wr, err := r.vault.Wrap(t.Context(), by, []role.KeyRef{{Meter: r.meters[0], Role: role.CCLOCALE, Version: 2}})
		r.ok(err)
		if !errors.Is(wr[0].Err, vault.ErrExported) {
			t.Errorf("round %d: a wrapped key: want ErrExported, got %v", round, wr[0].Err)
		}
		if round == 0 {
			stopped := false
			for range 100 { // what an association in its midst has reserved, it may use: it is in the file
				ic, err := r.use.LongTerm().Send.Next()
				if stopped = errors.Is(err, vault.ErrExported); stopped {
					break
				}
				r.ok(err)
				r.last = ic
			}
			if !stopped {
				t.Error("a handle that was out went on reserving counters")
			}
		}
		r.restart()
	}
}

func TestARunningFleetComesOverWhole(t *testing.T) {
	r, b := newRunning(t), newWorldOf(t, node2)
	file := r.exported(b.vault.Transport())
	for i, want := range []shipment.Report{{Imported: 2}, {Unchanged: 2}} {
		got, err := b.takeOver(file, r)
		if err != nil || got.Imported != want.Imported || got.Unchanged != want.Unchanged || !got.Clean() {
			t.Fatalf("time %d: got %v, %v: %+v", i, got, err, got.Rows)
		}
		b.restart()
		b.hasAllOf(r)
	}
	// Counters go on above all that was spent: under the concentrator's title, and under the new node's own.
	b.enrolled(enrol.Concentrator, dc)
	b.ok(b.fleet.Assign(t.Context(), by, dc, r.meters))
	s, err := b.vault.SealTo(t.Context(), by, dc, []role.KeyRef{{Meter: r.meters[0], Role: role.CCLAN, Version: 2}})
	b.ok(err)
	b.ok(s[0].Err)
	if s[0].Key.FirstCounter <= r.given {
		t.Errorf("the concentrator begins at %d, and had up to %d", s[0].Key.FirstCounter, r.given)
	}
	ic, err := b.open(node2, role.KeyRef{Meter: r.meters[0], Role: role.CCIS, Version: 1}).LongTerm().Send.Next()
	if err != nil || ic <= r.last {
		t.Errorf("our own title begins at %d, the old head-end was at %d, %v", ic, r.last, err)
	}
	// The next version has a number that nothing had.
	if k := b.generated(r.meters[0], role.CCIS); k.Version != 3 {
		t.Errorf("the next CC_IS is %s", k)
	}
	if again := b.ship("b1", made(t, 1, shipment.ProfileHardened, 9)); !again.Clean() {
		t.Errorf("a shipment after that: %v", again)
	}
}

func TestATransferIsRefusedFromAnybodyElseOrForAnybodyElse(t *testing.T) {
	r, b, other := newRunning(t), newWorldOf(t, node2), newRunning(t)
	file := r.exported(b.vault.Transport())
	if _, err := b.takeOver(file, other); !errors.Is(err, shipment.ErrSignature) {
		t.Errorf("another head-end's key: want ErrSignature, got %v", err)
	}
	if _, err := newWorldOf(t, node2).takeOver(file, r); !errors.Is(err, transport.ErrNotForUs) {
		t.Errorf("another head-end: want ErrNotForUs, got %v", err)
	}
	if _, err := other.takeOver(other.exported(r.vault.Transport()), other); !errors.Is(err, transport.ErrNotForUs) {
		t.Errorf("its own file: want ErrNotForUs, got %v", err)
	}
	lines := bytes.SplitAfter(file, []byte{'\n'})
	for name, bad := range map[string][]byte{
		"the header": altered(file, 200), "a row": altered(file, len(lines[0])+300), "the signature": altered(file, len(file)-30),
		"cut": file[:len(file)-1], "rows moved": bytes.Join([][]byte{lines[0], lines[2], lines[1], lines[3]}, nil), "nothing": nil,
	} {
		if got, err := b.takeOver(bad, r); !errors.Is(err, shipment.ErrSignature) && !errors.Is(err, shipment.ErrFile) || got.Imported > 0 {
			t.Errorf("%s altered: got %v, %v", name, got, err)
		}
	}
	if _, err := r.vault.ImportShipment(t.Context(), by, bytes.NewReader(file)); !errors.Is(err, shipment.ErrFile) {
		t.Errorf("as a shipment: want ErrFile, got %v", err)
	}
	clash := newWorld(t) // its node bears the old one's title
	again := r.fileFor(clash.vault.Transport())
	if again != nil {
		t.Error("meters were given to a second head-end")
	}
	b.ok(b.fleet.RegisterNode(t.Context(), by, node))
	if _, err := b.takeOver(file, r); !errors.Is(err, vault.ErrTitleInUse) {
		t.Errorf("a node with the old one's title: want ErrTitleInUse, got %v", err)
	}
}

// fileFor exports to another head-end than before, which must be refused.
func (r *running) fileFor(to transport.Public) []byte {
	var file bytes.Buffer
	if _, err := r.vault.ExportMeters(r.t.Context(), by, to, r.meters, &file); !errors.Is(err, vault.ErrExported) {
		r.t.Errorf("want ErrExported, got %v", err)
	}
	return file.Bytes()
}

func TestMetersStayGivenAwayInAStoreThatIsBroughtBack(t *testing.T) {
	r, b := newRunning(t), newWorldOf(t, node2)
	before := t.TempDir()
	r.stop()
	r.ok(os.CopyFS(before, os.DirFS(r.data)))
	r.start()
	r.exported(b.vault.Transport())
	r.stop()
	r.ok(os.RemoveAll(r.data))
	r.ok(os.CopyFS(r.data, os.DirFS(before)))
	r.start()
	u, err := r.vault.OpenFor(t.Context(), by, node, "test", []role.KeyRef{{Meter: r.meters[0], Role: role.CCIS, Version: 1}})
	r.ok(err)
	if !errors.Is(u[0].Err, vault.ErrExported) {
		t.Fatalf("want ErrExported, got %v", u[0].Err)
	}
	if file := r.exported(b.vault.Transport()); len(file) == 0 { // to the same head-end, again
		t.Error("nothing was written")
	}
}

// TestLaw5ACrashAtAnyWriteOfATakeOverLosesNoMeter lets the power fail at every write. Afterwards the file is imported again.
func TestLaw5ACrashAtAnyWriteOfATakeOverLosesNoMeter(t *testing.T) {
	inMemory(t)
	r := newRunning(t)
	b := newWorldOf(t, node2)
	file := r.exported(b.vault.Transport())
	b.stop()
	clean := t.TempDir()
	b.ok(os.CopyFS(clean, os.DirFS(b.data)))
	journal, err := os.ReadFile(b.journal)
	b.ok(err)
	crashes := 0
	for n := 0; ; n++ {
		b.ok(os.RemoveAll(b.data))
		b.ok(os.CopyFS(b.data, os.DirFS(clean)))
		b.ok(os.WriteFile(b.journal, journal, 0o600))
		b.start()
		b.crashWith(n)
		_, crash := b.takeOver(file, r)
		if crash != nil && !errors.Is(crash, errCrash) {
			t.Fatalf("write %d: want the crash, got %v", n, crash)
		}
		b.restart()
		if got, err := b.takeOver(file, r); err != nil || !got.Clean() {
			t.Fatalf("write %d: doing it over: %v, %v", n, got, err)
		}
		b.hasAllOf(r)
		b.stop()
		if crash == nil {
			break
		}
		crashes++
	}
	b.start()
	if crashes < 8 {
		t.Fatalf("the power failed %d times only", crashes)
	}
}
