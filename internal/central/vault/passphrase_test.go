package vault_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/meterseal/meterseal/internal/central/vault"
)

var before, after = []byte("correct horse"), []byte("battery staple")

// opensAs checks that a root file opens with one passphrase, no other, and is the root it was.
func opensAs(t *testing.T, dir string, want *vault.Root, pass, not []byte) {
	t.Helper()
	got, err := vault.Unseal(dir, pass)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID() != want.ID() || got.Transport() != want.Transport() || got.Signer().PublicKey() != want.Signer().PublicKey() {
		t.Error("it is another root")
	}
	if _, err := vault.Unseal(dir, not); !errors.Is(err, vault.ErrPassphrase) {
		t.Errorf("passphrase %q: want ErrPassphrase, got %v", not, err)
	}
}

func rootOf(t *testing.T, pass []byte) (dir string, made *vault.Root) {
	t.Helper()
	dir = t.TempDir()
	made, err := vault.Init(dir, vault.InitOptions{Passphrase: pass, ScryptWork: 10, Rand: rand.Reader, Transport: transportKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	return dir, made
}

func TestThePassphraseOfARootIsChangedAndNothingElse(t *testing.T) {
	for _, first := range [][]byte{before, nil} { // sealed, and in clear
		dir, made := rootOf(t, first)
		copied := t.TempDir()
		file, err := vault.ReadRootFile(filepath.Join(dir, vault.RootFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := vault.PlaceRoot(copied, file); err != nil {
			t.Fatal(err)
		}
		for _, want := range []bool{true, false} { // the second time there is nothing to do
			changed, err := vault.ChangePassphrase(dir, first, after, nil)
			if err != nil || changed != want {
				t.Fatalf("want it changed: %t, got %t, %v", want, changed, err)
			}
			opensAs(t, dir, made, after, first)
		}
		opensAs(t, copied, made, first, after) // as a backup from before
	}
}

func TestAPassphraseIsNotChangedWithoutTheOldOne(t *testing.T) {
	dir, made := rootOf(t, before)
	for name, c := range map[string]struct{ old, next []byte }{
		"a wrong one": {[]byte("wrong"), after}, "none": {nil, after}, "to nothing": {before, nil}, "to the same": {before, before},
	} {
		if _, err := vault.ChangePassphrase(dir, c.old, c.next, nil); !errors.Is(err, vault.ErrPassphrase) {
			t.Errorf("%s: want ErrPassphrase, got %v", name, err)
		}
	}
	opensAs(t, dir, made, before, after)
	if _, err := vault.ChangePassphrase(t.TempDir(), before, after, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no root: got %v", err)
	}
}

// TestLaw5ACrashInAChangeOfThePassphraseLeavesOneThatOpens lets the power fail at each step, and does it over.
func TestLaw5ACrashInAChangeOfThePassphraseLeavesOneThatOpens(t *testing.T) {
	seen := map[string]bool{}
	for n := 0; ; n++ {
		dir, made := rootOf(t, before)
		c := &crashes{left: n}
		_, err := vault.ChangePassphrase(dir, before, after, c.at)
		if err == nil {
			break
		}
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		seen[c.where] = true
		if c.where == "passphrase, file, in place" {
			opensAs(t, dir, made, after, before)
		} else {
			opensAs(t, dir, made, before, after)
		}
		if _, err := vault.ChangePassphrase(dir, before, after, nil); err != nil {
			t.Errorf("after a crash at %q: %v", c.where, err)
		}
		opensAs(t, dir, made, after, before)
		if left, err := filepath.Glob(filepath.Join(dir, ".vault.root.*")); err != nil || len(left) > 0 && c.where != "passphrase, file, in place" {
			t.Errorf("after a crash at %q: %v is left, %v", c.where, left, err)
		}
	}
	for _, want := range []string{"passphrase, file, before", "passphrase, file, written", "passphrase, file, in place"} {
		if !seen[want] {
			t.Errorf("no crash at %q", want)
		}
	}
}

func TestTheWorkOfTheSealIsReadFromTheFile(t *testing.T) {
	for want, pass := range map[int]string{0: "", 10: "correct horse battery"} {
		dir := t.TempDir()
		_, err := vault.Init(dir, vault.InitOptions{Passphrase: []byte(pass), ScryptWork: 10, Rand: rand.Reader, Transport: transportKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		if got := vault.SealWork(dir); got != want {
			t.Errorf("passphrase %q: want %d, got %d", pass, want, got)
		}
	}
	if got := vault.SealWork(t.TempDir()); got != 0 {
		t.Errorf("without a root: got %d", got)
	}
}
