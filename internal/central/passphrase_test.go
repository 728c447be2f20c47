package central

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// TestAPassphraseThatWasChangedHalfIsChangedWhole cuts it after the root, and before the key of the authority.
func TestAPassphraseThatWasChangedHalfIsChangedWhole(t *testing.T) {
	dir := t.TempDir()
	pass, next := filepath.Join(dir, "pass"), filepath.Join(dir, "next")
	for file, text := range map[string]string{pass: "correct horse\n", next: "battery staple\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := vaults.Key(0)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Data: filepath.Join(dir, "is"), SystemTitle: "4D534C1500000001", Listen: "127.0.0.1:0", PassphraseFile: pass}
	deps := Deps{Now: time.Now, Rand: rand.Reader, Transport: files}
	light := []byte("correct horse") // sealed lightly: it is opened often here
	_, err = vault.Init(cfg.Data, vault.InitOptions{Passphrase: light, ScryptWork: 10, Rand: rand.Reader, Transport: files})
	err = errors.Join(err, access.InitAuthority(cfg.tlsDir(), access.AuthorityOptions{Passphrase: light, ScryptWork: 10, Now: time.Now(), Rand: rand.Reader}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), cfg, deps); err != nil {
		t.Fatal(err)
	}
	cut := errors.New("the power failed")
	deps.Crash = func(point string) error {
		if point == "passphrase, file, in place" {
			return cut
		}
		return nil
	}
	if _, err := ChangePassphrase(t.Context(), cfg, deps, next); !errors.Is(err, cut) {
		t.Fatalf("want the crash, got %v", err)
	}
	deps.Crash = nil
	if h, err := OpenHouse(t.Context(), cfg, deps); !errors.Is(err, vault.ErrPassphrase) {
		t.Fatalf("with the old one: want ErrPassphrase, got %v, %v", h, err)
	}
	if _, err := access.OpenAuthority(cfg.tlsDir(), []byte("battery staple")); !errors.Is(err, access.ErrAuthority) || !strings.Contains(err.Error(), "meterseal vault passphrase") {
		t.Errorf("the authority: want an error that says what to do, got %v", err)
	}
	got, err := ChangePassphrase(t.Context(), cfg, deps, next)
	if err != nil || got.Root || !got.Authority {
		t.Errorf("again: want the authority alone, got %+v, %v", got, err)
	}
	cfg.PassphraseFile = next
	if _, err := access.OpenAuthority(cfg.tlsDir(), []byte("battery staple")); err != nil {
		t.Error(err)
	}
	is, err := Open(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	defer is.Close()
	log := exported(t, is)
	if n := strings.Count(log, string(ActionPassphrase)); n != 3 || strings.Contains(log, "battery") {
		t.Errorf("want two intents and a result on the record, got %d", n)
	}
	if _, err := ChangePassphrase(t.Context(), cfg, deps, pass); err == nil {
		t.Error("it was changed under a central system that runs")
	}
}
