package layering

import (
	"path/filepath"
	"testing"
)

// load parses this module. The folder of this package is two below the root.
func load(t *testing.T) *code {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := readModule(root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse(sources)
	if err != nil {
		t.Fatal(err)
	}
	if !hasDir(c, "dlms") || !hasDir(c, "internal/layering") {
		t.Fatalf("read %d files from %s and not the module: a check of nothing proves nothing", len(sources), root)
	}
	return c
}

func hasDir(c *code, dir string) bool {
	for _, d := range c.dirs() {
		if d == dir {
			return true
		}
	}
	return false
}

func report(t *testing.T, found []violation) {
	t.Helper()
	for _, v := range found {
		t.Error(v)
	}
}

func TestImportsPointDownOnly(t *testing.T) { report(t, checkImports(load(t))) }

func TestWhatMustNotKnowEachOtherIsNotJoined(t *testing.T) { report(t, checkReach(load(t))) }

func TestKeyBytesLeaveAKeyInListedPackagesOnly(t *testing.T) { report(t, checkKeys(load(t))) }

func TestFilesAndFunctionsAreShort(t *testing.T) { report(t, checkSizes(load(t))) }

func TestNothingRunsBeforeMain(t *testing.T) { report(t, checkInit(load(t))) }

func TestEveryPackageSaysWhatItIs(t *testing.T) { report(t, checkPackageDocs(load(t))) }

func TestWhateverTheLibraryExportsIsDocumented(t *testing.T) { report(t, checkExportedDocs(load(t))) }

func TestEveryDecoderIsFuzzed(t *testing.T) { report(t, checkDecoders(load(t))) }

func TestFuzzTargetsStandInLightPackages(t *testing.T) { report(t, checkFuzzWeight(load(t))) }
