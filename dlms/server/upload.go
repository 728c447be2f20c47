package server

import (
	"net"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// upload is a SET or an ACTION that comes in blocks of its service. The raw data of the blocks put together is the
// content of the form without blocks (GB 9.5), so that form is what they are put together to.
type upload struct {
	tag   apdu.Tag // of the service
	whole []byte   // the form without blocks, as far as it came
	head  int      // bytes of it before the raw data
	count int      // attributes or methods in its list; 0 for the form without list
	block uint32
	from  net.Addr // who sends it
}

// begin starts an upload with the form without blocks, written with one byte of null-data or of an empty list where
// the raw data belongs.
func (c *call) begin(tag apdu.Tag, count int, form []byte, err error) error {
	if err != nil {
		return err
	}
	n := len(form) - 1
	c.slot.assoc.upload = &upload{tag: tag, whole: form[:n], head: n, count: count, from: c.req.Remote}
	return nil
}

// add takes one more block. It reports whether the value is whole, or why the transfer cannot go on.
func (u *upload) add(b apdu.Block, limit int) (whole bool, why dlms.DataAccessResult) {
	switch {
	case b.Number != u.block+1:
		return false, dlms.DataAccessBlockNumberInvalid
	case len(u.whole)-u.head+len(b.Raw) > limit:
		return false, dlms.DataAccessLongSetAborted
	}
	u.block++
	u.whole = append(u.whole, b.Raw...)
	return b.Last, dlms.DataAccessSuccess
}

// grow takes a block of the transfer of a service; nil where none is under way.
func (c *call) grow(tag apdu.Tag, b apdu.Block) (u *upload, whole bool, why dlms.DataAccessResult) {
	a := c.slot.assoc
	u = a.upload
	if u == nil || u.tag != tag || c.another(u.from) {
		return nil, false, dlms.DataAccessNoLongSet
	}
	whole, why = u.add(b, c.server.kind.options.MaxResponse)
	if whole || why != dlms.DataAccessSuccess {
		a.upload = nil
	}
	return u, whole, why
}
