package interop

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
)

// Ends of a push: who sends it, and who takes it.
const (
	pusher   = "pusher"
	listener = "listener"
)

// acceptances are what a listener of ours may ask of a push, from the least to the most.
func acceptances() []security.Acceptance {
	return []security.Acceptance{
		{},
		{EncryptedOnly: true},
		{Policy: security.PolicyAuthenticated},
		{Policy: security.PolicyAuthenticatedEncrypted},
	}
}

// take has our receiver take the pushes of a recording, under one acceptance, and says in words what came of it.
func take(r *recording, accept security.Acceptance) ([]string, error) {
	k, err := r.Keys.open()
	if err != nil {
		return nil, err
	}
	title, err := dlms.ParseSystemTitle(r.PeerTitle)
	if err != nil {
		return nil, err
	}
	lt, err := longTerm(k, k.ek, 1, security.NewMemoryFloor(title, 0))
	if err != nil {
		return nil, err
	}
	receiver, err := client.NewReceiver(client.ReceiverConfig{
		Acceptance: accept,
		Lookup: func(p client.Push) (client.PushKey, error) {
			if p.Title != title {
				return client.PushKey{}, client.ErrNoKey
			}
			return client.PushKey{Cipher: lt.Cipher, Floor: lt.Floor}, nil
		},
	})
	if err != nil {
		return nil, err
	}
	var said []string
	for _, t := range r.Exchange {
		b, err := t.bytes()
		if err != nil {
			return nil, err
		}
		f, err := wrapper.ParseFrame(b)
		if err != nil {
			return nil, err
		}
		said = append(said, describe(receiver.Receive(f.APDU, dlms.SystemTitle{})))
	}
	return said, nil
}

func describe(n client.Notification, err error) string {
	switch {
	case err != nil:
		return "refused"
	case n.Data != nil:
		return fmt.Sprintf("data of %s, authenticated %t, counter %d: %s", n.Title, n.Authenticated, n.Counter, n.Data.Body)
	case n.Event != nil:
		return fmt.Sprintf("event of %s, authenticated %t, counter %d: %s %s", n.Title, n.Authenticated, n.Counter, n.Event.Ref, n.Event.Value)
	}
	return "nothing"
}

// takeAll takes the pushes under each acceptance in turn.
func takeAll(r *recording) ([]string, error) {
	var all []string
	for _, a := range acceptances() {
		said, err := take(r, a)
		if err != nil {
			return nil, err
		}
		all = append(all, said...)
	}
	return all, nil
}

func TestOurReceiverTakesForeignPushesAsItDidWhenTheyWereRecorded(t *testing.T) {
	all, err := load("testdata", pusher)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range all {
		got, err := takeAll(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range max(len(got), len(r.Results)) {
			if at(got, i) != at(r.Results, i) {
				t.Errorf("%s: result %d: got\n%s\nwant\n%s", name, i, at(got, i), at(r.Results, i))
			}
		}
	}
}

// pushes are what our meter sends to a foreign listener: an event and data, without an association.
func pushes(r *recording) ([][]byte, error) {
	s, err := newMeter(r)
	if err != nil {
		return nil, err
	}
	when := dlms.DateTimeOf(epoch, 0)
	body := dlms.Structure(when.Octets(), dlms.Uint32(123456))
	data, err := s.DataNotification(line, sapGMAC, apdu.DataNotification{ID: 1, HasTime: true, Time: when, Body: body})
	if err != nil {
		return nil, err
	}
	event, err := s.EventNotification(line, sapGMAC, apdu.EventNotification{
		HasTime: true, Time: when, Ref: attribute("3/1.0.1.8.0.255/2"), Value: dlms.Uint32(123456),
	})
	return [][]byte{data, event}, err
}

func TestOurMeterPushesWhatForeignListenersTook(t *testing.T) {
	all, err := load("testdata", listener)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range all {
		sent, err := pushes(r)
		if err != nil {
			t.Fatal(err)
		}
		for i, turn := range r.Exchange {
			want, err := turn.bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(sent[i], want) {
				t.Errorf("%s: push %d: got %s, want %s", name, i, hex.EncodeToString(sent[i]), turn.Bytes)
			}
		}
	}
}
