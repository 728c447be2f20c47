package vault_test

import (
	"crypto/rand"
	"testing"

	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/central/vault/vaulttest"
)

func TestARootInMemoryIsAVault(t *testing.T) {
	dirs := map[string]string{}
	vaulttest.Run(t, vaulttest.Kit{
		New: func(t testing.TB) vault.Hold {
			dir := t.TempDir()
			r, err := vault.Init(dir, vault.InitOptions{Rand: rand.Reader})
			if err != nil {
				t.Fatal(err)
			}
			dirs[r.ID()] = dir
			return r
		},
		Again: func(t testing.TB, h vault.Hold) vault.Hold {
			r, err := vault.Unseal(dirs[h.ID()], nil)
			if err != nil {
				t.Fatal(err)
			}
			return r
		},
	})
}
