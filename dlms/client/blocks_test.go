package client

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// long serves one value in blocks, and collects what is written in blocks.
type long struct {
	value []byte // encoded
	size  int
	at    int
	n     uint32
	bend  func(*apdu.Block)

	written []byte
	blocks  uint32
}

func (l *long) next() apdu.Block {
	n := min(l.size, len(l.value)-l.at)
	l.n++
	b := apdu.Block{Number: l.n, Raw: l.value[l.at : l.at+n], Last: l.at+n == len(l.value)}
	l.at += n
	if l.bend != nil {
		l.bend(&b)
	}
	return b
}

func (l *long) take(b apdu.Block) {
	l.written = append(l.written, b.Raw...)
	l.blocks++
}

func (l *long) serve(plain []byte) []byte {
	id := apdu.InvokeID(plain[2])
	switch apdu.Tag(plain[0]) {
	case apdu.TagGetRequest:
		return must(apdu.GetResponse{Kind: apdu.GetResponseBlock, ID: id, Block: l.next()}.AppendBinary(nil))
	case apdu.TagSetRequest:
		q := must(apdu.ParseSetRequest(plain))
		l.take(q.Block)
		kind := apdu.SetResponseBlock
		if q.Block.Last {
			kind = apdu.SetResponseLastBlock
		}
		return must(apdu.SetResponse{Kind: kind, ID: id, Block: q.Block.Number}.AppendBinary(nil))
	}
	q := must(apdu.ParseActionRequest(plain))
	switch {
	case q.Kind == apdu.ActionRequestNext:
	case q.Kind != apdu.ActionRequestNormal:
		l.take(q.Block)
		if !q.Block.Last {
			return must(apdu.ActionResponse{Kind: apdu.ActionResponseNext, ID: id, Number: q.Block.Number}.AppendBinary(nil))
		}
	}
	if l.value == nil {
		return must(apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: id}.AppendBinary(nil))
	}
	return must(apdu.ActionResponse{Kind: apdu.ActionResponseBlock, ID: id, Block: l.next()}.AppendBinary(nil))
}

func encoded(d dlms.Data) []byte { return must(d.AppendBinary(nil)) }

func TestALongGetIsPutTogether(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := dlms.OctetString(rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(rt, "value"))
		m := newMeter(t)
		l := &long{value: encoded(want), size: rapid.IntRange(1, 500).Draw(rt, "size")}
		m.serve = l.serve
		a, _ := m.associated(m.linky())
		got, err := a.Get(context.Background(), clockRef)
		if err != nil || !got.Equal(want) {
			rt.Fatalf("got %d bytes, %v", got.Len(), err)
		}
	})
}

func TestALongGetWithListIsPutTogether(t *testing.T) {
	m := newMeter(t)
	want := []apdu.GetResult{{Data: dlms.Uint32(7)}, {Result: dlms.DataAccessReadWriteDenied}, {Data: dlms.VisibleString("three")}}
	m.serve = (&long{value: must(apdu.AppendGetResults(nil, want)), size: 4}).serve
	a, _ := m.associated(m.linky())
	got, err := a.GetList(context.Background(), make([]apdu.Attribute, 3))
	if err != nil || len(got) != 3 || !got[0].Data.Equal(want[0].Data) || got[1].Result != want[1].Result || got[2].Data.Text() != "three" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestALongGetIsGivenUpWhen(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(*apdu.Block)
		want error
	}{
		"a block is missing":          {func(b *apdu.Block) { b.Number += b.Number / 3 }, ErrAnswer},
		"a block comes again":         {func(b *apdu.Block) { b.Number -= b.Number / 3 }, ErrAnswer},
		"it starts at 0":              {func(b *apdu.Block) { b.Number-- }, ErrAnswer},
		"a block is empty":            {func(b *apdu.Block) { b.Raw = nil }, ErrAnswer},
		"it goes on with nothing":     {func(b *apdu.Block) { b.Last, b.Raw = false, nil }, ErrAnswer},
		"it never ends":               {func(b *apdu.Block) { b.Last, b.Raw = false, make([]byte, 50) }, ErrTooMuch},
		"it ends too early":           {func(b *apdu.Block) { b.Last = b.Number == 2 }, ErrAnswer},
		"it has trailing bytes":       {func(b *apdu.Block) { b.Raw = append(bytes.Clone(b.Raw), make([]byte, int(b.Number)/4)...) }, ErrAnswer},
		"the meter ends it":           {func(b *apdu.Block) { b.Result = dlms.DataAccessLongGetAborted }, dlms.DataAccessLongGetAborted},
		"the last has no more to say": {func(b *apdu.Block) { b.Last = b.Last || b.Number == 1 }, ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			l := &long{value: encoded(dlms.OctetString(make([]byte, 390))), size: 100, bend: c.bend}
			m.serve = func(plain []byte) []byte {
				if l.n > 50 {
					t.Fatal("the client asks for ever")
				}
				return l.serve(plain)
			}
			cfg := m.linky()
			cfg.MaxData = 1000
			a, w := m.associated(cfg)
			if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
			if n := len(w.sent); n > 40 {
				t.Errorf("%d requests", n)
			}
			m.serve = m.echo
			if _, err := a.Get(context.Background(), clockRef); err != nil {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

func TestALongSetAndALongActionAreCutIntoBlocksThatFit(t *testing.T) {
	for _, size := range []int{239, 512, 1024} {
		m := newMeter(t)
		m.maxPDU = uint16(size)
		value := dlms.OctetString(bytes.Repeat([]byte("load profile "), 200))
		cfg := m.linky()
		cfg.Conformance = DefaultConformance | apdu.ConformanceBlockTransferAction
		a, w := m.associated(cfg)
		for name, write := range map[string]func() error{
			"set": func() error { return a.Set(context.Background(), clockRef, value) },
			"action": func() error {
				_, err := a.Action(context.Background(), breaker, value)
				return err
			},
		} {
			l := &long{}
			m.serve = l.serve
			if err := write(); err != nil {
				t.Fatalf("%s in %d bytes: %v", name, size, err)
			}
			if !bytes.Equal(l.written, encoded(value)) {
				t.Errorf("%s in %d bytes: another value arrived", name, size)
			}
			if least := uint32(value.Len()/size) + 1; l.blocks > least+5 {
				t.Errorf("%s in %d bytes: %d blocks, want about %d", name, size, l.blocks, least)
			}
		}
		for i, b := range w.sent {
			if len(b) > size {
				t.Errorf("apdu %d has %d bytes of %d", i, len(b), size)
			}
		}
	}
}

func TestALongActionResponseIsPutTogether(t *testing.T) {
	m := newMeter(t)
	want := dlms.OctetString(bytes.Repeat([]byte{7}, 700))
	m.serve = (&long{value: append([]byte{0, 1, 0}, encoded(want)...), size: 100}).serve
	a, _ := m.associated(m.linky())
	if got, err := a.Action(context.Background(), breaker, dlms.Int8(0)); err != nil || !got.Equal(want) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestARequestThatFitsNowhereIsNotSent(t *testing.T) {
	m := newMeter(t)
	m.maxPDU = 100
	cfg := m.linky()
	cfg.Conformance = apdu.ConformanceGet | apdu.ConformanceSet
	a, w := m.associated(cfg)
	n := len(w.sent)
	if err := a.Set(context.Background(), clockRef, dlms.OctetString(make([]byte, 200))); !errors.Is(err, ErrTooLong) {
		t.Errorf("want %v, got %v", ErrTooLong, err)
	}
	if len(w.sent) != n {
		t.Error("it was sent")
	}
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Errorf("the next request: %v", err)
	}
	if got := m.counters["ded-get-request"]; len(got) != 1 || got[0] != 1 {
		t.Errorf("a counter was spent: %v", got)
	}
}

func TestASetThatSucceedsInTheMiddleIsNotBelieved(t *testing.T) {
	m := newMeter(t)
	m.maxPDU = 200
	a, _ := m.associated(m.linky())
	for name, p := range map[string]apdu.SetResponse{
		"normal":            {Kind: apdu.SetResponseNormal},
		"last block":        {Kind: apdu.SetResponseLastBlock, Block: 1},
		"a block to come":   {Kind: apdu.SetResponseBlock, Block: 2},
		"a list was no ask": {Kind: apdu.SetResponseWithList},
	} {
		m.serve = func(plain []byte) []byte {
			p.ID = apdu.InvokeID(plain[2])
			return must(p.AppendBinary(nil))
		}
		if err := a.Set(context.Background(), clockRef, dlms.OctetString(make([]byte, 500))); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: want %v, got %v", name, ErrAnswer, err)
		}
	}
}
