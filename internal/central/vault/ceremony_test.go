package vault_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/vault"
)

var ceremonyAt = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func heldCeremony(t *testing.T, change func(*vault.InitOptions)) (dir string, r *vault.Root, signed []byte) {
	t.Helper()
	dir = t.TempDir()
	o := vault.InitOptions{
		Passphrase: []byte("correct horse battery"), ScryptWork: 10, Rand: rand.Reader, Ceremony: vault.SampleCeremony(), By: "alice",
		Tool: "meterseal test", Now: func() time.Time { return ceremonyAt },
	}
	if change != nil {
		change(&o)
	}
	r, err := vault.Init(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if signed, err = os.ReadFile(filepath.Join(dir, vault.TranscriptFile)); err != nil {
		t.Fatal(err)
	}
	return dir, r, signed
}

func TestTheSampleCeremonyIsOne(t *testing.T) {
	c, err := vault.ParseCeremony([]byte(vault.SampleCeremony().Text()))
	if err != nil || c.Policy.Approvals != 2 || c.Policy.Quotas["breaker"] != 50 || c.Hash() != vault.SampleCeremony().Hash() {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestACeremonyThatLeavesSomethingOpenIsRefused(t *testing.T) {
	text := vault.SampleCeremony().Text()
	for name, change := range map[string][2]string{
		"another schema":        {"meterseal ceremony 1", "meterseal ceremony 2"},
		"no vault":              {`"north 2026"`, `""`},
		"a tenant of two lines": {`"Example Grid North"`, `"a\nb"`},
		"an unknown kind":       {`"software"`, `"paper"`},
		"a token is missing":    {`"software"`, `"pkcs11"`},
		"an unknown member":     {`"data"`, `"dada"`},
		"one approval":          {`"approvals": 2`, `"approvals": 1`},
		"three approvals":       {`"approvals": 2`, `"approvals": 3`},
		"approvals for a year":  {`"1h0m0s"`, `"8760h"`},
		"a quota below 0":       {`: 50`, `: -1`},
		"one person twice":      {`"bob"`, `"alice"`},
		"a light seal":          {`"scrypt_work": 18`, `"scrypt_work": 4`},
		"no object":             {text, `[]`},
		"two objects":           {text, text + text},
		"nothing":               {text, ``},
		"far too long":          {text, strings.Repeat(" ", 1<<17)},
	} {
		if _, err := vault.ParseCeremony([]byte(strings.Replace(text, change[0], change[1], 1))); !errors.Is(err, vault.ErrCeremony) {
			t.Errorf("%s: want ErrCeremony, got %v", name, err)
		}
	}
}

func TestATranscriptSaysHowTheVaultWasMade(t *testing.T) {
	dir, r, signed := heldCeremony(t, nil)
	key, err := audit.ParsePublicKey(r.Signer().PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []audit.PublicKey{key, nil} {
		got, err := vault.ReadTranscript(signed, trusted)
		if err != nil {
			t.Fatal(err)
		}
		if got.Vault != r.ID() || got.By != "alice" || got.Tenant != "Example Grid North" || !got.MadeAt.Equal(ceremonyAt) || !got.Sealed ||
			got.CeremonyHash != vault.SampleCeremony().Hash() || len(got.Terms) != 1 || got.Terms[0] != r.TermNames()[0] {
			t.Errorf("got %+v", got)
		}
		again, err := vault.Unseal(dir, []byte("correct horse battery"))
		if err != nil || got.Matches(again) != nil {
			t.Errorf("the vault it is of: %v, %v", err, got.Matches(again))
		}
		_, other, _ := heldCeremony(t, nil)
		if err := got.Matches(other); !errors.Is(err, vault.ErrTranscript) {
			t.Errorf("another vault: want ErrTranscript, got %v", err)
		}
	}
	if m := r.Made(); m.Tenant != "Example Grid North" || m.Policy.Approvals != 2 || m.Ceremony != vault.SampleCeremony().Hash() {
		t.Errorf("got %+v", m)
	}
}

func TestATranscriptThatWasChangedOrForgedIsRefused(t *testing.T) {
	_, r, signed := heldCeremony(t, nil)
	_, _, foreign := heldCeremony(t, nil)
	key, err := audit.ParsePublicKey(r.Signer().PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.ReadTranscript(foreign, key); !errors.Is(err, vault.ErrTranscript) {
		t.Errorf("another vault's: want ErrTranscript, got %v", err)
	}
	for i := range signed {
		bad := []byte(string(signed))
		bad[i] ^= 1
		if _, err := vault.ReadTranscript(bad, key); err == nil {
			t.Fatalf("byte %d was changed: %s", i, signed[max(0, i-20):min(len(signed), i+20)])
		}
	}
	for _, bad := range []string{"", "x", "{}\n\n", strings.Repeat("x", 1<<20), string(signed[:len(signed)/2])} {
		if _, err := vault.ReadTranscript([]byte(bad), nil); !errors.Is(err, vault.ErrTranscript) {
			t.Errorf("%.20q: want ErrTranscript, got %v", bad, err)
		}
	}
}

func TestAVaultIsMadeBySomebodyWhoTakesPartAndAsAgreed(t *testing.T) {
	o := vault.InitOptions{Rand: rand.Reader, Ceremony: vault.SampleCeremony(), ScryptWork: 10}
	for name, c := range map[string]struct {
		change func(*vault.InitOptions)
		want   error
	}{
		"nobody":             {func(o *vault.InitOptions) { o.By = "" }, vault.ErrCeremony},
		"a stranger":         {func(o *vault.InitOptions) { o.By = "mallory" }, vault.ErrCeremony},
		"a short passphrase": {func(o *vault.InitOptions) { o.By, o.Passphrase = "alice", []byte("secret") }, vault.ErrPassphrase},
		"a token's": {func(o *vault.InitOptions) {
			c, err := vault.ParseCeremony([]byte(strings.Replace(vault.SampleCeremony().Text(), `"software"`,
				`"pkcs11", "token": {"module": "m", "label": "l", "pin_file": "p"}`, 1)))
			if err != nil {
				t.Fatal(err)
			}
			o.Ceremony, o.By = c, "alice"
		}, vault.ErrCeremony},
	} {
		dir, o := t.TempDir(), o
		c.change(&o)
		if _, err := vault.Init(dir, o); !errors.Is(err, c.want) {
			t.Errorf("%s: want %v, got %v", name, c.want, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: it left %v, %v", name, left, err)
		}
	}
}

// TestTheTenantIsBoundIntoTheVaultsID puts another tenant into the root file: neither it nor any row opens.
func TestTheTenantIsBoundIntoTheVaultsID(t *testing.T) {
	dir, _, _ := heldCeremony(t, func(o *vault.InitOptions) { o.Passphrase = nil })
	path := filepath.Join(dir, vault.RootFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(b), "Example Grid North", "Example Grid South", 1)
	if other == string(b) {
		t.Fatal("the tenant is not in the root file")
	}
	if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Unseal(dir, nil); !errors.Is(err, vault.ErrRoot) {
		t.Errorf("want ErrRoot, got %v", err)
	}
}

// TestAVaultThatWasHalfMadeIsMadeAnew leaves the transcript of a making that did not come to the root file.
func TestAVaultThatWasHalfMadeIsMadeAnew(t *testing.T) {
	dir, first, old := heldCeremony(t, nil)
	if err := os.Remove(filepath.Join(dir, vault.RootFile)); err != nil {
		t.Fatal(err)
	}
	r, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader})
	if err != nil || r.ID() == first.ID() {
		t.Fatal(err)
	}
	signed, err := os.ReadFile(filepath.Join(dir, vault.TranscriptFile))
	if err != nil || string(signed) == string(old) {
		t.Fatal("the transcript is still the old one", err)
	}
	if got, err := vault.ReadTranscript(signed, nil); err != nil || got.Matches(r) != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader}); !errors.Is(err, vault.ErrExists) {
		t.Errorf("a second vault: want ErrExists, got %v", err)
	}
	if now, err := os.ReadFile(filepath.Join(dir, vault.TranscriptFile)); err != nil || string(now) != string(signed) {
		t.Errorf("the refused making changed the transcript: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v", r, r, r); strings.Contains(s, "wrap") || strings.Contains(s, "correct horse") {
		t.Errorf("a root prints %s", s)
	}
}
