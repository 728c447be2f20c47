// Package bus is the WAN between the central system (IS) and its concentrators: the messages, and their transport
// on NATS. It carries ciphertext, sealed and wrapped keys and readings, never a key in clear, and it holds no truth:
// everything on it may be lost, repeated or late without loss to the system.
package bus

import (
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

// Order is what the IS asks of one concentrator. Exactly one of the pointers is set. A concentrator that gets the
// same ID again answers as it did the first time and does nothing twice; one that gets an order after NotAfter
// refuses it.
type Order struct {
	ID       string    `json:"id"`
	NotAfter time.Time `json:"not_after"`

	Provision *Provision `json:"provision,omitempty"`
	Relay     *Relay     `json:"relay,omitempty"`
	Claim     *Claim     `json:"claim,omitempty"`
	Release   *Release   `json:"release,omitempty"`
	Perform   *Perform   `json:"perform,omitempty"`
	Collect   *Collect   `json:"collect,omitempty"`
	Broadcast *Broadcast `json:"broadcast,omitempty"`
	Status    *Status    `json:"status,omitempty"`
	Recall    *Recall    `json:"recall,omitempty"`
}

// Reply answers an Order. Fault is set where the order could not be carried out; what a meter itself answered is
// in the result and is not a fault.
type Reply struct {
	ID    string `json:"id"`
	Fault *Fault `json:"fault,omitempty"`

	Provision *ProvisionResult `json:"provision,omitempty"`
	Relay     *RelayResult     `json:"relay,omitempty"`
	Claim     *ClaimResult     `json:"claim,omitempty"`
	Perform   *PerformResult   `json:"perform,omitempty"`
	Collect   *CollectResult   `json:"collect,omitempty"`
	Broadcast *BroadcastResult `json:"broadcast,omitempty"`
	Status    *StatusResult    `json:"status,omitempty"`
	Recall    *RecallResult    `json:"recall,omitempty"`
}

// FaultCode says why an order was not carried out.
type FaultCode string

// Fault codes. FaultUnknown is the important one: the meter may or may not have done it.
const (
	FaultRefused     FaultCode = "refused"
	FaultExpired     FaultCode = "expired"
	FaultNoMeter     FaultCode = "no_such_meter"
	FaultNoKey       FaultCode = "no_key"
	FaultUnreachable FaultCode = "unreachable"
	FaultUnknown     FaultCode = "outcome_unknown"
	// FaultKeyRefused: the meter, or somebody in its place, took no key that the concentrator has. What the concentrator itself
	// refuses, or the meter for another reason, is FaultRefused, and casts no doubt on a key.
	FaultKeyRefused FaultCode = "key_refused"
	// FaultLogGap answers an Up: the central system knows the concentrator's log only up to the entry before From. It was
	// taken back to an earlier time, or an entry is missing.
	FaultLogGap FaultCode = "log_gap"
)

// Fault is a refusal or failure of the concentrator itself, or of the central system to take an Up.
type Fault struct {
	Code FaultCode `json:"code"`
	Text string    `json:"text"`
	// From is the entry that a log has to be told from, of FaultLogGap alone.
	From uint64 `json:"from,omitempty"`
}

// Error makes a fault usable as an error.
func (f *Fault) Error() string { return string(f.Code) + ": " + f.Text }

// Provision hands the concentrator its own copies of CC_LAN, sealed to it. Phase "pending" keys are not used until
// the phase is "sent"; from then on they are tried first (design: a key change, step 2).
type Provision struct {
	Keys   []ProvisionKey     `json:"keys"`
	Remove []dlms.SystemTitle `json:"remove,omitempty"`
	// Escrow are rows of the vault to be kept for it, before anything of the order is done.
	Escrow []Escrowed `json:"escrow,omitempty"`
}

// Escrowed is a key version as the vault keeps it, sealed under its root: the concentrator can neither open nor use it. It
// keeps it so that a vault that lost its key journal can have it back.
type Escrowed struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Role    role.Role        `json:"role"`
	Version uint32           `json:"version"`
	Row     []byte           `json:"row"`
}

// Ref names the version.
func (e Escrowed) Ref() role.KeyRef {
	return role.KeyRef{Meter: e.Meter, Role: e.Role, Version: e.Version}
}

// MaxEscrowRow is the longest row, in bytes, MaxEscrow how many go with one order.
const (
	MaxEscrowRow = 2 << 10
	MaxEscrow    = 200
)

// Recall asks for what the concentrator keeps of the vault's: the keys sealed to it, as they came, and the rows in escrow,
// from the n-th on.
type Recall struct {
	From int `json:"from"`
}

// RecallResult is a part of it; More says that there is more behind it.
type RecallResult struct {
	Copies []enrol.SealedKey `json:"copies,omitempty"`
	Escrow []Escrowed        `json:"escrow,omitempty"`
	More   bool              `json:"more,omitempty"`
}

// Phase is how far a key version is, as its concentrator needs to know.
type Phase string

// Phases of a provisioned key.
const (
	PhasePending Phase = "pending"
	PhaseSent    Phase = "sent"
	PhaseActive  Phase = "active"
)

// ProvisionKey is one sealed key with its phase. Sealed may be absent where the concentrator has that version and
// only the phase moves.
type ProvisionKey struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Version uint32           `json:"version"`
	Phase   Phase            `json:"phase"`
	Sealed  *enrol.SealedKey `json:"sealed,omitempty"`
}

// ProvisionResult lists the versions of the Provision that the concentrator now holds durably, each in the phase that
// it has there, and what it refused.
type ProvisionResult struct {
	Held    []HeldKey  `json:"held"`
	Refused []KeyFault `json:"refused,omitempty"`
	// Escrowed counts the rows of the order that are kept durably.
	Escrowed int `json:"escrowed,omitempty"`
}

// HeldKey names a key version in a concentrator's keyring.
type HeldKey struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Version uint32           `json:"version"`
	Phase   Phase            `json:"phase"`
}

// KeyFault says why one key of a Provision was refused.
type KeyFault struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Version uint32           `json:"version"`
	Text    string           `json:"text"`
}

// Relay is the relay envelope: an APDU that the concentrator forwards as it is and could not open. It never relays
// onto a SAP of its own (read/write, broadcast) unless the IS holds a Claim on it.
type Relay struct {
	Meter     dlms.SystemTitle `json:"meter"`
	ClientSAP dlms.SAP         `json:"client_sap"`
	ServerSAP dlms.SAP         `json:"server_sap"`
	APDU      []byte           `json:"apdu"`
}

// RelayResult is what the meter answered.
type RelayResult struct {
	APDU []byte `json:"apdu"`
}

// Claim asks the concentrator to keep off its own read/write SAP on these meters, until Until at the latest, so that
// the IS may open an association of its own there with CC_LAN under its own system title: the proof and the search of
// a key change. The concentrator forgets its own session with the meter (the meter will replace it anyway).
type Claim struct {
	Meters []dlms.SystemTitle `json:"meters"`
	Until  time.Time          `json:"until"`
}

// ClaimResult names the meters claimed.
type ClaimResult struct {
	Meters []dlms.SystemTitle `json:"meters"`
}

// Release ends a Claim.
type Release struct {
	Meters []dlms.SystemTitle `json:"meters"`
}

// OpKind is what a Perform step does.
type OpKind string

// Kinds of operation.
const (
	OpGet    OpKind = "get"
	OpSet    OpKind = "set"
	OpAction OpKind = "action"
)

// Op is one COSEM operation: class, logical name, attribute or method, and A-XDR data (the value, the method's
// parameter, or for a get the selective access as selector byte and parameters).
type Op struct {
	Kind     OpKind       `json:"kind"`
	Class    dlms.ClassID `json:"class"`
	Instance dlms.OBIS    `json:"instance"`
	Index    int8         `json:"index"`
	Data     []byte       `json:"data,omitempty"`
	Selector uint8        `json:"selector,omitempty"`
}

// Perform asks the concentrator to carry out operations in its own read/write association, in order, stopping at
// the first refusal. It is how profile linky, which has no association for the IS, opens a breaker or transfers a key.
type Perform struct {
	Meter dlms.SystemTitle `json:"meter"`
	Ops   []Op             `json:"ops"`
}

// OpResult is the meter's answer to one operation: Result is the DLMS result code (0 success).
type OpResult struct {
	Result uint8  `json:"result"`
	Data   []byte `json:"data,omitempty"`
}

// PerformResult holds one OpResult per operation that was sent.
type PerformResult struct {
	Results []OpResult `json:"results"`
}

// Collect asks for the load curve of one day of the meter's clock, for these meters (all when empty). The readings
// come as Readings; the concentrator spools them until the IS has them durably.
type Collect struct {
	Meters []dlms.SystemTitle `json:"meters,omitempty"`
	Day    string             `json:"day"`
}

// CollectResult counts the meters whose block was read into the spool, now or before and not delivered yet, and lists
// those where it could not be.
type CollectResult struct {
	Read   int          `json:"read"`
	Failed []MeterFault `json:"failed,omitempty"`
}

// MeterFault is one meter's failure within an order over many.
type MeterFault struct {
	Meter dlms.SystemTitle `json:"meter"`
	Code  FaultCode        `json:"code"`
	Text  string           `json:"text"`
}

// Broadcast asks the concentrator to correct its meters' clocks by broadcast: it sends its own time to all stations
// under the broadcast session key. Meters take it only within their bound.
type Broadcast struct {
	Clock bool `json:"clock"`
}

// BroadcastResult counts the meters that hold the broadcast session key.
type BroadcastResult struct {
	Meters int          `json:"meters"`
	Failed []MeterFault `json:"failed,omitempty"`
}

// Status asks what the concentrator has open.
type Status struct {
	// Associate asks it to open both associations with every meter it holds a key for first.
	Associate bool `json:"associate"`
}

// StatusResult is the concentrator's view.
type StatusResult struct {
	Found        []dlms.SystemTitle  `json:"found"`
	Associations []AssociationStatus `json:"associations"`
	Failed       []MeterFault        `json:"failed,omitempty"`
	LANBytesIn   uint64              `json:"lan_bytes_in"`
	LANBytesOut  uint64              `json:"lan_bytes_out"`
	Spooled      int                 `json:"spooled"`
}

// AssociationStatus is one open association of the concentrator.
type AssociationStatus struct {
	Meter      dlms.SystemTitle `json:"meter"`
	ClientSAP  dlms.SAP         `json:"client_sap"`
	KeyVersion uint32           `json:"key_version"`
	Since      time.Time        `json:"since"`
}

// Up is what a concentrator tells the IS. Exactly one of the pointers is set. It is repeated until acknowledged, so
// the IS takes each one idempotently.
type Up struct {
	ID string `json:"id"`

	Hello    *Hello    `json:"hello,omitempty"`
	Readings *Readings `json:"readings,omitempty"`
	Log      *Log      `json:"log,omitempty"`
}

// Ack answers an Up after the IS has made it durable.
type Ack struct {
	ID    string `json:"id"`
	Fault *Fault `json:"fault,omitempty"`
}

// Hello is the first message of a concentrator's process: it is there, it sees these meters, it holds these keys.
type Hello struct {
	Epoch uint64             `json:"epoch"`
	Found []dlms.SystemTitle `json:"found"`
	Held  []HeldKey          `json:"held"`
	// LogSequence is the newest entry of its log of key use: one below what the IS has been told is a rewound copy.
	LogSequence uint64 `json:"log_sequence"`
}

// Readings carries day blocks.
type Readings struct {
	Blocks []DayBlock `json:"blocks"`
}

// StatusMissing is the bit of a status byte that says: not all of the interval was measured, what is missing counts
// as 0.
const StatusMissing uint8 = 0x01

// DayBlock is one day of one channel of one meter.
type DayBlock struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Day     string           `json:"day"`
	Channel dlms.OBIS        `json:"channel"`
	// PeriodSeconds is the capture period.
	PeriodSeconds uint32 `json:"period_seconds"`
	// Values are energies in Wh, one an interval, oldest first; Status holds the AMR status byte of each. An interval
	// that the meter has no row of is 0 with StatusMissing.
	Values []int64 `json:"values"`
	Status []byte  `json:"status"`
	// Start is the beginning of the first interval.
	Start time.Time `json:"start"`
	// Index is the total register A+ in Wh, read with the block, ClockSeconds the meter's clock less the
	// concentrator's at that moment.
	Index        int64 `json:"index"`
	ClockSeconds int64 `json:"clock_seconds"`
}

// Log delivers entries of the concentrator's own log of long-term key use (internal/keylog, which keeps and verifies
// it), oldest first.
type Log struct {
	Entries []keylog.Entry `json:"entries"`
}
