package server_test

import (
	"bytes"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/server"
)

// withBlocks is a bench on which general block transfer may be negotiated, and a client that proposes it.
func withBlocks(t testing.TB, pdu uint16, change ...func(*server.Options)) (*bench, *peer) {
	t.Helper()
	b := newBenchOf(t, changedModel(t, func(c *server.Client) {
		c.Conformance = 0x001E1D | apdu.ConformanceGeneralBlockTransfer
	}), change...)
	p := b.is()
	p.maxPDU = pdu
	p.conformance |= apdu.ConformanceGeneralBlockTransfer
	return b, p.open()
}

func (p *peer) sendBlock(b apdu.BlockTransfer) []byte {
	p.t.Helper()
	b.Window = 1
	return p.send(p.must(b.AppendBinary(nil)))
}

// wantBlock reads a block of the meter.
func (p *peer) wantBlock(answer []byte) apdu.BlockTransfer {
	p.t.Helper()
	b, err := apdu.ParseBlockTransfer(answer)
	if err != nil {
		p.t.Fatalf("block: %v (% x)", err, answer)
	}
	if b.Window != 1 || b.Streaming || p.maxPDU != 0 && len(answer) > int(p.maxPDU) {
		p.t.Fatalf("block: %+v of %d bytes", b, len(answer))
	}
	return b
}

// uploadBlocks sends a request in blocks of n bytes and returns the first block of the answer.
func (p *peer) uploadBlocks(request []byte, n int) apdu.BlockTransfer {
	p.t.Helper()
	for number := uint16(1); ; number++ {
		size := min(n, len(request))
		data := request[:size]
		request = request[size:]
		b := p.wantBlock(p.sendBlock(apdu.BlockTransfer{Last: len(request) == 0, Number: number, Data: data}))
		if b.Ack != number || b.Number != number {
			p.t.Fatalf("block %d: %d confirmed %d", number, b.Number, b.Ack)
		}
		if len(request) == 0 {
			return b
		}
		if len(b.Data) != 0 || b.Last {
			p.t.Fatalf("block %d: %+v", number, b)
		}
	}
}

// download fetches the rest of an answer of which b is the first block; lost is called with every number, and true
// loses the block that comes.
func (p *peer) download(b apdu.BlockTransfer, lost func(number uint16) bool) []byte {
	p.t.Helper()
	answer := bytes.Clone(b.Data)
	for number := b.Number; ; number++ {
		if b.Number != number {
			p.t.Fatalf("block: want number %d, got %d", number, b.Number)
		}
		if b.Last {
			return answer
		}
		ack := apdu.BlockTransfer{Last: true, Number: number + 1, Ack: number}
		if b = p.wantBlock(p.sendBlock(ack)); b.Ack != number+1 {
			p.t.Fatalf("block: want %d confirmed, got %d", number+1, b.Ack)
		}
		for lost != nil && lost(number) {
			again := p.wantBlock(p.sendBlock(ack))
			if again.Number != b.Number || !bytes.Equal(again.Data, b.Data) || again.Last != b.Last {
				p.t.Fatalf("block %d came otherwise the second time", b.Number)
			}
		}
		answer = append(answer, b.Data...)
	}
}

func (p *peer) wantCurve(sealed []byte) {
	p.t.Helper()
	if r := p.getResult(p.openWith(p.ded, sealed)); r.Data.Len() != 48 {
		p.t.Fatalf("got %s, %d rows", r.Result, r.Data.Len())
	}
}

func TestALongAnswerComesInGeneralBlockTransfer(t *testing.T) {
	for _, pdu := range []uint16{64, 65, 134, 135, 136, 137, 239, 262, 263, 512, 1024} {
		_, p := withBlocks(t, pdu)
		first := p.wantBlock(p.send(p.sealDedicated(p.curveRequest())))
		p.wantCurve(p.download(first, nil))
		if answer := p.sendBlock(apdu.BlockTransfer{Last: true, Number: 99, Ack: 99}); answer != nil && answer[0] != 0xD8 {
			t.Errorf("after the end: % x", answer)
		}
		p.works()
	}
}

func TestARequestInBlocksIsAnsweredInBlocks(t *testing.T) {
	for _, n := range []int{1, 7, 40, 500} {
		_, p := withBlocks(t, 200)
		p.wantCurve(p.download(p.uploadBlocks(p.sealDedicated(p.curveRequest()), n), nil))
		short := p.uploadBlocks(p.sealDedicated(p.energyRequest()), n)
		if !short.Last {
			t.Fatalf("a short answer: %+v", short)
		}
		if r := p.getResult(p.openWith(p.ded, short.Data)); r.Result != dlms.DataAccessSuccess {
			t.Errorf("energy: %s", r.Result)
		}
		p.works()
	}
}

func TestALongValueIsSetAndAMethodCalledInGeneralBlockTransfer(t *testing.T) {
	b, p := withBlocks(t, 150)
	note := bytes.Repeat([]byte("note"), 800)
	q := apdu.SetRequest{Kind: apdu.SetRequestNormal, ID: p.id(), Attribute: noteRef(), Value: dlms.OctetString(note)}
	sealed := p.download(p.uploadBlocks(p.sealDedicated(p.must(q.AppendBinary(nil))), 140), nil)
	r, err := apdu.ParseSetResponse(p.openWith(p.ded, sealed))
	if err != nil || r.Result != dlms.DataAccessSuccess || !bytes.Equal(b.dev.note, note) {
		t.Fatalf("set: %+v, %v", r, err)
	}
	call := apdu.ActionRequest{
		Kind: apdu.ActionRequestNormal, ID: p.id(), Method: echoMethod(1), HasParameters: true, Parameters: dlms.OctetString(note),
	}
	sealed = p.download(p.uploadBlocks(p.sealDedicated(p.must(call.AppendBinary(nil))), 140), nil)
	got, _ := p.actionResponse(p.openWith(p.ded, sealed)).Outcome.Return.Data.OctetString()
	if !bytes.Equal(got, note) {
		t.Errorf("action: %d bytes", len(got))
	}
}

func TestALostBlockIsSentAgainByItsNumber(t *testing.T) {
	b, p := withBlocks(t, 100)
	// Of the answer: every block is lost once, the fourth three times.
	times := map[uint16]int{}
	lost := func(n uint16) bool { times[n]++; return times[n] <= 1 || n == 4 && times[n] <= 3 }
	p.wantCurve(p.download(p.wantBlock(p.send(p.sealDedicated(p.curveRequest()))), lost))
	// The first block of an answer, which confirms nothing yet.
	first := p.wantBlock(p.send(p.sealDedicated(p.curveRequest())))
	again := p.wantBlock(p.sendBlock(apdu.BlockTransfer{Last: true, Number: 1, Ack: 0}))
	if again.Number != 1 || !bytes.Equal(again.Data, first.Data) {
		t.Fatalf("the first block again: %+v", again)
	}
	p.wantCurve(p.download(again, nil))
	// Of a request: what was confirmed comes again, what was lost is asked for, and the last one comes twice.
	shift := p.sealDedicated(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(3)))
	send := func(number uint16, from, to int) apdu.BlockTransfer {
		return p.wantBlock(p.sendBlock(apdu.BlockTransfer{Last: to == len(shift), Number: number, Data: shift[from:to]}))
	}
	for _, c := range []struct {
		number   uint16
		from, to int
		ack      uint16
	}{{1, 0, 10, 1}, {1, 0, 10, 1}, {2, 10, 20, 2}, {2, 10, 20, 2}, {4, 30, len(shift), 2}, {3, 20, 30, 3}} {
		if got := send(c.number, c.from, c.to); got.Ack != c.ack || len(got.Data) != 0 {
			t.Fatalf("block %d: %+v", c.number, got)
		}
	}
	for range 2 {
		got := send(4, 30, len(shift))
		if r := p.actionResponse(p.openWith(p.ded, got.Data)); r.Outcome.Result != dlms.ActionSuccess {
			t.Errorf("action: %s", r.Outcome.Result)
		}
	}
	if len(b.dev.shifts) != 1 {
		t.Errorf("done %d times", len(b.dev.shifts))
	}
}

func TestAGeneralBlockTransferIsBounded(t *testing.T) {
	_, p := withBlocks(t, 200, func(o *server.Options) { o.MaxResponse = 500 })
	for number := uint16(1); number <= 6; number++ {
		p.wantBlock(p.sendBlock(apdu.BlockTransfer{Number: number, Data: make([]byte, 100)}))
	}
	wantAnswer(t, tooLong, p.sendBlock(apdu.BlockTransfer{Number: 7, Data: make([]byte, 100)}))
	wantAnswer(t, otherReason, p.sendBlock(apdu.BlockTransfer{Number: 8, Data: make([]byte, 100)}))
	// And an answer beyond the bound is none.
	if r := p.getResult(p.exchange(p.curveRequest())); r.Result != dlms.DataAccessOtherReason {
		t.Errorf("got %s", r.Result)
	}
	wantAnswer(t, tooLong, p.sendBlock(apdu.BlockTransfer{Number: 1, Data: make([]byte, 1100)}))
	p.works()
}

func TestBlocksThatCannotBeServed(t *testing.T) {
	b, p := withBlocks(t, 200)
	if got := p.sendBlock(apdu.BlockTransfer{Last: true, Number: 1}); got != nil {
		t.Errorf("nothing confirmed: % x", got)
	}
	wantAnswer(t, otherReason, p.sendBlock(apdu.BlockTransfer{Last: true, Number: 2, Data: []byte{1}}))
	wantAnswer(t, otherReason, p.send([]byte{0xE0, 0x81, 0}))
	first := p.wantBlock(p.send(p.sealDedicated(p.curveRequest())))
	wantAnswer(t, otherReason, p.sendBlock(apdu.BlockTransfer{Last: true, Number: 2, Ack: 7}))
	p.wantCurve(p.download(first, nil)) // and the transfer goes on
	// What may not come in blocks: an association, its release, blocks, something in clear, something forged.
	shift := p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(3))
	forged := p.sealDedicated(shift)
	forged[len(forged)-1] ^= 1
	again := p.sealDedicated(p.energyRequest())
	p.send(again)
	for _, c := range []struct {
		request []byte
		want    string
	}{
		{b.concentrator().aarq(), notAllowed},
		{p.release(p.sealGlobal(p.farewell())), notAllowed},
		{p.must(apdu.BlockTransfer{Last: true, Number: 1, Data: []byte{1}}.AppendBinary(nil)), notAllowed},
		{shift, notAllowed},
		{forged, deciphering},
	} {
		wantAnswer(t, c.want, p.uploadBlocks(c.request, 50).Data)
	}
	wantCounter(t, counterAfter(t, again), p.uploadBlocks(again, 50).Data)
	if len(b.dev.shifts) != 0 {
		t.Error("something was done")
	}
	p.works()
}

// counterAfter is the counter behind that of a dedicated APDU.
func counterAfter(t *testing.T, g []byte) dlms.InvocationCounter {
	t.Helper()
	c, err := apdu.ParseCiphered(g)
	if err != nil {
		t.Fatal(err)
	}
	return c.Counter + 1
}

func TestAnAnswerThatNobodyFetchedIsGoneAtTheNextRequest(t *testing.T) {
	_, p := withBlocks(t, 100)
	p.wantBlock(p.send(p.sealDedicated(p.curveRequest())))
	p.works()
	if got := p.sendBlock(apdu.BlockTransfer{Last: true, Number: 2, Ack: 1}); got != nil {
		t.Errorf("went on: % x", got)
	}
}

func TestBlocksOfAHalfOpenOrOfAnEndedAssociationAreRefused(t *testing.T) {
	b, p := withBlocks(t, 100)
	p.wantBlock(p.send(p.sealDedicated(p.curveRequest())))
	p.halfOpen()
	wantAnswer(t, notAllowed, p.sendBlock(apdu.BlockTransfer{Last: true, Number: 2, Ack: 1}))
	p.pass4(p.send(p.pass3()))
	if got := p.sendBlock(apdu.BlockTransfer{Last: true, Number: 2, Ack: 1}); got != nil {
		t.Errorf("an answer of the association before: % x", got)
	}
	b.srv.CloseGeneration(setupIS, 1)
	wantAnswer(t, notAllowed, p.sendBlock(apdu.BlockTransfer{Last: true, Number: 1, Data: []byte{1}}))
}

// A stranger's blocks spoil no more than a transfer that is under way.
func TestForgedBlocksMoveNothing(t *testing.T) {
	b, p := withBlocks(t, 100)
	before := b.state()
	p.wantBlock(p.send(p.sealDedicated(p.curveRequest())))
	for number := range uint16(5) {
		p.sendBlock(apdu.BlockTransfer{Last: number%2 == 0, Number: number, Ack: 9 * number, Data: []byte{0xD0, 1, 2}})
	}
	p.wantCurve(p.download(p.wantBlock(p.sendBlock(apdu.BlockTransfer{Last: true, Number: 2})), nil))
	if after := b.state(); after != before {
		t.Errorf("%+v became %+v", before, after)
	}
	p.works()
}

func TestThePublicClientReadsInGeneralBlockTransfer(t *testing.T) {
	b, _ := withBlocks(t, 100)
	p := b.peer(lan, sapPublic, dlms.SystemTitle{}, otherKey())
	p.noDedicated, p.conformance, p.maxPDU = true, apdu.ConformanceGet|apdu.ConformanceGeneralBlockTransfer, 64
	q := apdu.AARQ{Context: apdu.ContextLN, UserInformation: p.initiate()}
	p.send(p.must(q.AppendBinary(nil)))
	plain := p.download(p.wantBlock(p.send(p.getRequest(dlms.ClassAssociationLN, current, 2))), nil)
	if r := p.getResult(plain); r.Data.Len() != 3 {
		t.Errorf("object list: %s", r.Data)
	}
}
