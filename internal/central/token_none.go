//go:build !pkcs11

package central

import (
	"errors"

	"github.com/meterseal/meterseal/internal/central/vault"
)

// errNoToken is returned by a program that has no PKCS#11 in it.
var errNoToken = errors.New("vault: its keys are in a PKCS#11 token, and this program was built without PKCS#11: build it with -tags pkcs11 and cgo")

func openToken(*vault.TokenRoot, func() (string, error), Deps) (vault.Hold, error) {
	return nil, errNoToken
}

func initToken(string, vault.InitOptions, vault.TokenPlace, func() (string, error), Deps) (vault.Hold, error) {
	return nil, errNoToken
}
