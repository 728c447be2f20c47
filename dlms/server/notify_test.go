package server_test

import (
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

const notifications = apdu.ConformanceEventNotification | apdu.ConformanceDataNotification

// notifier is a bench of which every client may be told things.
func notifier(t testing.TB) *bench {
	t.Helper()
	return newBenchOf(t, changedModel(t, func(c *server.Client) { c.Conformance = 0x001E1D | notifications }))
}

func event() apdu.EventNotification {
	return apdu.EventNotification{
		Ref:   dlms.AttributeRef{Class: dlms.ClassRegister, Instance: obisEnergy, Attribute: 2},
		Value: dlms.Uint32(7),
	}
}

func push() apdu.DataNotification { return apdu.DataNotification{ID: 5, Body: dlms.Uint32(8)} }

// wantEvent opens a notification under a key and wants the event in it.
func (p *peer) wantEvent(c *security.Cipher, tag apdu.Tag, g []byte, err error) {
	p.t.Helper()
	if err != nil || apdu.Tag(g[0]) != tag {
		p.t.Fatalf("want %s, got % x, %v", tag, g, err)
	}
	n, err := apdu.ParseEventNotification(p.openWith(c, g))
	if v, _ := n.Value.Uint(); err != nil || v != 7 {
		p.t.Fatalf("event: %+v, %v", n, err)
	}
}

func (p *peer) wantPush(c *security.Cipher, tag apdu.Tag, g []byte, err error) {
	p.t.Helper()
	if err != nil || apdu.Tag(g[0]) != tag {
		p.t.Fatalf("want %s, got % x, %v", tag, g, err)
	}
	n, err := apdu.ParseDataNotification(p.openWith(c, g))
	if v, _ := n.Body.Uint(); err != nil || v != 8 || n.ID != 5 {
		p.t.Fatalf("push: %+v, %v", n, err)
	}
}

func TestANotificationGoesUnderTheKeyOfTheAssociation(t *testing.T) {
	b := notifier(t)
	p, foreign := b.is(), b.tester()
	p.conformance |= notifications
	foreign.conformance |= notifications
	foreign.noDedicated = true
	p.open()
	foreign.open()
	g, err := b.srv.EventNotification(lan, sapIS, event())
	p.wantEvent(p.ded, apdu.TagDedEventNotification, g, err)
	g, err = b.srv.DataNotification(lan, sapIS, push())
	p.wantPush(p.ded, apdu.TagGeneralDed, g, err)
	g, err = b.srv.EventNotification(local, sapBench, event())
	foreign.wantEvent(foreign.glo, apdu.TagGloEventNotification, g, err)
	g, err = b.srv.DataNotification(local, sapBench, push())
	foreign.wantPush(foreign.glo, apdu.TagGeneralGlo, g, err)
	p.works()
	foreign.works()
}

func TestAPushWithoutAnAssociationGoesUnderTheGlobalKeyWithTheTitle(t *testing.T) {
	b := notifier(t)
	p := b.tester()
	for range 2 {
		g, err := b.srv.DataNotification(local, sapBench, push())
		p.wantPush(p.glo, apdu.TagGeneralGlo, g, err)
		if parsed, _ := apdu.ParseGeneralCiphered(g); parsed.Title != meterTitle || security.Control(parsed.Control) != security.AuthenticatedEncrypted {
			t.Errorf("got %+v", parsed)
		}
		g, err = b.srv.EventNotification(local, sapBench, event())
		p.wantEvent(p.glo, apdu.TagGeneralGlo, g, err)
		p.halfOpen() // and while the client is not authenticated yet
	}
}

func TestANotificationInClearWantsAnOpenAssociation(t *testing.T) {
	b := notifier(t)
	if _, err := b.srv.EventNotification(lan, sapPublic, event()); !errors.Is(err, server.ErrNoAssociation) {
		t.Errorf("without an association: %v", err)
	}
	p := b.peer(lan, sapPublic, dlms.SystemTitle{}, otherKey())
	p.noDedicated, p.conformance, p.maxPDU = true, notifications, 64
	q := apdu.AARQ{Context: apdu.ContextLN, UserInformation: p.initiate()}
	p.send(p.must(q.AppendBinary(nil)))
	g, err := b.srv.EventNotification(lan, sapPublic, event())
	if n, bad := apdu.ParseEventNotification(g); err != nil || bad != nil || n.Ref.Instance != obisEnergy {
		t.Errorf("got %+v, %v, %v", n, err, bad)
	}
	long := push()
	long.Body = dlms.OctetString(make([]byte, 60))
	if _, err := b.srv.DataNotification(lan, sapPublic, long); !errors.Is(err, server.ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
}

// Law 3: the association key of a client that has to bring a dedicated key carries no notification; nothing is sealed
// under a broadcast key.
func TestLaw3NoNotificationGoesUnderAnAssociationOrABroadcastKey(t *testing.T) {
	b := notifier(t)
	rw := b.concentrator().open()
	b.broadcaster(rw).open()
	seals := b.oracle.Seals()
	for name, c := range map[string]struct {
		link string
		sap  dlms.SAP
		want error
	}{
		"no association": {lan, sapIS, server.ErrNoAssociation},
		"broadcast":      {lan, sapBroadcast, server.ErrForm},
		"not agreed on":  {lan, sapReadWrite, server.ErrNotNegotiated},
		"no such client": {lan, 99, server.ErrNoClient},
		"no such link":   {"elsewhere", sapIS, server.ErrNoClient},
	} {
		if g, err := b.srv.EventNotification(c.link, c.sap, event()); !errors.Is(err, c.want) || g != nil {
			t.Errorf("%s: want %v, got %v", name, c.want, err)
		}
		if g, err := b.srv.DataNotification(c.link, c.sap, push()); !errors.Is(err, c.want) || g != nil {
			t.Errorf("%s: want %v, got %v", name, c.want, err)
		}
	}
	b.is().halfOpen()
	seals = b.oracle.Seals() - seals
	if g, err := b.srv.EventNotification(lan, sapIS, event()); !errors.Is(err, server.ErrNoAssociation) || g != nil {
		t.Errorf("half-open: %v", err)
	}
	if seals != 2 { // the AARQ and the AARE
		t.Errorf("sealed %d times", seals-2)
	}
}

func TestAClientThatDidNotAgreeIsToldNothing(t *testing.T) {
	b := newBench(t)
	p := b.tester().open()
	for range 2 {
		if _, err := b.srv.EventNotification(local, sapBench, event()); !errors.Is(err, server.ErrNotNegotiated) {
			t.Errorf("got %v", err)
		}
		p.send(p.release(p.sealGlobal(p.farewell()))) // and without an association
	}
}
