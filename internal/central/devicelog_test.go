package central

import (
	"bytes"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/life"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

// logOf is a device's own log of uses.
func logOf(t *testing.T, uses ...keylog.Use) []keylog.Entry {
	t.Helper()
	l, err := keylog.Open(filepath.Join(t.TempDir(), "key.log"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, u := range uses {
		if err := l.Append(u.String()); err != nil {
			t.Fatal(err)
		}
	}
	out, err := l.Since(0, len(uses))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// terminalWith enrols a terminal whose identity the test has.
func terminalWith(t *testing.T, is *IS, n byte) *enrol.Identity {
	t.Helper()
	id, err := enrol.NewIdentity(enrol.Terminal, dlms.SystemTitle{'M', 'S', 'L', 0x75, 0, 0, 0, n}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f, err := id.File(is.vault.Transport(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := is.Enrol(t.Context(), api.Enrolment{File: f, Fingerprint: f.Fingerprint()}); err != nil {
		t.Fatal(err)
	}
	return id
}

func file(t *testing.T, id *enrol.Identity, entries []keylog.Entry) enrol.LogFile {
	t.Helper()
	f, err := id.LogFile(entries)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLaw8ATerminalsLogIsJoinedIntoTheAuditLogAndSignedWithIt(t *testing.T) {
	g := newGranting(t)
	id := terminalWith(t, g.is, 3)
	use := keylog.Use{As: "terminal", Ref: role.KeyRef{Meter: g.hardened, Role: role.CCLOCALE, Version: 1}, Grant: "g1", LastDay: dlms.Day{0x07, 0xEA, 11, 30}}
	var uses []keylog.Use
	for range 150 { // more than one record takes
		uses = append(uses, use)
	}
	log := logOf(t, uses...)
	for i, n := range []int{100, 150, 150} {
		got, err := g.is.TakeTerminalLog(t.Context(), file(t, id, log[:n]))
		if want := []int{100, 50, 0}[i]; err != nil || got.Taken != want || got.Last != uint64(n) {
			t.Fatalf("%d entries: want %d taken, got %+v, %v", n, want, got, err)
		}
	}
	var last keylog.Entry
	records := 0
	key, err := audit.ParsePublicKey(g.is.auditKey)
	g.must(err)
	_, err = audit.Verify(bytes.NewReader([]byte(exported(t, g.is))), audit.VerifyOptions{Trusted: key, Each: func(_ int64, e audit.Entry) error {
		if len(e.Log) == 0 {
			return nil
		}
		records++
		if err := keylog.Verify(last, e.Log); err != nil {
			return err
		}
		last = e.Log[len(e.Log)-1]
		return nil
	}})
	if err != nil || last.Sequence != 150 || records < 3 {
		t.Fatalf("want 150 entries in a few records, got %d in %d, %v", last.Sequence, records, err)
	}
	l, err := g.is.KeyLife(t.Context(), g.hardened)
	g.must(err)
	var told *life.Use
	for _, k := range l.Keys {
		for i, u := range k.Uses {
			if k.Role == role.CCLOCALE && u.Told {
				told = &k.Uses[i]
			}
		}
	}
	if told == nil || told.Count != 150 || told.By != id.Title().String() || told.LastDay != use.LastDay {
		t.Errorf("the life of CC_LOCALE: got %+v", l)
	}
}

func TestLaw8ATerminalsLogThatIsForgedOrMissesAStretchIsRefusedAndAlarmed(t *testing.T) {
	is := opened(t)
	id, log := terminalWith(t, is, 3), entries(t, 6)
	if _, err := is.TakeTerminalLog(t.Context(), file(t, id, log[:2])); err != nil {
		t.Fatal(err)
	}
	forged, err := enrol.NewIdentity(enrol.Terminal, id.Title(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	changed := file(t, id, slices.Clone(log))
	changed.Entries[3].Text = "nothing"
	for what, f := range map[string]enrol.LogFile{"another key": file(t, forged, log), "a changed entry": changed} {
		if got, err := is.TakeTerminalLog(t.Context(), f); !errors.Is(err, enrol.ErrLogFile) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
	if got, err := is.TakeTerminalLog(t.Context(), file(t, terminalUnknown(t), log)); !errors.Is(err, vault.ErrTitle) {
		t.Errorf("a terminal that is not known: got %+v, %v", got, err)
	}
	if n := strings.Count(exported(t, is), string(actionLogGap)); n != 0 {
		t.Errorf("%d alarms for files that no terminal wrote", n)
	}
	for what, f := range map[string][]keylog.Entry{"a stretch missing": log[3:], "another story": entries(t, 6)} {
		if got, err := is.TakeTerminalLog(t.Context(), file(t, id, f)); !errors.Is(err, keylog.ErrChain) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
	alarms, err := is.alarmed(t.Context())
	if err != nil || len(alarms) == 0 || alarms[0].Device != id.Title() || alarms[0].Action != string(actionLogGap) {
		t.Errorf("alarms: got %+v, %v", alarms, err)
	}
	if got, err := is.TakeTerminalLog(t.Context(), file(t, id, log)); err != nil || got.Taken != 4 {
		t.Errorf("the whole log, after all: got %+v, %v", got, err)
	}
}

func terminalUnknown(t *testing.T) *enrol.Identity {
	t.Helper()
	id, err := enrol.NewIdentity(enrol.Terminal, dlms.SystemTitle{'M', 'S', 'L', 0x75, 0, 0, 0, 99}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestTheLogOfATerminalIsMissedFromTheEndOfItsGrantOn(t *testing.T) {
	g := newGranting(t)
	id := terminalWith(t, g.is, 3)
	g.terminal = id.Title()
	due := func() (since time.Time) {
		t.Helper()
		logs, err := g.is.deviceLogs(t.Context())
		g.must(err)
		for _, l := range logs {
			if l.Device == g.terminal {
				return l.Due
			}
		}
		t.Fatal("no such device")
		return since
	}
	end := g.now.Add(time.Hour)
	g.grant(end, g.hardened)
	if !due().IsZero() {
		t.Error("missed while the grant lasts")
	}
	g.now = g.now.Add(2 * time.Hour)
	g.must(g.is.settleGrants(t.Context()))
	if got := due(); !got.Equal(end) {
		t.Errorf("want it missed since %s, got %s", end, got)
	}
	if _, err := g.is.TakeTerminalLog(t.Context(), file(t, id, nil)); err != nil { // it was never used
		t.Fatal(err)
	}
	if !due().IsZero() {
		t.Error("missed though it came")
	}
}

func TestAConcentratorThatIsAskedForItsWholeLogIsToldSo(t *testing.T) {
	is, log := opened(t), entries(t, 4)
	err := is.up(t.Context(), dcTitle, bus.Up{Log: &bus.Log{Entries: log[2:]}})
	var f *bus.Fault
	if !errors.As(err, &f) || f.Code != bus.FaultLogGap || f.From != 1 {
		t.Errorf("got %v", err)
	}
}

func TestEveryDeedOfTheVaultWithAKeyHasWords(t *testing.T) {
	for _, a := range []audit.Action{
		vault.ActionImported, vault.ActionGenerated, vault.ActionWrapped, vault.ActionSealed, vault.ActionUsed, vault.ActionSent,
		vault.ActionActive, vault.ActionEnded, vault.ActionAbandoned,
	} {
		if !life.Known(a) {
			t.Errorf("%s has no words", a)
		}
	}
	for _, a := range []audit.Action{actionRewound, actionLogGap, actionUnknownVersion, actionBurnt} {
		if !life.IsAlarm(a) {
			t.Errorf("%s is no alarm", a)
		}
	}
}
