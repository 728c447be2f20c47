package central

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/internal/central/vault"
)

func TestThePINComesFromAFileOfItsOwnersTheEnvironmentOrAPerson(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(PINVariable, "")
	write("4711\n", 0o600)
	if pin, err := readPIN(path, nil)(); err != nil || pin != "4711" {
		t.Errorf("a file: got %q, %v", pin, err)
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{"others read it": {"4711\n", 0o640}, "empty": {"\n", 0o600}, "long": {strings.Repeat("1", 300), 0o600}} {
		write(c.text, c.mode)
		if pin, err := readPIN(path, nil)(); !errors.Is(err, vault.ErrToken) || pin != "" || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: got %q, %v", name, pin, err)
		}
	}
	if _, err := readPIN(path+"x", nil)(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	if _, err := readPIN("", nil)(); !errors.Is(err, vault.ErrToken) || !strings.Contains(err.Error(), PINVariable) {
		t.Errorf("none at all: got %v", err)
	}
	if pin, err := readPIN("", func() (string, error) { return "0815", nil })(); err != nil || pin != "0815" {
		t.Errorf("a person: got %q, %v", pin, err)
	}
	t.Setenv(PINVariable, "1234")
	if pin, err := readPIN("", nil)(); err != nil || pin != "1234" {
		t.Errorf("the environment: got %q, %v", pin, err)
	}
}

func TestTheConfigurationsTokenMustBeTheOneOfTheVault(t *testing.T) {
	cfg := Config{Vault: "pkcs11:token=b?module-path=/m.so&pin-source=pin"}
	if err := cfg.VaultBeside(func(p string) string { return filepath.Join("/etc", p) }); err != nil || !strings.HasSuffix(cfg.Vault, "pin-source=/etc/pin") {
		t.Errorf("got %s, %v", cfg.Vault, err)
	}
	for _, bad := range []string{"softhsm", "pkcs11:token=b?module-path=/m.so&pin-value=4711"} {
		cfg := Config{Vault: bad}
		if _, err := cfg.unseal(t.TempDir(), Deps{}); err == nil {
			t.Errorf("%s: taken", bad)
		}
		if _, err := cfg.initVault(Deps{}); !errors.Is(err, vault.ErrTokenURI) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}
