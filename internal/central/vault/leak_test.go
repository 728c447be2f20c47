package vault_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/leaktest"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/transport"
)

// inClear reads every secret of a root file that no passphrase seals.
func inClear(t *testing.T, dir string) (out [][]byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, vault.RootFile))
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Terms []struct{ Wrap, MAC string }
		Audit string `json:"audit_seed"`
		Age   string `json:"age_identity"`
		Made  struct{ Nonce []byte }
		// Transport is PKCS #8: what is secret of it is past the modulus, which comes first.
		Transport []byte `json:"transport_key"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{f.Terms[0].Wrap, f.Terms[0].MAC, f.Terms[1].Wrap, f.Terms[1].MAC, f.Audit} {
		secret, err := hex.DecodeString(text)
		if err != nil || len(secret) < key.Size {
			t.Fatalf("the root file has another form: %v", err)
		}
		out = append(out, secret)
	}
	if len(f.Age) < 20 || len(f.Transport) < 1500 {
		t.Fatal("the root file has another form")
	}
	return append(out, []byte(f.Age)[16:], f.Transport[len(f.Transport)-200:])
}

// TestLaw2NothingOfARootIsShown prints, logs, marshals and walks what a vault stands on.
func TestLaw2NothingOfARootIsShown(t *testing.T) {
	dir := t.TempDir()
	r, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.StageTerm(rand.Reader, ceremonyAt); err != nil {
		t.Fatal(err)
	}
	secrets := inClear(t, dir)
	leaktest.Uncomparable(t, r, &r.Identity, r.Signer())
	leaktest.Never(t, r, secrets...)
	leaktest.Never(t, &r.Identity, secrets...)
	leaktest.Never(t, r.Signer(), secrets...)
	if _, err := json.Marshal(r); !errors.Is(err, key.ErrRedacted) {
		t.Errorf("marshal: want ErrRedacted, got %v", err)
	}
	sealed, err := vault.Init(t.TempDir(), vault.InitOptions{Passphrase: []byte("correct horse battery"), ScryptWork: 10, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	leaktest.Never(t, sealed, []byte("correct horse battery"))
}

// TestLaw2NothingOfAVaultIsShown does the same with a vault at work, what it hands out, and the consignments that files are
// opened with.
func TestLaw2NothingOfAVaultIsShown(t *testing.T) {
	w := newWorld(t)
	m := w.imported(1)[0]
	var secrets [][]byte
	for _, k := range m.Keys() {
		secrets = append(secrets, key.Reveal(k.Key))
	}
	ref := []role.KeyRef{first(m, role.CCIS)}
	o, err := w.vault.OpenFor(t.Context(), by, node, "test", ref)
	w.ok(err)
	w.ok(o[0].Err)
	rows, err := w.store.MeterKeyRows(t.Context(), m.Title)
	w.ok(err)
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	wrapped, err := transport.WrapKey(rand.Reader, root.Transport(), consigned(t))
	w.ok(err)
	c, err := root.OpenConsignment(wrapped)
	w.ok(err)
	blob, err := c.Release(rows[0])
	w.ok(err)
	for _, v := range []any{o, o[0].Use, o[0].Use.LongTerm(), rows, m, c, blob, w.vault.String(), root} {
		leaktest.Never(t, v, append(secrets, key.Reveal(consigned(t)))...)
	}
	leaktest.Uncomparable(t, m)
}

// consigned is the AES key of a file.
func consigned(t *testing.T) key.Wrapping {
	t.Helper()
	k, err := key.NewWrapping([]byte("\xf3QzK8\x9dJw\xe1Vq7\xb5Xu6"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
