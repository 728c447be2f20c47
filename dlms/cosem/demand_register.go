package cosem

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// DemandRegisterConfig describes a Demand register.
type DemandRegisterConfig struct {
	// Instance is the logical name.
	Instance dlms.OBIS
	ScalerUnit
	// Demand returns the averages of the device.
	Demand func(env *Env) (*Demand, error)
	// Status reads the status, of whatever type the meter has; nil is null-data.
	Status Source
	// Now returns the time of the meter; nil is the time of the host.
	Now func(env *Env) time.Time
	// Configurable lets a client write period and number of periods, which resets the register.
	Configurable bool
}

type demandRegister struct {
	base
	cfg DemandRegisterConfig
}

// NewDemandRegister returns an object of class Demand register (BB 4.3.4, class 5 version 0). Its averages are of
// type long64.
func NewDemandRegister(cfg DemandRegisterConfig) Object {
	return &demandRegister{base{ID{Class: dlms.ClassDemandRegister, Instance: cfg.Instance}}, cfg}
}

func (o *demandRegister) now(env *Env) time.Time {
	if o.cfg.Now == nil {
		return env.Now
	}
	return o.cfg.Now(env)
}

func (o *demandRegister) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 4:
		return o.cfg.ScalerUnit.Data(), nil
	case 5:
		return statusOf(env, o.cfg.Status)
	case 2, 3, 6, 7, 8, 9:
	default:
		return undefined()
	}
	if o.cfg.Demand == nil {
		return dlms.Null(), dlms.DataAccessReadWriteDenied
	}
	d, err := o.cfg.Demand(env)
	if err != nil {
		return dlms.Null(), err
	}
	return demandAttribute(d.Read(o.now(env)), attribute), nil
}

func demandAttribute(v DemandReading, attribute int8) dlms.Data {
	switch attribute {
	case 2:
		return dlms.Int64(v.Current)
	case 3:
		return dlms.Int64(v.Last)
	case 6:
		return dlms.DateTimeOf(v.Captured, 0).Octets()
	case 7:
		return dlms.DateTimeOf(v.Start, 0).Octets()
	case 8:
		return dlms.Uint32(uint32(v.Period / time.Second))
	}
	return dlms.Uint16(v.Periods)
}

func (o *demandRegister) Set(env *Env, attribute int8, value dlms.Data) error {
	if !o.cfg.Configurable || o.cfg.Demand == nil || attribute != 8 && attribute != 9 {
		return dlms.DataAccessReadWriteDenied
	}
	d, err := o.cfg.Demand(env)
	if err != nil {
		return err
	}
	now := o.now(env)
	v := d.Read(now)
	if attribute == 8 {
		var s uint32
		s, err = parseUint32(value)
		v.Period = time.Duration(s) * time.Second
	} else {
		v.Periods, err = parseUint16(value)
	}
	if err != nil {
		return dlms.DataAccessTypeUnmatched
	}
	if d.Configure(now, v.Period, v.Periods) != nil {
		return dlms.DataAccessScopeViolated
	}
	return nil
}

// Invoke serves reset (1) and next_period (2).
func (o *demandRegister) Invoke(env *Env, method int8, _ dlms.Data) (dlms.Data, error) {
	if method != 1 && method != 2 || o.cfg.Demand == nil {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	d, err := o.cfg.Demand(env)
	if err != nil {
		return dlms.Null(), err
	}
	if method == 1 {
		d.Reset(o.now(env))
	} else {
		d.NextPeriod(o.now(env))
	}
	return dlms.Null(), nil
}

// DemandValues is what a Demand register of a meter shows.
type DemandValues struct {
	// Current is the average of the window under way, Last that of the last one.
	Current, Last Reading
	// Status is of whatever type the meter has, null-data for none.
	Status dlms.Data
	// Captured is when Last was worked out, Start when the window of Current began.
	Captured, Start dlms.DateTime
	// Period is the length of a period, in whole seconds, and Periods how many make a window.
	Period  time.Duration
	Periods uint16
}

// RemoteDemandRegister is a Demand register of a meter (BB 4.3.4).
type RemoteDemandRegister struct{ remote }

// DemandRegisterAt returns the Demand register under a logical name.
func DemandRegisterAt(c Caller, o dlms.OBIS) RemoteDemandRegister {
	return RemoteDemandRegister{remote{c, dlms.ClassDemandRegister, o}}
}

func demandFields() []field[DemandValues] {
	return []field[DemandValues]{
		fieldOf(func(v *DemandValues) *dlms.Data { return &v.Current.Value }, same, parseAny),
		fieldOf(func(v *DemandValues) *dlms.Data { return &v.Last.Value }, same, parseAny),
		fieldOf(func(v *DemandValues) *ScalerUnit { return &v.Current.ScalerUnit }, ScalerUnit.Data, ParseScalerUnit),
		fieldOf(func(v *DemandValues) *dlms.Data { return &v.Status }, same, parseAny),
		fieldOf(func(v *DemandValues) *dlms.DateTime { return &v.Captured }, dlms.DateTime.Octets, dlms.Data.DateTime),
		fieldOf(func(v *DemandValues) *dlms.DateTime { return &v.Start }, dlms.DateTime.Octets, dlms.Data.DateTime),
		fieldOf(func(v *DemandValues) *time.Duration { return &v.Period }, secondsData, parseSeconds),
		fieldOf(func(v *DemandValues) *uint16 { return &v.Periods }, dlms.Uint16, parseUint16),
	}
}

// Read reads all attributes, one request each.
func (r RemoteDemandRegister) Read(ctx context.Context) (DemandValues, error) {
	v, err := readRecord(ctx, r.remote, demandFields())
	v.Last.ScalerUnit = v.Current.ScalerUnit
	return v, err
}

// SetPeriod writes the period, in whole seconds.
func (r RemoteDemandRegister) SetPeriod(ctx context.Context, d time.Duration) error {
	return write(ctx, r.remote, demandFields(), 8, DemandValues{Period: d})
}

// SetPeriods writes how many periods an average covers.
func (r RemoteDemandRegister) SetPeriods(ctx context.Context, n uint16) error {
	return write(ctx, r.remote, demandFields(), 9, DemandValues{Periods: n})
}

// Reset forgets all periods.
func (r RemoteDemandRegister) Reset(ctx context.Context) error { return r.trigger(ctx, 1) }

// NextPeriod ends the current period.
func (r RemoteDemandRegister) NextPeriod(ctx context.Context) error { return r.trigger(ctx, 2) }
