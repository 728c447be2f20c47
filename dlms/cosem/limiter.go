package cosem

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// ValueDefinition names the attribute that a limiter watches (BB 4.5.9).
//
//	value_definition ::= structure { class_id long-unsigned, logical_name octet-string, attribute_index integer }
type ValueDefinition struct{ dlms.AttributeRef }

// Data returns the definition as it travels.
func (v ValueDefinition) Data() dlms.Data {
	return dlms.Structure(dlms.Uint16(uint16(v.Class)), dlms.LogicalNameData(v.Instance), dlms.Int8(v.Attribute))
}

// ParseValueDefinition takes a definition out of a value.
func ParseValueDefinition(d dlms.Data) (ValueDefinition, error) {
	c := structure(d, 3)
	v := dlms.AttributeRef{Class: dlms.ClassID(c.uint16()), Instance: c.name(), Attribute: c.int8()}
	return finish(&c, ValueDefinition{v}, "value definition")
}

// EmergencyProfile says when a limiter uses its emergency threshold (BB 4.5.9): from Activation for Duration seconds,
// where ID is one of the groups of the limiter.
//
//	emergency_profile ::= structure { emergency_profile_id long-unsigned, emergency_activation_time octet-string,
//	  emergency_duration double-long-unsigned }
type EmergencyProfile struct {
	// ID is held against the groups of the limiter.
	ID uint16
	// Activation is when the emergency begins.
	Activation dlms.DateTime
	// Duration is in seconds.
	Duration uint32
}

// Data returns the profile as it travels.
func (p EmergencyProfile) Data() dlms.Data {
	return dlms.Structure(dlms.Uint16(p.ID), p.Activation.Octets(), dlms.Uint32(p.Duration))
}

// ParseEmergencyProfile takes a profile out of a value.
func ParseEmergencyProfile(d dlms.Data) (EmergencyProfile, error) {
	c := structure(d, 3)
	return finish(&c, EmergencyProfile{ID: c.uint16(), Activation: c.dateTime(), Duration: c.uint32()}, "emergency profile")
}

// activeAt reports whether the profile is in force.
func (p EmergencyProfile) activeAt(now time.Time, groups []uint16, loc *time.Location) bool {
	from, err := p.Activation.TimeIn(loc)
	if err != nil || now.Before(from) || !now.Before(from.Add(time.Duration(p.Duration)*time.Second)) {
		return false
	}
	for _, g := range groups {
		if g == p.ID {
			return true
		}
	}
	return false
}

// ScriptRef names a script of a script table.
//
//	action_item ::= structure { script_logical_name octet-string, script_selector long-unsigned }
type ScriptRef struct {
	// Table is the logical name of the script table; zero is no script.
	Table dlms.OBIS
	// Selector is the script's number in it.
	Selector uint16
}

// Data returns the reference as it travels.
func (s ScriptRef) Data() dlms.Data {
	return dlms.Structure(dlms.LogicalNameData(s.Table), dlms.Uint16(s.Selector))
}

// ParseScriptRef takes a reference out of a value.
func ParseScriptRef(d dlms.Data) (ScriptRef, error) {
	c := structure(d, 2)
	return finish(&c, ScriptRef{Table: c.name(), Selector: c.uint16()}, "script")
}

// LimiterActions are the scripts of a limiter (BB 4.5.9).
//
//	action ::= structure { action_over_threshold action_item, action_under_threshold action_item }
type LimiterActions struct {
	// Over runs when the value is over the threshold, Under when it no longer is.
	Over, Under ScriptRef
}

// Data returns the actions as they travel.
func (a LimiterActions) Data() dlms.Data { return dlms.Structure(a.Over.Data(), a.Under.Data()) }

// ParseLimiterActions takes the actions out of a value.
func ParseLimiterActions(d dlms.Data) (LimiterActions, error) {
	c := structure(d, 2)
	return finish(&c, LimiterActions{Over: each(&c, ParseScriptRef), Under: each(&c, ParseScriptRef)}, "actions")
}

// LimiterSetup is the value of a Limiter (BB 4.5.9, attributes 2 to 11).
type LimiterSetup struct {
	// Monitored is the attribute whose value is held against the threshold.
	Monitored ValueDefinition
	// Active is the threshold in force, read-only: Normal, or Emergency while EmergencyActive.
	Active            dlms.Data
	Normal, Emergency dlms.Data
	// MinOver and MinUnder are for how many seconds the value has to stay over, or not over, the threshold.
	MinOver, MinUnder uint32
	// Profile is the emergency profile.
	Profile EmergencyProfile
	// Groups are the emergency profiles that concern this meter.
	Groups []uint16
	// EmergencyActive says that the emergency profile is in force, read-only.
	EmergencyActive bool
	// Actions are the scripts that run when the threshold is crossed.
	Actions LimiterActions
}

func limiterFields() []field[LimiterSetup] {
	return []field[LimiterSetup]{
		fieldOf(func(s *LimiterSetup) *ValueDefinition { return &s.Monitored }, ValueDefinition.Data, ParseValueDefinition),
		fieldOf(func(s *LimiterSetup) *dlms.Data { return &s.Active }, same, parseAny).fixed(),
		fieldOf(func(s *LimiterSetup) *dlms.Data { return &s.Normal }, same, parseAny),
		fieldOf(func(s *LimiterSetup) *dlms.Data { return &s.Emergency }, same, parseAny),
		fieldOf(func(s *LimiterSetup) *uint32 { return &s.MinOver }, dlms.Uint32, parseUint32),
		fieldOf(func(s *LimiterSetup) *uint32 { return &s.MinUnder }, dlms.Uint32, parseUint32),
		fieldOf(func(s *LimiterSetup) *EmergencyProfile { return &s.Profile }, EmergencyProfile.Data, ParseEmergencyProfile),
		fieldOf(func(s *LimiterSetup) *[]uint16 { return &s.Groups }, groupsData, listOf("group", parseUint16)),
		fieldOf(func(s *LimiterSetup) *bool { return &s.EmergencyActive }, dlms.Bool, dlms.Data.Bool).fixed(),
		fieldOf(func(s *LimiterSetup) *LimiterActions { return &s.Actions }, LimiterActions.Data, ParseLimiterActions),
	}
}

func groupsData(groups []uint16) dlms.Data {
	list := make([]dlms.Data, len(groups))
	for i, g := range groups {
		list[i] = dlms.Uint16(g)
	}
	return dlms.Array(list...)
}

// NewLimiter returns an object of class Limiter (BB 4.5.9, class 71 version 0) over the engine of the device in env.
// now returns the time of the meter; nil is the time of the host.
func NewLimiter(instance dlms.OBIS, of func(env *Env) (*LimiterEngine, error), now func(env *Env) time.Time) Object {
	if now == nil {
		now = func(env *Env) time.Time { return env.Now }
	}
	return &record[LimiterSetup]{
		base: base{ID{Class: dlms.ClassLimiter, Instance: instance}}, fields: limiterFields(), check: LimiterSetup.Validate,
		store: Stored[LimiterSetup]{
			Load: func(env *Env) (LimiterSetup, error) {
				l, err := of(env)
				if err != nil {
					return LimiterSetup{}, err
				}
				return l.Setup(now(env)), nil
			},
			Save: func(env *Env, s LimiterSetup) error {
				l, err := of(env)
				if err != nil {
					return err
				}
				return l.Configure(s)
			},
		},
	}
}

// RemoteLimiter is a Limiter of a meter.
type RemoteLimiter struct{ remote }

// LimiterAt returns the Limiter under a logical name.
func LimiterAt(c Caller, o dlms.OBIS) RemoteLimiter {
	return RemoteLimiter{remote{c, dlms.ClassLimiter, o}}
}

// Read reads all attributes, one request each.
func (r RemoteLimiter) Read(ctx context.Context) (LimiterSetup, error) {
	return readRecord(ctx, r.remote, limiterFields())
}

// Write writes one attribute (2, 4 to 9, 11) of s. The thresholds have to be of the type of the watched attribute.
func (r RemoteLimiter) Write(ctx context.Context, attribute int8, s LimiterSetup) error {
	return write(ctx, r.remote, limiterFields(), attribute, s)
}
