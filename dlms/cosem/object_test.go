package cosem_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

func get(t *testing.T, o cosem.Object, env *cosem.Env, attribute int8) dlms.Data {
	t.Helper()
	d, err := o.Get(env, attribute, apdu.Selection{})
	if err != nil {
		t.Fatalf("%s attribute %d: %v", o.ID(), attribute, err)
	}
	return d
}

func want(t *testing.T, o cosem.Object, env *cosem.Env, attribute int8, v dlms.Data) {
	t.Helper()
	if d := get(t, o, env, attribute); !d.Equal(v) {
		t.Errorf("%s attribute %d: want %s, got %s", o.ID(), attribute, v, d)
	}
}

// meter is a device of these tests.
type meter struct {
	energy  uint32
	time    dlms.DateTime
	shift   int16
	breaker cosem.ControlState
	curve   []time.Time
	fail    error
}

func on(env *cosem.Env) *meter {
	m, ok := env.Device.(*meter)
	if !ok {
		panic("env has another device")
	}
	return m
}

func TestOneObjectServesManyDevices(t *testing.T) {
	o := cosem.NewRegister(dlms.OBIS{1, 0, 1, 8, 0, 255}, func(env *cosem.Env) (dlms.Data, error) {
		return dlms.Uint32(on(env).energy), nil
	}, -1, cosem.UnitWattHour)
	for _, v := range []uint32{1, 2, 3} {
		want(t, o, &cosem.Env{Device: &meter{energy: v}}, 2, dlms.Uint32(v))
	}
	want(t, o, nil, 1, dlms.OctetString([]byte{1, 0, 1, 8, 0, 255}))
	want(t, o, nil, 3, dlms.Structure(dlms.Int8(-1), dlms.Enum(30)))
}

// What every class has in common: the name, refusals for what is not there, no selection where none is taken.
func TestEveryObjectRefusesWhatItsClassDoesNotHave(t *testing.T) {
	for _, o := range append(all(), everything(t)...) {
		env := &cosem.Env{Device: &meter{}, Association: fixed{}}
		name := o.ID().Instance
		want(t, o, env, 1, dlms.OctetString(name[:]))
		for _, attribute := range []int8{-1, 0, 20, 127} {
			if _, err := o.Get(env, attribute, apdu.Selection{}); err == nil {
				t.Errorf("%s: attribute %d is there", o.ID(), attribute)
			}
			if err := o.Set(env, attribute, dlms.Null()); err == nil {
				t.Errorf("%s: attribute %d can be set", o.ID(), attribute)
			}
			if _, err := o.Invoke(env, attribute, dlms.Null()); err == nil {
				t.Errorf("%s: method %d is there", o.ID(), attribute)
			}
		}
		if err := o.Set(env, 1, dlms.OctetString(make([]byte, 6))); !errors.Is(err, dlms.DataAccessReadWriteDenied) {
			t.Errorf("%s: the name can be set: %v", o.ID(), err)
		}
		if _, err := o.Get(env, 1, apdu.Selection{Selector: 1}); !errors.Is(err, dlms.DataAccessScopeViolated) {
			t.Errorf("%s: a selection on the name: %v", o.ID(), err)
		}
	}
}

// An object without callbacks reads and does nothing, and panics over nothing.
func TestAnObjectWithoutCallbacksRefuses(t *testing.T) {
	o := dlms.OBIS{1}
	for _, object := range []cosem.Object{
		cosem.NewData(o, nil, nil), cosem.NewRegister(o, nil, 0, cosem.UnitCount), cosem.NewClock(cosem.ClockConfig{}),
		cosem.NewDisconnectControl(cosem.DisconnectConfig{}), cosem.NewSecuritySetup(cosem.SecuritySetupConfig{}),
		cosem.NewAssociation(), cosem.NewExtendedRegister(cosem.RegisterConfig{}),
		cosem.NewDemandRegister(cosem.DemandRegisterConfig{}), cosem.NewProfileGeneric(cosem.ProfileConfig{}),
		cosem.NewSAPAssignment(cosem.SAPAssignmentConfig{}), cosem.NewImageTransfer(cosem.ImageTransferConfig{}),
		cosem.NewActivityCalendar(o, cosem.Stored[cosem.CalendarState]{}), cosem.NewHDLCSetup(o, cosem.Stored[cosem.HDLCSetup]{}),
		cosem.NewPushSetup(cosem.PushSetupConfig{}), cosem.NewTCPUDPSetup(o, cosem.Stored[cosem.TCPUDPSetup]{}),
	} {
		for n := int8(1); n < 12; n++ {
			_, _ = object.Get(&cosem.Env{}, n, apdu.Selection{})
			if err := object.Set(&cosem.Env{}, n, dlms.DateTimeUnspecified().Octets()); err == nil {
				t.Errorf("%s attribute %d: set", object.ID(), n)
			}
			if _, err := object.Invoke(&cosem.Env{}, n, dlms.Int16(1)); err == nil {
				t.Errorf("%s method %d: done", object.ID(), n)
			}
		}
	}
}

func all() []cosem.Object {
	o := dlms.OBIS{1, 2, 3, 4, 5, 6}
	constant := cosem.Constant(dlms.Uint8(1))
	return []cosem.Object{
		cosem.NewData(o, constant, nil), cosem.NewRegister(o, constant, 0, cosem.UnitVolt), newClock(), newProfile(),
		newBreaker(), cosem.NewSecuritySetup(cosem.SecuritySetupConfig{Instance: o}), cosem.NewAssociation(),
	}
}

func newClock() cosem.Object {
	return cosem.NewClock(cosem.ClockConfig{
		Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Zone: -60,
		Time:    func(env *cosem.Env) (dlms.DateTime, error) { return on(env).time, nil },
		SetTime: func(env *cosem.Env, v dlms.DateTime) error { on(env).time = v; return on(env).fail },
		Shift:   func(env *cosem.Env, s int16) error { on(env).shift += s; return on(env).fail },
	})
}

func newBreaker() cosem.Object {
	to := func(s cosem.ControlState) func(*cosem.Env) error {
		return func(env *cosem.Env) error { on(env).breaker = s; return on(env).fail }
	}
	return cosem.NewDisconnectControl(cosem.DisconnectConfig{
		Instance: dlms.OBIS{0, 0, 96, 3, 10, 255}, Mode: 4,
		State: func(env *cosem.Env) (bool, cosem.ControlState, error) {
			return on(env).breaker == cosem.Connected, on(env).breaker, nil
		},
		Disconnect: to(cosem.Disconnected), Reconnect: to(cosem.ReadyForReconnection),
	})
}

func TestAClockIsReadSetAndShifted(t *testing.T) {
	m := &meter{time: dlms.DateTimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600)), dlms.ClockDoubtful)}
	env := &cosem.Env{Device: m}
	c := newClock()
	want(t, c, env, 2, m.time.Octets())
	want(t, c, env, 3, dlms.Int16(-60))
	want(t, c, env, 4, dlms.Uint8(uint8(dlms.ClockDoubtful)))
	next := dlms.DateTimeOf(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), 0)
	if err := c.Set(env, 2, next.Octets()); err != nil || m.time != next {
		t.Errorf("set: %v, %s", err, m.time)
	}
	if err := c.Set(env, 2, dlms.DateTimeData(next)); err != nil {
		t.Errorf("set as date-time: %v", err)
	}
	for _, bad := range []dlms.Data{dlms.Null(), dlms.OctetString(make([]byte, 11)), dlms.Uint32(1)} {
		if err := c.Set(env, 2, bad); !errors.Is(err, dlms.DataAccessTypeUnmatched) {
			t.Errorf("set to %s: %v", bad, err)
		}
	}
	for _, c := range []struct {
		v    dlms.Data
		want error
	}{
		{dlms.Int16(900), nil},
		{dlms.Int16(-900), nil},
		{dlms.Int16(901), dlms.ActionScopeViolated},
		{dlms.Int16(-901), dlms.ActionScopeViolated},
		{dlms.Int32(1), dlms.ActionTypeUnmatched},
		{dlms.Null(), dlms.ActionTypeUnmatched},
	} {
		if _, err := newClock().Invoke(env, 6, c.v); !errors.Is(err, c.want) {
			t.Errorf("shift by %s: want %v, got %v", c.v, c.want, err)
		}
	}
	if m.shift != 0 {
		t.Errorf("shift: %d", m.shift)
	}
}

func TestABreakerFollowsItsCommands(t *testing.T) {
	m := &meter{breaker: cosem.Connected}
	env := &cosem.Env{Device: m}
	b := newBreaker()
	want(t, b, env, 2, dlms.Bool(true))
	if _, err := b.Invoke(env, 1, dlms.Int8(0)); err != nil {
		t.Fatal(err)
	}
	want(t, b, env, 2, dlms.Bool(false))
	want(t, b, env, 3, dlms.Enum(0))
	if _, err := b.Invoke(env, 2, dlms.Null()); err != nil {
		t.Fatal(err)
	}
	want(t, b, env, 3, dlms.Enum(2))
	want(t, b, env, 4, dlms.Enum(4))
}

func TestWhatACallbackReturnsBecomesOneCode(t *testing.T) {
	boom := errors.New("the key is 00112233")
	for _, c := range []struct {
		err    error
		access dlms.DataAccessResult
		action dlms.ActionResult
	}{
		{nil, dlms.DataAccessSuccess, dlms.ActionSuccess},
		{dlms.DataAccessTypeUnmatched, dlms.DataAccessTypeUnmatched, dlms.ActionTypeUnmatched},
		{fmt.Errorf("wrapped: %w", dlms.DataAccessTemporaryFailure), dlms.DataAccessTemporaryFailure, dlms.ActionTemporaryFailure},
		{dlms.ActionScopeViolated, dlms.DataAccessScopeViolated, dlms.ActionScopeViolated},
		{dlms.DataAccessNoLongGet, dlms.DataAccessNoLongGet, dlms.ActionOtherReason},
		{dlms.ActionNoLong, dlms.DataAccessOtherReason, dlms.ActionNoLong},
		{boom, dlms.DataAccessOtherReason, dlms.ActionOtherReason},
		{dlms.DataAccessSuccess, dlms.DataAccessOtherReason, dlms.ActionOtherReason}, // an error is no success
		{dlms.ActionSuccess, dlms.DataAccessOtherReason, dlms.ActionOtherReason},
	} {
		if got := cosem.DataAccess(c.err); got != c.access {
			t.Errorf("data access of %v: want %s, got %s", c.err, c.access, got)
		}
		if got := cosem.Action(c.err); got != c.action {
			t.Errorf("action of %v: want %s, got %s", c.err, c.action, got)
		}
	}
}

func TestAfterRunsInOrderAndOnce(t *testing.T) {
	var env cosem.Env
	var got []int
	for i := range 3 {
		env.After(func() { got = append(got, i) })
	}
	env.Finish()
	env.Finish()
	if fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("got %v", got)
	}
}
