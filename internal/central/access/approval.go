package access

import (
	"cmp"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// Approvals in the audit log.
const (
	ActionAsked     audit.Action = "access.approval.asked"
	ActionGiven     audit.Action = "access.approval.given"
	ActionUsed      audit.Action = "access.approval.used"
	ActionWithdrawn audit.Action = "access.approval.withdrawn"
)

// ApprovalTerm is how long an approval can be given and used, from when it was asked for, where the vault was made without another agreement.
const ApprovalTerm = time.Hour

// clocksApart is how far the clocks of two nodes may be apart.
const clocksApart = time.Minute

// approvalKept is how long one that has ended is listed.
const approvalKept = 30 * 24 * time.Hour

// maxParams bounds the parameters that are kept with a request; the hash is over all of them.
const maxParams = 8 << 10

// ErrApproval is returned for an approval that cannot be given, withdrawn or found.
var ErrApproval = errors.New("access: approval")

// Approval is the word of a second person for one operation with exactly these parameters, for the one who asked. It can be
// used once.
type Approval struct {
	ID string `json:"id"`
	Op Op     `json:"op"`
	// Hash is over the operation and all its parameters; Params are their beginning, for people.
	Hash   string `json:"hash"`
	Params string `json:"params"`
	// Why says why a second person is wanted where the operation alone does not say it.
	Why        string    `json:"why,omitempty"`
	Requester  string    `json:"requester"`
	AskedAt    time.Time `json:"asked_at"`
	ValidUntil time.Time `json:"valid_until"`
	Approver   string    `json:"approver,omitempty"`
	ApprovedAt time.Time `json:"approved_at,omitzero"`
	Reason     string    `json:"reason,omitempty"`
	UsedAt     time.Time `json:"used_at,omitzero"`
	EndedAt    time.Time `json:"withdrawn_at,omitzero"`
	EndedBy    string    `json:"withdrawn_by,omitempty"`
}

// State says where it stands at now: wanted, given, used, withdrawn or expired.
func (a Approval) State(now time.Time) string {
	switch {
	case !a.UsedAt.IsZero():
		return "used"
	case !a.EndedAt.IsZero():
		return "withdrawn"
	case !now.Before(a.ValidUntil) || now.Before(a.AskedAt.Add(-clocksApart)): // the clock was set back
		return "expired"
	case a.Approver == "":
		return "wanted"
	}
	return "given"
}

// PendingError says that an operation wants a second person.
type PendingError struct {
	Approval Approval `json:"approval"`
	// Approvers are the roles of whom it takes one.
	Approvers []Role `json:"approvers"`
}

// Error says what to do next.
func (e *PendingError) Error() string {
	why := ""
	if e.Approval.Why != "" {
		why = " (" + e.Approval.Why + ")"
	}
	return fmt.Sprintf("wants a second person%s: approval %s, valid until %s: have somebody else, %s, run 'meterseal approve give %s', then do exactly this again",
		why, e.Approval.ID, e.Approval.ValidUntil.UTC().Format(time.RFC3339), Names(e.Approvers, "or"), e.Approval.ID)
}

// second uses the approval that a second person has given for this call, or asks for one.
func (g *Gate) second(ctx context.Context, c Call, why string) error {
	var pending *PendingError
	err := g.cfg.Store.Update(ctx, func(ctx context.Context) error {
		pending = nil
		used, open, err := g.use(ctx, c)
		if err != nil || used {
			return err
		}
		if open == nil {
			if open, err = g.ask(ctx, c, why); err != nil {
				return err
			}
		}
		pending = &PendingError{*open, rules[c.Op].Seconds()}
		return nil
	})
	if err == nil && pending != nil {
		err = pending
	}
	return err
}

// use uses an approval that was given, or returns one that is still wanted.
func (g *Gate) use(ctx context.Context, c Call) (used bool, open *Approval, err error) {
	now := g.cfg.Now()
	all, err := g.cfg.Store.Approvals(ctx, now)
	if err != nil {
		return false, nil, err
	}
	for _, a := range all {
		if a.Hash != c.Hash() || a.Op != c.Op || a.Requester != c.Name {
			continue
		}
		switch a.State(now) {
		case "wanted":
			open = &a
		case "given":
			if err := g.stillEntitled(ctx, a); err != nil {
				return false, nil, err
			}
			a.UsedAt = now
			return true, nil, g.save(ctx, a, c.Name, ActionUsed, "")
		}
	}
	return false, open, nil
}

// stillEntitled refuses the approval of somebody who was let in when it was given and is not any more.
func (g *Gate) stillEntitled(ctx context.Context, a Approval) error {
	all, err := g.cfg.Store.Certificates(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Name == a.Approver && c.Live(g.cfg.Now()) && anyOf(c.Roles, rules[a.Op].Seconds()) {
			return nil
		}
	}
	return fmt.Errorf("%w %s: %s, who gave it, may not give it any more: withdraw it (meterseal approve withdraw %s) and ask somebody else",
		ErrApproval, a.ID, a.Approver, a.ID)
}

func (g *Gate) ask(ctx context.Context, c Call, why string) (*Approval, error) {
	var id [5]byte
	if _, err := io.ReadFull(g.cfg.Rand, id[:]); err != nil {
		return nil, err
	}
	now := g.cfg.Now().UTC().Truncate(time.Microsecond)
	a := &Approval{
		ID: strings.ToLower(base32.StdEncoding.EncodeToString(id[:])), Op: c.Op, Hash: c.Hash(), Params: shortened(c.Params), Why: why,
		Requester: c.Name, AskedAt: now, ValidUntil: now.Add(cmp.Or(g.cfg.Term, ApprovalTerm)),
	}
	if err := g.cfg.Store.DropApprovals(ctx, now.Add(-approvalKept)); err != nil {
		return nil, err
	}
	if err := g.cfg.Store.AddApproval(ctx, *a); err != nil {
		return nil, err
	}
	return a, g.record(ctx, *a, c.Name, ActionAsked, why)
}

func shortened(params []byte) string {
	if len(params) > maxParams {
		return string(params[:maxParams]) + "..."
	}
	return string(params)
}

func (g *Gate) save(ctx context.Context, a Approval, by string, action audit.Action, why string) error {
	if err := g.cfg.Store.SaveApproval(ctx, a); err != nil {
		return err
	}
	return g.record(ctx, a, by, action, why)
}

func (g *Gate) record(ctx context.Context, a Approval, by string, action audit.Action, why string) error {
	return g.cfg.Audit.Append(ctx, audit.Entry{
		Actor: PersonActor(by), Action: action, Phase: audit.Done, Outcome: why,
		Detail: map[string]string{"approval": a.ID, "operation": string(a.Op), "parameters": a.Hash, "for": a.Requester},
	})
}

// Approvals lists what was asked for in the last days, newest first.
func (g *Gate) Approvals(ctx context.Context) ([]Approval, error) {
	return g.cfg.Store.Approvals(ctx, g.cfg.Now().Add(-approvalKept))
}

// Approval shows one.
func (g *Gate) Approval(ctx context.Context, id string) (Approval, error) {
	a, err := g.cfg.Store.Approval(ctx, id)
	if err == nil && a == nil {
		err = fmt.Errorf("%w %s: there is none: meterseal approve ls", ErrApproval, id)
	}
	if err != nil {
		return Approval{}, err
	}
	return *a, nil
}

// Give is the caller's word that the operation may be done. It is never the word of the one who asked.
func (g *Gate) Give(ctx context.Context, c Caller, id, reason string) (a Approval, err error) {
	err = g.cfg.Store.Update(ctx, func(ctx context.Context) error {
		if a, err = g.Approval(ctx, id); err != nil {
			return err
		}
		switch state := a.State(g.cfg.Now()); {
		case state == "expired":
			return fmt.Errorf("%w %s: it expired at %s: have %s ask again", ErrApproval, id, a.ValidUntil.Format(time.RFC3339), a.Requester)
		case state != "wanted":
			return fmt.Errorf("%w %s: it is %s", ErrApproval, id, state)
		case c.Name == a.Requester:
			return fmt.Errorf("%w %s: %s asked for it: it takes a second person", ErrDenied, id, c.Name)
		}
		seconds := rules[a.Op].Seconds()
		if !anyOf(c.Roles, seconds) {
			return fmt.Errorf("%w: %s is %s; to approve this takes %s", ErrDenied, c.Name, orNobody(c.Roles), Names(seconds, "or"))
		}
		a.Approver, a.ApprovedAt, a.Reason = c.Name, g.cfg.Now().UTC().Truncate(time.Microsecond), reason
		return g.save(ctx, a, c.Name, ActionGiven, reason)
	})
	return a, err
}

// Withdraw ends an approval before it is used: the one who asked, the one who gave it, or a key custodian.
func (g *Gate) Withdraw(ctx context.Context, c Caller, id, reason string) (a Approval, err error) {
	err = g.cfg.Store.Update(ctx, func(ctx context.Context) error {
		if a, err = g.Approval(ctx, id); err != nil {
			return err
		}
		if state := a.State(g.cfg.Now()); state != "wanted" && state != "given" {
			return fmt.Errorf("%w %s: it is %s", ErrApproval, id, state)
		}
		if c.Name != a.Requester && c.Name != a.Approver && !anyOf(c.Roles, []Role{Custodian}) {
			return fmt.Errorf("%w: approval %s is %s's to withdraw, its approver's or a key custodian's", ErrDenied, id, a.Requester)
		}
		a.EndedAt, a.EndedBy = g.cfg.Now().UTC().Truncate(time.Microsecond), c.Name
		return g.save(ctx, a, c.Name, ActionWithdrawn, reason)
	})
	return a, err
}
