package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// Vault is the operations on the long-term keys of a fleet. All of them take the actor for the audit log, work on
// batches, and are durable before they return. Where an operation has a result per key, a key that was refused
// has its own error there, and the others go on; the operation's own error means that nothing may be relied on.
//
// None but Generate and the Mark methods may be called with a context that carries a transaction of the store.
type Vault interface {
	// ID names the vault for ever. It is bound into every row.
	ID() string
	// Transport is the key that shipment, transfer and enrolment files are sealed to.
	Transport() transport.Public

	// AddMaker registers a maker's key, which has the fingerprint that a person compared; RevokeMaker ends it.
	AddMaker(ctx context.Context, by audit.Actor, p shipment.MakerPublic, fingerprint string) error
	RevokeMaker(ctx context.Context, by audit.Actor, fingerprint, why string) error
	Makers(ctx context.Context) ([]MakerRow, error)
	// ImportShipment takes a maker's file, once its maker's signature over all of it has verified. Good rows go in, each other
	// row is reported with its reason; importing
	// a file again changes nothing. The report is valid, as far as it goes, also when an error is returned.
	ImportShipment(ctx context.Context, by audit.Actor, file io.Reader) (*shipment.Report, error)
	// ExportMeters gives meters to another head-end, in a file that is signed and sealed to it, and stops using them.
	ExportMeters(ctx context.Context, by audit.Actor, to transport.Public, meters []dlms.SystemTitle, w io.Writer) (keys int, err error)
	// ImportTransfer takes meters over from another head-end, whose audit key a person named.
	ImportTransfer(ctx context.Context, by audit.Actor, file io.Reader, from audit.PublicKey, signer string) (*shipment.Report, error)
	// EnrolDevice makes a concentrator or terminal known, whose file has the fingerprint that a person compared.
	// Enrolling the same file again changes nothing.
	EnrolDevice(ctx context.Context, by audit.Actor, file enrol.File, fingerprint string) error

	// Generate makes the next version of each key, state pending. A newest version that is pending already, as
	// after a crash, is returned instead of a further one. CCC is not generated: it comes from the maker. It may be part
	// of a caller's Update.
	Generate(ctx context.Context, by audit.Actor, keys []Target) ([]Generated, error)
	// Wrap wraps pending or sent versions under their meters' CCC for key_transfer. It marks nothing.
	Wrap(ctx context.Context, by audit.Actor, keys []role.KeyRef) ([]Wrapped, error)
	// SealTo seals pending, sent or active versions to a device: CC_LAN of its own meters to a concentrator,
	// CC_LOCALE of meters of the profile linky it has a live grant for to a terminal. Nothing else is ever sealed here.
	SealTo(ctx context.Context, by audit.Actor, device dlms.SystemTitle, keys []role.KeyRef) ([]Sealed, error)
	// SealGrant makes the document of a live grant for its terminal. Of meters of the profile hardened it holds what is
	// derived from CC_LOCALE until the grant's last day.
	SealGrant(ctx context.Context, by audit.Actor, grant string) (enrol.Grant, error)
	// VerifyLog says whether a terminal wrote the file of its own log of key use.
	VerifyLog(ctx context.Context, f enrol.LogFile) error
	// OpenFor gives handles to open associations with, as the central system under its own title: CC_IS and
	// CC_LAN, any version that was ever sent. Outcomes are reported with Finish.
	OpenFor(ctx context.Context, by audit.Actor, own dlms.SystemTitle, purpose string, keys []role.KeyRef) ([]Opened, error)
	// Finish enters in the audit log what became of associations opened with OpenFor.
	Finish(ctx context.Context, by audit.Actor, outcomes []Outcome) error

	// MarkSent says, before the fact, that versions may reach their meters: pending to sent. It may be part of a
	// caller's Update.
	MarkSent(ctx context.Context, by audit.Actor, keys []role.KeyRef) error
	// MarkActive says that the meter itself has proven a version (law 5), and how. The version active until now
	// is superseded, older sent ones are abandoned. It may be part of a caller's Update.
	MarkActive(ctx context.Context, by audit.Actor, keys []role.KeyRef, proof string) error
	// MarkAbandoned gives versions up: pending or sent to abandoned. They stay candidates of a search. It may be
	// part of a caller's Update.
	MarkAbandoned(ctx context.Context, by audit.Actor, keys []role.KeyRef, why string) error

	// Candidates lists, for each key, every version that the meter may hold, newest first: all but pending ones.
	Candidates(ctx context.Context, keys []Target) ([][]KeyInfo, error)
	// Active returns the version in force of each key; ErrUnknownKey if there is none.
	Active(ctx context.Context, keys []Target) ([]KeyInfo, error)
	// Info describes versions; ErrUnknownKey if there is one that does not exist.
	Info(ctx context.Context, keys []role.KeyRef) ([]KeyInfo, error)
	// History lists every version of every key of a meter, by role and version.
	History(ctx context.Context, meter dlms.SystemTitle) ([]KeyInfo, error)
}

// Errors of a vault.
var (
	// ErrUnknownKey is returned for a key version that does not exist.
	ErrUnknownKey = errors.New("vault: no such key version")
	// ErrState is returned where the state of a version does not allow the operation.
	ErrState = errors.New("vault: refused in this state of the key")
	// ErrRole is returned where the operation is never allowed for keys of this role.
	ErrRole = errors.New("vault: never done with a key of this role")
	// ErrNotEntitled is returned for a device that has no right to the key.
	ErrNotEntitled = errors.New("vault: the device is not entitled to this key")
	// ErrRow is returned for a row that was damaged, altered or moved. The key is refused.
	ErrRow = errors.New("vault: key row does not verify: damaged, altered or another key's")
	// ErrKeyTaken is returned for a key whose fingerprint another one has.
	ErrKeyTaken = errors.New("vault: a key with this fingerprint is in use")
	// ErrTitle is returned for a system title that is unknown or of the wrong kind.
	ErrTitle = errors.New("vault: system title refused")
	// ErrTitleInUse is returned for a device whose system title something else bears.
	ErrTitleInUse = errors.New("vault: system title in use")
	// ErrFingerprint is returned for an enrolment file that is not the one a person compared.
	ErrFingerprint = errors.New("vault: the enrolment file has another fingerprint")
	// ErrRange is returned when a key's counters are used up for a holder: the key must be changed.
	ErrRange = errors.New("vault: no counters left under this key for this holder; change the key")
)

// State is where a key version is in its life.
type State string

// The states: pending to sent to active to superseded, or sent to abandoned. What was sent is never deleted.
const (
	Pending    State = "pending"    // made, has not left the house towards its meter
	Sent       State = "sent"       // may have reached the meter
	Active     State = "active"     // proven in force
	Superseded State = "superseded" // was in force before the active one
	Abandoned  State = "abandoned"  // given up, though the meter may have it
)

// Target names a key whatever its version.
type Target struct {
	Meter dlms.SystemTitle
	Role  role.Role
}

// String returns "METER CC_LAN".
func (t Target) String() string { return fmt.Sprintf("%s %s", t.Meter, t.Role) }

// KeyInfo describes a key version. It holds no key.
type KeyInfo struct {
	Ref         role.KeyRef     `json:"ref"`
	Suite       uint8           `json:"suite"`
	State       State           `json:"state"`
	CheckValue  key.CheckValue  `json:"check_value"`
	Fingerprint key.Fingerprint `json:"fingerprint"`
	CreatedAt   time.Time       `json:"created_at"`
	SentAt      time.Time       `json:"sent_at,omitzero"`
	ActiveAt    time.Time       `json:"active_at,omitzero"`
	EndedAt     time.Time       `json:"ended_at,omitzero"` // superseded or abandoned
}

// Generated is one result of Generate.
type Generated struct {
	Target Target
	Info   KeyInfo
	Err    error
}

// Wrapped is one result of Wrap.
type Wrapped struct {
	Ref        role.KeyRef
	CheckValue key.CheckValue
	Blob       []byte // RFC 3394 under the meter's CCC, 24 bytes
	Err        error
}

// Sealed is one result of SealTo.
type Sealed struct {
	Ref role.KeyRef
	// State is the version's state when it was sealed: pending means that the holder goes on with what it has.
	State State
	Key   enrol.SealedKey
	Err   error
}

// Opened is one result of OpenFor.
type Opened struct {
	Ref role.KeyRef
	Use *Use
	Err error
}

// Use is the right to open associations under one key version: what protects and what counts, and no key.
type Use struct {
	Ref   role.KeyRef
	Own   dlms.SystemTitle
	Op    string // joins intent and result in the audit log
	check CheckValue
	long  security.LongTerm
}

// LongTerm returns the handle for dlms/client. Its counter reserves durably before use; its floor is durable
// before an APDU takes effect. The counter also has RaiseTo, within the bounds of dlms/security.
func (u *Use) LongTerm() *security.LongTerm {
	l := u.long
	return &l
}

// String names the key.
func (u *Use) String() string { return "use of " + u.Ref.String() }

// Outcome is what became of one use.
type Outcome struct {
	Use    *Use
	Result string // "opened", "refused", "no answer"; never text from the line
}
