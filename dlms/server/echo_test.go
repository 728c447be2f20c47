package server_test

import (
	"bytes"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/server"
)

var obisEcho = dlms.OBIS{0, 0, 96, 1, 9, 255}

// echo is an object whose method 1 returns its parameters, and whose method 2 returns nothing.
type echo struct{}

func (echo) ID() cosem.ID { return cosem.ID{Class: dlms.ClassData, Instance: obisEcho} }

func (echo) Get(*cosem.Env, int8, apdu.Selection) (dlms.Data, error) {
	return dlms.Null(), dlms.DataAccessObjectUndefined
}

func (echo) Set(*cosem.Env, int8, dlms.Data) error { return dlms.DataAccessReadWriteDenied }

func (echo) Invoke(_ *cosem.Env, method int8, parameters dlms.Data) (dlms.Data, error) {
	if method == 1 {
		return parameters, nil
	}
	return dlms.Null(), nil
}

func echoMethod(n int8) dlms.MethodRef {
	return dlms.MethodRef{Class: dlms.ClassData, Instance: obisEcho, Method: n}
}

// changedModel is the model of these tests with one more object, and with its clients changed.
func changedModel(t testing.TB, change func(c *server.Client)) *server.Model {
	t.Helper()
	list := clients()
	for i := range list {
		list[i].Rights = append(list[i].Rights, server.Right{Class: dlms.ClassData, Instance: obisEcho, Invoke: []int8{1, 2}})
		if change != nil {
			change(&list[i])
		}
	}
	m, err := server.NewModel(server.ModelConfig{Objects: append(objects(), echo{}), Clients: list})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newEchoBench(t testing.TB, change ...func(*server.Options)) *bench {
	t.Helper()
	return newBenchOf(t, changedModel(t, nil), change...)
}

// invoke sends an ACTION and returns the content of the answer without blocks, and in how many it came.
func (p *peer) invokeLong(q apdu.ActionRequest) (content []byte, blocks uint32) {
	p.t.Helper()
	q.ID = p.id()
	plain := p.exchange(p.must(q.AppendBinary(nil)))
	for {
		r := p.actionResponse(plain)
		if r.Kind != apdu.ActionResponseBlock {
			return plain[3:], blocks
		}
		if blocks++; r.Block.Number != blocks {
			p.t.Fatalf("block: want number %d, got %d", blocks, r.Block.Number)
		}
		content = append(content, r.Block.Raw...)
		if r.Block.Last {
			return content, blocks
		}
		next := apdu.ActionRequest{Kind: apdu.ActionRequestNext, ID: p.id(), Number: r.Block.Number}
		plain = p.exchange(p.must(next.AppendBinary(nil)))
		if len(plain) > int(p.maxPDU) {
			p.t.Fatalf("an answer of %d bytes, and the client takes %d", len(plain), p.maxPDU)
		}
	}
}

// outcomes reads the content of an answer without blocks.
func (p *peer) outcomes(kind apdu.ActionResponseKind, content []byte) apdu.ActionResponse {
	p.t.Helper()
	return p.actionResponse(append([]byte{byte(apdu.TagActionResponse), byte(kind), 0}, content...))
}

func TestALongReturnOfAMethodComesInBlocks(t *testing.T) {
	for _, n := range []int{10, 100, 700} {
		b := newEchoBench(t)
		p := b.is()
		p.maxPDU = 100
		p.open()
		want := bytes.Repeat([]byte{7}, n)
		content, blocks := p.invokeLong(apdu.ActionRequest{
			Kind: apdu.ActionRequestNormal, Method: echoMethod(1), HasParameters: true, Parameters: dlms.OctetString(want),
		})
		r := p.outcomes(apdu.ActionResponseNormal, content)
		if got, _ := r.Outcome.Return.Data.OctetString(); !bytes.Equal(got, want) || r.Outcome.Result != dlms.ActionSuccess {
			t.Errorf("%d bytes: got %+v", n, r.Outcome)
		}
		if (blocks > 0) != (n > 60) {
			t.Errorf("%d bytes: %d blocks", n, blocks)
		}
		p.works()
	}
}

func TestAListOfMethodsComesAndGoesInBlocks(t *testing.T) {
	b := newEchoBench(t)
	p := b.is()
	p.maxPDU = 120
	p.open()
	values := []dlms.Data{dlms.OctetString(bytes.Repeat([]byte{1}, 150)), dlms.Null(), dlms.OctetString(bytes.Repeat([]byte{3}, 150))}
	methods := []dlms.MethodRef{echoMethod(1), echoMethod(2), echoMethod(1)}
	raw := []byte{byte(len(values))}
	for _, v := range values {
		raw = p.must(v.AppendBinary(raw))
	}
	q := apdu.ActionRequest{
		Kind: apdu.ActionRequestListWithFirstBlock, ID: p.id(), Methods: methods,
		Block: apdu.Block{Number: 1, Raw: raw[:100]},
	}
	if r := p.actionResponse(p.exchange(p.must(q.AppendBinary(nil)))); r.Kind != apdu.ActionResponseNext || r.Number != 1 {
		t.Fatalf("first block: %+v", r)
	}
	content, blocks := p.invokeLong(apdu.ActionRequest{
		Kind: apdu.ActionRequestBlock, Block: apdu.Block{Last: true, Number: 2, Raw: raw[100:]},
	})
	r := p.outcomes(apdu.ActionResponseWithList, content)
	if blocks < 2 || len(r.List) != 3 || r.List[1].HasReturn || r.List[1].Result != dlms.ActionSuccess {
		t.Fatalf("%d blocks: %+v", blocks, r)
	}
	for _, i := range []int{0, 2} {
		if !r.List[i].Return.Data.Equal(values[i]) {
			t.Errorf("method %d: %s", i+1, r.List[i].Return.Data)
		}
	}
}

func TestALongReturnEndsAtAWrongNumberAndAtTheNextRequest(t *testing.T) {
	b := newEchoBench(t)
	p := b.is()
	p.maxPDU = 100
	p.open()
	start := func() {
		q := apdu.ActionRequest{
			Kind: apdu.ActionRequestNormal, ID: p.id(), Method: echoMethod(1), HasParameters: true,
			Parameters: dlms.OctetString(make([]byte, 300)),
		}
		if r := p.actionResponse(p.exchange(p.must(q.AppendBinary(nil)))); r.Kind != apdu.ActionResponseBlock {
			t.Fatalf("no block: %+v", r)
		}
	}
	next := func(n uint32) dlms.ActionResult {
		q := apdu.ActionRequest{Kind: apdu.ActionRequestNext, ID: p.id(), Number: n}
		return p.actionResponse(p.exchange(p.must(q.AppendBinary(nil)))).Outcome.Result
	}
	start()
	if got := next(7); got != dlms.ActionLongAborted {
		t.Errorf("wrong number: %s", got)
	}
	if got := next(1); got != dlms.ActionNoLong {
		t.Errorf("after the end: %s", got)
	}
	start()
	if got := p.getBlock(p.exchange(p.nextBlock(1))); got.Result != dlms.DataAccessNoLongGet {
		t.Errorf("a GET went on with what an ACTION began: %+v", got)
	}
	p.works()
	if got := next(1); got != dlms.ActionNoLong {
		t.Errorf("after another request: %s", got)
	}
}

func TestALongReturnWithoutBlocksOrBeyondTheBoundIsReplacedByAReason(t *testing.T) {
	for name, change := range map[string]func(p *peer){
		"no block transfer": func(p *peer) { p.maxPDU = 100; p.conformance &^= apdu.ConformanceBlockTransferAction },
		"beyond the bound":  func(p *peer) { p.maxPDU = 100 },
	} {
		b := newEchoBench(t, func(o *server.Options) { o.MaxResponse = 400 })
		p := b.is()
		change(p)
		p.open()
		n := 300
		if p.conformance.Has(apdu.ConformanceBlockTransferAction) {
			n = 500
		}
		content, blocks := p.invokeLong(apdu.ActionRequest{
			Kind: apdu.ActionRequestNormal, Method: echoMethod(1), HasParameters: true,
			Parameters: dlms.OctetString(make([]byte, n)),
		})
		r := p.outcomes(apdu.ActionResponseNormal, content)
		if blocks != 0 || r.Outcome.Result != dlms.ActionSuccess || r.Outcome.Return.Result != dlms.DataAccessOtherReason {
			t.Errorf("%s: %d blocks, %+v", name, blocks, r.Outcome)
		}
	}
}

// setListInBlocks sends a list of values in blocks of n bytes.
func (p *peer) setListInBlocks(list []apdu.Attribute, raw []byte, n int) apdu.SetResponse {
	p.t.Helper()
	q := apdu.SetRequest{Kind: apdu.SetRequestListWithFirstBlock, List: list}
	for number := uint32(1); ; number++ {
		size := min(n, len(raw))
		q.ID, q.Block = p.id(), apdu.Block{Last: size == len(raw), Number: number, Raw: raw[:size]}
		raw = raw[size:]
		r, err := apdu.ParseSetResponse(p.exchange(p.must(q.AppendBinary(nil))))
		if err != nil {
			p.t.Fatal(err)
		}
		if q.Block.Last || r.Kind != apdu.SetResponseBlock {
			return r
		}
		q.Kind, q.List = apdu.SetRequestBlock, nil
	}
}

func TestAListIsSetInBlocks(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	denied := apdu.Attribute{Ref: dlms.AttributeRef{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: 2}}
	note := bytes.Repeat([]byte("note"), 400)
	raw := p.must(dlms.OctetString(note).AppendBinary(p.must(dlms.Uint32(1).AppendBinary([]byte{2}))))
	r := p.setListInBlocks([]apdu.Attribute{denied, noteRef()}, raw, 300)
	if r.Kind != apdu.SetResponseLastBlockWithList || r.Block != 6 || len(r.List) != 2 ||
		r.List[0] != dlms.DataAccessReadWriteDenied || r.List[1] != dlms.DataAccessSuccess {
		t.Fatalf("got %+v", r)
	}
	if !bytes.Equal(b.dev.note, note) {
		t.Errorf("note: %d bytes", len(b.dev.note))
	}
	if r = p.setListInBlocks([]apdu.Attribute{denied, noteRef()}, raw[:20], 300); r.Kind != apdu.SetResponseLastBlockWithList ||
		r.List[0] != dlms.DataAccessTypeUnmatched || r.List[1] != dlms.DataAccessTypeUnmatched {
		t.Errorf("cut short: %+v", r)
	}
}

func TestAListInBlocksWithFewerValuesThanAttributesIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	raw := p.must(dlms.OctetString([]byte("x")).AppendBinary([]byte{1}))
	q := apdu.SetRequest{
		Kind: apdu.SetRequestListWithFirstBlock, ID: p.id(), List: []apdu.Attribute{noteRef(), noteRef()},
		Block: apdu.Block{Last: true, Number: 1, Raw: raw},
	}
	wantAnswer(t, otherReason, p.send(p.sealDedicated(p.must(q.AppendBinary(nil)))))
	if b.dev.note != nil {
		t.Error("something was set")
	}
}

func TestTheFormsThatWereNotNegotiatedAreNotSupported(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.conformance = apdu.ConformanceGet | apdu.ConformanceSet | apdu.ConformanceAction
	p.open()
	block := apdu.Block{Last: true, Number: 1, Raw: []byte{0}}
	shift := dlms.MethodRef{Class: dlms.ClassClock, Instance: obisClock, Method: 6}
	for _, plain := range [][]byte{
		p.listRequest(2),
		p.must(apdu.SetRequest{Kind: apdu.SetRequestFirstBlock, ID: p.id(), Attribute: noteRef(), Block: block}.AppendBinary(nil)),
		p.must(apdu.SetRequest{Kind: apdu.SetRequestWithList, ID: p.id()}.AppendBinary(nil)),
		p.must(apdu.SetRequest{Kind: apdu.SetRequestListWithFirstBlock, ID: p.id(), Block: block}.AppendBinary(nil)),
		p.must(apdu.ActionRequest{Kind: apdu.ActionRequestFirstBlock, ID: p.id(), Method: shift, Block: block}.AppendBinary(nil)),
		p.must(apdu.ActionRequest{Kind: apdu.ActionRequestListWithFirstBlock, ID: p.id(), Block: block}.AppendBinary(nil)),
		p.must(apdu.ActionRequest{Kind: apdu.ActionRequestNext, ID: p.id(), Number: 1}.AppendBinary(nil)),
		p.must(apdu.ActionRequest{Kind: apdu.ActionRequestWithList, ID: p.id()}.AppendBinary(nil)),
		{byte(apdu.TagEventNotification), 0, 0, 1, 0, 0, 1, 0, 0, 255, 2, 0},
	} {
		wantAnswer(t, unsupported, p.send(p.sealDedicated(plain)))
	}
	p.works()
}
