package server_test

import (
	"bytes"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
)

func repeat(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func request(from, to dlms.SAP, b []byte) link.Request {
	return link.Request{Client: from, Server: to, APDU: b}
}

// floor is the next counter that the device takes from a title.
func (d *device) floor(setup dlms.OBIS, title dlms.SystemTitle) dlms.InvocationCounter {
	table, ok := d.keys[setup].Floor.(*security.FloorTable)
	if !ok {
		return 0
	}
	return table.Expected(title)
}

// public opens an association without security.
func (b *bench) public() *peer {
	b.t.Helper()
	p := b.peer(lan, sapPublic, dlms.SystemTitle{}, otherKey())
	p.noDedicated = true
	q := apdu.AARQ{Context: apdu.ContextLN, UserInformation: p.initiate()}
	e, err := apdu.ParseAARE(p.send(p.must(q.AppendBinary(nil))))
	if err != nil || e.Result != apdu.AssociationAccepted {
		b.t.Fatalf("public association: %+v, %v", e, err)
	}
	if _, err := apdu.ParseInitiateResponse(e.UserInformation); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (p *peer) plainGet(class dlms.ClassID, o dlms.OBIS, attribute int8) apdu.GetResult {
	p.t.Helper()
	return p.getResult(p.send(p.getRequest(class, o, attribute)))
}

// unconfirmed makes a service unconfirmed.
func unconfirmed(plain []byte) []byte {
	plain[2] &^= 0x40
	return plain
}

// broadcastShift is an unconfirmed shift of the clock.
func (p *peer) broadcastShift(seconds int16) []byte {
	p.t.Helper()
	return p.sealDedicated(unconfirmed(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(seconds))))
}
