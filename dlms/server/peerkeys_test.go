package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// lender is a device with a key for each peer and each thing he says.
type lender struct {
	t      *testing.T
	keys   map[string]*security.LongTerm
	asked  int
	events []server.Event
}

var _ server.PeerKeys = (*lender)(nil)

func (d *lender) SystemTitle() dlms.SystemTitle { return meterTitle }
func (d *lender) Event(e server.Event)          { d.events = append(d.events, e) }

func (d *lender) LongTerm(dlms.OBIS) (*security.LongTerm, error) {
	d.t.Error("asked for a key of everybody's")
	return nil, errors.New("no such key")
}

func (d *lender) PeerLongTerm(_ dlms.OBIS, peer dlms.SystemTitle, info []byte) (*security.LongTerm, error) {
	d.asked++
	lt := d.keys[peer.String()+string(info)]
	if lt == nil {
		return nil, fmt.Errorf("%w: %s", server.ErrNoPeerKey, peer)
	}
	return lt, nil
}

func memoryKey(t *testing.T, b byte) *security.LongTerm {
	t.Helper()
	k, err := key.NewUnicast(append(bytes.Repeat([]byte{b}, 15), 1))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := k.AEAD()
	if err != nil {
		t.Fatal(err)
	}
	lt, err := security.NewMemoryLongTerm(aead, key.Authentication{})
	if err != nil {
		t.Fatal(err)
	}
	return &lt
}

// straight is a link into a server.
type straight struct {
	srv    *server.Server
	answer []byte
	sent   [][]byte
}

func (c *straight) Send(ctx context.Context, b []byte) error {
	c.sent = append(c.sent, bytes.Clone(b))
	c.answer = c.srv.Handle(ctx, local, link.Request{Client: 80, Server: 1, APDU: b})
	return nil
}

func (c *straight) Receive(context.Context) ([]byte, error) {
	if c.answer == nil {
		return nil, errors.New("silence")
	}
	b := c.answer
	c.answer = nil
	return b, nil
}

func (c *straight) Close() error { return nil }

var (
	firstTitle  = dlms.SystemTitle{'T', 'S', 'P', 0, 0, 0, 0, 1}
	secondTitle = dlms.SystemTitle{'T', 'S', 'P', 0, 0, 0, 0, 2}
)

func lend(t *testing.T) (*lender, *server.Server) {
	t.Helper()
	setup := dlms.OBIS{0, 0, 43, 0, 2, 255}
	model, err := server.NewModel(server.ModelConfig{
		Objects: []cosem.Object{cosem.NewData(obisName, cosem.Constant(dlms.Uint8(7)), nil)},
		Clients: []server.Client{{
			Name: "tsp", SAP: 80, Links: []string{local}, Setup: setup, PerPeer: true, Mechanism: server.MechanismGMAC,
			Policy: security.PolicyAuthenticatedEncrypted,
			Rights: []server.Right{{Class: dlms.ClassData, Instance: obisName, Read: []int8{2}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &lender{t: t, keys: map[string]*security.LongTerm{
		firstTitle.String() + "monday": memoryKey(t, 1), secondTitle.String() + "monday": memoryKey(t, 2),
		firstTitle.String() + "friday": memoryKey(t, 3),
	}}
	return d, server.New(model, d, &server.Options{Rand: rand.Reader})
}

func ask(t *testing.T, srv *server.Server, title dlms.SystemTitle, k byte, info string, send security.SendCounter) (*client.Association, *straight, error) {
	t.Helper()
	lt := *memoryKey(t, k)
	if send != nil {
		lt.Send = send
	}
	cfg := client.Linky(title, meterTitle, lt, rand.Reader)
	cfg.Implementation = []byte(info)
	c := &straight{srv: srv}
	a, err := client.Open(t.Context(), c, cfg)
	return a, c, err
}

func readName(t *testing.T, a *client.Association) error {
	t.Helper()
	_, err := a.Get(t.Context(), dlms.AttributeRef{Class: dlms.ClassData, Instance: obisName, Attribute: 2})
	return err
}

func TestEachPeerOpensUnderTheKeyOfItsTitleAndWord(t *testing.T) {
	_, srv := lend(t)
	for _, c := range []struct {
		title dlms.SystemTitle
		k     byte
		info  string
	}{{firstTitle, 1, "monday"}, {secondTitle, 2, "monday"}, {firstTitle, 3, "friday"}} {
		a, _, err := ask(t, srv, c.title, c.k, c.info, security.NewMemoryCounter())
		if err != nil {
			t.Fatalf("%s %s: %v", c.title, c.info, err)
		}
		if err := errors.Join(readName(t, a), a.Release(t.Context())); err != nil {
			t.Errorf("%s %s: %v", c.title, c.info, err)
		}
	}
	for name, c := range map[string]struct {
		title dlms.SystemTitle
		k     byte
		info  string
		want  apdu.Diagnostic
	}{
		"the key of another title":  {secondTitle, 1, "monday", apdu.DiagnosticAuthenticationFailure},
		"the key of another word":   {firstTitle, 1, "friday", apdu.DiagnosticAuthenticationFailure},
		"a word that is not known":  {firstTitle, 1, "sunday", apdu.DiagnosticCallingTitleUnknown},
		"no word":                   {firstTitle, 1, "", apdu.DiagnosticCallingTitleUnknown},
		"a title that is not known": {dlms.SystemTitle{9}, 1, "monday", apdu.DiagnosticCallingTitleUnknown},
	} {
		_, _, err := ask(t, srv, c.title, c.k, c.info, nil)
		var r *client.RejectError
		if !errors.As(err, &r) || r.Diagnostic != c.want || r.Result != apdu.AssociationRejectedPermanent {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLaw9AnAARQUnderAPeersKeyMovesNothingBeforeItsTagAndReplaysNever(t *testing.T) {
	d, srv := lend(t)
	a, c, err := ask(t, srv, firstTitle, 1, "monday", nil)
	if err != nil {
		t.Fatal(err)
	}
	aarq := c.sent[0]
	answer := srv.Handle(t.Context(), local, link.Request{Client: 80, Server: 1, APDU: aarq})
	if e, err := apdu.ParseExceptionResponse(answer); err != nil || e.ServiceError != apdu.ServiceInvocationCounter {
		t.Errorf("the same AARQ again: got % x", answer)
	}
	for i := range aarq {
		altered := bytes.Clone(aarq)
		altered[i] ^= 1
		srv.Handle(t.Context(), local, link.Request{Client: 80, Server: 1, APDU: altered})
	}
	if err := readName(t, a); err != nil {
		t.Errorf("altered AARQs disturbed the open association: %v", err)
	}
	if err := readName(t, a); err != nil {
		t.Errorf("a replay disturbed the open association: %v", err)
	}
	if d.asked == 0 {
		t.Error("the device was never asked")
	}
}

func TestAnAssociationEndsWithItsKey(t *testing.T) {
	d, srv := lend(t)
	over := errors.New("the day has passed")
	var now error
	d.keys[firstTitle.String()+"monday"].Over = func() error { return now }
	a, _, err := ask(t, srv, firstTitle, 1, "monday", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := readName(t, a); err != nil {
		t.Fatal(err)
	}
	now = over
	if err := readName(t, a); err == nil {
		t.Error("the association outlived its key")
	}
	last := d.events[len(d.events)-1]
	if last.Kind != server.EventClosed || !errors.Is(last.Err, over) {
		t.Errorf("event: got %+v", last)
	}
	now = nil
	send := security.NewMemoryCounter()
	for range 16 {
		_, _ = send.Next()
	}
	if _, _, err = ask(t, srv, firstTitle, 1, "monday", send); err != nil {
		t.Fatal(err)
	}
	now = over
	srv.Sweep()
	if open, half := srv.Associations(); open+half != 0 {
		t.Errorf("after a sweep: %d open, %d half-open", open, half)
	}
}

func TestADeviceWithoutPeerKeysServesNoClientThatWantsThem(t *testing.T) {
	_, srv := lend(t)
	model, err := server.NewModel(server.ModelConfig{Clients: []server.Client{{
		Name: "x", SAP: 80, Links: []string{local}, PerPeer: true,
	}}})
	if err == nil {
		t.Errorf("a key per peer without ciphering: got %v", model)
	}
	if _, err := srv.DataNotification(local, 80, apdu.DataNotification{Body: dlms.Null()}); !errors.Is(err, server.ErrNoAssociation) {
		t.Errorf("a push without an association: got %v", err)
	}
}
