package server_test

import (
	"bytes"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/server"
)

// long reads an attribute in blocks and returns the raw data and the number of blocks.
func (p *peer) long(plain []byte) (raw []byte, blocks uint32) {
	p.t.Helper()
	for {
		g := p.send(p.sealDedicated(plain))
		if len(g) > int(p.maxPDU) {
			p.t.Fatalf("an answer of %d bytes, and the client takes %d", len(g), p.maxPDU)
		}
		r, err := apdu.ParseGetResponse(p.openWith(p.ded, g))
		if err != nil || r.Kind != apdu.GetResponseBlock || r.Block.Result != 0 {
			p.t.Fatalf("block %d: %+v, %v", blocks+1, r, err)
		}
		if blocks++; r.Block.Number != blocks {
			p.t.Fatalf("block: want number %d, got %d", blocks, r.Block.Number)
		}
		raw = append(raw, r.Block.Raw...)
		if r.Block.Last {
			return raw, blocks
		}
		plain = p.nextBlock(r.Block.Number)
	}
}

func (p *peer) nextBlock(n uint32) []byte {
	p.t.Helper()
	return p.must(apdu.GetRequest{Kind: apdu.GetRequestNext, ID: p.id(), Block: n}.AppendBinary(nil))
}

func (p *peer) curveRequest() []byte {
	p.t.Helper()
	return p.getRequest(dlms.ClassProfileGeneric, obisCurve, 2)
}

func TestALongValueComesInBlocksThatFitTheClient(t *testing.T) {
	for _, pdu := range []uint16{64, 65, 239, 512, 1024, 1070} {
		b := newBench(t)
		p := b.concentrator()
		p.maxPDU = pdu
		p.open()
		raw, blocks := p.long(p.curveRequest())
		d, rest, err := dlms.ParseData(raw)
		if err != nil || len(rest) != 0 || d.Len() != 48 {
			t.Fatalf("pdu %d: %d rows, %d bytes left, %v", pdu, d.Len(), len(rest), err)
		}
		if v, _ := d.At(47).At(2).Uint(); v != 1047 {
			t.Errorf("pdu %d: last row %s", pdu, d.At(47))
		}
		if blocks < 2 && pdu <= 1024 {
			t.Errorf("pdu %d: one block", pdu)
		}
		p.works()
	}
}

func TestAValueThatFitsComesWhole(t *testing.T) {
	b := wideBench(t)
	p := b.concentrator()
	p.maxPDU = 0 // no bound
	p.open()
	if r := p.getResult(p.exchange(p.curveRequest())); r.Data.Len() != 48 {
		t.Errorf("got %s, %d rows", r.Result, r.Data.Len())
	}
}

// Clients that offer 65,535 bytes and hold no more than the server says that it takes: seen of two.
func TestNoAnswerIsLongerThanTheServerTakesItself(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	for _, pdu := range []uint16{0, 0xFFFF} {
		p.maxPDU = pdu
		p.open()
		answer := p.send(p.sealDedicated(p.curveRequest()))
		if len(answer) > server.DefaultMaxPDU || len(answer) < server.DefaultMaxPDU-40 {
			t.Errorf("pdu %d: an answer of %d bytes", pdu, len(answer))
		}
	}
}

// Clients that cut blocks to the server's bound and cipher them afterwards: seen of one.
func TestARequestMayExceedTheBoundByWhatProtectionAdds(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	fits := p.noteRequest(server.DefaultMaxPDU)
	if len(fits) != server.DefaultMaxPDU {
		t.Fatalf("a request of %d bytes", len(fits))
	}
	for n, want := range map[int]bool{server.DefaultMaxPDU: true, server.DefaultMaxPDU + 16: false} {
		answer := p.send(p.sealDedicated(p.noteRequest(n)))
		if got := answer[0] != byte(apdu.TagExceptionResponse); got != want {
			t.Errorf("%d bytes in clear: taken %t, answer % x", n, got, answer)
		}
	}
}

// noteRequest is a set-request of n bytes in clear, for the note.
func (p *peer) noteRequest(n int) []byte {
	p.t.Helper()
	request := func(size int) []byte {
		return p.must(apdu.SetRequest{
			Kind: apdu.SetRequestNormal, ID: p.id(), Attribute: noteRef(), Value: dlms.OctetString(make([]byte, size)),
		}.AppendBinary(nil))
	}
	return request(n - (len(request(n)) - n))
}

func TestTwoClientsReadInBlocksAtTheSameTime(t *testing.T) {
	b := newBench(t)
	rw, is := b.concentrator(), b.is()
	rw.maxPDU, is.maxPDU = 200, 100
	rw.open()
	is.open()
	first := rw.getBlock(rw.exchange(rw.curveRequest()))
	raw, _ := is.long(is.curveRequest())
	rest, _ := rw.continueFrom(first)
	if !bytes.Equal(append(first.Raw, rest...), raw) {
		t.Error("the two clients read different values")
	}
}

func (p *peer) getBlock(plain []byte) apdu.Block {
	p.t.Helper()
	r, err := apdu.ParseGetResponse(plain)
	if err != nil || r.Kind != apdu.GetResponseBlock {
		p.t.Fatalf("block: %+v, %v", r, err)
	}
	return r.Block
}

func (p *peer) continueFrom(b apdu.Block) (raw []byte, last uint32) {
	p.t.Helper()
	for !b.Last {
		b = p.getBlock(p.exchange(p.nextBlock(b.Number)))
		raw = append(raw, b.Raw...)
	}
	return raw, b.Number
}

func TestAWrongBlockNumberEndsTheTransfer(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.maxPDU = 200
	p.open()
	p.getBlock(p.exchange(p.curveRequest()))
	for _, c := range []struct {
		number uint32
		want   dlms.DataAccessResult
	}{{2, dlms.DataAccessBlockNumberInvalid}, {1, dlms.DataAccessNoLongGet}} {
		if got := p.getBlock(p.exchange(p.nextBlock(c.number))); got.Result != c.want || !got.Last {
			t.Errorf("block %d: want %s, got %+v", c.number, c.want, got)
		}
	}
	p.works()
}

func TestALongValueIsRefusedWithoutBlockTransfer(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.maxPDU, p.conformance = 200, apdu.ConformanceGet|apdu.ConformanceMultipleReferences
	p.open()
	if r := p.getResult(p.exchange(p.curveRequest())); r.Result != dlms.DataAccessOtherReason {
		t.Errorf("got %s", r.Result)
	}
	wantAnswer(t, tooLong, p.send(p.sealDedicated(p.listRequest(60))))
}

func TestAValueLongerThanTheBoundIsRefused(t *testing.T) {
	b := newBench(t, func(o *server.Options) { o.MaxResponse = 500 })
	p := b.concentrator().open()
	if r := p.getResult(p.exchange(p.curveRequest())); r.Result != dlms.DataAccessOtherReason {
		t.Errorf("got %s", r.Result)
	}
	p.works()
}

func (p *peer) listRequest(n int) []byte {
	p.t.Helper()
	q := apdu.GetRequest{Kind: apdu.GetRequestWithList, ID: p.id()}
	for i := range n {
		ref := dlms.AttributeRef{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: int8(1 + i%4)}
		q.List = append(q.List, apdu.Attribute{Ref: ref})
	}
	return p.must(q.AppendBinary(nil))
}

func TestAListIsAnsweredOneForOne(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.maxPDU = 100
	p.open()
	r, err := apdu.ParseGetResponse(p.exchange(p.listRequest(4)))
	if err != nil || len(r.List) != 4 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if v, _ := r.List[1].Data.Uint(); v != 123456 || r.List[3].Result != dlms.DataAccessReadWriteDenied {
		t.Errorf("got %+v", r.List)
	}
	raw, _ := p.long(p.listRequest(40))
	list, err := apdu.ParseGetResults(raw)
	if err != nil || len(list) != 40 || list[39].Result != dlms.DataAccessReadWriteDenied {
		t.Errorf("got %d results, %v", len(list), err)
	}
}

func TestAListStopsReadingAtTheBound(t *testing.T) {
	b := newBench(t, func(o *server.Options) { o.MaxResponse = 100 })
	p := b.concentrator().open()
	r, err := apdu.ParseGetResponse(p.exchange(p.listRequest(80)))
	if err != nil || len(r.List) != 80 {
		t.Fatalf("got %d results, %v", len(r.List), err)
	}
	if r.List[0].Result != dlms.DataAccessSuccess || r.List[77].Result != dlms.DataAccessOtherReason {
		t.Errorf("got %s first and %s later", r.List[0].Result, r.List[77].Result)
	}
}

func noteRef() apdu.Attribute {
	return apdu.Attribute{Ref: dlms.AttributeRef{Class: dlms.ClassData, Instance: obisNote, Attribute: 2}}
}

// upload sets the note in blocks of n bytes and returns the last answer.
func (p *peer) upload(value dlms.Data, n int, change func(i int, b *apdu.Block)) apdu.SetResponse {
	p.t.Helper()
	raw := p.must(value.AppendBinary(nil))
	kind := apdu.SetRequestFirstBlock
	for i := 1; ; i++ {
		size := min(n, len(raw))
		block := apdu.Block{Last: size == len(raw), Number: uint32(i), Raw: raw[:size]}
		raw = raw[size:]
		if change != nil {
			change(i, &block)
		}
		q := apdu.SetRequest{Kind: kind, ID: p.id(), Attribute: noteRef(), Block: block}
		r, err := apdu.ParseSetResponse(p.exchange(p.must(q.AppendBinary(nil))))
		if err != nil {
			p.t.Fatal(err)
		}
		if block.Last || r.Kind != apdu.SetResponseBlock {
			return r
		}
		kind = apdu.SetRequestBlock
	}
}

func TestALongValueIsSetInBlocks(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	want := bytes.Repeat([]byte("0123456789"), 300)
	r := p.upload(dlms.OctetString(want), 500, nil)
	if r.Kind != apdu.SetResponseLastBlock || r.Result != dlms.DataAccessSuccess || r.Block != 7 {
		t.Errorf("got %+v", r)
	}
	if !bytes.Equal(b.dev.note, want) {
		t.Errorf("note: %d bytes", len(b.dev.note))
	}
}

func TestAnUploadIsRefused(t *testing.T) {
	value := dlms.OctetString(make([]byte, 3000))
	for name, c := range map[string]struct {
		change func(i int, b *apdu.Block)
		want   dlms.DataAccessResult
	}{
		"a block is missing": {func(i int, b *apdu.Block) {
			if i == 3 {
				b.Number = 4
			}
		}, dlms.DataAccessBlockNumberInvalid},
		"it ends too early": {func(i int, b *apdu.Block) { b.Last = i == 2 }, dlms.DataAccessTypeUnmatched},
		"something follows": {func(_ int, b *apdu.Block) {
			if b.Last {
				b.Raw = append(b.Raw[:len(b.Raw):len(b.Raw)], 0)
			}
		}, dlms.DataAccessTypeUnmatched},
		"it never ends": {func(_ int, b *apdu.Block) { b.Last, b.Raw = false, make([]byte, 500) }, dlms.DataAccessLongSetAborted},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *server.Options) { o.MaxResponse = 8000 })
			p := b.concentrator().open()
			if r := p.upload(value, 500, c.change); r.Kind != apdu.SetResponseLastBlock || r.Result != c.want {
				t.Errorf("want %s, got %+v", c.want, r)
			}
			q := apdu.SetRequest{Kind: apdu.SetRequestBlock, ID: p.id(), Block: apdu.Block{Last: true, Number: 9}}
			r, err := apdu.ParseSetResponse(p.exchange(p.must(q.AppendBinary(nil))))
			if err != nil || r.Result != dlms.DataAccessNoLongSet {
				t.Errorf("after the end: %+v, %v", r, err)
			}
			if b.dev.note != nil {
				t.Error("something was set")
			}
		})
	}
}

func TestAListIsSetOneForOne(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	denied := apdu.Attribute{Ref: dlms.AttributeRef{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: 2}}
	q := apdu.SetRequest{
		Kind: apdu.SetRequestWithList, ID: p.id(), List: []apdu.Attribute{denied, noteRef()},
		Values: []dlms.Data{dlms.Uint32(1), dlms.OctetString([]byte("x"))},
	}
	r, err := apdu.ParseSetResponse(p.exchange(p.must(q.AppendBinary(nil))))
	if err != nil || len(r.List) != 2 || r.List[0] != dlms.DataAccessReadWriteDenied || r.List[1] != dlms.DataAccessSuccess {
		t.Errorf("got %+v, %v", r, err)
	}
	q.Values = q.Values[:1]
	wantAnswer(t, otherReason, p.send(p.sealDedicated(p.must(q.AppendBinary(nil)))))
}

func TestMethodsAreCalledFromAListAndInBlocks(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	shift := dlms.MethodRef{Class: dlms.ClassClock, Instance: obisClock, Method: 6}
	q := apdu.ActionRequest{
		Kind: apdu.ActionRequestWithList, ID: p.id(),
		Methods: []dlms.MethodRef{shift, {Class: dlms.ClassDisconnectControl, Instance: obisBreaker, Method: 1}},
		Values:  []dlms.Data{dlms.Int16(1), dlms.Int8(0)},
	}
	r := p.actionResponse(p.exchange(p.must(q.AppendBinary(nil))))
	if len(r.List) != 2 || r.List[0].Result != dlms.ActionSuccess || r.List[1].Result != dlms.ActionObjectUndefined {
		t.Errorf("list: got %+v", r)
	}
	raw := p.must(dlms.Int16(2).AppendBinary(nil))
	q = apdu.ActionRequest{
		Kind: apdu.ActionRequestFirstBlock, ID: p.id(), Method: shift, Block: apdu.Block{Number: 1, Raw: raw[:1]},
	}
	if r = p.actionResponse(p.exchange(p.must(q.AppendBinary(nil)))); r.Kind != apdu.ActionResponseNext || r.Number != 1 {
		t.Errorf("first block: got %+v", r)
	}
	q.Kind, q.Block = apdu.ActionRequestBlock, apdu.Block{Last: true, Number: 2, Raw: raw[1:]}
	if r = p.actionResponse(p.exchange(p.must(q.AppendBinary(nil)))); r.Outcome.Result != dlms.ActionSuccess {
		t.Errorf("last block: got %+v", r)
	}
	if r = p.actionResponse(p.exchange(p.must(q.AppendBinary(nil)))); r.Outcome.Result != dlms.ActionNoLong {
		t.Errorf("after the end: got %+v", r)
	}
	if len(b.dev.shifts) != 2 || b.dev.shifts[1] != 2 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
}

func TestAnUnconfirmedServiceIsDoneAndNotAnswered(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	if got := p.send(p.broadcastShift(4)); got != nil {
		t.Errorf("answered: % x", got)
	}
	if len(b.dev.shifts) != 1 {
		t.Error("not done")
	}
	p.works()
}

func TestADayOfTheCurveIsSelectedByRange(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	from, to := curve{}.at(10), curve{}.at(19)
	sel := apdu.RangeDescriptor{
		Column: curveColumns()[0],
		From:   dlms.DateTimeOf(from, 0).Octets(), To: dlms.DateTimeOf(to, 0).Octets(),
		Columns: []apdu.Column{curveColumns()[2]},
	}.Selection()
	q := apdu.GetRequest{Kind: apdu.GetRequestNormal, ID: p.id(), Attribute: apdu.Attribute{
		Ref: dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: obisCurve, Attribute: 2}, Selection: sel,
	}}
	r := p.getResult(p.exchange(p.must(q.AppendBinary(nil))))
	if r.Data.Len() != 10 || r.Data.At(0).Len() != 1 {
		t.Fatalf("got %s, %s", r.Result, r.Data)
	}
	if v, _ := r.Data.At(9).At(0).Uint(); v != 1019 {
		t.Errorf("last row: %s", r.Data.At(9))
	}
	q.Attribute.Ref = noteRef().Ref
	if r := p.getResult(p.exchange(p.must(q.AppendBinary(nil)))); r.Result != dlms.DataAccessScopeViolated {
		t.Errorf("selection on an attribute without: %s", r.Result)
	}
}
