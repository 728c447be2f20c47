//go:build pkcs11

package central

import (
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/central/vault/pkcs11"
)

func tokenOptions(pin func() (string, error), d Deps) pkcs11.Options {
	return pkcs11.Options{PIN: pin, Rand: d.Rand, Log: d.Log}
}

func openToken(root *vault.TokenRoot, pin func() (string, error), d Deps) (vault.Hold, error) {
	t, err := pkcs11.Open(root, tokenOptions(pin, d))
	if err != nil {
		return nil, err
	}
	return t, nil
}

func initToken(dir string, o vault.InitOptions, place vault.TokenPlace, pin func() (string, error), d Deps) (vault.Hold, error) {
	t, err := pkcs11.Init(dir, o, place, tokenOptions(pin, d))
	if err != nil {
		return nil, err
	}
	return t, nil
}
