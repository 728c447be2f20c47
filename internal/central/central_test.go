package central

import (
	"bytes"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/transport/transporttest"
)

var dcTitle = dlms.SystemTitle{'M', 'S', 'L', 0xC0, 0, 0, 0, 1}

var vaults transporttest.Keys

// opened is a central system with one enrolled concentrator, not yet serving.
func opened(t *testing.T) *IS { return openedAt(t, time.Now) }

// openedAt is one with a clock.
func openedAt(t *testing.T, now func() time.Time, change ...func(*Config)) *IS {
	t.Helper()
	cfg := Config{Data: filepath.Join(t.TempDir(), "is"), SystemTitle: "4D534C1500000001", Listen: "127.0.0.1:0"}
	for _, c := range change {
		c(&cfg)
	}
	files, err := vaults.Key(0)
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{Now: now, Rand: rand.Reader, Transport: files}
	recipient, err := Init(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	is, err := Open(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = is.Close() })
	id, err := enrol.NewIdentity(enrol.Concentrator, dcTitle, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f, err := id.File(recipient, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := is.Enrol(t.Context(), api.Enrolment{File: f, Fingerprint: f.Fingerprint()}); err != nil {
		t.Fatal(err)
	}
	return is
}

func entries(t *testing.T, n int) []keylog.Entry {
	t.Helper()
	l, err := keylog.Open(filepath.Join(t.TempDir(), "log"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range n {
		if err := l.Append("use"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := l.Since(0, n)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func exported(t *testing.T, is *IS) string {
	t.Helper()
	var b bytes.Buffer
	if err := is.ExportAudit(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLaw8AMissingStretchOfAConcentratorsLogIsAnAlarmOnTheRecord(t *testing.T) {
	is, log := opened(t), entries(t, 4)
	if err := is.up(t.Context(), dcTitle, bus.Up{Log: &bus.Log{Entries: log[:2]}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := is.up(t.Context(), dcTitle, bus.Up{Log: &bus.Log{Entries: log[3:]}}); err == nil {
			t.Fatal("a log with a gap was taken")
		}
	}
	if n := strings.Count(exported(t, is), string(actionLogGap)); n != 1 {
		t.Errorf("want one alarm in the audit log, got %d", n)
	}
	if err := is.up(t.Context(), dcTitle, bus.Up{Log: &bus.Log{Entries: log}}); err != nil {
		t.Errorf("the whole log, after all: %v", err)
	}
}

func TestLaw4ARewoundConcentratorIsRefusedByItsBootCounterAndByItsLog(t *testing.T) {
	is, log := opened(t), entries(t, 3)
	hello := func(epoch, sequence uint64) error {
		return is.up(t.Context(), dcTitle, bus.Up{Hello: &bus.Hello{Epoch: epoch, LogSequence: sequence}})
	}
	if err := hello(5, 0); err != nil {
		t.Fatal(err)
	}
	if err := is.up(t.Context(), dcTitle, bus.Up{Log: &bus.Log{Entries: log}}); err != nil {
		t.Fatal(err)
	}
	if err := hello(5, 3); err == nil {
		t.Error("a boot counter that does not rise was taken")
	}
	if err := hello(6, 2); err == nil {
		t.Error("a log that is shorter than what was told was taken")
	}
	if err := hello(7, 3); err != nil {
		t.Errorf("an honest restart: %v", err)
	}
	if !strings.Contains(exported(t, is), string(actionRewound)) {
		t.Error("no alarm in the audit log")
	}
}

func TestASystemTitleOfThisNodeThatADeviceBearsIsRefused(t *testing.T) {
	is := opened(t)
	cfg := is.cfg
	cfg.SystemTitle = dcTitle.String()
	if err := is.Close(); err != nil {
		t.Fatal(err)
	}
	if other, err := Open(t.Context(), cfg, is.deps); err == nil {
		_ = other.Close()
		t.Error("the title of a concentrator was taken for this node")
	}
}
