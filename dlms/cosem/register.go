package cosem

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// ScalerUnit is scaler_unit of the registers (BB 4.3.2): the physical value is the number times ten to the power of
// Scaler, in Unit.
//
//	scal_unit_type ::= structure { scaler integer, unit enum }
type ScalerUnit struct {
	// Scaler is a power of ten.
	Scaler int8
	// Unit is the physical unit.
	Unit Unit
}

// Data returns the value as it travels.
func (s ScalerUnit) Data() dlms.Data {
	return dlms.Structure(dlms.Int8(s.Scaler), dlms.Enum(uint8(s.Unit)))
}

// ParseScalerUnit takes it out of a value.
func ParseScalerUnit(d dlms.Data) (ScalerUnit, error) {
	c := structure(d, 2)
	return finish(&c, ScalerUnit{Scaler: c.int8(), Unit: Unit(c.enum())}, "scaler and unit")
}

// Reading is the value of a register with what it means.
type Reading struct {
	// Value is the number, of whatever type the meter has.
	Value dlms.Data
	ScalerUnit
}

// Float returns the physical value. It fails with [dlms.ErrDataType] for a value that is no number.
func (r Reading) Float() (float64, error) {
	v, err := r.Value.Float()
	return v * math.Pow10(int(r.Scaler)), err
}

// String returns the value in decimal without loss, and the unit: "1234.56 kWh" would be "1234560 Wh", for the unit
// is what the meter says.
func (r Reading) String() string {
	s := r.Value.String()
	switch {
	case r.Value.Tag() == dlms.TagUint64:
		if v, err := r.Value.Uint(); err == nil {
			s = shiftPoint(strconv.FormatUint(v, 10), int(r.Scaler))
		}
	case isInteger(r.Value.Tag()):
		if v, err := r.Value.Int(); err == nil {
			s = shiftPoint(strconv.FormatInt(v, 10), int(r.Scaler))
		}
	case r.Value.Tag() == dlms.TagFloat32 || r.Value.Tag() == dlms.TagFloat64:
		if v, err := r.Float(); err == nil {
			s = strconv.FormatFloat(v, 'g', -1, 64)
		}
	}
	if u := r.Unit.String(); u != "" {
		return s + " " + u
	}
	return s
}

func isInteger(t dlms.Tag) bool {
	switch t {
	case dlms.TagInt8, dlms.TagInt16, dlms.TagInt32, dlms.TagInt64,
		dlms.TagUint8, dlms.TagUint16, dlms.TagUint32, dlms.TagUint64:
		return true
	}
	return false
}

// shiftPoint multiplies a decimal integer by a power of ten.
func shiftPoint(digits string, by int) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	if by >= 0 {
		if digits == "0" {
			by = 0
		}
		return sign + digits + strings.Repeat("0", by)
	}
	if missing := -by + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) + by
	return sign + digits[:point] + "." + digits[point:]
}

// RegisterConfig describes a Register (BB 4.3.2, class 3 version 0) or, with Status and CaptureTime, an Extended
// register (BB 4.3.3, class 4 version 0).
type RegisterConfig struct {
	// Instance is the logical name.
	Instance dlms.OBIS
	ScalerUnit
	// Value reads the number.
	Value Source
	// Status reads the status, of whatever type the meter has; nil is null-data. Extended register alone.
	Status Source
	// CaptureTime reads when the value was captured; nil is a date-time of which nothing is specified. Extended
	// register alone.
	CaptureTime func(env *Env) (dlms.DateTime, error)
	// Reset sets the value to its default (method 1); nil refuses.
	Reset func(env *Env) error
}

type register struct {
	base
	cfg RegisterConfig
}

// NewRegister returns an object of class Register (BB 4.3.2, class 3 version 0) without reset. The physical value is
// what get returns times ten to the power of scaler, in unit.
func NewRegister(instance dlms.OBIS, get Source, scaler int8, unit Unit) Object {
	return NewRegisterOf(RegisterConfig{Instance: instance, Value: get, ScalerUnit: ScalerUnit{scaler, unit}})
}

// NewRegisterOf returns an object of class Register.
func NewRegisterOf(cfg RegisterConfig) Object {
	return &register{base{ID{Class: dlms.ClassRegister, Instance: cfg.Instance}}, cfg}
}

// NewExtendedRegister returns an object of class Extended register.
func NewExtendedRegister(cfg RegisterConfig) Object {
	return &register{base{ID{Class: dlms.ClassExtendedRegister, Instance: cfg.Instance}}, cfg}
}

func (o *register) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch {
	case attribute == 1:
		return o.name(), nil
	case attribute == 2:
		return read(env, o.cfg.Value)
	case attribute == 3:
		return o.cfg.ScalerUnit.Data(), nil
	case o.id.Class != dlms.ClassExtendedRegister:
	case attribute == 4:
		return statusOf(env, o.cfg.Status)
	case attribute == 5:
		return captureTime(env, o.cfg.CaptureTime)
	}
	return undefined()
}

func statusOf(env *Env, status Source) (dlms.Data, error) {
	if status == nil {
		return dlms.Null(), nil
	}
	return status(env)
}

func captureTime(env *Env, at func(*Env) (dlms.DateTime, error)) (dlms.Data, error) {
	if at == nil {
		return dlms.DateTimeUnspecified().Octets(), nil
	}
	t, err := at(env)
	return t.Octets(), err
}

// Invoke serves reset (1).
func (o *register) Invoke(env *Env, method int8, _ dlms.Data) (dlms.Data, error) {
	if method != 1 {
		return dlms.Null(), dlms.ActionReadWriteDenied
	}
	return call(env, o.cfg.Reset)
}

// RemoteData is an object of class Data of a meter (BB 4.3.1).
type RemoteData struct{ remote }

// DataAt returns the object of class Data under a logical name.
func DataAt(c Caller, o dlms.OBIS) RemoteData { return RemoteData{remote{c, dlms.ClassData, o}} }

// Value reads the value.
func (r RemoteData) Value(ctx context.Context) (dlms.Data, error) { return r.get(ctx, 2) }

// SetValue writes the value.
func (r RemoteData) SetValue(ctx context.Context, v dlms.Data) error { return r.set(ctx, 2, v) }

// RemoteRegister is a Register of a meter (BB 4.3.2).
type RemoteRegister struct{ remote }

// RegisterAt returns the Register under a logical name.
func RegisterAt(c Caller, o dlms.OBIS) RemoteRegister {
	return RemoteRegister{remote{c, dlms.ClassRegister, o}}
}

// Value reads the number alone.
func (r RemoteRegister) Value(ctx context.Context) (dlms.Data, error) { return r.get(ctx, 2) }

// ScalerUnit reads what the number means.
func (r RemoteRegister) ScalerUnit(ctx context.Context) (ScalerUnit, error) {
	return readAs(ctx, r.remote, 3, ParseScalerUnit)
}

// Read reads both, in two requests.
func (r RemoteRegister) Read(ctx context.Context) (Reading, error) {
	u, err := r.ScalerUnit(ctx)
	if err != nil {
		return Reading{}, err
	}
	v, err := r.Value(ctx)
	return Reading{Value: v, ScalerUnit: u}, err
}

// Reset sets the value to its default.
func (r RemoteRegister) Reset(ctx context.Context) error { return r.trigger(ctx, 1) }

// ExtendedReading is the value of an Extended register.
type ExtendedReading struct {
	Reading
	// Status is of whatever type the meter has, null-data for none.
	Status dlms.Data
	// Time is when the value was captured.
	Time dlms.DateTime
}

// RemoteExtendedRegister is an Extended register of a meter (BB 4.3.3).
type RemoteExtendedRegister struct{ RemoteRegister }

// ExtendedRegisterAt returns the Extended register under a logical name.
func ExtendedRegisterAt(c Caller, o dlms.OBIS) RemoteExtendedRegister {
	return RemoteExtendedRegister{RemoteRegister{remote{c, dlms.ClassExtendedRegister, o}}}
}

// Status reads the status, of whatever type the meter has.
func (r RemoteExtendedRegister) Status(ctx context.Context) (dlms.Data, error) { return r.get(ctx, 4) }

// CaptureTime reads when the value was captured.
func (r RemoteExtendedRegister) CaptureTime(ctx context.Context) (dlms.DateTime, error) {
	return readAs(ctx, r.remote, 5, dlms.Data.DateTime)
}

// ReadAll reads all attributes, in four requests.
func (r RemoteExtendedRegister) ReadAll(ctx context.Context) (ExtendedReading, error) {
	v, err := r.Read(ctx)
	if err != nil {
		return ExtendedReading{}, err
	}
	e := ExtendedReading{Reading: v}
	if e.Status, err = r.Status(ctx); err != nil {
		return e, err
	}
	e.Time, err = r.CaptureTime(ctx)
	return e, err
}
