package enrol

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/keylog"
)

func kept(t *testing.T, n int) []keylog.Entry {
	t.Helper()
	l, err := keylog.Open(filepath.Join(t.TempDir(), "key.log"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range n {
		if err := l.Append("use"); err != nil {
			t.Fatal(err)
		}
	}
	out, err := l.Since(0, n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestALogFileIsTakenAsItsTerminalWroteItAndInNoOtherWay(t *testing.T) {
	id := identity(t, Terminal, tsp)
	f, err := id.LogFile(kept(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log.json")
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	came, err := ReadLogFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := came.Verify(id.MAC()); err != nil {
		t.Fatal(err)
	}
	if err := keylog.Verify(keylog.Entry{}, came.Entries); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*LogFile){
		"another terminal": func(f *LogFile) { f.Terminal = dlms.SystemTitle{9} },
		"an entry changed": func(f *LogFile) { f.Entries[1].Text = "nothing" },
		"a time changed":   func(f *LogFile) { f.Entries[1].Time = f.Entries[1].Time.Add(time.Hour) },
		"an entry gone":    func(f *LogFile) { f.Entries = append(f.Entries[:1], f.Entries[2:]...) },
		"entries reversed": func(f *LogFile) { f.Entries[0], f.Entries[1] = f.Entries[1], f.Entries[0] },
		"another schema":   func(f *LogFile) { f.Schema = GrantSchema },
		"no mac":           func(f *LogFile) { f.MAC = nil },
		"too long":         func(f *LogFile) { f.Entries = make([]keylog.Entry, MaxLogEntries+1) },
	} {
		bad, err := ReadLogFile(path)
		if err != nil {
			t.Fatal(err)
		}
		change(&bad)
		if err := bad.Verify(id.MAC()); !errors.Is(err, ErrLogFile) {
			t.Errorf("%s: want ErrLogFile, got %v", name, err)
		}
	}
	for what, k := range map[string]key.MAC{"another key": identity(t, Terminal, tsp).MAC(), "no key": {}} {
		if err := came.Verify(k); !errors.Is(err, ErrLogFile) {
			t.Errorf("%s: want ErrLogFile, got %v", what, err)
		}
	}
}
