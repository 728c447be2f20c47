package central

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// killedExport is what a process of its own is told, which is killed in the middle of it.
type killedExport struct {
	Config Config
	Export api.MeterExport
	Point  int // at which it ends, from 1
}

// killedVariable carries it.
const killedVariable = "METERSEAL_TEST_KILLED_EXPORT"

// exportUntilKilled is that process. It ends as a process ends whose machine loses its power: nothing of it runs any more.
func exportUntilKilled(t *testing.T, what string) {
	var k killedExport
	if err := json.Unmarshal([]byte(what), &k); err != nil {
		t.Fatal(err)
	}
	left, counting := k.Point, false
	is, err := Open(t.Context(), k.Config, Deps{Now: time.Now, Rand: rand.Reader, Crash: func(point string) error {
		if !counting {
			return nil
		}
		if left--; left > 0 {
			return nil
		}
		_, _ = os.Stdout.WriteString("killed at " + point + "\n")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}})
	if err != nil {
		t.Fatal(err)
	}
	counting = true
	if _, err := is.ExportMeters(t.Context(), k.Export); err != nil {
		t.Error(err)
	}
	counting = false
	if err := is.Close(); err != nil {
		t.Error(err)
	}
}

// exporting is two head-ends: the first has meters, and is copied for each crash.
type exporting struct {
	t      *testing.T
	cfg    Config // of the one that crashes, in a directory of its own
	clean  string // its data before
	other  *IS
	out    string // where the files go
	meters []dlms.SystemTitle
	from   string // the audit key of the first
}

// enough meters that a file takes more than one write.
const exportedMeters = 100

func newExporting(t *testing.T) *exporting {
	t.Helper()
	base := t.TempDir()
	e := &exporting{t: t, clean: filepath.Join(base, "clean"), out: filepath.Join(base, "out")}
	e.cfg = Config{Data: filepath.Join(base, "is"), SystemTitle: "4D534C1500000001", Listen: "127.0.0.1:0"}
	e.must(os.Mkdir(e.out, 0o700))
	is := e.made(e.cfg, 0)
	maker, err := shipment.NewMakerKey(rand.Reader, "MSL")
	e.must(err)
	e.must(is.AddMaker(t.Context(), api.MakerRequest{Key: maker.Public(), Fingerprint: maker.Public().Fingerprint()}))
	rows, err := shipment.Generate(rand.Reader, "MSL", exportedMeters, shipment.ProfileHardened, 1)
	e.must(err)
	var b bytes.Buffer
	e.must(shipment.Write(&b, rand.Reader, maker, "1", rows, is.vault.Transport()))
	if r, err := is.ImportShipment(t.Context(), &b); err != nil || !r.Clean() {
		t.Fatal(r, err)
	}
	for _, r := range rows {
		e.meters = append(e.meters, r.Title)
	}
	e.from = is.auditKey
	e.must(is.Close())
	e.copied(e.cfg.Data, e.clean)
	e.other = e.made(Config{Data: filepath.Join(base, "other"), SystemTitle: "4D534C1500000009", Listen: "127.0.0.1:0"}, 1)
	t.Cleanup(func() { _ = e.other.Close() })
	return e
}

func (e *exporting) made(cfg Config, key int) *IS {
	e.t.Helper()
	files, err := vaults.Key(key)
	e.must(err)
	deps := Deps{Now: time.Now, Rand: rand.Reader, Transport: files}
	_, err = Init(e.t.Context(), cfg, deps)
	e.must(err)
	is, err := Open(e.t.Context(), cfg, deps)
	e.must(err)
	return is
}

func (e *exporting) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// copied makes a copy that is private, as the first one is.
func (e *exporting) copied(from, to string) {
	e.t.Helper()
	e.must(os.CopyFS(to, os.DirFS(from)))
	e.must(filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return errors.Join(err, os.Chmod(path, 0o700))
		}
		return os.Chmod(path, 0o600)
	}))
}

func (e *exporting) to() transport.Public { return e.other.vault.Transport() }

// killed lets a process export until the n-th point, and says where it died; "" where it came to its end.
func (e *exporting) killed(q api.MeterExport, n int) string {
	e.t.Helper()
	what, err := json.Marshal(killedExport{e.cfg, q, n})
	e.must(err)
	c := exec.CommandContext(e.t.Context(), os.Args[0], "-test.run", "^"+e.t.Name()+"$", "-test.count", "1")
	c.Env = append(os.Environ(), killedVariable+"="+string(what))
	out, err := c.CombinedOutput()
	var ended *exec.ExitError
	if err == nil {
		return ""
	}
	if !errors.As(err, &ended) || ended.Success() {
		e.t.Fatalf("point %d: %v\n%s", n, err, out)
	}
	if s, ok := ended.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		e.t.Fatalf("point %d: it was not killed: %v\n%s", n, err, out)
	}
	_, point, _ := strings.Cut(string(out), "killed at ")
	point, _, _ = strings.Cut(point, "\n")
	return point
}

// isWhole checks what is there after the crash: all meters are gone, or none; the file is there whole, or not at all, and
// never for a meter that is still used. Every key opens.
func (e *exporting) isWhole(is *IS, q api.MeterExport, where string) {
	e.t.Helper()
	gone, err := is.store.ExportRows(e.t.Context(), e.meters)
	e.must(err)
	if len(gone) != 0 && len(gone) != len(e.meters) {
		e.t.Errorf("%s: %d of %d meters are gone", where, len(gone), len(e.meters))
	}
	there, err := is.hasExport(q.File, q, e.meters)
	if err != nil {
		e.t.Errorf("%s: half a file is there: %v", where, err)
	}
	if there && len(gone) == 0 {
		e.t.Errorf("%s: the keys of meters in service are in the file", where)
	}
	served, err := is.store.CountServed(e.t.Context())
	e.must(err)
	if served+len(gone) != len(e.meters) {
		e.t.Errorf("%s: %d meters in service and %d gone", where, served, len(gone))
	}
	refs := make([]role.KeyRef, len(e.meters))
	for i, m := range e.meters {
		refs[i] = role.KeyRef{Meter: m, Role: role.CCIS, Version: 1}
	}
	opened, err := is.vault.OpenFor(e.t.Context(), "test", is.own, "test", refs)
	e.must(err)
	for i, o := range opened {
		if (o.Err == nil) != (len(gone) == 0) {
			e.t.Fatalf("%s: %s with %d meters gone: %v", where, refs[i], len(gone), o.Err)
		}
	}
}

// isDone makes the export again, and has the other head-end take it over.
func (e *exporting) isDone(is *IS, q api.MeterExport, where string) {
	e.t.Helper()
	got, err := is.ExportMeters(e.t.Context(), q)
	if err != nil || got.Keys != 4*len(e.meters) {
		e.t.Fatalf("%s: the same command again: %+v, %v", where, got, err)
	}
	e.isWhole(is, q, where+", again")
	names, err := os.ReadDir(e.out)
	e.must(err)
	if len(names) != 1 || names[0].Name() != filepath.Base(q.File) {
		e.t.Errorf("%s: want the file alone, got %v", where, names)
	}
	if i, err := os.Stat(q.File); err != nil || i.Mode().Perm() != 0o600 {
		e.t.Errorf("%s: want the file private: %v, %v", where, i, err)
	}
	r, err := e.other.ImportMeters(e.t.Context(), api.MeterImport{File: q.File, From: e.from})
	if err != nil || !r.Clean() || r.Imported+r.Unchanged != len(e.meters) {
		e.t.Fatalf("%s: the other head-end: %v, %v", where, r, err)
	}
}

// TestLaw5AKillAtAnyPointOfAnExportLosesNoMeter kills a process that gives meters away: before and after each commit and
// each line of the key journal, and at each write, sync and name of the file.
func TestLaw5AKillAtAnyPointOfAnExportLosesNoMeter(t *testing.T) {
	if what := os.Getenv(killedVariable); what != "" {
		exportUntilKilled(t, what)
		return
	}
	e := newExporting(t)
	q := api.MeterExport{To: e.to(), Meters: e.meters, File: filepath.Join(e.out, "south.jsonl")}
	var points []string
	for n := 1; ; n++ {
		e.must(errors.Join(os.RemoveAll(e.cfg.Data), os.RemoveAll(e.out), os.Mkdir(e.out, 0o700)))
		e.copied(e.clean, e.cfg.Data)
		point := e.killed(q, n)
		is, err := Open(t.Context(), e.cfg, Deps{Now: time.Now, Rand: rand.Reader})
		e.must(err)
		where := strconv.Itoa(n) + " " + point
		e.isWhole(is, q, where)
		e.isDone(is, q, where)
		e.must(is.Close())
		if point == "" {
			break
		}
		points = append(points, point)
	}
	t.Logf("killed at %d points: %q", len(points), points)
	for want, times := range map[string]int{
		"journal, before": 1, "journal, after": 1, "commit, before": 2, "commit, after": 2,
		"export, write": 2, "export, written": 1, "export, synced": 1, "export, named": 1, "export, alone": 1,
	} {
		if n := strings.Count(strings.Join(points, ";")+";", want+";"); n < times {
			t.Errorf("want %d kills at %q, got %d", times, want, n)
		}
	}
}

func TestAnExportReplacesNoFileButItself(t *testing.T) {
	e := newExporting(t)
	is, err := Open(t.Context(), e.cfg, Deps{Now: time.Now, Rand: rand.Reader})
	e.must(err)
	defer is.Close()
	q := api.MeterExport{To: e.to(), Meters: e.meters[:3], File: filepath.Join(e.out, "some.jsonl")}
	e.must(os.WriteFile(q.File, []byte("somebody's\n"), 0o600))
	refused := func(what string, q api.MeterExport) {
		t.Helper()
		before, err := os.ReadFile(q.File)
		e.must(err)
		if _, err := is.ExportMeters(t.Context(), q); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: want it refused, got %v", what, err)
		}
		if after, err := os.ReadFile(q.File); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the file is another one, %v", what, err)
		}
	}
	refused("a file of somebody", q)
	e.must(is.stillHere(t.Context(), e.meters...)) // nothing was given away for it
	e.must(os.Remove(q.File))
	_, err = is.ExportMeters(t.Context(), q)
	e.must(err)
	more, fewer := q, q
	more.Meters, fewer.Meters = e.meters[:4], e.meters[:2]
	refused("more meters", more)
	refused("fewer meters", fewer)
	e.must(is.stillHere(t.Context(), e.meters[3:]...))
	whole, err := os.ReadFile(q.File)
	e.must(err)
	e.must(os.WriteFile(q.File, whole[:len(whole)-1], 0o600))
	refused("a file that was cut", q)
	e.must(os.WriteFile(q.File, whole, 0o600))
	e.must(os.WriteFile(q.File+partSuffix, []byte("what a crash has left"), 0o600))
	_, err = is.ExportMeters(t.Context(), q)
	e.must(err)
	if again, err := os.ReadFile(q.File); err != nil || bytes.Equal(again, whole) {
		t.Errorf("want the file written anew, for a new key: %v", err)
	}
	if _, err := os.Stat(q.File + partSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left is still there: %v", err)
	}
}
