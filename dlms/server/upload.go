package server

import (
	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// upload is a value that comes in blocks, for one attribute or one method.
type upload struct {
	tag       apdu.Tag // of the service that began it
	attribute apdu.Attribute
	method    dlms.MethodRef
	raw       []byte
	block     uint32
}

// add takes one more block. It reports whether the value is whole, or why the transfer cannot go on.
func (u *upload) add(b apdu.Block, limit int) (whole bool, why dlms.DataAccessResult) {
	switch {
	case b.Number != u.block+1:
		return false, dlms.DataAccessBlockNumberInvalid
	case len(u.raw)+len(b.Raw) > limit:
		return false, dlms.DataAccessLongSetAborted
	}
	u.block++
	u.raw = append(u.raw, b.Raw...)
	return b.Last, dlms.DataAccessSuccess
}

// value reads what came together.
func (u *upload) value() (dlms.Data, error) {
	d, rest, err := dlms.ParseData(u.raw)
	if err != nil {
		return dlms.Null(), err
	}
	if len(rest) != 0 {
		return dlms.Null(), dlms.DataAccessTypeUnmatched
	}
	return d, nil
}

// grow takes a block of the transfer of a service; nil where none is under way.
func (c *call) grow(tag apdu.Tag, b apdu.Block) (u *upload, whole bool, why dlms.DataAccessResult) {
	a := c.slot.assoc
	u = a.upload
	if u == nil || u.tag != tag {
		return nil, false, dlms.DataAccessNoLongSet
	}
	whole, why = u.add(b, c.server.kind.options.MaxResponse)
	if whole || why != dlms.DataAccessSuccess {
		a.upload = nil
	}
	return u, whole, why
}
