package server_test

import (
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

func (p *peer) energyRequest() []byte {
	p.t.Helper()
	return p.getRequest(dlms.ClassRegister, obisEnergy, 2)
}

func TestAnUnprotectedRequestOnACipheredAssociationIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.is().open()
	wantAnswer(t, notAllowed, p.send(p.energyRequest()))
	wantAnswer(t, notAllowed, p.send(p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0))))
	if b.dev.breaker != 1 {
		t.Error("the breaker moved")
	}
	p.works()
}

func TestTrafficUnderAnAssociationKeyIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.is().open()
	floor := b.dev.floor(setupIS, isTitle)
	wantAnswer(t, notAllowed, p.send(p.sealGlobal(p.energyRequest())))
	wantAnswer(t, notAllowed, p.send(p.sealGlobal(p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)))))
	if b.dev.breaker != 1 || b.dev.floor(setupIS, isTitle) != floor {
		t.Error("something moved")
	}
	p.works()
}

func TestAReplayedAPDUIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	recorded := p.sealDedicated(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(5)))
	p.openWith(p.ded, p.send(recorded))
	wantCounter(t, 2, p.send(recorded))
	if len(b.dev.shifts) != 1 {
		t.Errorf("shifts: want 1, got %d", len(b.dev.shifts))
	}
	p.works()
}

func TestAnAPDUOfAnEarlierAssociationIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	recorded := p.sealDedicated(p.energyRequest())
	p.ded = nil // a new key
	p.open()
	wantAnswer(t, deciphering, p.send(recorded))
	p.works()
}

func TestAnAPDUOfAnotherAssociationIsRefused(t *testing.T) {
	b := newBench(t)
	p, is := b.concentrator().open(), b.is().open()
	shut := is.sealDedicated(is.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)))
	wantAnswer(t, deciphering, p.send(shut))
	is.openWith(is.ded, is.send(shut))
	p.works()
}

// What the meter sealed, sent back to it, is neither its peer's nor a request.
func TestAReflectedAPDUIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	answer := p.send(p.sealDedicated(p.energyRequest()))
	wantAnswer(t, deciphering, p.send(answer))
	answer[0] = byte(apdu.TagDedGetRequest)
	wantAnswer(t, deciphering, p.send(answer))
	p.works()
}

func TestLessProtectionThanThePolicyIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	for _, control := range []security.Control{
		0x00, 0x10, 0x20, // none, authenticated, encrypted
		0x31, 0x32, 0x3F, // other suites
		0x70, 0xB0, // the broadcast key set, compression
	} {
		g := p.sealDedicated(p.energyRequest())
		g[2] = byte(control)
		wantAnswer(t, notAllowed, p.send(g))
	}
	p.control = security.Authenticated // and rightly sealed with less
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	p.control = security.AuthenticatedEncrypted
	p.works()
}

func TestTheInnerAPDUMustBeTheOneThatTheTagPromises(t *testing.T) {
	b := newBench(t)
	p := b.is().open()
	g := p.sealDedicated(p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)))
	g[0] = byte(apdu.TagDedGetRequest)
	wantAnswer(t, notAllowed, p.send(g))
	if b.dev.breaker != 1 {
		t.Error("the breaker moved")
	}
	p.works()
}

func TestOtherFormsAreRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	p.general = true
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	wantAnswer(t, notAllowed, p.send(p.sealGlobal(p.energyRequest())))
	p.general = false
	for _, tag := range []apdu.Tag{
		apdu.TagGeneralCiphering, apdu.TagGeneralSigning, apdu.TagGeneralBlockTransfer, apdu.TagAccessRequest,
		apdu.TagInitiateRequest, apdu.TagDataNotification, apdu.TagGetResponse, apdu.TagAARE, 0x00, 0xFF,
	} {
		wantAnswer(t, notAllowed, p.send([]byte{byte(tag), 1, 2, 3}))
	}
	wantAnswer(t, otherReason, p.send([]byte{byte(apdu.TagDedGetRequest), 200, 0x30})) // a lying length
	p.works()
}

func TestAnAPDULongerThanTheServerTakesIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	wantAnswer(t, tooLong, p.send(p.sealDedicated(append(p.energyRequest(), make([]byte, 1024)...))))
	p.works()
}

func TestGarbageInsideAnAuthenticAPDUGetsOneClearError(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	for _, plain := range [][]byte{
		{0xC0},
		{0xC0, 1},
		{0xC0, 9, 0xC1},
		{0xC1, 1, 0xC1, 0, 1},
		{0xC3, 1, 0xC1, 0, 70, 0, 0, 96, 3, 10, 255, 1, 7},
		append(p.energyRequest(), 0),
	} {
		wantAnswer(t, otherReason, p.send(p.sealDedicated(plain)))
	}
	deep := p.must(apdu.SetRequest{Kind: apdu.SetRequestNormal, ID: p.id(), Attribute: apdu.Attribute{
		Ref: dlms.AttributeRef{Class: dlms.ClassData, Instance: obisNote, Attribute: 2},
	}}.AppendBinary(nil))
	deep = deep[:len(deep)-1]
	for range 200 {
		deep = append(deep, 2, 1) // structure of one structure of one
	}
	wantAnswer(t, otherReason, p.send(p.sealDedicated(append(deep, 0))))
	p.works()
}

func TestAForeignClientIsAnsweredInTheFormItAsksIn(t *testing.T) {
	b := newBench(t)
	p := b.tester().open()
	for _, general := range []bool{false, true} {
		for _, control := range []security.Control{security.AuthenticatedEncrypted, security.Authenticated} {
			p.general, p.control = general, control
			p.formed(p.send(p.sealDedicated(p.energyRequest())), p.ded, apdu.TagDedGetResponse, apdu.TagGeneralDed)
			p.formed(p.send(p.sealGlobal(p.energyRequest())), p.glo, apdu.TagGloGetResponse, apdu.TagGeneralGlo)
		}
	}
	wantAnswer(t, notAllowed, p.send(p.energyRequest()))
}

func (p *peer) formed(answer []byte, c *security.Cipher, own, general apdu.Tag) {
	p.t.Helper()
	want, at := own, 2
	if p.general {
		want, at = general, 11
	}
	if apdu.Tag(answer[0]) != want || security.Control(answer[at]) != p.control {
		p.t.Errorf("want %s with %s, got % x", want, p.control, answer)
	}
	if r := p.getResult(p.openWith(c, answer)); r.Result != dlms.DataAccessSuccess {
		p.t.Errorf("got %s", r.Result)
	}
}

func TestAForeignClientMayOpenInAGeneralForm(t *testing.T) {
	b := newBench(t)
	p := b.tester()
	p.general = true
	p.open().works()
	p.general = false
	p.works()
}

func TestAForeignClientMayDoWithoutADedicatedKey(t *testing.T) {
	b := newBench(t)
	p := b.tester()
	p.noDedicated = true
	p.open().works()
	p.freshKey()
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	p.works()
}

func TestADedicatedKeyThatIsNotEncryptedIsRefusedWhateverThePolicy(t *testing.T) {
	b := newBench(t)
	p := b.tester()
	p.control = security.Authenticated
	wantRejected(t, p.send(p.aarq()), apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure)
	p.noDedicated = true
	p.open().works()
}

func TestAGeneralFormWithAnotherTitleIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.tester().open()
	p.general = true
	honest := p.title
	for _, title := range []dlms.SystemTitle{meterTitle, isTitle} {
		p.title = title
		wantAnswer(t, notAllowed, p.send(p.sealWith(p.ded, 1<<16, true, p.energyRequest())))
	}
	p.title = honest
	p.works()
}

func TestNoAssociationOutlivesADay(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	b.now = b.now.Add(24*time.Hour - time.Second)
	p.works()
	b.now = b.now.Add(time.Second)
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	if e := b.dev.events[len(b.dev.events)-1]; e.Kind != server.EventClosed || !errors.Is(e.Err, server.ErrAge) {
		t.Errorf("event: %+v", e)
	}
}

func TestNoAssociationOutlives65536APDUs(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	for range 1 << 16 {
		if tag := apdu.Tag(p.send(p.sealDedicated(p.energyRequest()))[0]); tag != apdu.TagDedGetResponse {
			t.Fatalf("got %s", tag)
		}
	}
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	if e := b.dev.events[len(b.dev.events)-1]; !errors.Is(e.Err, server.ErrAPDUs) {
		t.Errorf("event: %+v", e)
	}
}

func TestAnAssociationFromTheFutureIsEnded(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	b.now = b.now.Add(-time.Second)
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
}

func TestTheEndOfALinkDisturbsNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	link.Disconnected(b.srv.Handler(lan), sapReadWrite) // which a stranger can send
	answer := b.srv.Handler(lan).HandleAPDU(t.Context(), request(sapReadWrite, 1, p.sealDedicated(p.energyRequest())))
	p.openWith(p.ded, answer)
}
