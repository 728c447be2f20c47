package client

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
)

func newBroadcast(m *fakeMeter) *Broadcast {
	return must(NewBroadcast(BroadcastConfig{Title: ownTitle, Rand: seeded(3), WrapAEAD: m.wrap}))
}

func (m *fakeMeter) broadcast(b *Broadcast) Config {
	cfg := m.linky()
	cfg.Dedicated, cfg.Broadcast = false, b
	return cfg
}

func TestABroadcastKeyIsHandedToEachMeterAndOneCounterIsSpentForAll(t *testing.T) {
	first, second := newMeter(t), newMeter(t)
	second.title[7]++
	b := newBroadcast(first)
	a1, _ := first.associated(first.broadcast(b))
	cfg := second.broadcast(b)
	cfg.PeerTitle = second.title
	second.associated(cfg)
	if !first.sent.Equal(second.sent) || first.sent.CheckValue() != b.CheckValue() {
		t.Fatal("the meters hold different keys")
	}
	set := must(b.AppendSet(nil, apdu.Attribute{Ref: clockRef}, dlms.Uint8(1)))
	act := must(b.AppendAction(nil, breaker, dlms.Int16(-3)))
	for _, m := range []*fakeMeter{first, second} {
		for _, x := range [][]byte{set, act} {
			plain, f := m.open(x, ownTitle)
			if id := apdu.InvokeID(plain[2]); id.Confirmed() {
				t.Errorf("%s asks for an answer", apdu.Tag(plain[0]))
			}
			if f.control != 0x30 || !f.dedicated {
				t.Errorf("under %s", f.control)
			}
		}
		if got := m.counters["ded-set-request"]; len(got) != 1 || got[0] != 1 {
			t.Errorf("set: counters %v", got)
		}
		if got := m.counters["ded-action-request"]; len(got) != 1 || got[0] != 2 {
			t.Errorf("action: counters %v", got)
		}
	}
	if err := a1.Release(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestABroadcastAssociationCarriesNoConfirmedService(t *testing.T) {
	m := newMeter(t)
	b := newBroadcast(m)
	a, w := m.associated(m.broadcast(b))
	n := len(w.sent)
	ctx := context.Background()
	_, err := a.Get(ctx, clockRef)
	if !errors.Is(err, ErrBroadcast) {
		t.Errorf("get: want %v, got %v", ErrBroadcast, err)
	}
	if err := a.Set(ctx, clockRef, dlms.Uint8(0)); !errors.Is(err, ErrBroadcast) {
		t.Errorf("set: want %v, got %v", ErrBroadcast, err)
	}
	if _, err := a.Action(ctx, breaker, dlms.Null()); !errors.Is(err, ErrBroadcast) {
		t.Errorf("action: want %v, got %v", ErrBroadcast, err)
	}
	if len(w.sent) != n {
		t.Error("something was sent")
	}
	for _, x := range w.sent {
		if _, dedicated, _ := apdu.PlainTag(apdu.Tag(x[0])); dedicated {
			t.Errorf("%s was sealed under the broadcast key outside the broadcast", apdu.Tag(x[0]))
		}
	}
	if err := a.Release(ctx); err != nil {
		t.Error(err)
	}
}

func TestEveryBroadcastHasAKeyOfItsOwn(t *testing.T) {
	m := newMeter(t)
	r := seeded(9)
	cfg := BroadcastConfig{Title: ownTitle, Rand: r, WrapAEAD: m.wrap}
	a, b := must(NewBroadcast(cfg)), must(NewBroadcast(cfg))
	if a.key.Equal(b.key) {
		t.Error("one key twice")
	}
	x := must(a.AppendAction(nil, breaker, dlms.Null()))
	if bytes.Contains(x, key.Reveal(a.key)) {
		t.Error("the key is in the apdu")
	}
	if _, err := NewBroadcast(BroadcastConfig{Rand: r}); !errors.Is(err, ErrConfig) {
		t.Errorf("without a title: %v", err)
	}
}
