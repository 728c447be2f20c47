package vault_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
)

func keyless() key.Authentication { return key.Authentication{} }

func TestUnsealWantsThePassphrase(t *testing.T) {
	dir := t.TempDir()
	made, err := vault.Init(dir, vault.InitOptions{Passphrase: []byte("correct horse"), ScryptWork: 10, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "wrong horse"} {
		if _, err := vault.Unseal(dir, []byte(bad)); !errors.Is(err, vault.ErrPassphrase) {
			t.Errorf("%q: want ErrPassphrase, got %v", bad, err)
		}
	}
	got, err := vault.Unseal(dir, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != made.ID() || got.Recipient() != made.Recipient() || got.Transport() != made.Transport() || got.Signer().PublicKey() != made.Signer().PublicKey() {
		t.Fatal("another root came back")
	}
	if _, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader}); !errors.Is(err, vault.ErrExists) {
		t.Errorf("a second init: want ErrExists, got %v", err)
	}
}

func TestUnsealRefusesARootThatIsNotAsItWasBelieved(t *testing.T) {
	dir := t.TempDir()
	if _, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Unseal(dir, []byte("x")); !errors.Is(err, vault.ErrPassphrase) {
		t.Errorf("a passphrase for a root in clear: want ErrPassphrase, got %v", err)
	}
	path := filepath.Join(dir, vault.RootFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Unseal(dir, nil); !errors.Is(err, vault.ErrRoot) {
		t.Errorf("readable by all: want ErrRoot, got %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var fields struct {
		Terms []struct{ Wrap, MAC string }
	}
	if err := json.Unmarshal(whole, &fields); err != nil {
		t.Fatal(err)
	}
	secret := fields.Terms[0].Wrap
	for name, b := range map[string][]byte{
		"cut":           whole[:len(whole)/2],
		"other schema":  bytes.Replace(whole, []byte("root 2"), []byte("root 3"), 1),
		"unknown field": bytes.Replace(whole, []byte(`"vault"`), []byte(`"walt"`), 1),
		"weak key":      bytes.Replace(whole, []byte(secret), bytes.Repeat([]byte("0"), 32), 1),
		"short key":     bytes.Replace(whole, []byte(secret), []byte(secret[:30]), 1),
		"no hex":        bytes.Replace(whole, []byte(secret), []byte("x"+secret[1:]), 1),
		"empty":         nil,
		"long":          bytes.Repeat([]byte(" "), 1<<20),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.Unseal(dir, nil); !errors.Is(err, vault.ErrRoot) || strings.Contains(err.Error(), secret[1:7]) {
			t.Errorf("%s: want ErrRoot and no key in it, got %v", name, err)
		}
	}
}

func TestLaw2ARootShowsNoKey(t *testing.T) {
	dir := t.TempDir()
	root, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, vault.RootFile))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(whole, &file); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s %q %v %#v", root, root, root, root, root, root.Signer(), root.Signer())
	seed, err := hex.DecodeString(file["audit_seed"].(string))
	if err != nil {
		t.Fatal(err)
	}
	term := file["terms"].([]any)[0].(map[string]any)
	for _, secret := range []string{
		term["wrap"].(string), term["mac"].(string), file["audit_seed"].(string), file["age_identity"].(string),
		strings.Trim(fmt.Sprint(seed), "[]"),
	} {
		if strings.Contains(text, secret[:12]) {
			t.Fatal("a verb shows a secret of the root")
		}
	}
	if _, err := json.Marshal(root); err == nil {
		t.Fatal("a root was marshalled")
	}
}

func TestOpenRefusesTheStoreOfAnotherVault(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.stop()
	w.dir = other.dir
	if err := w.tryStart(); !errors.Is(err, vault.ErrRoot) {
		t.Fatalf("want ErrRoot, got %v", err)
	}
}
