// Package api is how people and programs work the IS: HTTP and JSON under TLS 1.3, over a Unix socket in the data directory
// and, where it is configured, over TCP. Everybody shows a certificate, and package access says what its owner may do. It
// knows what can be asked, never a key.
package api

import (
	"context"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/collect"
	"github.com/meterseal/meterseal/internal/central/life"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// Backend is the IS as the API works it.
type Backend interface {
	// Status counts what there is.
	Status(ctx context.Context) (Status, error)
	// Meters lists the fleet, page by page.
	Meters(ctx context.Context, q MeterQuery) (MeterPage, error)
	// ImportShipment takes a maker's file; the report is valid as far as it goes also with an error.
	ImportShipment(ctx context.Context, r io.Reader) (*shipment.Report, error)
	// AddMaker registers a key that a maker signs its shipments with; RevokeMaker ends one; Makers lists them.
	AddMaker(ctx context.Context, q MakerRequest) error
	RevokeMaker(ctx context.Context, q MakerRevocation) error
	Makers(ctx context.Context) ([]Maker, error)
	// ExportMeters gives meters to another head-end, for good; ImportMeters takes them over.
	ExportMeters(ctx context.Context, q MeterExport) (Exported, error)
	ImportMeters(ctx context.Context, q MeterImport) (*shipment.Report, error)
	// Enrol makes a concentrator or terminal known.
	Enrol(ctx context.Context, e Enrolment) error
	// Assign puts meters under a concentrator. One that comes from another concentrator is moved: its CC_LAN changes.
	Assign(ctx context.Context, a Assignment) error
	// Evict takes a concentrator's rights and gives its meters to a successor; their CC_LAN changes.
	Evict(ctx context.Context, e Eviction) (Evicted, error)
	// Provision gives a concentrator its copies of CC_LAN of its own meters.
	Provision(ctx context.Context, concentrator dlms.SystemTitle) (Provisioned, error)
	// Associate has a concentrator open both associations with each of its meters and returns its view.
	Associate(ctx context.Context, concentrator dlms.SystemTitle) (bus.StatusResult, error)
	// Collect has every concentrator read what is missing of a day.
	Collect(ctx context.Context, day string) (Collected, error)
	// Readings returns a stored day of the load curve A+.
	Readings(ctx context.Context, meter dlms.SystemTitle, day string) (collect.Day, error)
	// Rotate asks for key changes.
	Rotate(ctx context.Context, r Rotation) (Asked, error)
	// StartCampaign begins to change many keys. Campaigns, Campaign and SteerCampaign watch and steer it.
	StartCampaign(ctx context.Context, q CampaignRequest) (rotation.Progress, error)
	// Campaigns lists all campaigns, newest first.
	Campaigns(ctx context.Context) ([]rotation.Progress, error)
	// Campaign tells how far one is.
	Campaign(ctx context.Context, id int64) (rotation.Progress, error)
	// SteerCampaign pauses, resumes or aborts one.
	SteerCampaign(ctx context.Context, s CampaignSteering) (rotation.Progress, error)
	// Exposure tells who holds which key that may be in force.
	Exposure(ctx context.Context, q rotation.ExposureQuery) (rotation.Exposure, error)
	// RevokeTerminal takes the rights of a terminal that was lost; CC_LOCALE of its meters changes.
	RevokeTerminal(ctx context.Context, r Revocation) (Revoked, error)
	// Changes lists the key changes asked for with a reason.
	Changes(ctx context.Context, reason string) ([]rotation.Change, error)
	// Breaker operates a breaker.
	Breaker(ctx context.Context, b Breaker) error
	// BreakerStatus reads a breaker's state and log.
	BreakerStatus(ctx context.Context, meter dlms.SystemTitle) (BreakerStatus, error)
	// SetClock sets a meter's clock.
	SetClock(ctx context.Context, meter dlms.SystemTitle) error
	// BroadcastClock has a concentrator correct its meters' clocks within their bound.
	BroadcastClock(ctx context.Context, concentrator dlms.SystemTitle) (bus.BroadcastResult, error)
	// Sightings tells what was last seen of each meter's index and clock.
	Sightings(ctx context.Context) ([]collect.Sighting, error)
	// Grant gives a terminal CC_LOCALE of some meters for a time.
	Grant(ctx context.Context, g GrantRequest) (enrol.Grant, error)
	// EndGrant ends a grant, and asks for new CC_LOCALE of its meters.
	EndGrant(ctx context.Context, id string) (Asked, error)
	// TakeTerminalLog takes what a terminal has brought back of its own log of key use.
	TakeTerminalLog(ctx context.Context, f enrol.LogFile) (LogTaken, error)
	// KeyLife tells the whole life of a meter's keys, from the audit log and from what devices have told.
	KeyLife(ctx context.Context, meter dlms.SystemTitle) (life.Life, error)
	// RollCall opens an association of the IS's own with every meter.
	RollCall(ctx context.Context) (RollCall, error)
	// Keys tells the life of a meter's keys.
	Keys(ctx context.Context, meter dlms.SystemTitle) ([]Key, error)
	// ExportAudit writes the audit log for the offline verifier.
	ExportAudit(ctx context.Context, w io.Writer) error
	// Backup makes a backup in a new directory, an absolute path on the machine of the IS.
	Backup(ctx context.Context, dir string) (Backup, error)
	// RotateRoot brings in a new term of the vault's root, or goes on with it. Root tells how far that is.
	RotateRoot(ctx context.Context, r RootRotation) (Root, error)
	Root(ctx context.Context) (Root, error)
	// RetireTerm destroys a term of the root that nothing needs any more.
	RetireTerm(ctx context.Context, r Retirement) (Root, error)
	// Missing lists the meters whose newest key may be missing, after the vault was opened without its key journal.
	Missing(ctx context.Context) (Missing, error)

	Access
}

// Missing says what a vault that was opened without its key journal may still not have.
type Missing struct {
	// OpenedAt is when; the zero time: it never was.
	OpenedAt time.Time `json:"opened_at,omitzero"`
	// NotAsked are the concentrators that have not given back yet what they keep for the vault: until then it may lack the
	// newest keys of their meters.
	NotAsked []dlms.SystemTitle `json:"not_asked,omitempty"`
	// Keys are those in force that are from before: the newest may be missing where Asked is false, and each is to be
	// changed, for nobody knows what counters were handed out with it.
	Keys []MissingKey `json:"keys,omitempty"`
	// Refused is what concentrators gave back and the vault did not take.
	Refused []string `json:"refused,omitempty"`
}

// MissingKey is one of them.
type MissingKey struct {
	role.KeyRef
	Concentrator dlms.SystemTitle `json:"concentrator,omitzero"`
	Asked        bool             `json:"asked"`
}

// Backup says what a backup holds.
type Backup struct {
	Dir    string    `json:"dir"`
	Vault  string    `json:"vault"`
	MadeAt time.Time `json:"made_at"`
	Meters int       `json:"meters"`
	Keys   int       `json:"keys"`
	Bytes  int64     `json:"bytes"`
	// Root says whether the vault's sealed root is in it; one in clear is not.
	Root bool `json:"root"`
	// Warnings say what would keep it from being brought back.
	Warnings []string `json:"warnings,omitempty"`
}

// Status counts what the IS knows.
type Status struct {
	SystemTitle    dlms.SystemTitle `json:"system_title"`
	VaultRecipient transport.Public `json:"vault_recipient"`
	BusURL         string           `json:"bus_url"`
	// AuditKey is the public key of the audit log, by which an export is verified offline.
	AuditKey      string             `json:"audit_key"`
	Time          time.Time          `json:"time"`
	Meters        int                `json:"meters"` // how many there are; Backend.Meters lists them
	Concentrators []dlms.SystemTitle `json:"concentrators"`
	Terminals     []dlms.SystemTitle `json:"terminals"`
	OpenChanges   int                `json:"open_changes"`
	// Logs is how far the logs of devices are known, Alarms the newest alarms on the record.
	Logs   []DeviceLog `json:"logs,omitempty"`
	Alarms []Alarm     `json:"alarms,omitempty"`
	// BusBytesIn and Out count the WAN as the IS sees it.
	BusBytesIn  uint64 `json:"bus_bytes_in"`
	BusBytesOut uint64 `json:"bus_bytes_out"`
}

// MeterStatus is one meter of the fleet.
type MeterStatus struct {
	Meter        dlms.SystemTitle `json:"meter"`
	Profile      string           `json:"profile"`
	Maker        string           `json:"maker"`
	Concentrator dlms.SystemTitle `json:"concentrator,omitzero"`
	State        string           `json:"state"`
}

// MeterQuery asks for a page of the fleet, by title.
type MeterQuery struct {
	// After is the Next of the page before, zero for the first one.
	After dlms.SystemTitle `json:"after,omitzero"`
	// Limit is how many meters are looked at for the page, MaxMeterPage at most and by default.
	Limit int `json:"limit,omitempty"`
	// Unassigned leaves out the meters that are under a concentrator.
	Unassigned bool `json:"unassigned,omitempty"`
}

// MaxMeterPage is how many meters a page has at most.
const MaxMeterPage = 1000

// MeterPage is one page. It may be empty though others follow it.
type MeterPage struct {
	Meters []MeterStatus `json:"meters"`
	// Next asks for the page behind it; zero: it was the last one.
	Next dlms.SystemTitle `json:"next,omitzero"`
}

// Enrolment is a device's file and the fingerprint that a person compared with the one the device showed.
type Enrolment struct {
	File        enrol.File `json:"file"`
	Fingerprint string     `json:"fingerprint"`
}

// Assignment puts meters under a concentrator.
type Assignment struct {
	Concentrator dlms.SystemTitle   `json:"concentrator"`
	Meters       []dlms.SystemTitle `json:"meters"`
}

// Eviction is the end of a concentrator that was stolen or is not trusted any more.
type Eviction struct {
	Concentrator dlms.SystemTitle `json:"concentrator"`
	Successor    dlms.SystemTitle `json:"successor"`
	// Why is for the record.
	Why string `json:"why"`
}

// Evicted says how many meters went to the successor.
type Evicted struct {
	Concentrator dlms.SystemTitle `json:"concentrator"`
	Successor    dlms.SystemTitle `json:"successor"`
	Meters       int              `json:"meters"`
}

// Provisioned says what a concentrator now holds.
type Provisioned struct {
	Held    int            `json:"held"`
	Refused []bus.KeyFault `json:"refused,omitempty"`
}

// Collected counts one collection.
type Collected struct {
	Day    string           `json:"day"`
	Asked  int              `json:"asked"`
	Stored int              `json:"stored"` // blocks of that day in the store
	Values int              `json:"values"` // values of that day in the store
	Failed []bus.MeterFault `json:"failed,omitempty"`
}

// Rotation selects keys to change. With no meters and no concentrator it is the whole fleet, with no roles every role
// that the meter's profile has.
type Rotation struct {
	Meters       []dlms.SystemTitle `json:"meters,omitempty"`
	Concentrator dlms.SystemTitle   `json:"concentrator,omitzero"`
	Roles        []role.Role        `json:"roles,omitempty"`
	Reason       string             `json:"reason"`
	// Once leaves out keys for which a change with the same reason was asked for before, done or not: so that a
	// caller that was stopped can ask again.
	Once bool `json:"once,omitempty"`
}

// CampaignRequest asks for a campaign. Limits that are 0 and a budget that is nil are the defaults of package rotation.
type CampaignRequest struct {
	Name      string             `json:"name,omitempty"`
	Reason    string             `json:"reason"`
	Selection rotation.Selection `json:"selection"`
	// OlderThan leaves out keys that came into force within that time, by the clock of the IS.
	OlderThan       time.Duration `json:"older_than,omitempty"`
	Roles           []role.Role   `json:"roles,omitempty"`
	PerConcentrator int           `json:"per_concentrator,omitempty"`
	InFlight        int           `json:"in_flight,omitempty"`
	// Budget is how many keys may be stuck, after BudgetTries tries each, before the campaign stops by itself; -1: any.
	Budget      *int `json:"budget,omitempty"`
	BudgetTries int  `json:"budget_tries,omitempty"`
}

// CampaignSteering pauses, resumes or aborts a campaign, and may change its failure budget.
type CampaignSteering struct {
	ID     int64             `json:"id"`
	How    rotation.Steering `json:"how"`
	Budget *int              `json:"budget,omitempty"`
}

// Revocation is the end of a terminal.
type Revocation struct {
	Terminal dlms.SystemTitle `json:"terminal"`
	// Why is for the record.
	Why string `json:"why"`
}

// Revoked says how many grants ended with a terminal, and how many keys it holds that are in force until each is changed.
type Revoked struct {
	Terminal dlms.SystemTitle `json:"terminal"`
	Grants   int              `json:"grants"`
	Keys     int              `json:"keys"`
}

// Asked counts key changes: selected, and newly asked for.
type Asked struct {
	Selected int    `json:"selected"`
	Asked    int    `json:"asked"`
	Reason   string `json:"reason"`
}

// Breaker is an order to a breaker. Through "concentrator" it goes through the concentrator's own association, which
// profile hardened refuses; empty, the way that the meter's profile has.
type Breaker struct {
	Meter   dlms.SystemTitle `json:"meter"`
	Op      string           `json:"op"`
	Through string           `json:"through,omitempty"`
}

// BreakerStatus is a breaker's state and log.
type BreakerStatus struct {
	State  string  `json:"state"`
	Events []Event `json:"events"`
}

// Event is one row of a meter's log.
type Event struct {
	Time time.Time `json:"time"`
	Code int       `json:"code"`
}

// GrantRequest asks for a grant.
type GrantRequest struct {
	Terminal  dlms.SystemTitle   `json:"terminal"`
	Meters    []dlms.SystemTitle `json:"meters"`
	NotBefore time.Time          `json:"not_before"`
	NotAfter  time.Time          `json:"not_after"`
}

// LogTaken says what was new in a device's log, and how far it is known now.
type LogTaken struct {
	Terminal dlms.SystemTitle `json:"terminal"`
	Taken    int              `json:"taken"`
	Last     uint64           `json:"last"`
}

// DeviceLog is how far the own log of a device is known.
type DeviceLog struct {
	Device dlms.SystemTitle `json:"device"`
	Kind   string           `json:"kind"`
	// Last is the newest entry that is known, and At its time by the device's clock.
	Last uint64    `json:"last"`
	At   time.Time `json:"at,omitzero"`
	// Due says since when the log of a terminal is missed: since the end of its last grant. Zero: it is not.
	Due time.Time `json:"due,omitzero"`
}

// Alarm is something that somebody has to look at, as the audit log has it.
type Alarm struct {
	At     time.Time        `json:"at"`
	Action string           `json:"action"`
	Device dlms.SystemTitle `json:"device,omitzero"`
	Meter  dlms.SystemTitle `json:"meter,omitzero"`
	Cause  string           `json:"cause,omitempty"`
}

// RollCall says which meters the IS could open an association with.
type RollCall struct {
	Answered int                `json:"answered"`
	Missing  []dlms.SystemTitle `json:"missing,omitempty"`
	// Astray are keys that their meters have and that are not in force as far as the vault knows. They are searched for.
	Astray []AstrayKey `json:"astray,omitempty"`
}

// AstrayKey is a key of a meter whose version in force is not the one that the meter has.
type AstrayKey struct {
	Meter dlms.SystemTitle `json:"meter"`
	Role  role.Role        `json:"role"`
}

// Key is one version of a key, named and never shown.
type Key struct {
	role.KeyRef
	State      string    `json:"state"`
	CheckValue string    `json:"check_value"`
	CreatedAt  time.Time `json:"created_at"`
	SentAt     time.Time `json:"sent_at,omitzero"`
	ActiveAt   time.Time `json:"active_at,omitzero"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	Holders    []string  `json:"holders,omitempty"`
}
