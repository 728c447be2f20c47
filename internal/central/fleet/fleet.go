// Package fleet knows what there is: meters and the concentrators they are under, terminals, and the grants that
// terminals hold. It knows nothing of keys.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
)

// Errors of the fleet.
var (
	// ErrUnknown is returned for a title that no enrolled meter or device has.
	ErrUnknown = errors.New("fleet: unknown")
	// ErrUnassigned is returned for a meter that is under no concentrator, or already under another one.
	ErrUnassigned = errors.New("fleet: assignment")
	// ErrTime is returned for a grant that ends before it begins, or is over.
	ErrTime = errors.New("fleet: grant: its time is no time")
	// ErrLong is returned for a grant that ends later than grants may.
	ErrLong = errors.New("fleet: grant: it ends too late")
	// ErrFull is returned for a meter that has no room for another terminal, or another day of one.
	ErrFull = errors.New("fleet: grant: the meter has no room for it")
	// ErrTitleInUse is returned for a system title that something else bears (law 4).
	ErrTitleInUse = errors.New("fleet: system title in use")
)

// The actions of the fleet in the audit log.
const (
	ActionAssigned   audit.Action = "fleet.meter.assigned"
	ActionMoved      audit.Action = "fleet.meter.moved"
	ActionNode       audit.Action = "fleet.node.registered"
	ActionRevoked    audit.Action = "fleet.device.revoked"
	ActionGrantMade  audit.Action = "fleet.grant.made"
	ActionGrantEnded audit.Action = "fleet.grant.ended"
	ActionGrantDone  audit.Action = "fleet.grant.closed"
)

// What a system title can stand for.
const (
	KindMeter        = "meter"
	KindConcentrator = "concentrator"
	KindTerminal     = "terminal"
	KindNode         = "is-node"
)

// States of a device.
const (
	DeviceEnrolled = "enrolled"
	DeviceRevoked  = "revoked"
)

// Profiles of meters, as shipment files name them.
const (
	ProfileLinky    = "linky"
	ProfileHardened = "hardened"
)

// Meter is one meter.
type Meter struct {
	Title        dlms.SystemTitle
	Maker        string
	Profile      string
	Concentrator dlms.SystemTitle // zero: under none yet
	State        string
	EnrolledAt   time.Time
}

// MeterEnrolled is the state of a meter that is in service.
const MeterEnrolled = "enrolled"

// InService reports whether the meter is this head-end's: one that was given to another is not.
func (m Meter) InService() bool { return m.State == MeterEnrolled }

// EndToEnd reports whether the meter has an association for the IS itself.
func (m Meter) EndToEnd() bool { return m.Profile == ProfileHardened }

// Device is a concentrator or a terminal.
type Device struct {
	Title      dlms.SystemTitle
	Kind       string
	NKeyPublic string
	State      string
}

// Store keeps the fleet. Update is one durable commit; its context carries it.
type Store interface {
	Update(ctx context.Context, fn func(ctx context.Context) error) error
	// TitleKinds returns what bears each title; titles that nothing bears are not in the answer.
	TitleKinds(ctx context.Context, titles []dlms.SystemTitle) (map[dlms.SystemTitle]string, error)
	AddNode(ctx context.Context, title dlms.SystemTitle, at time.Time) error
	SetDeviceState(ctx context.Context, title dlms.SystemTitle, state string) (bool, error)
	Meters(ctx context.Context) ([]Meter, error)
	// MetersAfter lists meters by title, from behind after on, at most limit.
	MetersAfter(ctx context.Context, after dlms.SystemTitle, limit int) ([]Meter, error)
	Meter(ctx context.Context, title dlms.SystemTitle) (Meter, bool, error)
	// MetersByTitle returns those of the meters that are known.
	MetersByTitle(ctx context.Context, titles []dlms.SystemTitle) (map[dlms.SystemTitle]Meter, error)
	Devices(ctx context.Context) ([]Device, error)
	AssignMeters(ctx context.Context, concentrator dlms.SystemTitle, meters []dlms.SystemTitle) (int, error)
	// AddMoves notes, before they are assigned to it, which of meters come to a concentrator from another one.
	AddMoves(ctx context.Context, to dlms.SystemTitle, meters []dlms.SystemTitle, at time.Time) error
	AddGrant(ctx context.Context, g Grant, at time.Time) error
	// SetGrantState moves live to ended to closed, never back.
	SetGrantState(ctx context.Context, id, state string, at time.Time) (bool, error)
	Grants(ctx context.Context, state string) ([]Grant, error)
	// Lent returns, for each meter, what terminals may have of the CC_LOCALE that is in force: what was derived from it and
	// whose last day is today or later, the key itself, and what live grants will be sealed.
	Lent(ctx context.Context, meters []dlms.SystemTitle, today dlms.Day) ([][]Lent, error)
}

// Fleet is the fleet of one IS.
type Fleet struct {
	Store
	audit   *audit.Log
	now     func() time.Time
	rand    io.Reader
	longest time.Duration
	zone    *time.Location
}

// LongestGrant is how long a grant may be at most, where nothing else is said.
const LongestGrant = 31 * 24 * time.Hour

// New returns the fleet kept in store.
func New(store Store, log *audit.Log, now func() time.Time, rand io.Reader) *Fleet {
	return &Fleet{store, log, now, rand, LongestGrant, role.MetersZone()}
}

// Limit says how long a grant may be at most, 0 for LongestGrant, and in which zone its last day ends. It returns f, and is
// called before f is used.
func (f *Fleet) Limit(longest time.Duration, zone *time.Location) *Fleet {
	f.longest, f.zone = cmp.Or(longest, LongestGrant), zone
	return f
}

// Find returns a meter, or ErrUnknown.
func (f *Fleet) Find(ctx context.Context, title dlms.SystemTitle) (Meter, error) {
	m, ok, err := f.Meter(ctx, title)
	if err == nil && !ok {
		err = fmt.Errorf("%w meter %s", ErrUnknown, title)
	}
	return m, err
}

// page is how many meters are in hand at once where all of them are gone through.
const page = 1000

// Pages goes through all meters by title: a fleet is not read into memory as a whole.
func (f *Fleet) Pages(ctx context.Context, do func([]Meter) error) error {
	var after dlms.SystemTitle
	for {
		some, err := f.MetersAfter(ctx, after, page)
		if err != nil || len(some) == 0 {
			return err
		}
		if err := do(some); err != nil {
			return err
		}
		after = some[len(some)-1].Title
	}
}

// Of returns the devices of a kind.
func (f *Fleet) Of(ctx context.Context, kind string) ([]Device, error) {
	all, err := f.Devices(ctx)
	var out []Device
	for _, d := range all {
		if d.Kind == kind {
			out = append(out, d)
		}
	}
	return out, err
}

// Assign puts meters under their first concentrator, all or none. One that is under another is refused: the other holds
// its CC_LAN, which has to change with a move.
func (f *Fleet) Assign(ctx context.Context, by audit.Actor, concentrator dlms.SystemTitle, meters []dlms.SystemTitle) error {
	return f.Update(ctx, func(ctx context.Context) error {
		moved, err := f.Move(ctx, by, concentrator, meters)
		if err == nil && len(moved) > 0 {
			err = fmt.Errorf("%w: meter %s is under another concentrator, which holds its CC_LAN: move it", ErrUnassigned, moved[0])
		}
		return err
	})
}

// Move puts meters under a concentrator, all or none, and returns those that come from another one. Their CC_LAN must
// change, which a row of moves asks for; what else has to follow them belongs into the same Update.
func (f *Fleet) Move(ctx context.Context, by audit.Actor, concentrator dlms.SystemTitle, meters []dlms.SystemTitle) (moved []dlms.SystemTitle, err error) {
	err = f.Update(ctx, func(ctx context.Context) error {
		entries := make([]audit.Entry, len(meters))
		moved = nil
		for i, t := range meters {
			m, err := f.Find(ctx, t)
			if err != nil {
				return err
			}
			entries[i] = audit.Entry{Actor: by, Action: ActionAssigned, Phase: audit.Done, Subject: audit.Subject{Meter: t, Device: concentrator}}
			if !m.Concentrator.IsZero() && m.Concentrator != concentrator {
				moved = append(moved, t)
				entries[i].Action, entries[i].Detail = ActionMoved, map[string]string{"from": m.Concentrator.String()}
			}
		}
		if err := f.AddMoves(ctx, concentrator, moved, f.now()); err != nil {
			return err
		}
		n, err := f.AssignMeters(ctx, concentrator, meters)
		if err != nil {
			return fmt.Errorf("assign meters to %s: %w", concentrator, err)
		}
		if n != len(meters) {
			return fmt.Errorf("%w: only %d of %d meters, or concentrator %s, are enrolled", ErrUnknown, n, len(meters), concentrator)
		}
		return f.audit.Append(ctx, entries...)
	})
	return moved, err
}
