package vault_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

func TestImportingAShipmentAgainChangesNothing(t *testing.T) {
	w := newWorld(t)
	meters := made(t, 4, shipment.ProfileHardened, 1)
	file := w.file("b1", meters)
	for i, want := range []shipment.Report{{Imported: 4}, {Unchanged: 4}} {
		r, err := w.vault.ImportShipment(t.Context(), by, bytes.NewReader(file))
		if err != nil || r.Imported != want.Imported || r.Unchanged != want.Unchanged || !r.Clean() {
			t.Fatalf("time %d: got %v, %v", i, r, err)
		}
	}
	// A key change in between makes no difference: what the maker shipped is version 1.
	k := w.generated(meters[0].Title, role.CCLAN)
	w.ok(w.vault.MarkSent(t.Context(), by, []role.KeyRef{k}))
	w.ok(w.vault.MarkActive(t.Context(), by, []role.KeyRef{k}, "association"))
	w.restart()
	if r := w.ship("b1", meters); r.Unchanged != 4 || !r.Clean() {
		t.Fatalf("got %v", r)
	}
	if w.state(k) != vault.Active {
		t.Fatal("importing again put the old key back")
	}
}

func TestImportReportsEveryBadRowAndTakesTheGoodOnes(t *testing.T) {
	w := newWorld(t)
	known := w.imported(2)
	w.enrolled(enrol.Concentrator, dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 50})
	w.ok(w.fleet.RegisterNode(t.Context(), by, dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 51}))

	fresh := made(t, 8, shipment.ProfileHardened, 10)
	fresh[1].Title = known[0].Title                                  // a known meter, with other keys
	fresh[2].Title = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 50} // a concentrator's
	fresh[3].Title = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 51} // an IS node's
	fresh[4].LAN = known[1].IS                                       // a key in another role of another meter
	fresh[5].Title = fresh[0].Title                                  // twice in the file
	fresh[6].Locale = fresh[0].LAN                                   // a key of an earlier row
	r := w.ship("b2", fresh)
	want := []shipment.Reason{
		shipment.OtherKeys, shipment.TitleInUse, shipment.TitleInUse, shipment.DuplicateKey,
		shipment.DuplicateTitle, shipment.DuplicateKey,
	}
	if r.Imported != 2 || r.Refused != len(want) || len(r.Rows) != len(want) {
		t.Fatalf("got %v: %+v", r, r.Rows)
	}
	for i, row := range r.Rows {
		if row.Reason != want[i] || row.Row != i+2 {
			t.Errorf("row %d: want %s in row %d, got %+v", i, want[i], i+2, row)
		}
	}
	if !strings.Contains(r.Rows[1].Detail, "concentrator") || !strings.Contains(r.Rows[2].Detail, "is-node") {
		t.Errorf("the reports do not say who bears the title: %+v", r.Rows)
	}
	all, err := w.fleet.Meters(t.Context())
	if err != nil || len(all) != 4 {
		t.Fatalf("want 4 meters, got %d, %v", len(all), err)
	}
	again := w.ship("b2", fresh)
	if again.Imported != 0 || again.Unchanged != 2 || again.Refused != len(want) {
		t.Fatalf("again: %v", again)
	}
}

func TestImportTakesMoreThanOneBatch(t *testing.T) {
	w := newWorld(t)
	meters := made(t, 5000, shipment.ProfileLinky, 1)
	file := w.file("b1", meters)
	before := t.TempDir()
	w.stop()
	w.ok(os.CopyFS(before, os.DirFS(w.data)))
	w.start()
	r, err := w.vault.ImportShipment(t.Context(), by, bytes.NewReader(file))
	if err != nil || r.Imported != len(meters) || !r.Clean() {
		t.Fatalf("got %v, %v", r, err)
	}
	g, err := w.vault.Generate(t.Context(), by, []vault.Target{{Meter: meters[0].Title, Role: role.CCIS}})
	if err != nil || !errors.Is(g[0].Err, vault.ErrUnknownKey) {
		t.Fatalf("a linky meter got a CC_IS: %v, %v", g, err)
	}
	told := 0
	for f := (audit.Filter{Action: vault.ActionImported, Limit: 1000}); ; {
		rows, err := w.log.List(t.Context(), f)
		w.ok(err)
		told += len(rows)
		if len(rows) < f.Limit {
			break
		}
		f.After = rows[len(rows)-1].ID
	}
	if told != len(meters) {
		t.Errorf("%d of %d rows are in the audit log", told, len(meters))
	}
	// All of it is in the key journal: an older store is brought up to date by it.
	w.stop()
	w.ok(os.RemoveAll(w.data))
	w.ok(os.CopyFS(w.data, os.DirFS(before)))
	w.start()
	again, err := w.vault.ImportShipment(t.Context(), by, bytes.NewReader(file))
	if err != nil || again.Unchanged != len(meters) || !again.Clean() {
		t.Errorf("after the store was brought back: %v, %v", again, err)
	}
}

// nothingIsIn checks that no meter came in, and that the record says why.
func (w *world) nothingIsIn(entries int) {
	w.t.Helper()
	meters, err := w.fleet.Meters(w.t.Context())
	if err != nil || len(meters) != 0 {
		w.t.Fatalf("%d meters are in, %v", len(meters), err)
	}
	rows, err := w.log.List(w.t.Context(), audit.Filter{Action: vault.ActionRefused})
	if err != nil || len(rows) != entries {
		w.t.Fatalf("want %d refusals on the record, got %d, %v", entries, len(rows), err)
	}
}

func TestImportRefusesAnAlteredFileWholeAndOnTheRecord(t *testing.T) {
	w := newWorld(t)
	file := w.file("b1", made(t, 3, shipment.ProfileHardened, 1))
	lines := bytes.SplitAfter(file, []byte{'\n'})
	header := len(lines[0])
	swapped := bytes.Join([][]byte{lines[0], lines[2], lines[1], lines[3], lines[4]}, nil)
	for name, bad := range map[string][]byte{
		"in the header":         altered(file, header/2),
		"in a row":              altered(file, header+60),
		"in the last row":       altered(file, len(file)-200),
		"in the signature":      altered(file, len(file)-40),
		"cut by a byte":         file[:len(file)-1],
		"cut in the middle":     file[:len(file)/2],
		"cut between rows":      file[:header+len(lines[1])],
		"rows in another order": swapped,
		"a row twice":           bytes.Join([][]byte{lines[0], lines[1], lines[1], lines[3], lines[4]}, nil),
		"more behind it":        append(bytes.Clone(file), '\n'),
		"nothing":               nil,
	} {
		r, err := w.vault.ImportShipment(t.Context(), by, bytes.NewReader(bad))
		if !errors.Is(err, shipment.ErrSignature) && !errors.Is(err, shipment.ErrFile) || r.Imported != 0 {
			t.Errorf("%s: want it refused whole, got %v, %v", name, r, err)
		}
	}
	w.nothingIsIn(11)
	if r, err := w.vault.ImportShipment(t.Context(), by, bytes.NewReader(file)); err != nil || !r.Clean() {
		t.Fatalf("the file itself: %v, %v", r, err)
	}
}

func altered(file []byte, at int) []byte {
	out := bytes.Clone(file)
	out[at] ^= 1
	return out
}

func TestImportTakesFilesOfRegisteredMakersAlone(t *testing.T) {
	w := newWorld(t)
	meters := made(t, 1, shipment.ProfileHardened, 1)
	file := func(k shipment.MakerKey) *bytes.Buffer {
		var b bytes.Buffer
		w.ok(shipment.Write(&b, rand.Reader, k, "b1", meters, w.vault.Transport()))
		return &b
	}
	stranger := makerOf(t, "MSL") // the same three letters
	if _, err := w.vault.ImportShipment(t.Context(), by, file(stranger)); !errors.Is(err, vault.ErrMaker) {
		t.Fatalf("an unknown key: want ErrMaker, got %v", err)
	}
	foreign := makerOf(t, "XYZ")
	w.ok(w.vault.AddMaker(t.Context(), by, foreign.Public(), foreign.Public().Fingerprint()))
	if err := w.vault.AddMaker(t.Context(), by, stranger.Public(), w.maker.Public().Fingerprint()); !errors.Is(err, vault.ErrFingerprint) {
		t.Fatalf("a key that nobody compared: want ErrFingerprint, got %v", err)
	}
	w.ok(w.vault.RevokeMaker(t.Context(), by, w.maker.Public().Fingerprint(), "test"))
	w.restart()
	if _, err := w.vault.ImportShipment(t.Context(), by, file(w.maker)); !errors.Is(err, vault.ErrMaker) {
		t.Fatalf("a revoked key: want ErrMaker, got %v", err)
	}
	if err := w.vault.AddMaker(t.Context(), by, w.maker.Public(), w.maker.Public().Fingerprint()); !errors.Is(err, vault.ErrMaker) {
		t.Fatalf("a revoked key again: want ErrMaker, got %v", err)
	}
	w.nothingIsIn(2)
	w.ok(w.vault.AddMaker(t.Context(), by, stranger.Public(), stranger.Public().Fingerprint()))
	if r, err := w.vault.ImportShipment(t.Context(), by, file(stranger)); err != nil || !r.Clean() {
		t.Fatalf("the maker's next key: %v, %v", r, err)
	}
}

func TestARevokedMakerStaysRevokedInAStoreThatIsBroughtBack(t *testing.T) {
	w := newWorld(t)
	before := t.TempDir()
	w.stop()
	w.ok(os.CopyFS(before, os.DirFS(w.data)))
	w.start()
	w.ok(w.vault.RevokeMaker(t.Context(), by, w.maker.Public().Fingerprint(), "stolen"))
	w.stop()
	w.ok(os.RemoveAll(w.data))
	w.ok(os.CopyFS(w.data, os.DirFS(before)))
	w.start()
	makers, err := w.vault.Makers(t.Context())
	if err != nil || len(makers) != 1 || makers[0].State != vault.MakerRevoked {
		t.Fatalf("got %v, %v", makers, err)
	}
}

// TestImportRefusesRowsWhoseKeysNobodyShouldHave has a maker's own mistakes, which are signed.
func TestImportRefusesRowsWhoseKeysNobodyShouldHave(t *testing.T) {
	w := newWorld(t)
	counting := make([]byte, key.Size)
	for i := range counting {
		counting[i] = byte(i)
	}
	meters := made(t, 4, shipment.ProfileHardened, 1)
	var err error
	meters[0].Locale, err = key.NewUnicast(counting)
	w.ok(err)
	meters[1].IS, err = key.NewUnicast([]byte("0123456789abcdef"))
	w.ok(err)
	meters[3].CCC = meters[2].CCC
	r := w.ship("b1", meters)
	want := []shipment.Reason{shipment.WeakKey, shipment.WeakKey, shipment.DuplicateKey}
	if r.Imported != 1 || len(r.Rows) != len(want) {
		t.Fatalf("got %v: %+v", r, r.Rows)
	}
	for i, row := range r.Rows {
		if row.Reason != want[i] {
			t.Errorf("want %s, got %+v", want[i], row)
		}
	}
}

func TestImportRefusesAFileForSomebodyElse(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.ok(w.vault.AddMaker(t.Context(), by, other.maker.Public(), other.maker.Public().Fingerprint()))
	file := other.file("b1", made(t, 1, shipment.ProfileHardened, 1))
	if _, err := w.vault.ImportShipment(t.Context(), by, bytes.NewReader(file)); !errors.Is(err, transport.ErrNotForUs) {
		t.Fatalf("want ErrNotForUs, got %v", err)
	}
}

func TestLaw4NoSystemTitleIsBorneTwice(t *testing.T) {
	w := newWorld(t)
	meters := w.imported(1)
	w.enrolled(enrol.Concentrator, dc)
	for name, title := range map[string]dlms.SystemTitle{"a meter's": meters[0].Title, "a concentrator's": dc, "a node's": node} {
		id, err := enrol.NewIdentity(enrol.Terminal, title, rand.Reader)
		w.ok(err)
		f, err := id.File(w.vault.Transport(), rand.Reader)
		w.ok(err)
		if err := w.vault.EnrolDevice(t.Context(), by, f, f.Fingerprint()); !errors.Is(err, vault.ErrTitleInUse) {
			t.Errorf("a terminal with %s title: want ErrTitleInUse, got %v", name, err)
		}
	}
	for _, title := range []dlms.SystemTitle{meters[0].Title, dc} {
		if err := w.fleet.RegisterNode(t.Context(), by, title); !errors.Is(err, fleet.ErrTitleInUse) {
			t.Errorf("a node %s: want ErrTitleInUse, got %v", title, err)
		}
	}
}

func TestEnrolWantsTheFingerprintThatAPersonCompared(t *testing.T) {
	w := newWorld(t)
	id, err := enrol.NewIdentity(enrol.Concentrator, dc, rand.Reader)
	w.ok(err)
	f, err := id.File(w.vault.Transport(), rand.Reader)
	w.ok(err)
	swapped, err := enrol.NewIdentity(enrol.Concentrator, dc, rand.Reader) // somebody's own, under the same title
	w.ok(err)
	f2, err := swapped.File(w.vault.Transport(), rand.Reader)
	w.ok(err)
	if err := w.vault.EnrolDevice(t.Context(), by, f2, f.Fingerprint()); !errors.Is(err, vault.ErrFingerprint) {
		t.Fatalf("want ErrFingerprint, got %v", err)
	}
	for range 2 { // the second time changes nothing
		w.ok(w.vault.EnrolDevice(t.Context(), by, f, f.Fingerprint()))
	}
	if err := w.vault.EnrolDevice(t.Context(), by, f2, f2.Fingerprint()); !errors.Is(err, vault.ErrTitleInUse) {
		t.Fatalf("other keys under a known title: want ErrTitleInUse, got %v", err)
	}
	other := newWorld(t)
	if err := other.vault.EnrolDevice(t.Context(), by, f, f.Fingerprint()); err == nil {
		t.Fatal("a file for another vault was enrolled")
	}
}

func TestLaw8ImportLeavesARecordOfEveryRow(t *testing.T) {
	w := newWorld(t)
	meters := made(t, 2, shipment.ProfileHardened, 1)
	meters[1].Title = dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 50}
	w.ok(w.fleet.RegisterNode(t.Context(), by, meters[1].Title))
	w.ship("b1", meters)
	for action, want := range map[audit.Action]int{vault.ActionImported: 1, vault.ActionRefused: 1, vault.ActionShipment: 1} {
		rows, err := w.log.List(t.Context(), audit.Filter{Action: action})
		if err != nil || len(rows) != want {
			t.Errorf("%s: want %d, got %d, %v", action, want, len(rows), err)
		}
	}
}
