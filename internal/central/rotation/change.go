// Package rotation changes the long-term keys of meters without ever losing one (law 5).
//
// A change is a row: one meter, one role, from one version to a newer one, and the step it has reached. The
// [Reconciler] takes the rows that are due, brings each as far as it goes, and writes down where it stands before
// anything leaves the house. Every step may be cut at any point and is taken up again from the row and the vault.
//
//	wanted ──generate──▶ generated ──seal, provision──▶ provisioned ──mark sent──▶ sent
//	   ▲                                                                            │ transfer, whatever comes back
//	   │                                                                            ▼
//	   └── n still in force: n+2, never n+1 again ◀────────────────────────────── prove ──n+1 in force──▶ done
//	                                                                                │ neither
//	                                                                                ▼
//	                                                                            searching
package rotation

import (
	"context"
	"errors"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
)

// Step is how far a change has come.
type Step string

// Steps of a change. Only StepSent and StepSearching may have touched the meter.
const (
	StepWanted      Step = "wanted"
	StepGenerated   Step = "generated"
	StepProvisioned Step = "provisioned"
	StepSent        Step = "sent"
	StepSearching   Step = "searching"
	StepDone        Step = "done"
)

// Change is one key change of one meter.
type Change struct {
	ID           int64            `json:"id"`
	Meter        dlms.SystemTitle `json:"meter"`
	Concentrator dlms.SystemTitle `json:"concentrator"`
	Role         role.Role        `json:"role"`
	// From is the version in force when the change was asked for, To the one on its way (0 before it exists).
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	Step Step   `json:"step"`
	// Reason is why the change was asked for, for the record.
	Reason string `json:"reason"`
	// Attempts counts tries since the last progress, Tried the versions given up on the way.
	Attempts int `json:"attempts"`
	// Searched is the version down to which a search has come, 0 before it begins or begins anew.
	Searched  uint32    `json:"searched,omitempty"`
	Tried     int       `json:"tried"`
	DueAt     time.Time `json:"due_at"`
	LastError string    `json:"last_error,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	DoneAt    time.Time `json:"done_at,omitzero"`
}

func (c Change) ref(version uint32) role.KeyRef {
	return role.KeyRef{Meter: c.Meter, Role: c.Role, Version: version}
}

func (c Change) to() role.KeyRef { return c.ref(c.To) }

// Store keeps the changes. Every method is one durable commit, or a part of that of Update.
type Store interface {
	// Update runs fn with a context that carries a transaction, and commits it, durably, if fn returns nil. Generate and
	// the Mark methods of the vault, and Save, join it.
	Update(ctx context.Context, fn func(ctx context.Context) error) error
	// Ask inserts a change per meter and role that has no open one; it returns those inserted.
	Ask(ctx context.Context, changes []Change) (int, error)
	// Due returns open changes whose time has come, at most limit, at most one per meter (the first by role
	// order CC_IS, CC_LAN, CC_LOCALE), grouped by concentrator. None waits beyond the horizon: what is due later than
	// that was written under a clock that was ahead, and counts as due.
	Due(ctx context.Context, now, horizon time.Time, limit int) ([]Change, error)
	// Save writes step, to, attempts, tried, searched, due, error and done time of each change, all or none: ErrMoved if one of
	// them is under another concentrator by now.
	Save(ctx context.Context, changes []Change) error
	// Orphans returns, for keys with a version that was sent and no open change, what a change of it would be: from the
	// version in force to the newest that was sent. At most limit.
	Orphans(ctx context.Context, limit int) ([]Change, error)
	// Follow puts every open change under the concentrator that its meter is under.
	Follow(ctx context.Context) error
	// Open counts the changes that are not done, and returns the earliest due time.
	Open(ctx context.Context) (count int, next time.Time, err error)
}

// Vault is what a change needs of the vault: operations, never bytes.
type Vault interface {
	// Generate makes the next version of each key, pending, durable and journalled; a version that is pending
	// already (made before a crash) is returned instead of a second one.
	Generate(ctx context.Context, keys []MeterRole) ([]role.KeyRef, error)
	// Active returns the version in force of each key.
	Active(ctx context.Context, keys []MeterRole) ([]role.KeyRef, error)
	// MarkSent notes durably, before the fact, that the version may reach its meter.
	MarkSent(ctx context.Context, keys []role.KeyRef) error
	// MarkActive notes that the version was proven in force; older ones are superseded.
	MarkActive(ctx context.Context, keys []role.KeyRef) error
	// MarkAbandoned notes that the version was tried and is not in force. It stays a candidate of the search.
	MarkAbandoned(ctx context.Context, keys []role.KeyRef) error
	// Standing tells how a version stands.
	Standing(ctx context.Context, k role.KeyRef) (Standing, error)
	// Wrap wraps each key under its meter's CCC for key_transfer.
	Wrap(ctx context.Context, keys []role.KeyRef) ([][]byte, error)
	// Candidates lists every version that may be in force, newest first.
	Candidates(ctx context.Context, k MeterRole) ([]role.KeyRef, error)
	// CheckValue returns the check value of a version, from its row.
	CheckValue(ctx context.Context, k role.KeyRef) (key.CheckValue, error)
}

// Standing is how a version stands in the vault.
type Standing int

// Standings of a version. StandingOver is one that was given up or superseded, or that the vault does not have.
const (
	StandingPending Standing = iota + 1
	StandingSent
	StandingActive
	StandingOver
)

// MeterRole names a key regardless of version.
type MeterRole struct {
	Meter dlms.SystemTitle
	Role  role.Role
}

// Provisioner hands a concentrator its copies of CC_LAN.
type Provisioner interface {
	// Provision seals the versions to the concentrator in the phase they have in the vault and waits until it holds
	// them durably.
	Provision(ctx context.Context, concentrator dlms.SystemTitle, keys []role.KeyRef) error
}

// Parcel is a wrapped key on its way to its meter.
type Parcel struct {
	Key     role.KeyRef
	Wrapped []byte
}

// Hand is the IS's hand on meters, through their concentrator. It takes the meters of one concentrator together, none of
// them twice; the answers are in the order of what was asked.
type Hand interface {
	// Transfer carries wrapped keys to the security setups of their meters for their roles.
	Transfer(ctx context.Context, parcels []Parcel) []error
	// Opens tries to open associations of the IS's own under these versions (CC_IS, CC_LAN). nil: it opened, which
	// proves the key. ErrRefused: the meter, or somebody in its place, refused. Anything else proves nothing.
	Opens(ctx context.Context, keys []role.KeyRef) []error
	// Shows reads, in an authenticated association, the check value of the key in force for a role, and whether the
	// main log holds the event of a change of that key (94, 95).
	Shows(ctx context.Context, k MeterRole) (cv key.CheckValue, logged bool, err error)
	// Entry is the role of the key that the IS enters the meter with: CC_IS where it has one, else CC_LAN.
	Entry(ctx context.Context, meter dlms.SystemTitle) (role.Role, error)
}

// ErrMoved is returned by a Store for a change whose meter was moved to another concentrator since the change was read:
// how it stands now is in its row, and whoever works there takes it up.
var ErrMoved = errors.New("rotation: the meter was moved to another concentrator")

// ErrRefused is returned by a Hand when the meter did not accept the key: a hint that it is not in force, for
// whoever sits on the line can say the same.
var ErrRefused = errors.New("rotation: the meter refused the key")

// ErrEntry is returned by a Hand that could do nothing because the meter refused the key in force that the IS enters
// with: it may have another one.
var ErrEntry = errors.New("rotation: the meter refused the key that the central system enters with")
