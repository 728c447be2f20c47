package server_test

import (
	"bytes"
	"net"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// public is a client in clear whose association two share: nothing tells them apart but where they come from.
func public(t *testing.T, b *bench, conformance apdu.Conformance) *peer {
	t.Helper()
	p := b.peer(lan, sapPublic, dlms.SystemTitle{}, otherKey())
	p.noDedicated, p.conformance, p.maxPDU = true, conformance, 64
	q := apdu.AARQ{Context: apdu.ContextLN, UserInformation: p.initiate()}
	p.from(here(), p.must(q.AppendBinary(nil)))
	return p
}

func here() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1001} }
func there() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1002} }

func getBlock(t *testing.T, b []byte) apdu.GetResponse {
	t.Helper()
	r, err := apdu.ParseGetResponse(b)
	if err != nil || r.Kind != apdu.GetResponseBlock {
		t.Fatalf("no block: % x, %v", b, err)
	}
	return r
}

func TestAnAnswerInBlocksGoesOnForTheAddressAloneThatAskedInClear(t *testing.T) {
	b := newBench(t)
	p := public(t, b, apdu.ConformanceGet|apdu.ConformanceBlockTransferGet)
	first := getBlock(t, p.from(here(), p.getRequest(dlms.ClassAssociationLN, current, 2)))
	next := p.must(apdu.GetRequest{Kind: apdu.GetRequestNext, ID: first.ID, Block: 1}.AppendBinary(nil))
	if r := getBlock(t, p.from(there(), next)); r.Block.Result != dlms.DataAccessNoLongGet || len(r.Block.Raw) > 0 {
		t.Errorf("another got %d bytes, %s", len(r.Block.Raw), r.Block.Result)
	}
	second := getBlock(t, p.from(here(), next))
	if second.Block.Result != dlms.DataAccessSuccess || second.Block.Number != 2 || len(second.Block.Raw) == 0 {
		t.Errorf("the one who asked: block %d, %s", second.Block.Number, second.Block.Result)
	}
	// Another one asks too: what the first goes on with is not what that one gets.
	getBlock(t, p.from(there(), p.getRequest(dlms.ClassAssociationLN, current, 2)))
	if r := getBlock(t, p.from(here(), next)); r.Block.Result != dlms.DataAccessNoLongGet {
		t.Errorf("the first got %d bytes of another's, %s", len(r.Block.Raw), r.Block.Result)
	}
}

func TestGeneralBlocksGoOnForTheAddressAloneThatAskedInClear(t *testing.T) {
	b, _ := withBlocks(t, 100)
	p := public(t, b, apdu.ConformanceGet|apdu.ConformanceGeneralBlockTransfer)
	first := p.wantBlock(p.from(here(), p.getRequest(dlms.ClassAssociationLN, current, 2)))
	confirm := p.must(apdu.BlockTransfer{Last: true, Window: 1, Number: 1, Ack: first.Number}.AppendBinary(nil))
	wantAnswer(t, otherReason, p.from(there(), confirm))
	second := p.wantBlock(p.from(here(), confirm))
	if second.Number != first.Number+1 || len(second.Data) == 0 {
		t.Errorf("the one who asked: block %d with %d bytes", second.Number, len(second.Data))
	}
	// A request of another one in blocks does not get the rest either.
	begin := p.must(apdu.BlockTransfer{Window: 1, Number: 1, Data: []byte{0xC0}}.AppendBinary(nil))
	p.wantBlock(p.from(there(), begin))
	if got := p.from(there(), confirm); bytes.Contains(got, second.Data) {
		t.Errorf("another got % x", got)
	}
	wantAnswer(t, otherReason, p.from(here(), confirm))
}

func TestAMethodInBlocksIsCalledByTheAddressAloneThatBeganItInClear(t *testing.T) {
	b := newEchoBench(t)
	p := public(t, b, apdu.ConformanceAction|apdu.ConformanceBlockTransferAction)
	method := dlms.MethodRef{Class: dlms.ClassData, Instance: obisEcho, Method: 1}
	value := p.must(dlms.OctetString([]byte("twelve bytes")).AppendBinary(nil))
	p.from(here(), p.must(apdu.ActionRequest{
		Kind: apdu.ActionRequestFirstBlock, ID: 0xC1, Method: method, Block: apdu.Block{Number: 1, Raw: value[:4]},
	}.AppendBinary(nil)))
	rest := p.must(apdu.ActionRequest{
		Kind: apdu.ActionRequestBlock, ID: 0xC1, Block: apdu.Block{Number: 2, Last: true, Raw: value[4:]},
	}.AppendBinary(nil))
	outcome := func(b []byte) dlms.ActionResult {
		r, err := apdu.ParseActionResponse(b)
		if err != nil {
			t.Fatal(err)
		}
		return r.Outcome.Result
	}
	if r := outcome(p.from(there(), rest)); r != dlms.ActionNoLong {
		t.Errorf("another: %s", r)
	}
	if r := outcome(p.from(here(), rest)); r != dlms.ActionSuccess {
		t.Errorf("the one who began: %s", r)
	}
}
