package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

var _ cosem.Caller = (*client.Association)(nil)

const serviceBlocks = apdu.ConformanceBlockTransferGet | apdu.ConformanceBlockTransferSet | apdu.ConformanceBlockTransferAction

// Secret implements server.SecretHolder.
func (e *ends) Secret(string) (key.Secret, error) { return key.NewSecret([]byte("correct horse")) }

func TestTwoEndsByEveryMechanismAndInEveryKindOfBlocks(t *testing.T) {
	for _, c := range []struct {
		mechanism apdu.Mechanism
		policy    security.Policy
	}{
		{apdu.MechanismLLS, security.PolicyNone},
		{apdu.MechanismLLS, security.PolicyAuthenticated},
		{apdu.MechanismLLS, security.PolicyAuthenticatedEncrypted},
		{apdu.MechanismHLSGMAC, security.PolicyAuthenticatedEncrypted},
		{apdu.MechanismHLSSHA256, security.PolicyNone},
		{apdu.MechanismHLSSHA256, security.PolicyAuthenticated},
		{apdu.MechanismHLSSHA256, security.PolicyAuthenticatedEncrypted},
	} {
		for _, conformance := range []apdu.Conformance{client.FullConformance, client.FullConformance &^ serviceBlocks} {
			t.Run(fmt.Sprintf("%s/%s/service blocks %t", c.mechanism, c.policy, conformance.Has(serviceBlocks)), func(t *testing.T) {
				testForm(t, c.mechanism, c.policy, conformance)
			})
		}
	}
}

func testForm(t *testing.T, mechanism apdu.Mechanism, policy security.Policy, conformance apdu.Conformance) {
	e := newEnds(t, key.Authentication{}, func(s *server.Client) {
		s.Mechanism, s.Policy, s.Traffic, s.Conformance = server.Mechanism(mechanism), policy, server.DedicatedOrGlobal, conformance
	})
	cfg := e.linky(0)
	cfg.Strict, cfg.Mechanism, cfg.Policy, cfg.Conformance = false, mechanism, policy, conformance
	if mechanism != apdu.MechanismHLSGMAC {
		cfg.Secret = ok(e.Secret(""))
	}
	if policy == security.PolicyNone {
		cfg.Global, cfg.Dedicated = security.LongTerm{}, false
		e.unused(t)
	}
	a, err := client.Open(t.Context(), e.direct(sapReadWrite), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Authenticated(); got != (policy != security.PolicyNone) {
		t.Errorf("authenticated: %t", got)
	}
	readAndWriteLists(t, e, a)
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
}

// unused spends one nonce, for an oracle that wants to see it is there.
func (e *ends) unused(t *testing.T) {
	t.Helper()
	ok(e.client.Cipher.Seal(nil, security.AuthenticatedEncrypted, own, ok(e.client.Send.Next()), []byte("unused")))
}

func readAndWriteLists(t *testing.T, e *ends, a *client.Association) {
	t.Helper()
	ctx := t.Context()
	value := dlms.OctetString(bytes.Repeat([]byte("image"), 200))
	if err := a.Set(ctx, big, value); err != nil {
		t.Errorf("long set: %v", err)
	}
	if d, err := a.Get(ctx, big); err != nil || !d.Equal(value) {
		t.Errorf("long get: %d bytes, %v", d.Len(), err)
	}
	attributes := []apdu.Attribute{{Ref: note}, {Ref: big}, {Ref: floor}}
	results, err := a.SetList(ctx, attributes, []dlms.Data{dlms.Uint32(77), value, dlms.Uint8(0)})
	if err != nil || len(results) != 3 || results[0] != dlms.DataAccessSuccess || results[1] != dlms.DataAccessSuccess || results[2] == dlms.DataAccessSuccess {
		t.Errorf("set list: %v, %v", results, err)
	}
	list, err := a.GetList(ctx, attributes)
	if err != nil || len(list) != 3 || !list[0].Data.Equal(dlms.Uint32(77)) || !list[1].Data.Equal(value) || list[2].Result == dlms.DataAccessSuccess {
		t.Errorf("get list: %v, %v", list, err)
	}
	if e.last() != 77 {
		t.Errorf("the meter has %d", e.last())
	}
	outcomes, err := a.ActionList(ctx, []dlms.MethodRef{{Class: note.Class, Instance: note.Instance, Method: 1}}, []dlms.Data{dlms.Null()})
	if err != nil || len(outcomes) != 1 || outcomes[0].Result == dlms.ActionSuccess {
		t.Errorf("a method that nobody may call: %v, %v", outcomes, err)
	}
}

func TestAWrongSecretOpensNothing(t *testing.T) {
	for _, mechanism := range []apdu.Mechanism{apdu.MechanismLLS, apdu.MechanismHLSSHA256} {
		e := newEnds(t, key.Authentication{}, func(s *server.Client) {
			s.Mechanism, s.Traffic = server.Mechanism(mechanism), server.DedicatedOrGlobal
		})
		cfg := e.linky(0)
		cfg.Strict, cfg.Mechanism, cfg.Secret = false, mechanism, ok(key.NewSecret([]byte("wrong horse")))
		if _, err := client.Open(t.Context(), e.direct(sapReadWrite), cfg); err == nil {
			t.Errorf("%s: opened", mechanism)
		}
		if open, half := e.server.Associations(); open+half != 0 {
			t.Errorf("%s: %d open, %d half-open", mechanism, open, half)
		}
	}
}

// hashing stands between the ends and changes what the meter says of itself in pass 4 of HLS with SHA-256.
type hashing struct {
	*direct
	reply func([]byte) []byte
}

func (h *hashing) Receive(ctx context.Context) ([]byte, error) {
	b, err := h.direct.Receive(ctx)
	if err == nil && apdu.Tag(b[0]) == apdu.TagActionResponse {
		b = h.reply(b)
	}
	return b, err
}

func TestAMeterThatDoesNotProveItsSecretIsNotAuthentic(t *testing.T) {
	for name, reply := range map[string]func([]byte) []byte{
		"another digest": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"none":           func(b []byte) []byte { return append(b[:4:4], 0) },
	} {
		e := newEnds(t, key.Authentication{}, func(s *server.Client) {
			s.Mechanism, s.Policy, s.Traffic = server.MechanismSHA256, security.PolicyNone, server.DedicatedOrGlobal
		})
		e.unused(t)
		cfg := client.Config{
			Title: own, PeerTitle: title, Mechanism: apdu.MechanismHLSSHA256, Secret: ok(e.Secret("")), Rand: source(3),
		}
		if _, err := client.Open(t.Context(), &hashing{e.direct(sapReadWrite), reply}, cfg); !errors.Is(err, client.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatTheMeterPushesIsHeardOnItsAssociationAndBesideIt(t *testing.T) {
	e := newEnds(t, key.Authentication{}, func(s *server.Client) {
		s.Traffic, s.Conformance = server.DedicatedOrGlobal, client.FullConformance
	})
	event := apdu.EventNotification{Ref: note, Value: dlms.Uint8(1)}
	push := apdu.DataNotification{ID: 3, Body: dlms.Uint8(2)}

	// Beside an association: under the global key, with the title.
	receiver := ok(client.NewReceiver(client.ReceiverConfig{
		Title: own, Acceptance: security.Acceptance{Policy: security.PolicyAuthenticatedEncrypted},
		Lookup: func(client.Push) (client.PushKey, error) {
			return client.PushKey{Cipher: e.client.Cipher, Floor: e.client.Floor}, nil
		},
	}))
	for _, b := range [][]byte{ok(e.server.EventNotification(lan, sapReadWrite, event)), ok(e.server.DataNotification(lan, sapReadWrite, push))} {
		if n, err := receiver.Receive(b, title); err != nil || !n.Authenticated || n.Title != title {
			t.Errorf("got %+v, %v", n, err)
		}
	}

	var heard []client.Notification
	cfg := e.linky(0)
	cfg.Conformance = client.FullConformance
	cfg.Notify = func(n client.Notification) { heard = append(heard, n) }
	line := e.direct(sapReadWrite)
	a := ok(client.Open(t.Context(), line, cfg))
	line.queue = append(line.queue, ok(e.server.EventNotification(lan, sapReadWrite, event)), ok(e.server.DataNotification(lan, sapReadWrite, push)))
	if _, err := a.Get(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	if len(heard) != 2 || heard[0].Event == nil || heard[1].Data == nil || !heard[0].Authenticated || !heard[1].Authenticated {
		t.Errorf("heard %+v", heard)
	}
}
