package server_test

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/server"
)

// FuzzHandle gives the server arbitrary bytes on arbitrary SAPs, split into APDUs of at most 255 bytes by their first
// byte, beside honest associations. Nothing panics, nothing moves, and the honest clients are served afterwards.
func FuzzHandle(f *testing.F) {
	seed := newBench(f)
	seed.seeds = 1000                                        // no session key of the honest clients below
	p := seed.peer(lan, sapReadWrite, concTitle, otherKey()) // a stranger: what is authentic may move things
	aarq := p.aarq()
	for _, g := range [][]byte{
		aarq, p.release(p.sealGlobal(p.farewell())), p.energyRequest(), p.sealGlobal(p.energyRequest()),
		p.sealDedicated(p.energyRequest()), p.listRequest(5), p.curveRequest(), p.nextBlock(1),
		{0xD8, 1, 1},
		{},
	} {
		for _, sap := range []uint16{16, 32, 48, 64, 1, 99} {
			f.Add(sap, uint16(1), append([]byte{byte(min(len(g), 255))}, g...))
		}
		f.Add(uint16(48), uint16(0x7F), append([]byte{byte(min(len(g), 255))}, g...))
	}
	model, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: clients()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sap, to uint16, in []byte) {
		b := newBenchOf(t, model)
		rw, is := b.concentrator().open(), b.is().open()
		b.public()
		half := b.tester().halfOpen()
		before := b.state()
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			for _, linkName := range []string{lan, local} {
				answer := b.srv.Handle(t.Context(), linkName, request(dlms.SAP(sap), dlms.SAP(to), in[1:1+n]))
				if to == 0x7F && answer != nil {
					t.Fatalf("a broadcast was answered: % x", answer)
				}
			}
			in = in[1+n:]
		}
		after := b.state()
		if dlms.SAP(sap) == sapPublic { // anybody may open and close what needs no proof
			after.open, after.ends = before.open, before.ends
		}
		if after != before {
			t.Fatalf("%+v became %+v", before, after)
		}
		half.pass4(half.send(half.pass3()))
		half.works()
		rw.works()
		is.works()
		is.open().works()
	})
}

// FuzzServices gives an authentic client's garbage to the services behind the protection.
func FuzzServices(f *testing.F) {
	seed := newBench(f)
	p := seed.is()
	for _, plain := range [][]byte{
		p.energyRequest(), p.listRequest(5), p.curveRequest(), p.nextBlock(1),
		p.actionRequest(dlms.ClassSecuritySetup, setupLAN, 2, cosem.KeyTransfer(0, newKey())),
		p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)),
		p.must(apdu.SetRequest{
			Kind: apdu.SetRequestFirstBlock, ID: p.id(), Attribute: noteRef(), Block: apdu.Block{Number: 1, Raw: []byte{9}},
		}.AppendBinary(nil)),
		p.must(apdu.GetRequest{Kind: apdu.GetRequestNormal, ID: p.id(), Attribute: apdu.Attribute{
			Ref:       dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: obisCurve, Attribute: 2},
			Selection: apdu.EntryDescriptor{FromEntry: 1, FromColumn: 1}.Selection(),
		}}.AppendBinary(nil)),
	} {
		f.Add(plain, uint16(300))
	}
	model, err := server.NewModel(server.ModelConfig{Objects: objects(), Clients: clients()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, plain []byte, pdu uint16) {
		b := newBenchOf(t, model)
		p := b.is()
		p.maxPDU = max(pdu, 64)
		p.open()
		if len(plain) == 0 || len(plain) > 900 {
			return
		}
		if _, ok := apdu.CipheredTag(apdu.Tag(plain[0]), true); !ok {
			return
		}
		if answer := p.send(p.sealDedicated(plain)); len(answer) > int(p.maxPDU) {
			t.Fatalf("an answer of %d bytes, and the client takes %d", len(answer), p.maxPDU)
		}
		p.works()
	})
}
