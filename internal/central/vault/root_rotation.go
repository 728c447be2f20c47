package vault

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// The actions of a rotation of the root in the audit log.
const (
	ActionRootStaged   audit.Action = "vault.root.staged"
	ActionRootSeals    audit.Action = "vault.root.seals"
	ActionRootReSealed audit.Action = "vault.root.re-sealed"
	ActionRootRotated  audit.Action = "vault.root.rotated"
	ActionRootRetired  audit.Action = "vault.root.retired"
)

// Errors of a rotation of the root.
var (
	// ErrRotation is returned for a rotation of the root that this root knows nothing of: it is of another root, or forged.
	ErrRotation = errors.New("vault: the rotation of the root in the store is not one of this root")
	// ErrStillNeeded is returned for a term that something is still sealed under.
	ErrStillNeeded = errors.New("vault: root: the term is still needed")
)

// StateRotation is the name that the newest rotation is kept under in the store.
const StateRotation = "root-rotation"

const (
	stateReSeal   = "root-re-seal"
	stateRootNode = "root-node:"
)

// RootRotation is the newest rotation of the root, as the store has it for all nodes. The root file is each node's own: a
// node that does not have the term yet is waited for, so that none ever meets a row that it cannot open.
type RootRotation struct {
	Term     uint32      `json:"term"`
	By       audit.Actor `json:"by"`
	Reason   string      `json:"reason"`
	StagedAt time.Time   `json:"staged_at"`
	// DoneAt is when every row was under the term, and every node sealed under it.
	DoneAt time.Time `json:"done_at,omitzero"`
	// Without are nodes that are gone and not waited for.
	Without []string `json:"without,omitempty"`
	// Retired are terms that every node is to destroy.
	Retired []uint32 `json:"retired,omitempty"`
	// MAC is under the term: whoever can write the store, and has no root, can change nothing of it.
	MAC []byte `json:"mac"`
}

// attested returns the MAC of a value without its own.
func (v *Software) attested(term uint32, what string, value any) ([]byte, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return v.keys.Attest(term, append([]byte(what+"\x00"), b...))
}

func (v *Software) verified(term uint32, what string, value any, mac []byte) error {
	want, err := v.attested(term, what, value)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want, mac) != 1 {
		return ErrRotation
	}
	return nil
}

// rotation returns the newest rotation, nil for none, and whether this root has its term. Of one whose term it lacks
// nothing is believed but that it exists.
func (v *Software) rotation(ctx context.Context) (r *RootRotation, mine bool, err error) {
	r, err = readState[RootRotation](ctx, v.store, StateRotation)
	if err != nil || r == nil || r.Term > v.newest() {
		return r, false, err
	}
	plain := *r
	plain.MAC = nil
	return r, true, v.verified(r.Term, StateRotation, plain, r.MAC)
}

// newest is the newest term in the root file.
func (v *Software) newest() uint32 { return slices.Max(v.keys.Terms()) }

func (v *Software) saveRotation(ctx context.Context, r RootRotation) (err error) {
	r.MAC = nil
	if r.MAC, err = v.attested(r.Term, StateRotation, r); err != nil {
		return err
	}
	return writeState(ctx, v.store, StateRotation, r)
}

// RotateRoot begins a rotation of the root, or goes on with one that is not done: then it changes nothing but who is not
// waited for. A new term is staged in this node's root file; Follow and ReSeal do the rest.
func (v *Software) RotateRoot(ctx context.Context, by audit.Actor, reason string, without []string) error {
	if by == "" || reason == "" {
		return errors.New("vault: rotate the root: want who, and why")
	}
	if err := v.keys.Reload(); err != nil {
		return fmt.Errorf("vault: rotate the root: %w", err)
	}
	r, mine, err := v.rotation(ctx)
	if err != nil {
		return fmt.Errorf("vault: rotate the root: %w", err)
	}
	if r != nil && !mine {
		return fmt.Errorf("vault: rotate the root: term %d: %w", r.Term, ErrTerm)
	}
	next := RootRotation{By: by, Reason: reason, StagedAt: v.time(), Without: slices.Compact(slices.Sorted(slices.Values(without)))}
	if r != nil && r.DoneAt.IsZero() {
		next = *r
		next.Without = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(r.Without), without...))))
	} else {
		if r != nil {
			next.Retired = r.Retired
		}
		if next.Term, err = v.keys.StageTerm(v.rand, v.now()); err != nil {
			return err
		}
	}
	if err := v.crash("rotation, staged"); err != nil {
		return err
	}
	err = v.store.Durable(ctx, func(ctx context.Context) error {
		now, err := readState[RootRotation](ctx, v.store, StateRotation)
		if err != nil {
			return err
		}
		if (now == nil) != (r == nil) || now != nil && now.Term != r.Term {
			return errors.New("another node began one at this moment; look at its state")
		}
		if err := v.saveRotation(ctx, next); err != nil {
			return err
		}
		return v.audit.Append(ctx, audit.Entry{
			Actor: by, Action: ActionRootStaged, Phase: audit.Done, Outcome: reason,
			Detail: map[string]string{"term": fmt.Sprint(next.Term), "without": strings.Join(next.Without, " ")},
		})
	})
	if err != nil {
		return fmt.Errorf("vault: rotate the root: %w", err)
	}
	return nil
}

// Follow does this node's part of a rotation: it reads its root file again if that was replaced, says what it has, seals
// under the new term once every node has it, and destroys what was retired.
func (v *Software) Follow(ctx context.Context) error {
	if err := v.keys.Reload(); err != nil {
		return fmt.Errorf("vault: root: %w", err)
	}
	r, mine, err := v.rotation(ctx)
	if err != nil || r == nil {
		return err
	}
	if err := v.announce(ctx); err != nil {
		return fmt.Errorf("vault: root: %w", err)
	}
	if !mine {
		return nil
	}
	if v.keys.Term() < r.Term {
		if err := v.sealUnder(ctx, *r); err != nil {
			return err
		}
	}
	return v.destroy(ctx, *r)
}

func (v *Software) sealUnder(ctx context.Context, r RootRotation) error {
	nodes, err := v.rootNodes(ctx, r)
	if err != nil || slices.ContainsFunc(nodes, func(n RootNode) bool { return n.Has < r.Term }) {
		return err
	}
	if err := v.keys.SealUnder(r.Term); err != nil {
		return err
	}
	if err := v.crash("rotation, seals"); err != nil {
		return err
	}
	if err := v.announce(ctx); err != nil {
		return err
	}
	return v.audit.Append(ctx, audit.Entry{
		Actor: r.By, Action: ActionRootSeals, Phase: audit.Done, Outcome: r.Reason, Detail: map[string]string{"term": fmt.Sprint(r.Term), "node": v.node},
	})
}

// ParseRotation reads the rotation that a database has, a backup's for one: nil for none.
func ParseRotation(state []byte) (*RootRotation, error) {
	if len(state) == 0 {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	r := new(RootRotation)
	if err := json.Unmarshal(state, r); err != nil {
		return nil, fmt.Errorf("%w: damaged", ErrRotation)
	}
	return r, nil
}

// Backed says by which backup nothing is under a term any more. One of both is set.
type Backed struct {
	// Rotation is the newest rotation as the backup's database has it, in which no row is under the term.
	Rotation *RootRotation
	// At is when a database that is backed up with its own tools was, as the operator says.
	At time.Time
}

func (v *Software) checkBacked(b Backed, term uint32, r RootRotation) error {
	if b.Rotation != nil {
		plain := *b.Rotation
		plain.MAC = nil
		if err := v.verified(plain.Term, StateRotation, plain, b.Rotation.MAC); err != nil {
			return err
		}
		if plain.Term > term && !plain.DoneAt.IsZero() {
			return nil
		}
	} else if b.At.After(r.DoneAt) && !b.At.After(v.now()) {
		return nil
	}
	return fmt.Errorf("%w: %d: the backup is from before every row was under term %d (%s): make a new one", ErrStillNeeded, term, r.Term,
		r.DoneAt.Format(time.RFC3339))
}

// RetireTerm has every node destroy a term and those before it. Nothing may be under it: no row of the store or of a
// backup from after the rotation, and no node may seal under it. What is under it elsewhere, in older backups and in what
// concentrators keep, is gone with it.
func (v *Software) RetireTerm(ctx context.Context, by audit.Actor, term uint32, backed Backed) error {
	r, mine, err := v.rotation(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("vault: retire term %d: %w", term, err)
	case r == nil || !mine || term >= r.Term:
		return fmt.Errorf("%w: retire term %d: rotate the root first", ErrTermOrder, term)
	case r.DoneAt.IsZero():
		return fmt.Errorf("%w: %d: the rotation to term %d is not done", ErrStillNeeded, term, r.Term)
	}
	if err := v.checkBacked(backed, term, *r); err != nil {
		return err
	}
	if err := v.nothingUnder(ctx, term, *r); err != nil {
		return err
	}
	next := *r
	for _, t := range v.keys.TermStates() {
		if t.Term <= term && !slices.Contains(next.Retired, t.Term) {
			next.Retired = append(next.Retired, t.Term)
		}
	}
	err = v.store.Durable(ctx, func(ctx context.Context) error {
		if err := v.saveRotation(ctx, next); err != nil {
			return err
		}
		return v.audit.Append(ctx, audit.Entry{
			Actor: by, Action: ActionRootRetired, Phase: audit.Intent, Detail: map[string]string{"term": fmt.Sprint(term)},
		})
	})
	if err != nil {
		return fmt.Errorf("vault: retire term %d: %w", term, err)
	}
	if err := v.crash("rotation, retired"); err != nil {
		return err
	}
	return v.destroy(ctx, next)
}

// nothingUnder refuses a term that a row or a node still needs.
func (v *Software) nothingUnder(ctx context.Context, term uint32, r RootRotation) error {
	counts, err := v.store.TermCounts(ctx)
	if err != nil {
		return err
	}
	for t, rows := range counts {
		if t <= term {
			return fmt.Errorf("%w: %d rows are under term %d", ErrStillNeeded, rows, t)
		}
	}
	nodes, err := v.rootNodes(ctx, r)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Seals <= term {
			return fmt.Errorf("%w: node %s seals under term %d, as far as it has said", ErrStillNeeded, n.Node, n.Seals)
		}
	}
	return nil
}

// destroy destroys, in this node's root file, what was retired. It looks at the rows itself. What the file says is retired is
// destroyed once more by each process: of a vault in a token the keys go after the file has said so, and a crash between the
// two would leave them there.
func (v *Software) destroy(ctx context.Context, r RootRotation) error {
	for _, t := range v.keys.TermStates() {
		if !slices.Contains(r.Retired, t.Term) || v.isDestroyed(t.Term, false) {
			continue
		}
		err := v.nothingUnder(ctx, t.Term, RootRotation{Without: r.Without})
		if err == nil {
			err = v.destroyTerm(ctx, t)
		} else if errors.Is(err, ErrStillNeeded) && t.State == TermRetired {
			err = nil // an old database was brought back: what opens nothing here is left to people
		}
		if err != nil {
			return err
		}
		v.isDestroyed(t.Term, true)
	}
	return nil
}

// isDestroyed reports whether this process has destroyed a term, or takes note of it.
func (v *Software) isDestroyed(term uint32, now bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now {
		v.destroyed = append(v.destroyed, term)
	}
	return slices.Contains(v.destroyed, term)
}

func (v *Software) destroyTerm(ctx context.Context, t TermState) error {
	if err := v.keys.RetireTerm(t.Term, v.now()); err != nil || t.State == TermRetired {
		return err
	}
	return v.audit.Append(ctx, audit.Entry{
		Actor: "system:vault", Action: ActionRootRetired, Phase: audit.Done, Detail: map[string]string{"term": fmt.Sprint(t.Term), "node": v.node},
	})
}

// checkTerms refuses a root file that is older than the store: it could open nothing that the other nodes make.
func (v *Software) checkTerms(ctx context.Context) error {
	r, err := readState[RootRotation](ctx, v.store, StateRotation)
	if err != nil || r == nil || r.Term <= v.newest() {
		return err
	}
	return CheckTerms(ctx, v.keys, v.store)
}

// CheckTerms refuses a store with rows under terms that the root does not have.
func CheckTerms(ctx context.Context, h Hold, s Store) error {
	counts, err := s.TermCounts(ctx)
	if err != nil {
		return err
	}
	have := h.Terms()
	for _, t := range slices.Sorted(maps.Keys(counts)) {
		if slices.Contains(have, t) {
			continue
		}
		if slices.ContainsFunc(h.TermStates(), func(s TermState) bool { return s.Term == t }) {
			return fmt.Errorf("%d rows under term %d: %w", counts[t], t, ErrTermRetired)
		}
		return fmt.Errorf("%d rows under term %d: %w", counts[t], t, ErrTerm)
	}
	return nil
}
