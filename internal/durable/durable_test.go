package durable

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, path string) Opened {
	t.Helper()
	o, err := OpenLines(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func written(t *testing.T, lines ...string) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lines")
	o := open(t, path)
	for _, l := range lines {
		if err := o.Append([]byte(l)); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil || int64(len(content)) != o.Size() {
		t.Fatalf("%d bytes, %v", len(content), err)
	}
	return path, content
}

func TestAFileCutAnywhereKeepsTheWholeLinesAndGoesOn(t *testing.T) {
	path, content := written(t, "one", "", "three")
	for cut := range len(content) {
		if err := os.WriteFile(path, content[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		o := open(t, path)
		whole := bytes.Count(content[:cut], []byte{'\n'})
		torn := cut > 0 && content[cut-1] != '\n'
		if len(o.Content) != whole || o.Torn != torn {
			t.Fatalf("cut at %d: %d lines, torn %v", cut, len(o.Content), o.Torn)
		}
		if err := errors.Join(o.Append([]byte("next")), o.Close()); err != nil {
			t.Fatal(err)
		}
		if o = open(t, path); len(o.Content) != whole+1 || string(o.Content[whole]) != "next" || o.Torn {
			t.Fatalf("cut at %d, after the next: %q", cut, o.Content)
		}
	}
}

func TestAnAlteredByteIsDamageOrATornEnd(t *testing.T) {
	path, content := written(t, "one", "two", "three")
	for i := range content {
		altered := bytes.Clone(content)
		altered[i] ^= 1
		if err := os.WriteFile(path, altered, 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := OpenLines(path)
		if err == nil {
			err = o.Close()
			if i != len(content)-1 || !o.Torn || len(o.Content) != 2 {
				t.Errorf("byte %d: %d lines, torn %v", i, len(o.Content), o.Torn)
			}
		} else if !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v", i, err)
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	}
}

func TestReplaceLinesLeavesNothingOfTheOld(t *testing.T) {
	path, _ := written(t, "one", "two")
	if err := ReplaceLines(path, []byte("three")); err != nil {
		t.Fatal(err)
	}
	o := open(t, path)
	if len(o.Content) != 1 || string(o.Content[0]) != "three" {
		t.Errorf("got %q", o.Content)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestWhatIsNoLineIsRefused(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "lines"))
	for _, bad := range [][]byte{[]byte("a\nb"), make([]byte, maxLine+1)} {
		if err := o.Append(bad); err == nil {
			t.Errorf("%d bytes: appended", len(bad))
		}
	}
	if err := o.Append([]byte("good")); err != nil {
		t.Error(err)
	}
}

func TestADirectoryIsLockedOnce(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_ = unlock()
}

func TestNothingIsAppendedToAFileThatAnotherHasTakenThePlaceOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	o, err := OpenLines(path)
	if err != nil || o.Append([]byte("one")) != nil {
		t.Fatal(err)
	}
	if err := ReplaceLines(path, []byte("another one")); err != nil {
		t.Fatal(err)
	}
	if err := o.Append([]byte("two")); !errors.Is(err, errOther) {
		t.Errorf("a file that was replaced: got %v", err)
	}
	if o, err = OpenLines(path); err != nil || len(o.Content) != 1 || string(o.Content[0]) != "another one" {
		t.Fatalf("got %q, %v", o.Content, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.Append([]byte("two")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	crash := errors.New("crash")
	for _, point := range []string{"file, before", "file, written", "file, in place", ""} {
		dir := t.TempDir()
		path := filepath.Join(dir, "state")
		if err := Replace(path, []byte("old")); err != nil {
			t.Fatal(err)
		}
		err := ReplaceAt(path, []byte("new"), func(at string) error {
			if at == point {
				return crash
			}
			return nil
		})
		if (point == "") != (err == nil) || point != "" && !errors.Is(err, crash) {
			t.Errorf("%q: got %v", point, err)
		}
		want := "old"
		if point == "file, in place" || point == "" {
			want = "new"
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%q: got %q, %v, want %q", point, b, err, want)
		}
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range left {
			if f.Name() != "state" && !Unfinished(f.Name()) {
				t.Errorf("%q: left %s", point, f.Name())
			}
		}
	}
}

func TestAFileIsMadeOnceAndForItsOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := Create(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("second")); !errors.Is(err, os.ErrExist) {
		t.Errorf("over another: got %v", err)
	}
	if b, err := ReadPrivate(path, 5); err != nil || string(b) != "first" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := ReadPrivate(path, 4); err == nil || !strings.Contains(err.Error(), "longer than 4 bytes") {
		t.Errorf("longer than the limit: got %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadPrivate(path, 5); err == nil || b != nil || !strings.Contains(err.Error(), "run chmod 600") {
		t.Errorf("others can read it: got %q, %v", b, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
