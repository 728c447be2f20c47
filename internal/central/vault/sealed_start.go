package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
)

// Errors of a sealed start.
var (
	// ErrSealed is returned by Open for a vault that was restored without its key journal. Nothing is done with its keys
	// until two people have opened it.
	ErrSealed = errors.New("vault: sealed: it was restored without its key journal; bring the journal, or have two people open it (meterseal vault status)")
	// ErrApprovals is returned where opening lacks the word of two people.
	ErrApprovals = errors.New("vault: opening takes the approval of two different people, none of them too old")
	// ErrRetired is returned for a system title whose counters were lost with a key journal.
	ErrRetired = errors.New("vault: this system title is used no more: its counters were lost with the key journal")
)

// The actions of a sealed start in the audit log.
const (
	ActionSealedUp audit.Action = "vault.sealed"
	ActionApproved audit.Action = "vault.opening.approved"
	ActionUnsealed audit.Action = "vault.opened.without-journal"
)

// ApprovalTerm is how long an approval counts.
const ApprovalTerm = time.Hour

// The names of what is kept in the store.
const (
	stateSeal  = "seal"
	stateSpace = "space"
)

// Seal says that a vault is sealed, since when, for which journals that are not there, and who wants it opened.
type Seal struct {
	Since     time.Time     `json:"since"`
	Reason    string        `json:"reason"`
	Lost      []LostJournal `json:"lost"`
	Approvals []Approval    `json:"approvals,omitempty"`
}

// LostJournal is a key journal that is not there: the node's, up to where the store knows it.
type LostJournal struct {
	Node  string `json:"node"`
	Bytes int64  `json:"bytes"`
}

// Approval is one person's word that the vault may be opened without its journal.
type Approval struct {
	By     audit.Actor `json:"by"`
	Reason string      `json:"reason"`
	At     time.Time   `json:"at"`
	// Proof is what shows that it is this person's word. The vault keeps it and does not look into it.
	Proof json.RawMessage `json:"proof,omitempty"`
}

// Space is the nonce space of a vault that was opened without its journal. Whatever was done in the time that was lost,
// nothing is done a second time: the system titles from before are used no more, new versions have numbers above all that
// may have been given, and versions from before are handed out to nobody.
type Space struct {
	OpenedAt     time.Time          `json:"opened_at"`
	Title        dlms.SystemTitle   `json:"title"`
	Retired      []dlms.SystemTitle `json:"retired"`
	FirstVersion uint32             `json:"first_version"`
	Approvals    []Approval         `json:"approvals"`
}

// checkOpen refuses a sealed vault and reads the nonce space of one that was opened.
func (v *Software) checkOpen(ctx context.Context) (err error) {
	seal, err := ReadSeal(ctx, v.store)
	if err != nil {
		return err
	}
	if seal != nil {
		return fmt.Errorf("%w; %s, since %s", ErrSealed, seal.Reason, seal.Since.Format(time.RFC3339))
	}
	if v.space, err = ReadSpace(ctx, v.store); err != nil {
		return err
	}
	return v.checkTerms(ctx)
}

// ReadSeal returns why a vault is sealed, nil if it is not.
func ReadSeal(ctx context.Context, s Store) (*Seal, error) { return readState[Seal](ctx, s, stateSeal) }

// ReadSpace returns the nonce space that a vault was opened in, nil if it was never sealed.
func ReadSpace(ctx context.Context, s Store) (*Space, error) {
	return readState[Space](ctx, s, stateSpace)
}

func readState[T any](ctx context.Context, s Store, name string) (*T, error) {
	b, err := s.VaultState(ctx, name)
	if err != nil || b == nil {
		return nil, err
	}
	out := new(T)
	if err := json.Unmarshal(b, out); err != nil {
		return nil, fmt.Errorf("vault: state %q in the store is damaged: %w", name, err)
	}
	return out, nil
}

func writeState(ctx context.Context, s Store, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.SetVaultState(ctx, name, b)
}

// SealUp seals a vault whose journals are lost. Sealing it again adds to what is known.
func SealUp(ctx context.Context, s Store, log *audit.Log, by audit.Actor, seal Seal) error {
	return s.Update(ctx, func(ctx context.Context) error {
		old, err := ReadSeal(ctx, s)
		if err != nil {
			return err
		}
		if old != nil {
			seal.Since, seal.Approvals = old.Since, old.Approvals
			for _, l := range old.Lost {
				if !slices.Contains(seal.Lost, l) {
					seal.Lost = append(seal.Lost, l)
				}
			}
		}
		if err := writeState(ctx, s, stateSeal, seal); err != nil {
			return err
		}
		return log.Append(ctx, audit.Entry{
			Actor: by, Action: ActionSealedUp, Phase: audit.Done, Outcome: seal.Reason,
			Detail: map[string]string{"journals_lost": fmt.Sprint(len(seal.Lost))},
		})
	})
}

// Approve enters one person's approval of opening a sealed vault. The same person's second one takes the place of the
// first.
func Approve(ctx context.Context, s Store, log *audit.Log, a Approval) error {
	if a.By == "" || a.Reason == "" {
		return errors.New("vault: approve: want who, and why")
	}
	return s.Update(ctx, func(ctx context.Context) error {
		seal, err := ReadSeal(ctx, s)
		if err != nil {
			return err
		}
		if seal == nil {
			return errors.New("vault: approve: it is not sealed")
		}
		seal.Approvals = slices.DeleteFunc(seal.Approvals, func(old Approval) bool { return old.By == a.By })
		seal.Approvals = append(seal.Approvals, a)
		if err := writeState(ctx, s, stateSeal, seal); err != nil {
			return err
		}
		return log.Append(ctx, audit.Entry{Actor: a.By, Action: ActionApproved, Phase: audit.Done, At: a.At, Outcome: a.Reason})
	})
}

// Counting returns the approvals that count at now. One from the future, by a clock that was set back since, does not.
func (s Seal) Counting(now time.Time) (out []Approval) {
	for _, a := range s.Approvals {
		if age := now.Sub(a.At); age >= 0 && age <= ApprovalTerm {
			out = append(out, a)
		}
	}
	return out
}

// OpenSealed opens a sealed vault without its journal, if two people have approved it. It makes a system title that was never
// used before, for the one node that goes on, and retires all others; rand makes it, so that two restores of one backup
// do not meet in it. The journal of that node is begun when it opens the vault. An approval that valid refuses does not count.
func OpenSealed(ctx context.Context, s Store, log *audit.Log, now time.Time, rand io.Reader, valid func(Seal, Approval) error) (Space, error) {
	var space Space
	err := s.Durable(ctx, func(ctx context.Context) error {
		seal, err := ReadSeal(ctx, s)
		if err != nil {
			return err
		}
		if seal == nil {
			return errors.New("it is not sealed")
		}
		var counting []Approval
		var refused []error
		for _, a := range seal.Counting(now) {
			if err := valid(*seal, a); err != nil {
				refused = append(refused, err)
				continue
			}
			counting = append(counting, a)
		}
		if len(counting) < 2 {
			return errors.Join(append([]error{fmt.Errorf("%w: %d of 2 count now", ErrApprovals, len(counting))}, refused...)...)
		}
		if space, err = newSpace(ctx, s, now, rand); err != nil {
			return err
		}
		space.Approvals = counting
		return enterSpace(ctx, s, log, space)
	})
	if err != nil {
		return Space{}, fmt.Errorf("vault: open without its journal: %w", err)
	}
	return space, nil
}

// Where the numbers of versions begin in a new nonce space: at the seconds since 1970, above all that can have been given in
// the time that was lost, also after an earlier restore of the same backup; well above those of the space before, if the
// clock was set back since; and a random way further, so that what is lost altogether is not met by chance.
const (
	spaceApart  = 1 << 16
	spaceSpread = 1 << 20
)

// newSpace makes a nonce space.
func newSpace(ctx context.Context, s Store, now time.Time, rand io.Reader) (Space, error) {
	retired, err := s.NodeTitles(ctx)
	if err != nil {
		return Space{}, err
	}
	old, err := ReadSpace(ctx, s)
	if err != nil {
		return Space{}, err
	}
	space := Space{OpenedAt: now.UTC().Truncate(time.Microsecond), Retired: retired}
	seconds := now.Unix()
	if seconds < 1 {
		return Space{}, fmt.Errorf("the clock says %s: set it first", now.Format(time.RFC3339))
	}
	var spread [4]byte
	if _, err := io.ReadFull(rand, spread[:]); err != nil {
		return Space{}, fmt.Errorf("read randomness: %w", err)
	}
	first := seconds
	if old != nil {
		first = max(first, int64(old.FirstVersion)+spaceApart)
	}
	first += int64(binary.BigEndian.Uint32(spread[:]) % spaceSpread)
	if first >= 1<<32-spaceApart {
		return Space{}, errors.New("no numbers are left for versions of keys")
	}
	space.FirstVersion = uint32(first)
	if old != nil {
		space.Retired = append(space.Retired, old.Retired...)
	}
	slices.SortFunc(space.Retired, func(a, b dlms.SystemTitle) int { return bytes.Compare(a[:], b[:]) })
	space.Retired = slices.Compact(space.Retired)
	space.Title = dlms.SystemTitle{'M', 'S', 'I'}
	if len(retired) > 0 {
		copy(space.Title[:3], retired[0][:3])
	}
	if _, err := io.ReadFull(rand, space.Title[3:]); err != nil {
		return Space{}, fmt.Errorf("read randomness: %w", err)
	}
	return space, nil
}

func enterSpace(ctx context.Context, s Store, log *audit.Log, space Space) error {
	if err := s.AddNode(ctx, space.Title, space.OpenedAt); err != nil {
		return fmt.Errorf("system title %s: %w", space.Title, err)
	}
	abandoned, err := s.AbandonPending(ctx, space.OpenedAt)
	if err != nil {
		return err
	}
	if err := s.LoseCounters(ctx, nil); err != nil {
		return err
	}
	if err := writeState(ctx, s, stateSpace, space); err != nil {
		return err
	}
	if err := s.SetVaultState(ctx, stateSeal, nil); err != nil {
		return err
	}
	var entries []audit.Entry
	for _, a := range space.Approvals {
		entries = append(entries, audit.Entry{
			Actor: a.By, Action: ActionUnsealed, Phase: audit.Done, At: space.OpenedAt, Subject: audit.Subject{Device: space.Title},
			Outcome: a.Reason, Detail: map[string]string{"pending_abandoned": fmt.Sprint(abandoned)},
		})
	}
	return log.Append(ctx, entries...)
}

// replaySpace takes a nonce space over from a journal, where the store was taken back to before it was opened. That nobody
// knows the counters of what the store has holds for all of it, and for more than it must.
func (v *Software) replaySpace(ctx context.Context, space Space) error {
	old, err := ReadSpace(ctx, v.store)
	if err != nil || old != nil && !space.OpenedAt.After(old.OpenedAt) {
		return err
	}
	kinds, err := v.store.TitleKinds(ctx, []dlms.SystemTitle{space.Title})
	if err != nil {
		return err
	}
	if kinds[space.Title] == "" {
		if err := v.store.AddNode(ctx, space.Title, space.OpenedAt); err != nil {
			return err
		}
	}
	if _, err := v.store.AbandonPending(ctx, space.OpenedAt); err != nil {
		return err
	}
	if err := v.store.LoseCounters(ctx, nil); err != nil {
		return err
	}
	v.space = &space
	return writeState(ctx, v.store, stateSpace, space)
}

// Space returns the nonce space that the vault was opened in, nil if it never was without its journal.
func (v *Software) Space() *Space { return v.space }

// CheckTitle refuses a system title of the central system that is used no more.
func (v *Software) CheckTitle(own dlms.SystemTitle) error {
	if v.space == nil || !slices.Contains(v.space.Retired, own) {
		return nil
	}
	return fmt.Errorf("%w: %s; the node that goes on is %s", ErrRetired, own, v.space.Title)
}
