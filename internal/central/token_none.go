//go:build !pkcs11

package central

import "github.com/meterseal/meterseal/internal/central/vault"

func openToken(*vault.TokenRoot, func() (string, error), Deps) (vault.Hold, error) {
	return nil, errNoToken
}

func initToken(string, vault.InitOptions, vault.TokenPlace, func() (string, error), Deps) (vault.Hold, error) {
	return nil, errNoToken
}
