//go:build pkcs11

package lab_test

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/lab"
)

// TestALabWithItsKeysInATokenHolds runs the whole system, the keys of the IS in a token of SoftHSM.
func TestALabWithItsKeysInATokenHolds(t *testing.T) {
	dir := t.TempDir()
	conf := "directories.tokendir = " + dir + "/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
	for name, text := range map[string]string{"softhsm2.conf": conf, "pin": "20261103\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", filepath.Join(dir, "softhsm2.conf"))
	out, err := exec.CommandContext(t.Context(), "softhsm2-util", "--init-token", "--free", "--label", "lab", "--so-pin", "officer-1", "--pin", "20261103").CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util (apt-get install softhsm2): %v\n%s", err, out)
	}
	var said bytes.Buffer
	report, err := lab.Run(t.Context(), lab.Config{
		Profile: "hardened", Meters: 6, Concentrators: 1, Data: filepath.Join(dir, "lab"),
		Vault: "pkcs11:token=lab?module-path=" + module(t) + "&pin-source=" + filepath.Join(dir, "pin"),
		Out:   &said, Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
	})
	if err != nil || report.Associated == 0 {
		t.Errorf("%v\n%s", err, said.String())
	}
}

// module finds SoftHSM where Debian and others put it.
func module(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("no SoftHSM on this machine: apt-get install softhsm2")
	return ""
}
