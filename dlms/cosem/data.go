package cosem

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

type data struct {
	base
	get Source
	set Sink
}

// NewData returns an object of class Data (BB 4.3.1, class 1 version 0). set may be nil.
func NewData(instance dlms.OBIS, get Source, set Sink) Object {
	return &data{base{ID{Class: dlms.ClassData, Instance: instance}}, get, set}
}

func (o *data) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		return read(env, o.get)
	}
	return undefined()
}

func (o *data) Set(env *Env, attribute int8, value dlms.Data) error {
	if attribute != 2 || o.set == nil {
		return dlms.DataAccessReadWriteDenied
	}
	return o.set(env, value)
}

type register struct {
	base
	get    Source
	scaler int8
	unit   Unit
}

// NewRegister returns an object of class Register (BB 4.3.2, class 3 version 0). The physical value is what get
// returns times ten to the power of scaler, in unit.
func NewRegister(instance dlms.OBIS, get Source, scaler int8, unit Unit) Object {
	return &register{base{ID{Class: dlms.ClassRegister, Instance: instance}}, get, scaler, unit}
}

func (o *register) Get(env *Env, attribute int8, sel apdu.Selection) (dlms.Data, error) {
	if err := plain(sel); err != nil {
		return dlms.Null(), err
	}
	switch attribute {
	case 1:
		return o.name(), nil
	case 2:
		return read(env, o.get)
	case 3:
		return dlms.Structure(dlms.Int8(o.scaler), dlms.Enum(uint8(o.unit))), nil
	}
	return undefined()
}
