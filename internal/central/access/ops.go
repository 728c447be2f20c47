package access

import (
	"maps"
	"slices"
)

// Op is one operation of the API.
type Op string

// The operations. Each has a row in the table below; one without is refused to everybody.
const (
	OpStatus          Op = "status"
	OpImportShipment  Op = "shipment.import"
	OpAddMaker        Op = "maker.add"
	OpRevokeMaker     Op = "maker.revoke"
	OpMakers          Op = "maker.show"
	OpExportMeters    Op = "meter.export"
	OpImportMeters    Op = "meter.import"
	OpEnrolDC         Op = "concentrator.enrol"
	OpEnrolTerminal   Op = "terminal.enrol"
	OpAssign          Op = "meter.assign"
	OpEvict           Op = "concentrator.evict"
	OpProvision       Op = "concentrator.provision"
	OpAssociate       Op = "concentrator.associate"
	OpCollect         Op = "readings.collect"
	OpReadings        Op = "readings.show"
	OpSightings       Op = "sightings.show"
	OpRotate          Op = "key.rotate"
	OpChanges         Op = "key.changes"
	OpKeys            Op = "key.history"
	OpCampaignStart   Op = "campaign.start"
	OpEmergencyRekey  Op = "campaign.emergency-rekey"
	OpCampaigns       Op = "campaign.show"
	OpCampaignSteer   Op = "campaign.steer"
	OpCampaignAbort   Op = "campaign.abort"
	OpExposure        Op = "exposure.show"
	OpRevokeTerminal  Op = "terminal.revoke"
	OpTerminalLog     Op = "terminal.log"
	OpBreaker         Op = "breaker.operate"
	OpBreakerStatus   Op = "breaker.status"
	OpClock           Op = "clock.set"
	OpBroadcast       Op = "clock.broadcast"
	OpGrant           Op = "grant.give"
	OpEndGrant        Op = "grant.end"
	OpRollCall        Op = "meter.rollcall"
	OpExportAudit     Op = "audit.export"
	OpBackup          Op = "vault.backup"
	OpRoot            Op = "root.show"
	OpRotateRoot      Op = "root.rotate"
	OpRetireTerm      Op = "root.retire-term"
	OpMissing         Op = "vault.missing"
	OpPeople          Op = "people.show"
	OpAddPerson       Op = "people.add"
	OpRevokePerson    Op = "people.revoke"
	OpApprovals       Op = "approval.show"
	OpApprove         Op = "approval.give"
	OpWithdraw        Op = "approval.withdraw"
	OpQuotas          Op = "quota.show"
	OpLiftStop        Op = "quota.lift-stop"
	OpRestore         Op = "vault.restore"     // at rest
	OpOpenSealedVault Op = "vault.open-sealed" // at rest
)

// Rule says who may do an operation.
type Rule struct {
	// Does says it in words: "abort a campaign".
	Does string
	// Roles may do it; one of them is enough.
	Roles []Role
	// Dual: it takes a second person, each time.
	Dual bool
	// Approvers may be that second person, here and where a quota asks for one. Empty: Roles, and key custodians.
	Approvers []Role
	// AtRest: it is done on a central system that does not run, and no part of the API.
	AtRest bool
}

// Allows reports whether somebody with these roles may do it.
func (r Rule) Allows(roles []Role) bool { return anyOf(roles, r.Roles) }

// Seconds lists the roles of a second person.
func (r Rule) Seconds() []Role {
	if len(r.Approvers) > 0 {
		return r.Approvers
	}
	out := slices.Clone(r.Roles)
	if !slices.Contains(out, Custodian) {
		out = append(out, Custodian)
	}
	return out
}

var (
	watchers = []Role{Operator, Custodian, Auditor}
	staff    = []Role{Operator, Custodian, Auditor, FieldManager}
	keyWork  = []Role{Operator, Custodian}
	field    = []Role{Operator, FieldManager}
)

// rules is the table.
var rules = map[Op]Rule{
	OpStatus:         {Does: "see how the system stands", Roles: staff},
	OpImportShipment: {Does: "import a shipment", Roles: []Role{Operator, Custodian, Maker}, Approvers: keyWork},
	OpAddMaker:       {Does: "register a maker's key", Roles: keyWork},
	OpRevokeMaker:    {Does: "revoke a maker's key", Roles: keyWork},
	OpMakers:         {Does: "see the keys of makers", Roles: staff},
	OpExportMeters:   {Does: "give meters to another head-end", Roles: keyWork, Dual: true},
	OpImportMeters:   {Does: "take meters over from another head-end", Roles: keyWork, Dual: true},
	OpEnrolDC:        {Does: "enrol a concentrator", Roles: []Role{Operator}},
	OpEnrolTerminal:  {Does: "enrol a terminal", Roles: []Role{FieldManager}},
	OpAssign:         {Does: "put meters under a concentrator", Roles: []Role{Operator}},
	OpEvict:          {Does: "evict a concentrator", Roles: keyWork},
	OpProvision:      {Does: "give a concentrator its keys", Roles: keyWork},
	OpAssociate:      {Does: "have a concentrator try its meters", Roles: []Role{Operator}},
	OpCollect:        {Does: "collect readings", Roles: []Role{Operator}},
	OpReadings:       {Does: "see readings", Roles: []Role{Operator}},
	OpSightings:      {Does: "see when meters were last heard", Roles: watchers},
	OpRotate:         {Does: "change keys", Roles: keyWork},
	OpChanges:        {Does: "see key changes", Roles: watchers},
	OpKeys:           {Does: "see the life of a meter's keys", Roles: staff},
	OpCampaignStart:  {Does: "start a campaign", Roles: keyWork},
	OpEmergencyRekey: {Does: "change all keys that somebody holds", Roles: keyWork, Dual: true},
	OpCampaigns:      {Does: "see campaigns", Roles: watchers},
	OpCampaignSteer:  {Does: "pause or resume a campaign", Roles: keyWork},
	OpCampaignAbort:  {Does: "abort a campaign", Roles: keyWork, Dual: true},
	OpExposure:       {Does: "see who holds which keys", Roles: staff},
	OpRevokeTerminal: {Does: "revoke a terminal", Roles: []Role{Operator, Custodian, FieldManager}},
	OpTerminalLog:    {Does: "take the log that a terminal has brought back", Roles: field},
	OpBreaker:        {Does: "operate a breaker", Roles: []Role{Operator}},
	OpBreakerStatus:  {Does: "see a breaker", Roles: []Role{Operator, Auditor, FieldManager}},
	OpClock:          {Does: "set a clock", Roles: field},
	OpBroadcast:      {Does: "have a concentrator correct clocks", Roles: []Role{Operator}},
	OpGrant:          {Does: "give a grant to a terminal", Roles: []Role{FieldManager}},
	OpEndGrant:       {Does: "end a grant", Roles: field},
	OpRollCall:       {Does: "call the roll of meters", Roles: []Role{Operator}},
	OpExportAudit:    {Does: "export the audit log", Roles: []Role{Auditor}},
	OpBackup:         {Does: "make a backup", Roles: keyWork},
	OpRoot:           {Does: "see the terms of the root", Roles: watchers},
	OpRotateRoot:     {Does: "rotate the root", Roles: []Role{Custodian}, Dual: true},
	OpRetireTerm:     {Does: "retire a term of the root", Roles: []Role{Custodian}, Dual: true},
	OpMissing:        {Does: "see which keys may be missing", Roles: watchers},

	OpPeople:          {Does: "see who is let in", Roles: watchers},
	OpAddPerson:       {Does: "let somebody in", Roles: []Role{Custodian}, Dual: true},
	OpRevokePerson:    {Does: "revoke somebody's certificates", Roles: []Role{Custodian}},
	OpApprovals:       {Does: "see approvals", Roles: staff},
	OpApprove:         {Does: "approve", Roles: []Role{Operator, Custodian, FieldManager}},
	OpWithdraw:        {Does: "withdraw an approval", Roles: []Role{Operator, Custodian, FieldManager}},
	OpQuotas:          {Does: "see quotas", Roles: staff},
	OpLiftStop:        {Does: "lift a stop after an anomaly", Roles: keyWork, Dual: true},
	OpRestore:         {Does: "restore a backup", Roles: keyWork, Dual: true, AtRest: true},
	OpOpenSealedVault: {Does: "open a sealed vault", Roles: keyWork, Dual: true, AtRest: true},
}

// RuleOf returns the row of an operation.
func RuleOf(op Op) (Rule, bool) {
	r, ok := rules[op]
	return r, ok
}

// Ops lists the operations of the table, in order.
func Ops() []Op { return slices.Sorted(maps.Keys(rules)) }
