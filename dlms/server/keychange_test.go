package server_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// changing makes the device take every wrapped key as a new LAN key, as a meter does after it unwrapped it.
func (b *bench) changing(t *testing.T, how func(env *cosem.Env, gone func())) {
	t.Helper()
	b.dev.transfer = func(env *cosem.Env, setup dlms.OBIS, id uint8, wrapped []byte) error {
		if id != cosem.KeyGlobalUnicast || setup != setupLAN || len(wrapped) != 24 {
			return dlms.ActionScopeViolated
		}
		b.dev.keys[setup] = b.longTerm(wrapped[:16], 2)
		how(env, func() { b.srv.CloseGeneration(setup, 1) })
		return nil
	}
}

// newKey is what the transfer of these tests carries: not wrapped, as the wrap is the device's business.
func newKey() []byte { return []byte("the next LAN key........") }

func TestLaw6AKeyChangeIsAnsweredUnderTheOldSessionAndClosesWhatTheOldKeyOpened(t *testing.T) {
	for name, how := range map[string]func(env *cosem.Env, gone func()){
		"by After":            func(env *cosem.Env, gone func()) { env.After(gone) },
		"within the callback": func(_ *cosem.Env, gone func()) { gone() },
		"from elsewhere": func(_ *cosem.Env, gone func()) {
			var wg sync.WaitGroup
			wg.Go(gone)
			wg.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.changing(t, how)
			rw, bc := b.broadcasting()
			bench := b.tester().open() // opened under the same key
			half := b.concentrator()
			is := b.is().open()
			if r := is.action(dlms.ClassSecuritySetup, setupLAN, cosem.MethodKeyTransfer, cosem.KeyTransfer(0, newKey())); r != dlms.ActionSuccess {
				t.Fatalf("key transfer: %s", r)
			}
			wantAnswer(t, notAllowed, rw.send(rw.sealDedicated(rw.energyRequest())))
			wantAnswer(t, notAllowed, bench.send(bench.sealDedicated(bench.energyRequest())))
			b.toAll(sapBroadcast, bc.broadcastShift(1))
			if len(b.dev.shifts) != 0 {
				t.Error("a broadcast was taken after the key change")
			}
			is.works() // opened under another key
			replaced := 0
			for _, e := range b.dev.events {
				if errors.Is(e.Err, server.ErrKeyReplaced) && e.Setup == setupLAN && e.Generation == 1 {
					replaced++
				}
			}
			if replaced != 3 {
				t.Errorf("want 3 associations closed, got %d", replaced)
			}
			half.gloSend = rw.gloSend
			half.rand = rw.rand
			wantRejected(t, half.send(half.aarq()), 1, 0x10D) // the old key
			b.peer(lan, sapReadWrite, concTitle, newKey()[:16]).open().works()
		})
	}
}

func TestLaw6TheAssociationThatCarriedItsOwnNewKeyIsAnsweredAndClosed(t *testing.T) {
	b := newBench(t)
	b.changing(t, func(env *cosem.Env, gone func()) { env.After(gone) })
	p := b.tester().open() // may change the key that it was opened under, under the dedicated key or the global one
	p.general = true
	plain := p.actionRequest(dlms.ClassSecuritySetup, setupLAN, cosem.MethodKeyTransfer, cosem.KeyTransfer(0, newKey()))
	r := p.actionResponse(p.openWith(p.glo, p.send(p.sealGlobal(plain))))
	if r.Outcome.Result != dlms.ActionSuccess {
		t.Fatalf("got %s", r.Outcome.Result)
	}
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
}

// A device that forgets to close: the global key in force is not the one that opened the association.
func TestTheGlobalKeyOfAnotherGenerationDoesNotServeAnOldAssociation(t *testing.T) {
	b := newBench(t)
	p := b.tester().open()
	b.dev.keys[setupLAN] = b.longTerm(lanKey(), 2)
	wantAnswer(t, notAllowed, p.send(p.sealWith(p.glo, 1<<10, false, p.energyRequest())))
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest()))) // and it is closed now
}

func TestAKeyThatChangesBetweenPass2AndPass3OpensNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().halfOpen()
	b.dev.keys[setupLAN] = b.longTerm(otherKey(), 2)
	wantAnswer(t, notAllowed, p.send(p.pass3()))
	if open, half := b.srv.Associations(); open+half != 0 {
		t.Errorf("%d open, %d half-open", open, half)
	}
}

func TestAKeyTransferIsHandedOverWhole(t *testing.T) {
	b := newBench(t)
	var got []byte
	var from dlms.SystemTitle
	b.dev.transfer = func(env *cosem.Env, setup dlms.OBIS, id uint8, wrapped []byte) error {
		got, from = wrapped, env.Peer
		if setup != setupIS || id != 3 || env.Client != sapIS || env.ClientName != "is" || env.Link != lan {
			t.Errorf("got %s, key id %d, %+v", setup, id, env)
		}
		return dlms.ActionTemporaryFailure
	}
	p := b.is().open()
	r := p.action(dlms.ClassSecuritySetup, setupIS, 2, cosem.KeyTransfer(3, newKey()))
	if r != dlms.ActionTemporaryFailure || !bytes.Equal(got, newKey()) || from != isTitle {
		t.Errorf("got %s, %q from %s", r, got, from)
	}
}

func TestAKeyTransferIsRefusedBeforeTheDeviceSeesIt(t *testing.T) {
	b := newBench(t)
	b.dev.transfer = func(*cosem.Env, dlms.OBIS, uint8, []byte) error {
		t.Error("the device was called")
		return nil
	}
	one := cosem.KeyTransfer(0, newKey()).At(0)
	is, rw := b.is().open(), b.concentrator().open()
	for name, c := range map[string]struct {
		p    *peer
		v    dlms.Data
		want dlms.ActionResult
	}{
		"two keys":          {is, dlms.Array(one, one), dlms.ActionScopeViolated},
		"no key":            {is, dlms.Array(), dlms.ActionScopeViolated},
		"no array":          {is, one, dlms.ActionTypeUnmatched},
		"nothing":           {is, dlms.Null(), dlms.ActionTypeUnmatched},
		"three fields":      {is, dlms.Array(dlms.Structure(dlms.Enum(0), dlms.OctetString(newKey()), dlms.Null())), dlms.ActionTypeUnmatched},
		"key id no enum":    {is, dlms.Array(dlms.Structure(dlms.Uint8(0), dlms.OctetString(newKey()))), dlms.ActionTypeUnmatched},
		"key no octets":     {is, dlms.Array(dlms.Structure(dlms.Enum(0), dlms.VisibleString("123456781234567812345678"))), dlms.ActionTypeUnmatched},
		"23 bytes":          {is, cosem.KeyTransfer(0, newKey()[:23]), dlms.ActionScopeViolated},
		"48 bytes":          {is, cosem.KeyTransfer(0, make([]byte, 48)), dlms.ActionScopeViolated},
		"from who may not":  {rw, cosem.KeyTransfer(0, newKey()), dlms.ActionObjectUndefined},
		"a wrapped nothing": {is, cosem.KeyTransfer(0, nil), dlms.ActionScopeViolated},
	} {
		if got := c.p.action(dlms.ClassSecuritySetup, setupLAN, 2, c.v); got != c.want {
			t.Errorf("%s: want %s, got %s", name, c.want, got)
		}
	}
}

func TestASendingCounterAtItsEndSealsNothingMore(t *testing.T) {
	b := newBench(t)
	last, err := security.NewBlockCounter(security.BlockConfig{
		Start: security.Reservation{Ceiling: 0}, Limit: 3, Reserve: func(security.Reservation) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.dev.keys[setupLAN].Send = last
	p := b.tester()
	p.open() // AARE, f() and pass 4: the three that there are
	wantAnswer(t, otherReason, p.send(p.sealGlobal(p.energyRequest())))
	again := b.concentrator()
	wantRejected(t, again.send(again.aarq()), 2, 0x101)
}
