package dlmstest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms/dlmstest"
)

func TestLoadVectorsFailsWhenThereIsNothingToTest(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"no file":       {"README.md", "[]", "no .json file"},
		"empty list":    {"a.json", "[]", "no vector"},
		"no source":     {"a.json", `[{"name":"x","values":{"a":"00"}}]`, "want name, source and values"},
		"no values":     {"a.json", `[{"name":"x","source":"y"}]`, "want name, source and values"},
		"unknown field": {"a.json", `[{"nmae":"x"}]`, "unknown field"},
		"no JSON":       {"a.json", `]`, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, c.file, c.text)
			got := fatalOf(func(t *fakeTB) { dlmstest.LoadVectors(t, dir) })
			if !strings.Contains(got, c.want) {
				t.Errorf("want a failure with %q, got %q", c.want, got)
			}
		})
	}
}

func TestVectorFieldsFailTheTestWhenTheyAreMissingOrWrong(t *testing.T) {
	dir := write(t, "a.json", `[{"name":"x","source":"y","values":{"b":"0A ff","bad":"0G"}}]`)
	v := dlmstest.LoadVectors(t, dir)[0]
	if got := v.Bytes(t, "b"); string(got) != "\x0a\xff" {
		t.Errorf("bytes: got %X", got)
	}
	if v.String() != "a/x" || !v.Has("b") || v.Has("c") {
		t.Errorf("name or fields: got %s, %v, %v", v, v.Has("b"), v.Has("c"))
	}
	for want, fn := range map[string]func(t *fakeTB){
		`no field "c"`:      func(t *fakeTB) { v.Bytes(t, "c") },
		`field "bad"`:       func(t *fakeTB) { v.Bytes(t, "bad") },
		`field "bad": strc`: func(t *fakeTB) { v.Uint(t, "bad") },
	} {
		if got := fatalOf(fn); !strings.Contains(got, want) {
			t.Errorf("want a failure with %q, got %q", want, got)
		}
	}
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
