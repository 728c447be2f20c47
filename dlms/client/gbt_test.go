package client

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// inBlocks is a fake meter behind general block transfer, window 1, and the link to it.
type inBlocks struct {
	meter   *fakeMeter
	size    int  // of the data in its blocks
	restart bool // the blocks of an answer are numbered from 1, whatever was sent before
	whole   uint16
	bend    func(*apdu.BlockTransfer)
	flood   func([]byte) [][]byte

	request, answer []byte
	sent, got       uint16
	parts           int
	queue           [][]byte
}

func (x *inBlocks) Send(_ context.Context, b []byte) error {
	for _, out := range x.take(bytes.Clone(b)) {
		if x.flood != nil {
			x.queue = append(x.queue, x.flood(out)...)
			continue
		}
		x.queue = append(x.queue, out)
	}
	return nil
}

func (x *inBlocks) take(b []byte) [][]byte {
	if apdu.Tag(b[0]) != apdu.TagGeneralBlockTransfer {
		x.sent, x.got, x.request = 0, 0, nil
		return x.reply(x.meter.handle(b)[0], x.whole)
	}
	t := must(apdu.ParseBlockTransfer(b))
	if t.Number == 1 && len(t.Data) > 0 {
		x.request, x.sent = nil, 0
	}
	if len(b) > int(x.meter.maxPDU) || t.Window != 1 || t.Streaming || t.Ack != x.sent {
		x.meter.t.Errorf("got %+v in %d bytes, sent %d", t, len(b), x.sent)
	}
	if len(t.Data) == 0 { // the next block of the answer is asked for
		x.got = t.Number
		return x.next(x.got)
	}
	x.parts++
	x.got = t.Number
	x.request = append(x.request, t.Data...)
	if !t.Last {
		return x.block(apdu.BlockTransfer{Last: true, Ack: x.got})
	}
	if x.restart {
		x.sent = 0
	}
	return x.reply(x.meter.handle(x.request)[0], x.got)
}

func (x *inBlocks) reply(answer []byte, ack uint16) [][]byte {
	if len(answer) <= x.size || apdu.Tag(answer[0]) == apdu.TagAARE || !x.meter.ready {
		return [][]byte{answer}
	}
	x.answer = answer
	return x.next(ack)
}

func (x *inBlocks) next(ack uint16) [][]byte {
	n := min(x.size, len(x.answer))
	t := apdu.BlockTransfer{Last: n == len(x.answer), Ack: ack, Data: x.answer[:n]}
	x.answer = x.answer[n:]
	return x.block(t)
}

func (x *inBlocks) block(t apdu.BlockTransfer) [][]byte {
	x.sent++
	t.Window, t.Number = 1, x.sent
	if x.bend != nil {
		x.bend(&t)
	}
	return [][]byte{must(t.AppendBinary(nil))}
}

func (x *inBlocks) Receive(ctx context.Context) ([]byte, error) {
	if len(x.queue) == 0 {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	b := x.queue[0]
	x.queue = x.queue[1:]
	return b, nil
}

func (x *inBlocks) Close() error { return nil }

// general is a configuration that takes long requests and answers in general blocks alone.
func (m *fakeMeter) general() Config {
	cfg := m.linky()
	cfg.Conformance = FullConformance &^ (apdu.ConformanceBlockTransferSet | apdu.ConformanceBlockTransferAction)
	return cfg
}

func (m *fakeMeter) inBlocks(t *testing.T, cfg Config, size int) (*Association, *inBlocks) {
	t.Helper()
	x := &inBlocks{meter: m, size: size}
	a, err := Open(context.Background(), x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.ready = true
	return a, x
}

func TestAnythingTravelsInGeneralBlocks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMeter(t)
		m.maxPDU = uint16(rapid.IntRange(30, 300).Draw(rt, "max pdu"))
		cfg := m.general()
		a, x := m.inBlocks(t, cfg, rapid.IntRange(1, 300).Draw(rt, "block"))
		x.restart = rapid.Bool().Draw(rt, "restart")
		x.whole = uint16(rapid.IntRange(0, 1).Draw(rt, "whole"))
		for range 3 {
			want := dlms.OctetString(rapid.SliceOfN(rapid.Byte(), 0, 1500).Draw(rt, "value"))
			got, err := a.Action(context.Background(), breaker, want)
			if err != nil || !got.Equal(want) {
				rt.Fatalf("want %s, got %s, %v", want, got, err)
			}
		}
	})
}

func TestARequestThatFitsIsNotCut(t *testing.T) {
	m := newMeter(t)
	a, x := m.inBlocks(t, m.general(), 500)
	if _, err := a.Get(context.Background(), clockRef); err != nil || x.parts != 0 {
		t.Errorf("%v, in %d parts", err, x.parts)
	}
	if err := a.Set(context.Background(), clockRef, dlms.OctetString(make([]byte, 3000))); err != nil || x.parts < 3 {
		t.Errorf("%v, in %d parts", err, x.parts)
	}
}

func TestALongRequestNeedsGeneralBlocksToBeAgreedOn(t *testing.T) {
	m := newMeter(t)
	cfg := m.general()
	cfg.Conformance &^= apdu.ConformanceGeneralBlockTransfer
	a, x := m.inBlocks(t, cfg, 1000)
	if err := a.Set(context.Background(), clockRef, dlms.OctetString(make([]byte, 3000))); !errors.Is(err, ErrTooLong) || x.parts != 0 {
		t.Errorf("got %v, %d parts", err, x.parts)
	}
	x.size = 10
	if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrAnswer) {
		t.Errorf("an answer in blocks that were not agreed on: %v", err)
	}
}

func TestAGeneralBlockIsRefusedThat(t *testing.T) {
	for name, bend := range map[string]func(*apdu.BlockTransfer){
		"leaves one out":    func(t *apdu.BlockTransfer) { t.Number += 2 },
		"has number 0":      func(t *apdu.BlockTransfer) { t.Number = 0 },
		"confirms too much": func(t *apdu.BlockTransfer) { t.Ack += 2 },
		"streams":           func(t *apdu.BlockTransfer) { t.Streaming = true },
		"is empty":          func(t *apdu.BlockTransfer) { t.Data = nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			a, x := m.inBlocks(t, m.general(), 20)
			x.bend = bend
			if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrAnswer) || !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestGeneralBlocksKeepWithinTheBound(t *testing.T) {
	m := newMeter(t)
	cfg := m.general()
	cfg.MaxData = 200
	a, _ := m.inBlocks(t, cfg, 50)
	m.serve = func(plain []byte) []byte { return getResponse(getID(plain), dlms.OctetString(make([]byte, 300))) }
	if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v", err)
	}
}

func TestABlockThatComesTwiceIsPassedOver(t *testing.T) {
	m := newMeter(t)
	a, x := m.inBlocks(t, m.general(), 16)
	x.flood = func(b []byte) [][]byte { return [][]byte{b, b} }
	for range 3 {
		if d, err := a.Get(context.Background(), clockRef); err != nil || d.Text() != clockRef.String() {
			t.Fatalf("%s, %v", d, err)
		}
		x.queue = nil // a copy of the last block is an answer to nothing
	}
}

func TestAnAnswerInBlocksThatDoesNotVerifyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t)
		cfg := m.general()
		cfg.Tolerate, cfg.Timeout = 1, time.Second
		a, x := m.inBlocks(t, cfg, 16)
		x.bend = func(b *apdu.BlockTransfer) {
			if b.Last {
				b.Data = bytes.Clone(b.Data)
				b.Data[0] ^= 1
			}
		}
		if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrBroken) || !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v", err)
		}
	})
}

func TestABlockInABlockIsRefused(t *testing.T) {
	m := newMeter(t)
	mc, _ := m.machineWithRequest(m.general())
	inner := must(apdu.BlockTransfer{Last: true, Window: 1, Number: 1, Data: []byte{1}}.AppendBinary(nil))
	for range 3 {
		b := must(apdu.BlockTransfer{Last: true, Window: 1, Number: 1, Data: inner}.AppendBinary(nil))
		if next, done, err := mc.Receive(b); next != nil || done || !errors.Is(err, ErrAnswer) {
			t.Fatalf("got %x, %t, %v", next, done, err)
		}
	}
}
