package layering

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const own = `"` + module + "/"

// planted are violations that the checks must find, and neighbours of theirs that they must let pass.
var planted = []struct {
	name    string
	check   func(*code) []violation
	sources []source
	want    string // part of the one finding; empty: nothing may be found
}{
	{
		"the library imports the product", checkImports,
		[]source{{"dlms/key/a.go", "package key\nimport _ " + own + `internal/meter"`}},
		"dlms/key/a.go: imports internal/meter: dlms/key may import dlms",
	},
	{
		"the library imports a foreign module", checkImports,
		[]source{{"dlms/apdu/a.go", "package apdu\nimport _ \"golang.org/x/sync/errgroup\"\n"}},
		"only internal/..., cmd/meterseal may",
	},
	{
		"the library's test imports what tests may", checkImports,
		[]source{{"dlms/apdu/a_test.go", "package apdu\nimport (\n_ \"pgregory.net/rapid\"\n_ " + own + "dlms/dlmstest\"\n)\n"}},
		"",
	},
	{
		"the library's test imports the product", checkImports,
		[]source{{"dlms/apdu/a_test.go", "package apdu\nimport _ " + own + `internal/meter"`}},
		"a test of the library stays in the library",
	},
	{
		"the library's test imports a database", checkImports,
		[]source{{"dlms/apdu/a_test.go", "package apdu\nimport _ \"modernc.org/sqlite\"\n"}},
		"imports modernc.org/sqlite",
	},
	{
		"code imports a test's module", checkImports,
		[]source{{"internal/meter/a.go", "package meter\nimport _ \"pgregory.net/rapid\"\n"}},
		"not a dependency we decided on",
	},
	{
		"a path that only begins like an allowed one", checkImports,
		[]source{{"internal/central/vault/a.go", "package vault\nimport _ " + own + `dlms/keyring"`}},
		"imports dlms/keyring",
	},
	{
		"the root of the library imports upwards", checkImports,
		[]source{{"dlms/a.go", "package dlms\nimport _ " + own + `dlms/apdu"`}},
		"dlms may import dlms/internal/wire",
	},
	{
		"the console imports the vault", checkImports,
		[]source{{"internal/central/console/a.go", "package console\nimport _ " + own + `internal/central/vault"`}},
		"internal/central/console never does",
	},
	{
		"the meter imports the central system under another name", checkImports,
		[]source{{"internal/meter/a.go", "package meter\nimport is " + own + `internal/central"` + "\nvar _ = is.X\n"}},
		"imports internal/central",
	},
	{
		"a file for another system is read as well", checkImports,
		[]source{{"internal/meter/a_windows.go", "//go:build windows\n\npackage meter\nimport _ " + own + `internal/bus"`}},
		"imports internal/bus",
	},
	{
		"an unknown package", checkImports,
		[]source{{"internal/news/a.go", "package news\n"}},
		"internal/news: unknown package: add it to importRules",
	},
	{
		"a package below a listed one, without dots in the table", checkImports,
		[]source{{"dlms/apdu/more/a.go", "package more\n"}},
		"unknown package",
	},
	{
		"a name that says nothing", checkImports,
		[]source{{"internal/concentrator/util/a.go", "package util\n"}},
		"the name says nothing",
	},
	{
		"unsafe", checkImports,
		[]source{{"dlms/key/a.go", "package key\nimport _ \"unsafe\"\n"}},
		"which nothing here needs",
	},
	{
		"a foreign module nobody decided on", checkImports,
		[]source{{"internal/meter/a.go", "package meter\nimport _ \"example.org/left-pad\"\n"}},
		"not a dependency we decided on",
	},
	{
		"a meter that reaches the central system by a detour", checkReach,
		[]source{
			{"internal/meter/a.go", "package meter\nimport _ " + own + `internal/config"`},
			{"internal/config/a.go", "package config\nimport _ " + own + `internal/central/vault"`},
			{"internal/central/vault/a.go", "package vault\n"},
		},
		"internal/meter -> internal/config -> internal/central/vault",
	},
	{
		"a test's imports are no detour", checkReach,
		[]source{{"internal/meter/a_test.go", "package meter\nimport _ " + own + `internal/central"`}},
		"",
	},
	{
		"key bytes taken in the API", checkKeys,
		[]source{{"internal/central/api/a.go", "package api\nfunc f() { g(key.Reveal(k)) }\n"}},
		"internal/central/api/a.go:2: takes key bytes by Reveal",
	},
	{
		"key bytes taken under another name", checkKeys,
		[]source{{"internal/bus/a.go", "package bus\nvar out = secret.Reveal\n"}},
		"takes key bytes by Reveal",
	},
	{
		"key bytes taken in the vault", checkKeys,
		[]source{{"internal/central/vault/a.go", "package vault\nfunc f() { g(key.Reveal(k)) }\n"}},
		"",
	},
	{
		"a dot import of the keys", checkKeys,
		[]source{{"internal/lab/a.go", "package lab\nimport . " + own + `dlms/key"`}},
		"a dot import hides",
	},
	{
		"a key held where keys are only named", checkKeys,
		[]source{{"internal/central/fleet/a.go", "package fleet\nimport k " + own + `dlms/key"` + "\nvar _ k.CheckValue\nvar _ k.Master\n"}},
		"internal/central/fleet/a.go:4: uses k.Master",
	},
	{
		"the web opens a maker's file", checkKeys,
		[]source{{"internal/central/api/a.go", "package api\nimport " + own + `internal/shipment"` + "\nvar _ shipment.Report\nvar _ = shipment.Open\n"}},
		"internal/central/api/a.go:4: uses shipment.Open",
	},
	{
		"a new way out of a key", checkKeys,
		[]source{{"dlms/key/a.go", "package key\nfunc (m Master) Raw() [16]byte { return m.b }\n"}},
		"Raw gives bytes",
	},
	{
		"a new way out of a key, as text", checkKeys,
		[]source{{"dlms/key/a.go", "package key\nfunc (m Master) Hex() string { return m.hex() }\n"}},
		"Hex gives bytes",
	},
	{
		"a cipher with a short tag", checkCiphers,
		[]source{{"dlms/security/a.go", "package security\nimport \"crypto/cipher\"\nvar gcm, _ = cipher.NewGCMWithTagSize(nil, 12)\n"}},
		"dlms/security/a.go:3: uses NewGCMWithTagSize",
	},
	{
		"a cipher with a short tag under another name", checkCiphers,
		[]source{{"internal/meter/a.go", "package meter\nimport . \"crypto/cipher\"\nvar gcm = NewGCMWithTagSize\n"}},
		"internal/meter/a.go:3: uses NewGCMWithTagSize",
	},
	{
		"a cipher with a short tag where it gets room", checkCiphers,
		[]source{{"dlms/key/a.go", "package key\nimport \"crypto/cipher\"\nvar gcm, _ = cipher.NewGCMWithTagSize(nil, 12)\n"}},
		"",
	},
	{
		"a cipher with a short tag in a test, and one with a whole tag", checkCiphers,
		[]source{
			{"dlms/security/a_test.go", "package security\nimport \"crypto/cipher\"\nvar gcm, _ = cipher.NewGCMWithTagSize(nil, 12)\n"},
			{"internal/central/vault/a.go", "package vault\nimport \"crypto/cipher\"\nvar gcm, _ = cipher.NewGCM(nil)\n"},
		},
		"",
	},
	{
		"a long file", checkSizes,
		[]source{{"dlms/a.go", "package dlms\n" + strings.Repeat("\n", maxFileLines)}},
		"401 lines, and the limit is 400",
	},
	{
		"a long test", checkSizes,
		[]source{{"dlms/a_test.go", "package dlms\n" + strings.Repeat("\n", maxFileLines)}},
		"",
	},
	{
		"a long function", checkSizes,
		[]source{{"dlms/a.go", "package dlms\nfunc f() {" + strings.Repeat("\n", maxFunctionLines) + "}\n"}},
		"f has 81 lines",
	},
	{
		"a function just short enough", checkSizes,
		[]source{{"dlms/a.go", "package dlms\nfunc f() {" + strings.Repeat("\n", maxFunctionLines-1) + "}\n"}},
		"",
	},
	{
		"an init function", checkInit,
		[]source{{"dlms/a.go", "package dlms\nfunc init() {}\n"}},
		"dlms/a.go:2: init function",
	},
	{
		"a method called init", checkInit,
		[]source{{"dlms/a.go", "package dlms\nfunc (x X) init() {}\n"}},
		"",
	},
	{
		"a package without a comment", checkPackageDocs,
		[]source{{"dlms/a.go", "package dlms\n"}},
		"dlms: no package comment",
	},
	{
		"a license is no package comment", checkPackageDocs,
		[]source{{"dlms/a.go", "// Copyright\n\npackage dlms\n"}},
		"dlms: no package comment",
	},
	{
		"a package with two comments", checkPackageDocs,
		[]source{{"dlms/a.go", "// Package dlms is one.\npackage dlms\n"}, {"dlms/b.go", "// Package dlms is two.\npackage dlms\n"}},
		"2 package comments",
	},
	{
		"an exported function without a comment", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\nfunc F() {}\n"}},
		"no doc comment: F",
	},
	{
		"an exported method without a comment, on a pointer", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\nfunc (x *X[T]) F() {}\n"}},
		"no doc comment: F",
	},
	{
		"a String method", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\nfunc (x X) String() string { return \"\" }\n"}},
		"",
	},
	{
		"a method of an unexported type", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\nfunc (x *x) F() {}\n"}},
		"",
	},
	{
		"an exported type in a group with a comment", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\n// Types.\ntype (\nA int\n// B is.\nB int\n)\n"}},
		"no doc comment: A",
	},
	{
		"constants that share a comment", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\n// Tags.\nconst (\nA = 1\nB = 2\n)\n"}},
		"",
	},
	{
		"an exported variable without a comment", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\nvar ErrX = 1\n"}},
		"no doc comment: ErrX",
	},
	{
		"an exported field without a comment", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\n// T is.\ntype T struct {\n// A is.\nA int\nB, c int\n}\n"}},
		"no doc comment: T.B",
	},
	{
		"fields that the comment of their group names", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\n// T is.\ntype T struct {\n// A and B are.\nA int\nB int\nC int // is\nd int\n}\n"}},
		"",
	},
	{
		"a field behind an empty line", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\n// T is.\ntype T struct {\n// A and B are.\nA int\n\nB int\n}\n"}},
		"no doc comment: T.B",
	},
	{
		"a method of an interface without a comment", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\n// T is.\ntype T interface {\nString() string\nF()\n}\n"}},
		"no doc comment: T.F",
	},
	{
		"a field of an unexported type", checkExportedDocs,
		[]source{{"dlms/a.go", "package dlms\ntype t struct{ A int }\n"}},
		"",
	},
	{
		"a decoder that nobody fuzzes", checkDecoders,
		[]source{{"dlms/apdu/a.go", "package apdu\nfunc ParseX(b []byte) error { return nil }\n"}, {"dlms/apdu/a_test.go", "package apdu\nfunc TestX(t *testing.T) { ParseX(nil) }\n"}},
		"ParseX takes bytes, and no fuzz target",
	},
	{
		"a decoder that another package fuzzes", checkDecoders,
		[]source{{"dlms/apdu/a.go", "package apdu\nfunc ParseX(b []byte) error { return nil }\n"}, {"dlms/link/a_test.go", "package link\nfunc FuzzX(f *testing.F) { apdu.ParseX(nil) }\n"}},
		"ParseX takes bytes",
	},
	{
		"a decoder with its target", checkDecoders,
		[]source{{"dlms/apdu/a.go", "package apdu\nfunc ParseX(b []byte) error { return nil }\n"}, {"dlms/apdu/a_test.go", "package apdu_test\nfunc FuzzX(f *testing.F) { apdu.ParseX(nil) }\n"}},
		"",
	},
	{
		"a parser of text", checkDecoders,
		[]source{{"dlms/a.go", "package dlms\nfunc ParseOBIS(s string) error { return nil }\n"}},
		"",
	},
	{
		"a fuzz target beside a database", checkFuzzWeight,
		[]source{
			{"internal/lab/a.go", "package lab\nimport _ " + own + `internal/central/store"`},
			{"internal/central/store/a.go", "package store\nimport _ \"modernc.org/sqlite\"\n"},
			{"internal/lab/a_test.go", "package lab\nfunc FuzzX(f *testing.F) {}\n"},
		},
		"internal/lab -> internal/central/store -> modernc.org/sqlite",
	},
}

func TestPlantedViolationsAreFound(t *testing.T) {
	for _, p := range planted {
		t.Run(p.name, func(t *testing.T) {
			c, err := parse(p.sources)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, p.check(c), p.want)
		})
	}
}

func expect(t *testing.T, found []violation, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("want nothing, found %v", found)
	case want != "" && len(found) != 1:
		t.Errorf("want one finding with %q, found %v", want, found)
	case want != "" && !strings.Contains(found[0].String(), want):
		t.Errorf("want %q, found %q", want, found[0])
	}
}

func TestAFileThatDoesNotParseIsAnError(t *testing.T) {
	if _, err := parse([]source{{"dlms/a.go", "package dlms\nfunc {"}}); err == nil {
		t.Error("want an error: what cannot be read cannot be checked")
	}
}

func TestTheWalkReadsTheModuleAndNothingElse(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{
		"go.mod", "a.go", "dlms/b.go", "dlms/readme.md", "dlms/testdata/c.go", ".git/d.go", "_old/e.go",
		"tools/go.mod", "tools/f.go", "vendor/g.go", "internal/x/y/h_test.go",
	} {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("package p\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sources, err := readModule(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sources {
		got = append(got, s.path)
	}
	want := "a.go dlms/b.go internal/x/y/h_test.go"
	if strings.Join(got, " ") != want {
		t.Errorf("want %s, got %s", want, strings.Join(got, " "))
	}
}

func TestTheTablesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range importRules {
		if seen[r.from] {
			t.Errorf("two rules for %s", r.from)
		}
		seen[r.from] = true
		for _, p := range append([]string{r.from}, r.may...) {
			if strings.HasPrefix(p, module) || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") {
				t.Errorf("%s: want a path below the module, got %q", r.from, p)
			}
		}
	}
}

func TestTheRevealingFunctionStillHasItsName(t *testing.T) {
	if !declares(load(t), keyPackage, "Reveal") {
		t.Errorf("%s declares no Reveal: the table of who may take key bytes guards a name that is gone", keyPackage)
	}
}
