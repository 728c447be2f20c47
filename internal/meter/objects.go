package meter

import (
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// Shows is what an object of a profile shows.
type Shows uint8

// What there is to show.
const (
	ShowsClock Shows = 1 + iota
	ShowsName
	ShowsFirmware
	ShowsImport
	ShowsExport
	ShowsCurve
	ShowsBreaker
	ShowsLog
	ShowsAssociation
	ShowsSetup
	ShowsFloor
	ShowsCheckValue
)

// zoneOf is time_zone of the clock: minutes from local time to UTC.
func zoneOf(env *cosem.Env) (int16, error) {
	m, err := device(env)
	if err != nil {
		return 0, err
	}
	_, ahead := env.Now.In(m.kind.options.Zone).Zone()
	return int16(-ahead / 60), nil
}

// firmware is what a simulated meter says it runs.
const firmware = "meterseal meter 1"

// Security policy and suite as class 64 version 0 shows them: all messages authenticated and encrypted, suite 0.
const (
	setupPolicy = 3
	setupSuite  = 0
)

// make makes the object. It serves every meter: what differs is reached through the Env.
func (o Object) make() (cosem.Object, error) {
	switch o.Shows {
	case ShowsClock:
		return cosem.NewClock(cosem.ClockConfig{
			Instance: o.Instance, Time: readClock, SetTime: setClock, Shift: shiftClock, ZoneOf: zoneOf,
		}), nil
	case ShowsName:
		return cosem.NewData(o.Instance, value((*Meter).logicalName), nil), nil
	case ShowsFirmware:
		return cosem.NewData(o.Instance, cosem.Constant(dlms.OctetString([]byte(firmware))), nil), nil
	case ShowsImport:
		return cosem.NewRegister(o.Instance, readImport, 0, cosem.UnitWattHour), nil
	case ShowsExport: // a household that produces nothing
		return cosem.NewRegister(o.Instance, cosem.Constant(dlms.Uint32(0)), 0, cosem.UnitWattHour), nil
	case ShowsCurve:
		return newCurve(o.Instance), nil
	case ShowsBreaker:
		return newBreaker(o.Instance), nil
	case ShowsLog:
		return newLog(o.Instance), nil
	case ShowsAssociation:
		return cosem.NewAssociation(), nil
	}
	return o.makeKeyed()
}

func (o Object) makeKeyed() (cosem.Object, error) {
	setup := dlms.OBIS{0, 0, 43, 0, o.Instance[4], 255}
	switch o.Shows {
	case ShowsSetup:
		return cosem.NewSecuritySetup(cosem.SecuritySetupConfig{
			Instance: o.Instance, Policy: setupPolicy, Suite: setupSuite,
			ServerTitle: func(env *cosem.Env) (dlms.SystemTitle, error) {
				m, err := device(env)
				if err != nil {
					return dlms.SystemTitle{}, err
				}
				return m.SystemTitle(), nil
			},
			KeyTransfer: transferKey,
		}), nil
	case ShowsFloor:
		return cosem.NewData(o.Instance, value(func(m *Meter) (dlms.Data, error) {
			v, err := m.floorOf(setup)
			return dlms.Uint32(uint32(v)), err
		}), nil), nil
	case ShowsCheckValue:
		return cosem.NewData(o.Instance, value(func(m *Meter) (dlms.Data, error) { return m.checkValue(setup) }), nil), nil
	}
	return nil, fmt.Errorf("object %d/%s: nothing to show", o.Class, o.Instance)
}

// device returns the meter of a call.
func device(env *cosem.Env) (*Meter, error) {
	if m, ok := env.Device.(*Meter); ok {
		return m, nil
	}
	return nil, dlms.DataAccessHardwareFault
}

// value is the source of something that depends on the meter alone.
func value(f func(*Meter) (dlms.Data, error)) cosem.Source {
	return func(env *cosem.Env) (dlms.Data, error) {
		m, err := device(env)
		if err != nil {
			return dlms.Null(), err
		}
		return f(m)
	}
}

// do is a command to the meter.
func do(f func(*Meter) error) func(*cosem.Env) error {
	return func(env *cosem.Env) error {
		m, err := device(env)
		if err != nil {
			return err
		}
		return f(m)
	}
}

// logicalName is the logical device name: the maker's three letters and what else names the meter (BB 4.1.8.3).
func (m *Meter) logicalName() (dlms.Data, error) {
	t := m.SystemTitle()
	return dlms.OctetString(fmt.Appendf(nil, "%s%X", t[:3], t[3:])), nil
}

func readImport(env *cosem.Env) (dlms.Data, error) {
	m, err := device(env)
	if err != nil {
		return dlms.Null(), err
	}
	return dlms.Uint32(uint32(m.Load().Wh(m.kind.worldAt(env.Now).time()))), nil
}

func transferKey(env *cosem.Env, setup dlms.OBIS, id uint8, wrapped []byte) error {
	m, err := device(env)
	if err != nil {
		return err
	}
	if m.bench != nil {
		return m.bench.transfer(env, m, setup, id, wrapped)
	}
	return m.transfer(env, setup, id, wrapped)
}

// checkValue is structure { check value octet-string (3), generation double-long-unsigned, changed date-time }.
func (m *Meter) checkValue(setup dlms.OBIS) (dlms.Data, error) {
	if m.bench != nil {
		return m.bench.checkValue(m, setup)
	}
	r, ok := roleOf(setup)
	if !ok {
		return dlms.Null(), dlms.DataAccessObjectUndefined
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &m.state.keys[r]
	if k.key.IsZero() {
		return dlms.Null(), dlms.DataAccessObjectUnavailable
	}
	check := k.key.CheckValue()
	return dlms.Structure(dlms.OctetString(check[:]), dlms.Uint32(k.generation),
		dlms.DateTimeOf(m.kind.local(k.changed), 0).Octets()), nil
}

func newBreaker(instance dlms.OBIS) cosem.Object {
	return cosem.NewDisconnectControl(cosem.DisconnectConfig{
		Instance: instance,
		Mode:     3, // remote disconnection; remote reconnection arms, the customer closes (BB 4.5.8, mode 3)
		State: func(env *cosem.Env) (bool, cosem.ControlState, error) {
			m, err := device(env)
			if err != nil {
				return false, 0, err
			}
			s, err := m.Breaker()
			return s == cosem.Connected, s, err
		},
		Disconnect: do((*Meter).open),
		Reconnect:  do((*Meter).arm),
	})
}

func clockColumn() apdu.Column {
	c := clockObject()
	return apdu.Column{Class: c.Class, Instance: c.Instance, Attribute: 2}
}

// localZone is the zone in which a range without deviation is read.
func localZone(env *cosem.Env) *time.Location {
	m, err := device(env)
	if err != nil {
		return time.UTC // of no meter: what follows finds the same, and says so
	}
	return m.kind.options.Zone
}

// newCurve has the columns clock, status and A+ of the interval (1-b:1.29.0, IEC 62056-6-1 value group D 29).
func newCurve(instance dlms.OBIS) cosem.Object {
	return cosem.NewProfileGeneric(cosem.ProfileConfig{
		Instance: instance,
		Columns: []apdu.Column{
			clockColumn(),
			{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 96, 10, 1, 255}, Attribute: 2},
			{Class: dlms.ClassRegister, Instance: dlms.OBIS{1, instance[1], 1, 29, 0, 255}, Attribute: 2},
		},
		Period: capturePeriod, Capacity: curveCapacity, Rows: curveRows{}, Local: localZone,
	})
}

// newLog has the columns clock and event code (0.0.96.11.e.255).
func newLog(instance dlms.OBIS) cosem.Object {
	n := logNumber(instance[4])
	return cosem.NewProfileGeneric(cosem.ProfileConfig{
		Instance: instance,
		Columns: []apdu.Column{
			clockColumn(),
			{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 96, 11, instance[4], 255}, Attribute: 2},
		},
		Capacity: logCapacity, Rows: logRows{n}, Local: localZone,
	})
}
