package client

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// lister serves requests with list, in blocks when they come so, and answers in blocks of size bytes if that is set.
type lister struct {
	size   int
	raw    []byte // of the blocks that have come
	values []dlms.Data
	answer []byte // what is left of an answer in blocks
	n      uint32
	bend   func(*apdu.SetResponse)
	bendA  func(*apdu.ActionResponse)
}

func (l *lister) serve(plain []byte) []byte {
	if apdu.Tag(plain[0]) == apdu.TagSetRequest {
		p := l.set(must(apdu.ParseSetRequest(plain)))
		if l.bend != nil {
			l.bend(&p)
		}
		return must(p.AppendBinary(nil))
	}
	p := l.action(must(apdu.ParseActionRequest(plain)))
	if l.bendA != nil {
		l.bendA(&p)
	}
	return must(p.AppendBinary(nil))
}

// parse takes the values out of the blocks: their number and then one after the other.
func (l *lister) parse() {
	n, rest := int(l.raw[0]), l.raw[1:]
	l.values = nil
	for range n {
		var d dlms.Data
		var err error
		if d, rest, err = dlms.ParseData(rest); err != nil {
			panic(err)
		}
		l.values = append(l.values, d)
	}
	if len(rest) > 0 {
		panic("bytes after the values")
	}
}

func (l *lister) results() []dlms.DataAccessResult {
	list := make([]dlms.DataAccessResult, len(l.values))
	for i, v := range l.values {
		if v.IsNull() {
			list[i] = dlms.DataAccessTypeUnmatched
		}
	}
	return list
}

func (l *lister) set(q apdu.SetRequest) apdu.SetResponse {
	if q.Kind == apdu.SetRequestWithList {
		l.values = q.Values
		return apdu.SetResponse{Kind: apdu.SetResponseWithList, ID: q.ID, List: l.results()}
	}
	if q.Kind == apdu.SetRequestListWithFirstBlock {
		l.raw = nil
	}
	l.raw = append(l.raw, q.Block.Raw...)
	if !q.Block.Last {
		return apdu.SetResponse{Kind: apdu.SetResponseBlock, ID: q.ID, Block: q.Block.Number}
	}
	l.parse()
	return apdu.SetResponse{Kind: apdu.SetResponseLastBlockWithList, ID: q.ID, Block: q.Block.Number, List: l.results()}
}

func (l *lister) action(q apdu.ActionRequest) apdu.ActionResponse {
	switch q.Kind {
	case apdu.ActionRequestNext:
		return l.block(q.ID)
	case apdu.ActionRequestWithList:
		l.values = q.Values
	case apdu.ActionRequestListWithFirstBlock:
		l.raw = nil
		fallthrough
	default:
		l.raw = append(l.raw, q.Block.Raw...)
		if !q.Block.Last {
			return apdu.ActionResponse{Kind: apdu.ActionResponseNext, ID: q.ID, Number: q.Block.Number}
		}
		l.parse()
	}
	p := apdu.ActionResponse{Kind: apdu.ActionResponseWithList, ID: q.ID}
	for _, v := range l.values {
		o := apdu.ActionOutcome{Result: dlms.ActionTypeUnmatched}
		if !v.IsNull() {
			o = apdu.ActionOutcome{HasReturn: true, Return: apdu.GetResult{Data: v}}
		}
		p.List = append(p.List, o)
	}
	if l.size == 0 {
		return p
	}
	l.answer, l.n = must(p.AppendBinary(nil))[3:], 0
	return l.block(q.ID)
}

func (l *lister) block(id apdu.InvokeID) apdu.ActionResponse {
	n := min(l.size, len(l.answer))
	l.n++
	b := apdu.Block{Number: l.n, Raw: l.answer[:n], Last: n == len(l.answer)}
	l.answer = l.answer[n:]
	return apdu.ActionResponse{Kind: apdu.ActionResponseBlock, ID: id, Block: b}
}

func (m *fakeMeter) lister(t *testing.T) (*Association, *lister) {
	t.Helper()
	cfg := m.linky()
	cfg.Conformance = FullConformance &^ apdu.ConformanceGeneralBlockTransfer
	l := &lister{}
	m.serve = l.serve
	a, _ := m.associated(cfg)
	return a, l
}

func TestListsAreWrittenAndInvokedWholeAndInBlocks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMeter(t)
		m.maxPDU = uint16(rapid.IntRange(250, 600).Draw(rt, "max pdu"))
		a, l := m.lister(t)
		l.size = rapid.IntRange(0, 100).Draw(rt, "size of an answer's blocks")
		n := rapid.IntRange(1, 12).Draw(rt, "n")
		values := make([]dlms.Data, n)
		for i := range values {
			if rapid.Bool().Draw(rt, "value") {
				values[i] = dlms.OctetString(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "v"))
			}
		}
		attributes, methods := make([]apdu.Attribute, n), make([]dlms.MethodRef, n)
		for i := range attributes {
			attributes[i].Ref, methods[i] = clockRef, breaker
		}
		results, err := a.SetList(context.Background(), attributes, values)
		if err != nil || len(results) != n || len(l.values) != n {
			rt.Fatalf("set: %v, %v", results, err)
		}
		for i, r := range results {
			if (r == dlms.DataAccessSuccess) == values[i].IsNull() || !l.values[i].Equal(values[i]) {
				rt.Errorf("%d: wrote %s, the meter has %s and says %v", i, values[i], l.values[i], r)
			}
		}
		outcomes, err := a.ActionList(context.Background(), methods, values)
		if err != nil || len(outcomes) != n {
			rt.Fatalf("action: %v, %v", outcomes, err)
		}
		for i, o := range outcomes {
			if o.HasReturn == values[i].IsNull() || !o.Return.Data.Equal(values[i]) {
				rt.Errorf("%d: sent %s, got %+v", i, values[i], o)
			}
		}
	})
}

func TestAListThatDoesNotFitItsAnswerIsRefused(t *testing.T) {
	two := []apdu.Attribute{{Ref: clockRef}, {Ref: clockRef}}
	values := []dlms.Data{dlms.Uint8(1), dlms.Uint8(2)}
	for name, bend := range map[string]func(*apdu.SetResponse){
		"one result too few": func(p *apdu.SetResponse) { p.List = p.List[1:] },
		"one for all":        func(p *apdu.SetResponse) { *p = apdu.SetResponse{Kind: apdu.SetResponseNormal, ID: p.ID} },
		"the end of blocks that were not sent": func(p *apdu.SetResponse) {
			p.Kind, p.Block = apdu.SetResponseLastBlockWithList, 1
		},
		"a block that was not sent is confirmed": func(p *apdu.SetResponse) { *p = apdu.SetResponse{Kind: apdu.SetResponseBlock, ID: p.ID, Block: 1} },
	} {
		m := newMeter(t)
		a, l := m.lister(t)
		l.bend = bend
		if _, err := a.SetList(context.Background(), two, values); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := newMeter(t)
	a, l := m.lister(t)
	l.bend = func(p *apdu.SetResponse) {
		*p = apdu.SetResponse{Kind: apdu.SetResponseNormal, ID: p.ID, Result: dlms.DataAccessReadWriteDenied}
	}
	if _, err := a.SetList(context.Background(), two, values); !errors.Is(err, dlms.DataAccessReadWriteDenied) {
		t.Errorf("a refusal of the whole list: %v", err)
	}
	l.bendA = func(p *apdu.ActionResponse) { p.List = p.List[1:] }
	if _, err := a.ActionList(context.Background(), []dlms.MethodRef{breaker, breaker}, values); !errors.Is(err, ErrAnswer) {
		t.Errorf("one outcome too few: %v", err)
	}
	l.bendA = func(p *apdu.ActionResponse) {
		*p = apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: p.ID}
	}
	if _, err := a.ActionList(context.Background(), []dlms.MethodRef{breaker, breaker}, values); !errors.Is(err, ErrAnswer) {
		t.Errorf("one outcome for all: %v", err)
	}
}

func TestAListNeedsAsManyValuesAsNames(t *testing.T) {
	m := newMeter(t)
	a, w := m.associated(m.linky())
	n := len(w.sent)
	if _, err := a.SetList(context.Background(), nil, nil); !errors.Is(err, ErrState) {
		t.Errorf("no attributes: %v", err)
	}
	if _, err := a.ActionList(context.Background(), []dlms.MethodRef{breaker}, nil); !errors.Is(err, ErrState) {
		t.Errorf("no values: %v", err)
	}
	if len(w.sent) != n {
		t.Error("something was sent")
	}
}
