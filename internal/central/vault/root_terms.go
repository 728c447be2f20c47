package vault

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms/key"
)

// RootTerms are the terms of a root, which are numbered from 1. A row says which one it is sealed and bound under. A term
// is staged first: it is there, and nothing is sealed under it until every node has it. Then it seals; those before it
// open what is left. A retired one is gone, and what is still under it with it.
type RootTerms interface {
	// Terms lists the terms that open rows, ascending; Term is the one that new rows are sealed under.
	Terms() []uint32
	Term() uint32
	// TermStates lists all terms that ever were, ascending; TermNames the public names of those that open rows.
	TermStates() []TermState
	TermNames() []TermNames
	// StageTerm makes the next term, durably, and returns its number. One that is staged already is returned instead.
	StageTerm(rand io.Reader, at time.Time) (uint32, error)
	// SealUnder has rows sealed under a staged term from now on, durably. Again it changes nothing.
	SealUnder(term uint32) error
	// RetireTerm destroys the keys of a term before the one that seals, durably. Again it destroys what a crash has left.
	RetireTerm(term uint32, at time.Time) error
	// Reload reads what another process or a person has changed in the root file.
	Reload() error
	// Attest is the AES-CMAC of a text under a term's MAC key: whoever has the term can check it.
	Attest(term uint32, text []byte) ([]byte, error)
	// ReSealRow and ReSealDevice open a row under the term that it says and seal it under the one that seals.
	ReSealRow(row KeyRow) (KeyRow, error)
	ReSealDevice(d DeviceRow) (DeviceRow, error)
}

// Errors of the terms of a root.
var (
	// ErrTerm is returned for what is sealed under a term that the root does not have: the root file is older than the row.
	ErrTerm = errors.New("the root lacks this term: bring the root file as it is now (vault.root of the node that rotated it)")
	// ErrTermRetired is returned for what is sealed under a term that was retired.
	ErrTermRetired = errors.New("this term of the root was retired: what is sealed under it is gone; use a backup from after that")
	// ErrTermOrder is returned where a term is not in the state for what is asked.
	ErrTermOrder = errors.New("vault: root: not with this term")
)

// The states of a term.
const (
	TermStaged  = "staged"
	TermSeals   = "seals"
	TermOpens   = "opens"
	TermRetired = "retired"
)

// TermState is where a term of the root is in its life.
type TermState struct {
	Term      uint32    `json:"term"`
	State     string    `json:"state"`
	MadeAt    time.Time `json:"made_at,omitzero"`
	RetiredAt time.Time `json:"retired_at,omitzero"`
}

// rootTerm is the pair of keys of one term.
type rootTerm struct {
	wrap key.Wrapping
	mac  key.MAC
}

type rootTermFile struct {
	Term uint32 `json:"term"`
	Wrap string `json:"wrap,omitempty"`
	MAC  string `json:"mac,omitempty"`

	Staged    bool      `json:"staged,omitempty"`
	MadeAt    time.Time `json:"made_at,omitzero"`
	RetiredAt time.Time `json:"retired_at,omitzero"`
}

func newTerm(rand io.Reader, term uint32, at time.Time) (t rootTermFile, err error) {
	if rand == nil {
		return t, errors.New("no source of randomness")
	}
	wrap, err := key.GenerateWrapping(rand)
	if err != nil {
		return t, err
	}
	mac, err := key.GenerateMAC(rand)
	if err != nil {
		return t, err
	}
	return rootTermFile{Term: term, Wrap: hexKey(wrap), MAC: hexKey(mac), MadeAt: at.UTC().Truncate(time.Second)}, nil
}

func (t rootTermFile) retired() bool { return !t.RetiredAt.IsZero() }

func (t rootTermFile) keys() (out rootTerm, err error) {
	wrap, err := hex.DecodeString(t.Wrap)
	if err != nil {
		return out, errors.New("wrapping key is damaged")
	}
	defer clear(wrap)
	mac, err := hex.DecodeString(t.MAC)
	if err != nil {
		return out, errors.New("mac key is damaged")
	}
	defer clear(mac)
	if out.wrap, err = key.NewWrapping(wrap); err != nil {
		return out, err
	}
	if out.mac, err = key.NewMAC(mac); err != nil {
		return out, err
	}
	if out.wrap.Weak() || out.mac.Weak() {
		return out, key.ErrWeak
	}
	return out, nil
}

// termSet is the terms of a root at one moment. It is never changed.
type termSet struct {
	keys   map[uint32]rootTerm
	seal   uint32
	states []TermState
}

func (f rootFile) termSet() (*termSet, error) {
	s := &termSet{keys: map[uint32]rootTerm{}}
	for i, t := range f.Terms {
		if t.Term == 0 || i > 0 && t.Term <= f.Terms[i-1].Term {
			return nil, fmt.Errorf("%w: terms are not in order", ErrRoot)
		}
		state := TermState{Term: t.Term, State: TermOpens, MadeAt: t.MadeAt, RetiredAt: t.RetiredAt}
		switch {
		case t.retired():
			state.State = TermRetired
		case t.Staged:
			state.State = TermStaged
		default:
			s.seal = t.Term
		}
		s.states = append(s.states, state)
		if t.retired() {
			continue
		}
		if f.Token != nil { // they are there
			s.keys[t.Term] = rootTerm{}
			continue
		}
		keys, err := t.keys()
		if err != nil {
			return nil, fmt.Errorf("%w: term %d: %w", ErrRoot, t.Term, err)
		}
		s.keys[t.Term] = keys
	}
	if s.seal == 0 {
		return nil, fmt.Errorf("%w: no term seals", ErrRoot)
	}
	for i := range s.states {
		if s.states[i].Term == s.seal {
			s.states[i].State = TermSeals
		}
	}
	return s, nil
}

// Terms implements Hold.
func (r *Root) Terms() (out []uint32) {
	for _, s := range r.terms.Load().states {
		if s.State != TermRetired {
			out = append(out, s.Term)
		}
	}
	return out
}

// Term implements Hold.
func (r *Root) Term() uint32 { return r.terms.Load().seal }

// TermStates implements Hold.
func (r *Root) TermStates() []TermState { return slices.Clone(r.terms.Load().states) }

// TermNames implements Hold.
func (r *Root) TermNames() (out []TermNames) {
	set := r.terms.Load()
	for _, s := range set.states {
		if t, ok := set.keys[s.Term]; ok {
			out = append(out, t.names(s.Term))
		}
	}
	return out
}

// sealing returns the term that new rows are sealed under.
func (r *Root) sealing() (uint32, rootTerm) {
	set := r.terms.Load()
	return set.seal, set.keys[set.seal]
}

// term returns the keys of a term. For one that is not known the root file is read again: another process may have
// brought it in.
func (r *Root) term(n uint32) (rootTerm, error) {
	set := r.terms.Load()
	if t, ok := set.keys[n]; ok {
		return t, nil
	}
	if !slices.ContainsFunc(set.states, func(s TermState) bool { return s.Term == n }) {
		if err := r.Reload(); err != nil {
			return rootTerm{}, err
		}
		set = r.terms.Load()
		if t, ok := set.keys[n]; ok {
			return t, nil
		}
	}
	for _, s := range set.states {
		if s.Term == n {
			return rootTerm{}, fmt.Errorf("term %d: %w", n, ErrTermRetired)
		}
	}
	return rootTerm{}, fmt.Errorf("term %d: %w", n, ErrTerm)
}

// attestText begins what Attest covers, so that nothing else that a MAC key is for can be taken for it.
const attestText = "meterseal root attest 1"

// Attest implements Hold.
func (r *Root) Attest(term uint32, text []byte) ([]byte, error) {
	t, err := r.term(term)
	if err != nil {
		return nil, err
	}
	sum := t.mac.Sum(attested(r.id, text)...)
	return sum[:], nil
}

func attested(vault string, text []byte) [][]byte {
	return [][]byte{[]byte(attestText), []byte(vault), text}
}

// StageTerm implements Hold.
func (r *Root) StageTerm(rand io.Reader, at time.Time) (term uint32, err error) {
	return r.stage(func(n uint32) (rootTermFile, error) { return newTerm(rand, n, at) })
}

func (r *Root) stage(fresh func(term uint32) (rootTermFile, error)) (term uint32, err error) {
	err = r.change("stage", func(f *rootFile) error {
		last := f.Terms[len(f.Terms)-1]
		if term = last.Term; last.Staged {
			return errUnchanged
		}
		t, err := fresh(last.Term + 1)
		t.Staged = true
		term, f.Terms = t.Term, append(f.Terms, t)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("vault: root: stage a term: %w", err)
	}
	return term, nil
}

// SealUnder implements Hold.
func (r *Root) SealUnder(term uint32) error {
	err := r.change("seal", func(f *rootFile) error {
		i := slices.IndexFunc(f.Terms, func(t rootTermFile) bool { return t.Term == term })
		switch {
		case i < 0:
			return fmt.Errorf("term %d: %w", term, ErrTerm)
		case !f.Terms[i].Staged && !f.Terms[i].retired():
			return errUnchanged
		case f.Terms[i].retired():
			return fmt.Errorf("%w: %d is retired", ErrTermOrder, term)
		}
		f.Terms[i].Staged = false
		return nil
	})
	if err != nil {
		return fmt.Errorf("vault: root: seal under term %d: %w", term, err)
	}
	return nil
}

// RetireTerm implements Hold.
func (r *Root) RetireTerm(term uint32, at time.Time) error {
	err := r.change("retire", func(f *rootFile) error {
		i := slices.IndexFunc(f.Terms, func(t rootTermFile) bool { return t.Term == term })
		later := i >= 0 && slices.ContainsFunc(f.Terms[i+1:], func(t rootTermFile) bool { return !t.Staged && !t.retired() })
		switch {
		case i < 0:
			return fmt.Errorf("term %d: %w", term, ErrTerm)
		case f.Terms[i].retired():
			return errUnchanged
		case !later:
			return fmt.Errorf("%w: %d still seals", ErrTermOrder, term)
		}
		f.Terms[i].Wrap, f.Terms[i].MAC, f.Terms[i].RetiredAt = "", "", at.UTC().Truncate(time.Second)
		return nil
	})
	if err != nil {
		return fmt.Errorf("vault: root: retire term %d: %w", term, err)
	}
	return nil
}

// Reload implements Hold. A file that was not written since costs a look at its time.
func (r *Root) Reload() error {
	if r.file == nil {
		return nil
	}
	r.file.mu.Lock()
	defer r.file.mu.Unlock()
	if r.file.unchanged() {
		return nil
	}
	f, err := r.file.read()
	if err != nil {
		return err
	}
	return r.adopt(f)
}

// adopt takes the terms of a root file that must be of this vault, and know all terms that this process knows.
func (r *Root) adopt(f rootFile) error {
	set, err := f.termSet()
	if err != nil {
		return err
	}
	if f.Vault != r.id {
		return fmt.Errorf("%w: %s is now of vault %s, and was of vault %s", ErrRoot, r.file.path, f.Vault, r.id)
	}
	old := r.terms.Load()
	for term, t := range old.keys {
		now, ok := set.keys[term]
		known := slices.ContainsFunc(set.states, func(s TermState) bool { return s.Term == term })
		staged := slices.ContainsFunc(old.states, func(s TermState) bool { return s.Term == term && s.State == TermStaged })
		switch {
		case staged: // nothing is under it: the one of the node that rotates counts
		case !known:
			return fmt.Errorf("%w: %s has lost term %d: an older copy was put in its place", ErrRoot, r.file.path, term)
		case ok && f.Token == nil && !(now.wrap.Equal(t.wrap) && now.mac.Equal(t.mac)):
			return fmt.Errorf("%w: %s has another term %d", ErrRoot, r.file.path, term)
		}
	}
	if set.seal < old.seal {
		return fmt.Errorf("%w: %s seals under term %d, this process under term %d: an older copy was put in its place", ErrRoot, r.file.path, set.seal, old.seal)
	}
	r.terms.Store(set)
	return nil
}
