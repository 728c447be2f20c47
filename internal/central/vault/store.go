package vault

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/role"
)

// The public names of keys, for the store, which knows nothing of keys.
type (
	// Fingerprint is the long one.
	Fingerprint = key.Fingerprint
	// CheckValue is the short one.
	CheckValue = key.CheckValue
)

// MeterRow is a meter as the import makes it known.
type MeterRow struct {
	Title      dlms.SystemTitle
	Maker      string
	Batch      string
	Profile    string
	Suite      uint8
	EnrolledAt time.Time
}

// KeyRow is a key version at rest.
type KeyRow struct {
	Ref         role.KeyRef
	Suite       uint8
	Term        uint32 // of the root that it is sealed under
	Sealed      []byte
	MAC         []byte
	CheckValue  CheckValue
	Fingerprint Fingerprint
	State       State
	CreatedAt   time.Time
	SentAt      time.Time
	ActiveAt    time.Time
	EndedAt     time.Time
}

// DeviceRow is an enrolled concentrator or terminal with its two keys at rest.
type DeviceRow struct {
	Title       dlms.SystemTitle
	Kind        string
	NKeyPublic  string
	Fingerprint string // of the enrolment file
	State       string // "enrolled" or "revoked"
	EnrolledAt  time.Time
	KEK         DeviceKeyRow
	MAC         DeviceKeyRow
}

// DeviceKeyRow is one of them.
type DeviceKeyRow struct {
	Term        uint32
	Sealed      []byte
	MAC         []byte
	Fingerprint Fingerprint
}

// What titles stand for, and the state of a device that keys are sealed to.
const (
	kindMeter        = "meter"
	kindConcentrator = "concentrator"
	kindTerminal     = "terminal"
	kindNode         = "is-node"

	deviceEnrolled = "enrolled"

	// profileHardened is the profile of meters that take no CC_LOCALE from a terminal, but what is derived from it.
	profileHardened = "hardened"
)

// StateChange moves one version to a state.
type StateChange struct {
	Ref   role.KeyRef
	State State
	At    time.Time
	// Of is the key that the version was, for the journal: another node may have made another one under the same number,
	// of which it let nothing out.
	Of Fingerprint
}

// CounterRow is what one title may have spent under one key version.
type CounterRow struct {
	Ref     role.KeyRef
	Title   dlms.SystemTitle
	Ceiling uint32
	Raised  uint32
}

// FloorRow is the highest counter accepted from one title under one key version.
type FloorRow struct {
	Ref   role.KeyRef
	Title dlms.SystemTitle
	Last  uint32
}

// Handout is one key version sealed to one device.
type Handout struct {
	Device       dlms.SystemTitle
	Ref          role.KeyRef
	FirstCounter uint32
	LastCounter  uint32
	Grant        string
	// LastDay is that of a key which was derived for the device; the zero value is the key itself.
	LastDay dlms.Day
	At      time.Time
}

// GrantRow is a grant as it is sealed.
type GrantRow struct {
	ID        string
	Terminal  dlms.SystemTitle
	NotBefore time.Time
	NotAfter  time.Time
	Live      bool
	Meters    []dlms.SystemTitle
}

// Position is a place in the key journal: everything up to it is in the store.
type Position struct {
	Vault string
	Bytes int64
	Hash  []byte
}

// Store is what the vault needs of the database. Reads of what is not there give an empty answer, not an error.
type Store interface {
	// Update, Durable and View are those of the store package: the context carries the transaction.
	Update(ctx context.Context, fn func(ctx context.Context) error) error
	Durable(ctx context.Context, fn func(ctx context.Context) error) error
	View(ctx context.Context, fn func(ctx context.Context) error) error

	// BeforeCommit leaves value for write, which gets all that is left in the transaction, once, just before the commit.
	BeforeCommit(ctx context.Context, group, value any, write func(ctx context.Context, values []any) error) error

	// TitleKinds returns what bears each title; titles that nothing bears are not in the answer.
	TitleKinds(ctx context.Context, titles []dlms.SystemTitle) (map[dlms.SystemTitle]string, error)
	// FingerprintsInUse returns those that some key, of a meter or a device, in any state, has.
	FingerprintsInUse(ctx context.Context, fps []Fingerprint) (map[Fingerprint]bool, error)

	AddMeters(ctx context.Context, meters []MeterRow) error
	MeterRows(ctx context.Context, titles []dlms.SystemTitle) (map[dlms.SystemTitle]MeterRow, error)
	AddDevice(ctx context.Context, d DeviceRow) error
	// DeviceRow returns ok false where there is none.
	DeviceRow(ctx context.Context, title dlms.SystemTitle) (d DeviceRow, ok bool, err error)

	// DeviceFingerprintsInUse returns those that some key of a device has.
	DeviceFingerprintsInUse(ctx context.Context, fps []Fingerprint) (map[Fingerprint]bool, error)
	// ExportRows returns those of meters that were given away; AddExports writes them, and takes the meters out of service.
	// One that is there stays.
	ExportRows(ctx context.Context, meters []dlms.SystemTitle) (map[dlms.SystemTitle]ExportRow, error)
	AddExports(ctx context.Context, rows []ExportRow) error
	// CountersOf returns what every title may have spent under each key.
	CountersOf(ctx context.Context, refs []role.KeyRef) ([][]CounterRow, error)
	// PutMakers writes keys of makers. One that is there stays; what was revoked is never active again.
	PutMakers(ctx context.Context, makers []MakerRow) error
	// MakerRows lists them, by maker and age.
	MakerRows(ctx context.Context) ([]MakerRow, error)

	// AddKeys fails with ErrKeyTaken where another key of a meter has the fingerprint of one of them.
	AddKeys(ctx context.Context, rows []KeyRow) error
	KeyRows(ctx context.Context, refs []role.KeyRef) (map[role.KeyRef]KeyRow, error)
	// KeyVersions returns every version of each key, newest first.
	KeyVersions(ctx context.Context, keys []Target) ([][]KeyRow, error)
	// LiveKeyVersions returns those that are neither superseded nor abandoned, newest first: few, however long the history.
	LiveKeyVersions(ctx context.Context, keys []Target) ([][]KeyRow, error)
	// KeyStates returns how versions stand; one that is not there is not in the answer.
	KeyStates(ctx context.Context, refs []role.KeyRef) (map[role.KeyRef]State, error)
	// MeterKeyRows returns every version of every key of a meter, by role and version.
	MeterKeyRows(ctx context.Context, meter dlms.SystemTitle) ([]KeyRow, error)
	// SetKeyStates also sets the time that goes with the state.
	SetKeyStates(ctx context.Context, changes []StateChange) error

	// KeyRowsUnder lists versions whose term is below one, by meter, role and version, from behind after on; ReSealKeys puts
	// term, blob and MAC in their place, of rows that are still the same key and under a lower term.
	KeyRowsUnder(ctx context.Context, below uint32, after role.KeyRef, limit int) ([]KeyRow, error)
	ReSealKeys(ctx context.Context, rows []KeyRow) error
	// DevicesUnder and ReSealDevices are the same for the keys of devices.
	DevicesUnder(ctx context.Context, below uint32, after dlms.SystemTitle, limit int) ([]dlms.SystemTitle, error)
	ReSealDevices(ctx context.Context, rows []DeviceRow) error
	// TermCounts counts the rows of meters and devices under each term of the root.
	TermCounts(ctx context.Context) (map[uint32]int, error)

	SendCounters(ctx context.Context, title dlms.SystemTitle, refs []role.KeyRef) (map[role.KeyRef]CounterRow, error)
	// RaiseSendCounters writes ceilings and raises; it never lowers one.
	RaiseSendCounters(ctx context.Context, rows []CounterRow) error
	// ReceiveFloors returns the floors under each key.
	ReceiveFloors(ctx context.Context, refs []role.KeyRef) ([][]FloorRow, error)
	// RaiseReceiveFloors refuses, one by one, the counters that are not above the one in the store: another node has
	// accepted them. The others are raised.
	RaiseReceiveFloors(ctx context.Context, rows []FloorRow) (refused []error, err error)

	AddHandouts(ctx context.Context, handouts []Handout) error
	// RestoreHandouts notes that the devices among the titles of these counters were given the versions, where that is not
	// known: the journal has the counters and not the handing-out.
	RestoreHandouts(ctx context.Context, counters []CounterRow, at time.Time) error
	// AssignedMeters returns those of meters that are assigned to the concentrator.
	AssignedMeters(ctx context.Context, concentrator dlms.SystemTitle, meters []dlms.SystemTitle) (map[dlms.SystemTitle]bool, error)
	// GrantedMeters returns those of meters that the terminal has a live grant for at now.
	GrantedMeters(ctx context.Context, terminal dlms.SystemTitle, now time.Time, meters []dlms.SystemTitle) (map[dlms.SystemTitle]bool, error)
	GrantRow(ctx context.Context, id string) (g GrantRow, ok bool, err error)

	// JournalPosition returns ok false in a store that has never seen a journal.
	JournalPosition(ctx context.Context) (p Position, ok bool, err error)
	SetJournalPosition(ctx context.Context, p Position) error
	// JournalPlaces returns how far the journal of each node was taken over; SetJournalPlace writes one.
	JournalPlaces(ctx context.Context) (map[string]Position, error)
	SetJournalPlace(ctx context.Context, node string, p Position) error

	// VaultState returns what was kept under a name, nil for nothing; nil forgets it.
	VaultState(ctx context.Context, name string) ([]byte, error)
	SetVaultState(ctx context.Context, name string, value []byte) error
	// NodeTitles lists the system titles of the nodes; AddNode takes one.
	NodeTitles(ctx context.Context) ([]dlms.SystemTitle, error)
	AddNode(ctx context.Context, title dlms.SystemTitle, at time.Time) error
	// AbandonPending gives every pending version up and counts them.
	AbandonPending(ctx context.Context, at time.Time) (int, error)
	// LoseCounters notes that nobody knows which counters were handed out with these versions; nil means all there are.
	LoseCounters(ctx context.Context, refs []role.KeyRef) error
	CountersLost(ctx context.Context, refs []role.KeyRef) (map[role.KeyRef]bool, error)
	// ReplayFact applies a change of the fleet that the journal has, unless it is there already.
	ReplayFact(ctx context.Context, fact []byte) error
}
