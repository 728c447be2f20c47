package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// everybody is ends whose meter holds a global broadcast key.
type everybody struct {
	*ends
	meters security.LongTerm
}

// BroadcastKey implements server.BroadcastHolder.
func (e *everybody) BroadcastKey(dlms.OBIS) (*security.Cipher, security.ReceiveFloor, error) {
	return e.meters.Cipher, e.meters.Floor, nil
}

func newEverybody(t *testing.T, ak key.Authentication) (e *everybody, sender security.LongTerm) {
	t.Helper()
	e = &everybody{ends: newEnds(t, ak, nil)}
	k := ok(key.NewUnicast([]byte("a key for all...")))
	half := func() security.LongTerm {
		return ok(security.NewMemoryLongTerm(e.oracle.Wrap(ok(k.AEAD()), k.Fingerprint()), ak))
	}
	e.meters = half()
	table := ok(security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }}))
	model := ok(e.model(table, func(c *server.Client) { c.GlobalBroadcast, c.Traffic = true, server.DedicatedOrGlobal }))
	e.server = server.New(model, e, &server.Options{Rand: source(2), WrapAEAD: e.oracle.Wrap})
	return e, half()
}

func TestTwoEndsOfAGlobalBroadcast(t *testing.T) {
	for _, ak := range []key.Authentication{{}, ok(key.NewAuthentication(bytes.Repeat([]byte{7, 9}, 8)))} {
		for _, general := range []bool{false, true} {
			e, sender := newEverybody(t, ak)
			b := ok(client.NewGlobalBroadcast(client.GlobalBroadcastConfig{
				Title: own, Cipher: sender.Cipher, Send: sender.Send, General: general,
			}))
			first := ok(b.AppendSet(nil, apdu.Attribute{Ref: note}, dlms.Uint32(7)))
			all := e.direct(sapReadWrite)
			all.to = dlms.SAPAllStations
			send := func(x []byte) {
				if err := all.Send(t.Context(), x); err != nil {
					t.Fatal(err)
				}
			}
			send(first) // nobody has opened an association yet
			rw := ok(client.Open(t.Context(), e.direct(sapReadWrite), e.linky(1)))
			second := ok(b.AppendSet([]byte{0xAA}, apdu.Attribute{Ref: note}, dlms.Uint32(8)))[1:]
			for _, x := range [][]byte{first, second, first, second} {
				send(x)
			}
			send(ok(b.AppendAction(nil, dlms.MethodRef{Class: note.Class, Instance: note.Instance, Method: 1}, dlms.Int8(0))))
			if got := fmt.Sprint(e.notes); got != "[7 8]" {
				t.Errorf("general %t: want each broadcast to take effect once, got %s", general, got)
			}
			if len(all.queue) != 0 {
				t.Error("the meter answered to a broadcast")
			}
			if d, err := rw.Get(t.Context(), note); err != nil || !d.Equal(dlms.Uint32(8)) {
				t.Errorf("the association beside it: %s, %v", d, err)
			}
		}
	}
}

func TestAGlobalBroadcastSaysItsKeySetAndAsksForNoAnswer(t *testing.T) {
	e, sender := newEverybody(t, key.Authentication{})
	b := ok(client.NewGlobalBroadcast(client.GlobalBroadcastConfig{Title: own, Cipher: sender.Cipher, Send: sender.Send}))
	c := ok(apdu.ParseCiphered(ok(b.AppendSet(nil, apdu.Attribute{Ref: note}, dlms.Uint32(7)))))
	if c.Tag != apdu.TagGloSetRequest || c.Control != 0x70 || c.Counter != 1 {
		t.Errorf("got %s under %02x with counter %d", c.Tag, c.Control, c.Counter)
	}
	plain := ok(e.meters.Cipher.Open(nil, security.Control(c.Control), own, c.Counter, c.Content))
	if apdu.InvokeID(plain[2]).Confirmed() {
		t.Error("it asks for an answer")
	}
	for _, cfg := range []client.GlobalBroadcastConfig{
		{Cipher: sender.Cipher, Send: sender.Send}, {Title: own, Send: sender.Send}, {Title: own, Cipher: sender.Cipher},
	} {
		if _, err := client.NewGlobalBroadcast(cfg); !errors.Is(err, client.ErrConfig) {
			t.Errorf("got %v", err)
		}
	}
}
