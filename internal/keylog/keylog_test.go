package keylog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func written(t *testing.T, n int) (path string, entries []Entry) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "key.log")
	l, err := Open(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := l.Append("association CC_LAN v1"); err != nil {
			t.Fatal(err)
		}
	}
	entries, err = l.Since(0, n)
	if err != nil || len(entries) != n || l.Last() != uint64(n) {
		t.Fatalf("%d entries, last %d, %v", len(entries), l.Last(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path, entries
}

func TestAnAlteredRemovedOrReorderedEntryIsFound(t *testing.T) {
	_, e := written(t, 4)
	if err := Verify(Entry{}, e); err != nil {
		t.Fatal(err)
	}
	altered := append([]Entry(nil), e...)
	altered[1].Text = "nothing"
	for name, list := range map[string][]Entry{
		"altered": altered, "removed": {e[0], e[2], e[3]}, "reordered": {e[0], e[2], e[1], e[3]}, "first gone": e[1:],
	} {
		if err := Verify(Entry{}, list); !errors.Is(err, ErrChain) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := Verify(e[1], e[2:]); err != nil {
		t.Errorf("a later stretch after what is known: %v", err)
	}
}

func TestALineCutByACrashIsDroppedAndTheChainGoesOn(t *testing.T) {
	path, _ := written(t, 3)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
	for cut := whole; cut < len(b); cut++ {
		if err := os.WriteFile(path, b[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(path, time.Now)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := l.Append("again"); err != nil {
			t.Fatal(err)
		}
		got, err := l.Since(0, 10)
		if err != nil || len(got) != 3 || Verify(Entry{}, got) != nil {
			t.Fatalf("cut at %d: %d entries, %v", cut, len(got), err)
		}
		_ = l.Close()
	}
}

func TestADamagedMiddleIsRefused(t *testing.T) {
	path, _ := written(t, 3)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, time.Now); !errors.Is(err, ErrChain) && !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
}
