package cosem

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// maxShift is the range of the parameter of shift_time, in seconds (BB 4.5.1).
const maxShift = 900

// ClockConfig describes a Clock.
type ClockConfig struct {
	Instance dlms.OBIS
	// Time reads the clock.
	Time func(env *Env) (dlms.DateTime, error)
	// SetTime sets it; nil refuses. The value may have wildcards: refuse what cannot be used.
	SetTime func(env *Env, t dlms.DateTime) error
	// Shift moves it by -900 to 900 seconds (method shift_time); nil refuses.
	Shift func(env *Env, seconds int16) error
	// Zone is time_zone: minutes from local time to UTC, so -60 in France in winter. The clock serves no daylight
	// saving of its own.
	Zone int16
}

type clock struct {
	base
	cfg ClockConfig
}

// NewClock returns an object of class Clock (BB 4.5.1, class 8 version 0).
func NewClock(cfg ClockConfig) Object {
	return &clock{base{ID{Class: dlms.ClassClock, Instance: cfg.Instance}}, cfg}
}

func (o *clock) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		t, err := o.time(env)
		return t.Octets(), err
	case 3:
		return dlms.Int16(o.cfg.Zone), nil
	case 4:
		t, err := o.time(env)
		return dlms.Uint8(uint8(t.Status())), err
	case 5, 6: // daylight_savings_begin and _end: not specified
		return dlms.DateTimeUnspecified().Octets(), nil
	case 7: // daylight_savings_deviation, minutes
		return dlms.Int8(0), nil
	case 8: // daylight_savings_enabled
		return dlms.Bool(false), nil
	case 9: // clock_base: internal crystal
		return dlms.Enum(1), nil
	}
	return undefined()
}

func (o *clock) time(env *Env) (dlms.DateTime, error) {
	if o.cfg.Time == nil {
		return dlms.DateTime{}, dlms.DataAccessReadWriteDenied
	}
	return o.cfg.Time(env)
}

func (o *clock) Set(env *Env, attribute int8, value dlms.Data) error {
	if attribute != 2 || o.cfg.SetTime == nil {
		return dlms.DataAccessReadWriteDenied
	}
	t, err := value.DateTime()
	if err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	return o.cfg.SetTime(env, t)
}

// Invoke serves shift_time (6).
func (o *clock) Invoke(env *Env, method int8, parameters dlms.Data) (dlms.Data, error) {
	if method != 6 || o.cfg.Shift == nil {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	if parameters.Tag() != dlms.TagInt16 {
		return dlms.Null(), dlms.ActionTypeUnmatched
	}
	n, err := parameters.Int()
	if err != nil {
		return dlms.Null(), dlms.ActionTypeUnmatched
	}
	if n < -maxShift || n > maxShift {
		return dlms.Null(), dlms.ActionScopeViolated
	}
	return dlms.Null(), o.cfg.Shift(env, int16(n))
}
