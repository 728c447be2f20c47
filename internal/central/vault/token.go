package vault

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// ErrToken is returned where a token does not do what it is asked: it was removed, is locked, is full, or lacks something.
// Nothing was done.
var ErrToken = errors.New("vault: token")

// ErrInToken is returned by Unseal for the root file of a vault whose keys are in a token.
var ErrInToken = errors.New("vault: its keys are in a token")

const tokenSchema = "meterseal token root 1"

// TokenPlace says which token a vault's keys are in.
type TokenPlace struct {
	Module string `json:"module"` // path of the PKCS#11 module
	Label  string `json:"label"`
	// Serial decides between two tokens of one label. A token that took the place of another one may have another.
	Serial string `json:"serial,omitempty"`
}

// TokenRoot is the root file of a vault whose keys are in a token. It names them and holds none; what it holds is the
// identity of the vault, which terms there are, and what was agreed.
type TokenRoot struct {
	r     *Root // of which the terms have no keys: nothing here reaches them
	place TokenPlace
}

// ID names the vault.
func (t *TokenRoot) ID() string { return t.r.ID() }

// String names the vault.
func (t *TokenRoot) String() string { return t.r.String() }

// Signer signs the checkpoints of the audit log.
func (t *TokenRoot) Signer() *audit.Signer { return t.r.Signer() }

// Recipient is what files to the vault are encrypted to.
func (t *TokenRoot) Recipient() string { return t.r.Recipient() }

// Decrypt reads what was encrypted to the vault's recipient.
func (t *TokenRoot) Decrypt(in io.Reader) (io.Reader, error) { return t.r.Decrypt(in) }

// Made tells what was agreed when the vault was made.
func (t *TokenRoot) Made() Made { return t.r.Made() }

// Place tells where the keys are.
func (t *TokenRoot) Place() TokenPlace { return t.place }

// In is the same root for a token that is elsewhere than where the vault was made: reached by another module, or a copy under
// another label. Whether it has the keys of this vault shows when it is opened.
func (t *TokenRoot) In(place TokenPlace) *TokenRoot {
	if place.Serial == "" && place.Label == t.place.Label {
		place.Serial = t.place.Serial
	}
	return &TokenRoot{t.r, place}
}

// Terms lists the terms that open rows, ascending.
func (t *TokenRoot) Terms() []uint32 { return t.r.Terms() }

// Term is the one that new rows are sealed under.
func (t *TokenRoot) Term() uint32 { return t.r.Term() }

// TermStates lists all terms that ever were, ascending.
func (t *TokenRoot) TermStates() []TermState { return t.r.TermStates() }

// Reload reads what another process or a person has changed in the root file.
func (t *TokenRoot) Reload() error { return t.r.Reload() }

// SealUnder has rows sealed under a staged term from now on, durably.
func (t *TokenRoot) SealUnder(term uint32) error { return t.r.SealUnder(term) }

// Knows returns why a row under a term does not open, if the root does not have the term.
func (t *TokenRoot) Knows(term uint32) error {
	if _, err := t.r.term(term); err != nil {
		return fmt.Errorf("%w: %w", ErrRow, err)
	}
	return nil
}

// Stage makes the next term, durably. fresh puts its keys into the token first, and finds them there if it did so before and
// the file was not written.
func (t *TokenRoot) Stage(at time.Time, fresh func(term uint32) error) (uint32, error) {
	return t.r.stage(func(term uint32) (rootTermFile, error) {
		return rootTermFile{Term: term, MadeAt: at.UTC().Truncate(time.Second)}, fresh(term)
	})
}

// Retire has a term retired, durably, and then destroy its keys in the token. Again it destroys what is left of them.
func (t *TokenRoot) Retire(term uint32, at time.Time, destroy func(term uint32) error) error {
	if err := t.r.RetireTerm(term, at); err != nil {
		return err
	}
	return destroy(term)
}

func (t *TokenRoot) crashAt(crash func(point string) error) { t.r.crashAt(crash) }

// AttestedText is what Attest's AES-CMAC covers, for a token that computes it.
func (t *TokenRoot) AttestedText(text []byte) [][]byte { return attested(t.ID(), text) }

// InitToken makes a vault whose keys are in a token, and returns its root. keys puts the keys of the first term and what files
// are sealed to into the token, for the vault that it is given, and tells their public names. The root file is there last.
func InitToken(dir string, o InitOptions, place TokenPlace, keys func(root *TokenRoot) ([]TermNames, string, error)) (*TokenRoot, error) {
	var t *TokenRoot
	_, err := initRoot(dir, o, initKind{
		kind: KindPKCS11,
		file: func(f *rootFile) error {
			f.Schema, f.Token, f.Terms = tokenSchema, &place, []rootTermFile{{Term: 1, MadeAt: f.Made.At}}
			return nil
		},
		names: func(r *Root) ([]TermNames, string, error) {
			t = &TokenRoot{r, place}
			return keys(t)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make vault: %w", err)
	}
	return t, nil
}

// UnsealHold opens what holds the keys of the vault in dir: the root itself, or the token that it names, with open.
func UnsealHold(dir string, passphrase []byte, open func(root *TokenRoot) (Hold, error)) (Hold, error) {
	at := newRootAt(filepath.Join(dir, RootFile), passphrase)
	f, err := at.read()
	if err != nil {
		return nil, err
	}
	r, err := f.root(at)
	if err != nil {
		return nil, err
	}
	if f.Token == nil {
		return r, nil
	}
	if open == nil {
		return nil, fmt.Errorf("%w: %s of module %s", ErrInToken, f.Token.Label, f.Token.Module)
	}
	return open(&TokenRoot{r, *f.Token})
}

// Description tells what a vault's keys are kept in, for people.
type Description struct {
	Kind   string `json:"kind"`
	Module string `json:"module,omitempty"`
	Token  string `json:"token,omitempty"`
	Serial string `json:"serial,omitempty"`
	Model  string `json:"model,omitempty"`
	// Associations tells where CC_IS and CC_LAN are used.
	Associations string   `json:"associations"`
	Mechanisms   []string `json:"mechanisms,omitempty"`
	Notes        []string `json:"notes,omitempty"`
}

// Where the keys of associations are used.
const (
	InProcess       = "in this process"
	InToken         = "in the token"
	InProcessForOne = "in this process, for one association each"
)

// Describe implements Hold.
func (*Root) Describe() Description {
	return Description{Kind: KindSoftware, Associations: InProcess}
}

// checkSchema refuses a file that is neither of the two, or one in the other's form.
func (f rootFile) checkSchema() error {
	schemas := []string{rootSchema, tokenSchema}
	i := slices.Index(schemas, f.Schema)
	if i < 0 || len(f.Vault) != 32 || len(f.Terms) == 0 || (i == 1) != (f.Token != nil) {
		return fmt.Errorf("%w: want schema %q or %q, got %q", ErrRoot, rootSchema, tokenSchema, f.Schema)
	}
	if f.Token != nil && len(f.Transport) > 0 {
		return fmt.Errorf("%w: it holds a transport key, which belongs in the token", ErrRoot)
	}
	if f.Token != nil && (f.Token.Module == "" || f.Token.Label == "") {
		return fmt.Errorf("%w: want module and label of the token", ErrRoot)
	}
	return nil
}

// TokenCeremony is that of a vault in a token that is made without one being planned.
func TokenCeremony(by string, t Token) Ceremony {
	c := DefaultCeremony(by)
	c.Kind, c.Token = KindPKCS11, &t
	return written(c)
}
