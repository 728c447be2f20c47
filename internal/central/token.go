package central

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/durable"
)

// PINVariable is the environment variable with the PIN of a token, where no file has it.
const PINVariable = "METERSEAL_PIN"

// maxPIN is the longest PIN that is read, in bytes.
const maxPIN = 256

// token returns the token of the configuration; ok is false for a vault in software.
func (c Config) token() (u vault.TokenURI, ok bool, err error) {
	if c.Vault == "" {
		return u, false, nil
	}
	if u, err = vault.ParseTokenURI(c.Vault); err != nil {
		return u, false, fmt.Errorf("central: config: vault: %w", err)
	}
	return u, true, nil
}

// VaultBeside makes the path of the PIN in the configuration's vault whole.
func (c *Config) VaultBeside(from func(path string) string) error {
	u, ok, err := c.token()
	if err != nil || !ok {
		return err
	}
	u.PINSource = from(u.PINSource)
	c.Vault = u.String()
	return nil
}

// readPIN gives the PIN: from the file, which its owner alone may read, from the environment, or from whoever sits there.
func readPIN(file string, ask func() (string, error)) func() (string, error) {
	return func() (string, error) {
		if file != "" {
			return filePIN(filepath.Clean(file))
		}
		if pin, ok := os.LookupEnv(PINVariable); ok && pin != "" {
			return pin, nil
		}
		if ask != nil {
			return ask()
		}
		return "", fmt.Errorf("%w: no PIN: name its file in the configuration (vault: pkcs11:...&pin-source=FILE), or set %s", vault.ErrToken, PINVariable)
	}
}

func filePIN(path string) (string, error) {
	b, err := durable.ReadPrivate(path, maxPIN)
	if err != nil {
		return "", fmt.Errorf("%w: PIN: %w", vault.ErrToken, err)
	}
	defer clear(b)
	pin := strings.TrimRight(string(b), "\r\n")
	if pin == "" {
		return "", fmt.Errorf("%w: PIN: want 1 to %d bytes in %s", vault.ErrToken, maxPIN, path)
	}
	return pin, nil
}

// unseal opens what holds the keys of the vault in dir.
func (c Config) unseal(dir string, d Deps) (vault.Hold, error) {
	pass, err := c.passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	return vault.UnsealHold(dir, pass, c.opener(d))
}

// opener opens the token that a root file names. The configuration says where its PIN is, by which module the token is
// reached on this machine, and which one it is if a copy took its place.
func (c Config) opener(d Deps) func(root *vault.TokenRoot) (vault.Hold, error) {
	return func(root *vault.TokenRoot) (vault.Hold, error) {
		u, ok, err := c.token()
		if err != nil {
			return nil, err
		}
		if ok {
			root = root.In(u.Place)
		}
		return openToken(root, readPIN(u.PINSource, d.PIN), d)
	}
}

// initVault makes the vault of a configuration, by the ceremony that asks for the least.
func (c Config) initVault(d Deps) (vault.Hold, error) {
	pass, err := c.passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	u, ok, err := c.token()
	if err != nil {
		return nil, err
	}
	o := vault.InitOptions{Passphrase: pass, Rand: d.Rand, Tool: d.Tool, Now: d.Now, Transport: d.Transport}
	if !ok {
		return vault.Init(c.Data, o)
	}
	pinFile := u.PINSource
	if pinFile == "" {
		pinFile = "not in a file"
	}
	o.By = "owner"
	o.Ceremony = vault.TokenCeremony(o.By, vault.Token{Module: u.Place.Module, Label: u.Place.Label, PINFile: pinFile})
	return initToken(c.Data, o, u.Place, readPIN(u.PINSource, d.PIN), d)
}
