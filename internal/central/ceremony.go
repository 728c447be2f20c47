package central

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// VaultPlan is what making a vault by a ceremony comes to.
type VaultPlan struct {
	Ceremony string   `json:"ceremony_sha256"`
	Vault    string   `json:"vault"`
	Tenant   string   `json:"tenant"`
	Kind     string   `json:"kind"`
	By       string   `json:"by"`
	Steps    []string `json:"steps"`
	// Warnings do not keep it from being made; Obstacles do.
	Warnings  []string `json:"warnings,omitempty"`
	Obstacles []string `json:"obstacles,omitempty"`
}

// PlanVault looks at what a ceremony, whose paths are whole, would make, and makes nothing.
func PlanVault(c vault.Ceremony, by string) VaultPlan {
	p := VaultPlan{Ceremony: c.Hash(), Vault: c.Vault, Tenant: c.Tenant, Kind: c.Kind, By: by}
	if err := checkQuotas(c.Policy); err != nil {
		p.Obstacles = append(p.Obstacles, err.Error())
	}
	if !c.Takes(by) {
		p.Obstacles = append(p.Obstacles, fmt.Sprintf("%q does not take part: name one of the participants", by))
	}
	root := filepath.Join(c.Data, vault.RootFile)
	if _, err := os.Lstat(root); !errors.Is(err, fs.ErrNotExist) {
		p.Obstacles = append(p.Obstacles, root+" is there already: a vault is never replaced")
	}
	p.Steps = append(p.Steps, "draw the vault's ID, the keys of root term 1, the key of the audit log and the transport key")
	switch _, err := readPassphrase(c.PassphraseFile); {
	case c.PassphraseFile == "":
		p.Warnings = append(p.Warnings, "no passphrase_file: the root file is in clear, and a backup leaves it out")
		p.Steps = append(p.Steps, "write "+root+" in clear, for its owner alone")
	case err != nil:
		p.Obstacles = append(p.Obstacles, err.Error())
	default:
		p.Steps = append(p.Steps, "write "+root+", sealed with the passphrase of "+c.PassphraseFile)
	}
	journal := c.Journal
	if journal == "" {
		journal = filepath.Join(c.Data, vault.JournalName)
	}
	if sameDisk(c.Data, filepath.Dir(journal)) {
		p.Warnings = append(p.Warnings, "the key journal "+journal+" is on the same disk as the data directory: one loss takes both")
	}
	p.Steps = append(p.Steps,
		"write "+filepath.Join(c.Data, vault.TranscriptFile)+", signed with the key of the audit log",
		"leave the key journal to the first start: "+journal)
	if len(c.Participants) < c.Policy.Approvals {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%d approvals are wanted for an operation under dual control, and %d people take part", c.Policy.Approvals, len(c.Participants)))
	}
	return p
}

// sameDisk reports whether two directories, or the nearest above them that are there, are on one file system.
func sameDisk(a, b string) bool {
	da, ok := deviceNear(a)
	db, ok2 := deviceNear(b)
	return ok && ok2 && da == db
}

func deviceNear(dir string) (uint64, bool) {
	for {
		info, err := os.Stat(dir)
		if err == nil {
			st, ok := info.Sys().(*syscall.Stat_t)
			if !ok {
				return 0, false
			}
			return uint64(st.Dev), true //nolint:unconvert // its type is another one elsewhere
		}
		up := filepath.Dir(dir)
		if up == dir {
			return 0, false
		}
		dir = up
	}
}

// MakeVault makes the vault of a ceremony, whose paths are whole.
func MakeVault(c vault.Ceremony, by string, d Deps) (vault.Hold, error) {
	if err := checkQuotas(c.Policy); err != nil {
		return nil, err
	}
	pass, err := readPassphrase(c.PassphraseFile)
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	o := vault.InitOptions{Passphrase: pass, Rand: d.Rand, Ceremony: c, By: by, Tool: d.Tool, Now: d.Now, Transport: d.Transport}
	if c.Kind == vault.KindPKCS11 {
		return initToken(c.Data, o, vault.TokenPlace{Module: c.Token.Module, Label: c.Token.Label}, readPIN(c.Token.PINFile, d.PIN), d)
	}
	return vault.Init(c.Data, o)
}

// checkQuotas refuses a class that there is not.
func checkQuotas(p vault.Policy) error {
	for name := range p.Quotas {
		if !slices.Contains(access.Classes(), access.Class(name)) {
			return fmt.Errorf("ceremony: policy: quotas: want one of %v, got %q", access.Classes(), name)
		}
	}
	return nil
}

// quotas are those of the configuration, within what was agreed when the vault was made.
func (c Config) quotas(p vault.Policy) map[access.Class]access.Quota {
	out := maps.Clone(c.Quotas)
	if out == nil {
		out = map[access.Class]access.Quota{}
	}
	for name, limit := range p.Quotas {
		class := access.Class(name)
		q, ok := out[class]
		if !ok {
			q = access.DefaultQuota(class)
		}
		q.Limit = min(q.Limit, limit)
		out[class] = q
	}
	return out
}

// OpenHold opens what holds the keys of the vault of a central system.
func OpenHold(c Config, d Deps) (vault.Hold, error) { return c.unseal(c.Data, d) }

// Agrees checks that a central system of this configuration works the vault of a ceremony. Both have whole paths.
func (c Config) Agrees(with vault.Ceremony) error {
	for _, p := range []struct{ what, mine, its string }{
		{"data", c.Data, with.Data}, {"journal", c.Journal, with.Journal}, {"passphrase_file", c.PassphraseFile, with.PassphraseFile},
	} {
		if filepath.Clean(p.mine) != filepath.Clean(p.its) {
			return fmt.Errorf("%s: the configuration says %q, the ceremony %q", p.what, p.mine, p.its)
		}
	}
	return nil
}

func readPassphrase(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("central: passphrase: %w", err)
	}
	if b = bytes.TrimRight(b, "\r\n"); len(b) == 0 {
		return nil, fmt.Errorf("central: passphrase file %s is empty", path)
	}
	return b, nil
}
