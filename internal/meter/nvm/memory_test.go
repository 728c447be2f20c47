package nvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/meter/nvm"
)

func title() dlms.SystemTitle { return dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1} }

func open(t *testing.T, dir string) *nvm.Folder {
	t.Helper()
	f, err := nvm.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func load(t *testing.T, m nvm.Memory) []string {
	t.Helper()
	var got []string
	if err := m.Load(func(b []byte) error { got = append(got, string(b)); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

func add(t *testing.T, m nvm.Memory, frames ...string) {
	t.Helper()
	for _, f := range frames {
		if err := m.Append([]byte(f), true); err != nil {
			t.Fatal(err)
		}
	}
}

func want(t *testing.T, got []string, frames ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(frames) {
		t.Fatalf("want frames %q, got %q", frames, got)
	}
}

func TestBothMemoriesGiveBackWhatTheyTook(t *testing.T) {
	dir := t.TempDir()
	for name, fresh := range map[string]func() nvm.Memory{
		"file":     func() nvm.Memory { return open(t, dir).Memory(title()) },
		"volatile": func() nvm.Memory { return new(nvm.Volatile) },
	} {
		t.Run(name, func(t *testing.T) {
			m := fresh()
			want(t, load(t, m))
			add(t, m, "one", "two")
			if err := m.Append([]byte("three"), false); err != nil {
				t.Fatal(err)
			}
			want(t, load(t, m), "one", "two", "three")
			if err := m.Replace([][]byte{[]byte("sum"), []byte("rest")}); err != nil {
				t.Fatal(err)
			}
			add(t, m, "four")
			want(t, load(t, m), "sum", "rest", "four")
			for _, bad := range [][]byte{nil, make([]byte, nvm.MaxFrame+1)} {
				if err := m.Append(bad, true); !errors.Is(err, nvm.ErrFrame) {
					t.Errorf("append %d bytes: want ErrFrame, got %v", len(bad), err)
				}
			}
		})
	}
}

// memoryFile makes a memory of three frames and returns its path and content.
func memoryFile(t *testing.T) (dir, path string, content []byte) {
	t.Helper()
	dir = t.TempDir()
	f := open(t, dir)
	m := f.Memory(title())
	if err := m.Append([]byte("early"), true); !errors.Is(err, nvm.ErrBroken) {
		t.Fatalf("append before load: want ErrBroken, got %v", err)
	}
	load(t, m)
	add(t, m, "one")
	m = f.Memory(title())
	load(t, m)
	add(t, m, "two", "three")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, title().String()+".nvm")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return dir, path, content
}

func TestATornEndIsCutOffWhereverThePowerCutCame(t *testing.T) {
	dir, path, content := memoryFile(t)
	last := bytes.LastIndex(content, []byte("three")) - 8
	for end := last; end < len(content); end++ {
		for _, filled := range []bool{false, true} {
			torn := bytes.Clone(content[:end])
			if filled { // the file system allotted the space and wrote a part of it
				torn = append(torn, make([]byte, len(content)-end+3)...)
			}
			if end > len(content)-4 && filled {
				continue // cut within the check: a check that is not all zero counts as damage
			}
			if filled && end > last && end < last+8 {
				continue // cut within the head: the same
			}
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			f := open(t, dir)
			m := f.Memory(title())
			want(t, load(t, m), "one", "two")
			add(t, m, "again")
			want(t, load(t, f.Memory(title())), "one", "two", "again")
			_ = f.Close()
		}
	}
}

func TestDamageIsNeverTakenForAnOlderMemory(t *testing.T) {
	dir, path, content := memoryFile(t)
	for i := len("meterseal meter memory 1\n"); i < len(content); i++ {
		damaged := bytes.Clone(content)
		damaged[i] ^= 0x40
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f := open(t, dir)
		err := f.Memory(title()).Load(func([]byte) error { return nil })
		if !errors.Is(err, nvm.ErrDamaged) {
			t.Errorf("byte %d altered: want ErrDamaged, got %v", i, err)
		}
		_ = f.Close()
	}
}

func TestAMissingPieceInTheMiddleIsDamage(t *testing.T) {
	dir, path, content := memoryFile(t)
	second := bytes.Index(content, []byte("two")) - 8
	third := bytes.Index(content, []byte("three")) - 8
	for name, bad := range map[string][]byte{
		"frame left out": append(bytes.Clone(content[:second]), content[third:]...),
		"frame blanked":  append(append(bytes.Clone(content[:second]), make([]byte, third-second)...), content[third:]...),
		"frames swapped": append(append(bytes.Clone(content[:second]), content[third:]...), content[second:third]...),
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f := open(t, dir)
		if err := f.Memory(title()).Load(func([]byte) error { return nil }); !errors.Is(err, nvm.ErrDamaged) {
			t.Errorf("%s: want ErrDamaged, got %v", name, err)
		}
		_ = f.Close()
	}
}

func TestAForeignFileIsRefused(t *testing.T) {
	dir, path, _ := memoryFile(t)
	if err := os.WriteFile(path, []byte("meterseal meter memory 9\nand more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Memory(title()).Load(func([]byte) error { return nil }); !errors.Is(err, nvm.ErrVersion) {
		t.Fatalf("want ErrVersion, got %v", err)
	}
}

func TestAMemoryThatOthersCanReadIsRefused(t *testing.T) {
	dir, path, _ := memoryFile(t)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	err := open(t, dir).Memory(title()).Load(func([]byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Fatalf("want a refusal that says chmod 600, got %v", err)
	}
}

func TestAFolderIsServedByOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	if _, err := nvm.OpenFolder(dir); !errors.Is(err, nvm.ErrInUse) {
		t.Fatalf("want ErrInUse, got %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestAnUnfinishedReplacementIsSweptAndTheOldMemoryStays(t *testing.T) {
	dir, _, _ := memoryFile(t)
	left := filepath.Join(dir, ".a.nvm.123.new")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("want the unfinished file gone, got %v", err)
	}
	want(t, load(t, f.Memory(title())), "one", "two", "three")
}

func TestNotesAreKept(t *testing.T) {
	f := open(t, t.TempDir())
	if b, err := f.Note("fleet"); err != nil || b != nil {
		t.Fatalf("want no note, got %q, %v", b, err)
	}
	if err := f.SetNote("fleet", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Note("fleet"); err != nil || string(b) != "x" {
		t.Fatalf("want the note, got %q, %v", b, err)
	}
}

func FuzzLoad(f *testing.F) {
	dir := f.TempDir()
	folder, err := nvm.OpenFolder(dir)
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, title().String()+".nvm")
	m := folder.Memory(title())
	if err := m.Load(func([]byte) error { return nil }); err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"one", "two", "three"} {
		if err := m.Append([]byte(s), true); err != nil {
			f.Fatal(err)
		}
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m := folder.Memory(title())
		n := 0
		if m.Load(func([]byte) error { n++; return nil }) != nil {
			return
		}
		if err := m.Append([]byte("next"), true); err != nil {
			t.Fatal(err)
		}
		after := 0
		if err := folder.Memory(title()).Load(func([]byte) error { after++; return nil }); err != nil || after != n+1 {
			t.Fatalf("want %d frames after one more, got %d, %v", n+1, after, err)
		}
	})
}
