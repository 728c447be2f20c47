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
