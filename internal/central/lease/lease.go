// Package lease says which of several central systems on one database may work on what. A lease has an owner, an end
// and a fencing token that only goes up. The end is for the peace of those who wait, and may be misjudged by a clock
// that jumps or a process that was paused; the token is what counts: every write of a step checks it in its own
// transaction, so that whoever has lost a lease can change nothing any more, however late it wakes up.
//
// The context carries the leases that a step is under ([With]); the store checks them without those in between knowing
// of it.
package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// Errors that callers test for.
var (
	// ErrFenced is returned for a write under a lease that is no longer held.
	ErrFenced = errors.New("fenced: the lease was lost to another process")
	// ErrHeld is returned where somebody else has a lease.
	ErrHeld = errors.New("the lease is held by another process")
)

// Horizon is how far ahead the end of a lease can be. One that ends later was taken by a clock that was ahead, and counts
// as ended: the token keeps its owner, if it still lives, from doing harm.
const Horizon = 15 * time.Minute

// Kinds of leases.
const (
	KindConcentrator = "concentrator"
	KindAudit        = "audit"
	KindCampaigns    = "campaigns"
	KindRoot         = "root"
)

// Name says what a lease is for. A kind of which there is one has the zero subject.
type Name struct {
	Kind    string
	Subject dlms.SystemTitle
}

// Concentrator is the lease of everything that is done to a concentrator's meters.
func Concentrator(d dlms.SystemTitle) Name { return Name{KindConcentrator, d} }

// Audit is the lease of the one who numbers the audit log.
func Audit() Name { return Name{Kind: KindAudit} }

// Campaigns is the lease of the one who runs the campaigns.
func Campaigns() Name { return Name{Kind: KindCampaigns} }

// Root is the lease of the one who seals rows anew under a new term of the root.
func Root() Name { return Name{Kind: KindRoot} }

// String names the lease.
func (n Name) String() string {
	if n.Subject.IsZero() {
		return n.Kind
	}
	return n.Kind + " " + n.Subject.String()
}

// Lease is the right to work on something.
type Lease struct {
	Name  Name
	Owner string
	Token int64
	Until time.Time
}

// String names the lease, its owner and token.
func (l Lease) String() string {
	return fmt.Sprintf("lease of %s, token %d of %s", l.Name, l.Token, l.Owner)
}

// Store keeps leases. Each method is one durable commit.
type Store interface {
	// AcquireLeases takes those of names that nobody else holds at now, and returns them with a new, higher token. A
	// lease that owner has already is taken anew.
	AcquireLeases(ctx context.Context, owner string, now, until time.Time, names []Name) ([]Lease, error)
	// RenewLeases sets the end of those that are still held, and returns them.
	RenewLeases(ctx context.Context, until time.Time, leases []Lease) ([]Lease, error)
	// ReleaseLeases gives up those that are still held.
	ReleaseLeases(ctx context.Context, leases []Lease) error
	// Leases lists those of a kind that have an owner, ended or not.
	Leases(ctx context.Context, kind string) ([]Lease, error)
}

type contextKey struct{}

// With returns a context under further leases: every write of the store with it fails with ErrFenced once one of them
// is lost. The end of a lease does not matter to it, for a later renewal would change it.
func With(ctx context.Context, leases ...Lease) context.Context {
	under := slices.Clone(From(ctx))
	for _, l := range leases {
		l.Until = time.Time{}
		under = append(under, l)
	}
	return context.WithValue(ctx, contextKey{}, under)
}

type guardKey struct{}

// guarded returns a context whose leases can be asked for with Check.
func guarded(ctx context.Context, held func(ctx context.Context) error) context.Context {
	return context.WithValue(ctx, guardKey{}, held)
}

// Check returns ErrFenced if a lease that the context is under was lost. A write asks for that itself. What leaves the house
// cannot be taken back, and nothing behind it checks a token: whoever was paused past its lease asks here first, for by now
// another process may have given up what it was about to send. The database is asked once in half the time of a lease, so
// that between the answer and the sending less time passes than the lease still has.
func Check(ctx context.Context) error {
	if held, ok := ctx.Value(guardKey{}).(func(context.Context) error); ok {
		return held(ctx)
	}
	return nil
}

// From returns the leases that a context is under, without their ends.
func From(ctx context.Context) []Lease {
	under, _ := ctx.Value(contextKey{}).([]Lease)
	return under
}
