package server_test

import (
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

func TestAnAssociationOpensInFourPassesAndServes(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	p.works()
	if e := b.dev.events; len(e) != 1 || e[0].Kind != server.EventOpened || e[0].Peer != concTitle ||
		e[0].Setup != setupLAN || e[0].Generation != 1 || e[0].Client != sapReadWrite || e[0].Link != lan {
		t.Errorf("events: got %+v", e)
	}
	if p.aare.RespondingTitle != meterTitle {
		t.Errorf("responding title: got %s", p.aare.RespondingTitle)
	}
	if b.oracle.Seals() != 8 { // AARQ, AARE, two for each of passes 3 and 4, a request and its answer
		t.Errorf("the oracle saw %d seals", b.oracle.Seals())
	}
}

func TestThreeAssociationsInterleaveAPDUByAPDU(t *testing.T) {
	b := newBench(t)
	rw, is := b.concentrator(), b.is()
	bc := b.broadcaster(rw)
	rw.accept(rw.send(rw.aarq()))
	is.accept(is.send(is.aarq()))
	bc.accept(bc.send(bc.aarq()))
	is.pass4(is.send(is.pass3()))
	rw.pass4(rw.send(rw.pass3()))
	bc.pass4(bc.send(bc.pass3()))
	for i := range 5 {
		rw.works()
		is.works()
		b.toAll(sapBroadcast, bc.broadcastShift(int16(i)))
		if got := len(b.dev.shifts); got != i+1 {
			t.Fatalf("shifts: want %d, got %d", i+1, got)
		}
	}
	if open, half := b.srv.Associations(); open != 3 || half != 0 {
		t.Errorf("associations: got %d open, %d half-open", open, half)
	}
}

func TestThePublicClientReadsWhatAnybodyMayAndNothingElse(t *testing.T) {
	b := newBench(t)
	p := b.public()
	if r := p.plainGet(dlms.ClassData, obisName, 2); r.Data.Text() != "MSL0000000000001" {
		t.Errorf("name: got %s, %s", r.Result, r.Data)
	}
	if r := p.plainGet(dlms.ClassRegister, obisEnergy, 2); r.Result != dlms.DataAccessObjectUndefined {
		t.Errorf("energy: got %s", r.Result)
	}
	wantAnswer(t, notAllowed, p.send([]byte{0xC8, 0x05, 0x30, 0, 0, 0, 1}))
	if rlre, err := apdu.ParseRLRE(p.send(p.release(nil))); err != nil || rlre.Reason != apdu.ReleaseNormal {
		t.Errorf("release: got %+v, %v", rlre, err)
	}
	wantAnswer(t, notAllowed, p.send(p.getRequest(dlms.ClassData, obisName, 2)))
}

func TestThePublicClientMayNotBringAKeyOrAMechanism(t *testing.T) {
	b := newBench(t)
	p := b.peer(lan, sapPublic, concTitle, otherKey())
	p.freshKey()
	q := apdu.AARQ{Context: apdu.ContextLN, UserInformation: p.initiate()}
	wantRejected(t, p.send(p.must(q.AppendBinary(nil))), apdu.AssociationRejectedPermanent, apdu.DiagnosticNoReason)
	p.noDedicated = true
	q = apdu.AARQ{
		Context: apdu.ContextLN, UserInformation: p.initiate(),
		Authentication: true, Mechanism: apdu.MechanismLLS, AuthenticationValue: []byte("password"),
	}
	wantRejected(t, p.send(p.must(q.AppendBinary(nil))), apdu.AssociationRejectedPermanent, apdu.DiagnosticMechanismUnknown)
	q = apdu.AARQ{Context: apdu.ContextLNCiphered, UserInformation: p.initiate()}
	wantRejected(t, p.send(p.must(q.AppendBinary(nil))), apdu.AssociationRejectedPermanent, apdu.DiagnosticContextNotSupported)
}

// The refusals of an AARQ. Each leaves an open association of the same client, and the floor, as they were.
func TestAnAARQIsRefusedAndDisturbsNothing(t *testing.T) {
	permanent := apdu.AssociationRejectedPermanent
	for name, c := range map[string]struct {
		make   func(p *peer) []byte
		result apdu.AssociationResult
		diag   apdu.Diagnostic
	}{
		"under another key": {func(p *peer) []byte {
			p.glo = p.b.cipherOf(otherKey())
			return p.aarq()
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"under the key of another setup": {func(p *peer) []byte {
			p.glo = p.b.cipherOf(isKey())
			return p.aarq()
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"with another title than the one sealed with": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.CallingTitle = isTitle })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"with the meter's own title": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.CallingTitle = meterTitle })
		}, permanent, apdu.DiagnosticCallingTitleUnknown},
		"without a title": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.CallingTitle = dlms.SystemTitle{} })
		}, permanent, apdu.DiagnosticCallingTitleUnknown},
		"with a short challenge": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.AuthenticationValue = make([]byte, 7) })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"with a long challenge": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.AuthenticationValue = make([]byte, 65) })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"without a mechanism": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) {
				q.Authentication, q.Mechanism, q.AuthenticationValue = false, 0, nil
			})
		}, permanent, apdu.DiagnosticMechanismRequired},
		"with a password": {func(p *peer) []byte {
			p.mechanism = apdu.MechanismLLS
			return p.aarq()
		}, permanent, apdu.DiagnosticMechanismUnknown},
		"without ciphering": {func(p *peer) []byte {
			p.context = apdu.ContextLN
			return p.aarq()
		}, permanent, apdu.DiagnosticContextNotSupported},
		"with an initiate request in clear": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.UserInformation = p.initiate() })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"without an initiate request": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.UserInformation = nil })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"authenticated and not encrypted": {func(p *peer) []byte {
			p.control = security.Authenticated
			return p.aarq()
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"of another suite": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.UserInformation[2] |= 1 })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"under the broadcast key set": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.UserInformation[2] |= 0x40 })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"compressed": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.UserInformation[2] |= 0x80 })
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"in a general form": {func(p *peer) []byte {
			p.general = true
			return p.aarq()
		}, permanent, apdu.DiagnosticAuthenticationFailure},
		"with too much information": {func(p *peer) []byte {
			return p.aarq(func(q *apdu.AARQ) { q.Implementation = make([]byte, 129) })
		}, permanent, apdu.DiagnosticNoReason},
		"cut": {func(p *peer) []byte {
			a := p.aarq()
			return a[:len(a)-1]
		}, permanent, apdu.DiagnosticNoReason},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			honest := b.concentrator().open()
			floor := b.dev.floor(setupLAN, concTitle)
			stranger := b.concentrator()
			stranger.gloSend, stranger.rand = honest.gloSend, honest.rand // new nonces and keys
			wantRejected(t, stranger.send(c.make(stranger)), c.result, c.diag)
			if got := b.dev.floor(setupLAN, concTitle); got != floor {
				t.Errorf("floor moved from %d to %d", floor, got)
			}
			honest.works()
		})
	}
}

// Authentic proposals that cannot be served spend their counter and leave the open association alone.
func TestAnAuthenticProposalThatCannotBeServedIsRefusedWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *peer)
		value  uint8
	}{
		"dlms version too low":     {func(p *peer) { p.version = 5 }, apdu.InitiateDLMSVersionTooLow},
		"nothing in common":        {func(p *peer) { p.conformance = apdu.ConformanceRead }, apdu.InitiateIncompatibleConformance},
		"pdu too short":            {func(p *peer) { p.maxPDU = 11 }, apdu.InitiatePDUSizeTooShort},
		"no dedicated key":         {func(p *peer) { p.noDedicated = true }, apdu.InitiateOther},
		"dedicated key of 32":      {func(p *peer) { p.dedBytes = make([]byte, 32) }, apdu.InitiateOther},
		"dedicated key of 16 ones": {func(p *peer) { p.dedBytes = repeat(1, 16) }, apdu.InitiateOther},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			honest := b.concentrator().open()
			p := b.concentrator()
			p.gloSend, p.rand = honest.gloSend, honest.rand
			p.freshKey()
			c.change(p)
			answer := p.send(p.aarq())
			wantRejected(t, answer, apdu.AssociationRejectedPermanent, apdu.DiagnosticNoReason)
			e, err := apdu.ParseAARE(answer)
			if err != nil {
				t.Fatal(err)
			}
			got, err := apdu.ParseConfirmedServiceError(e.UserInformation)
			if err != nil || got.Service != apdu.ConfirmedInitiate || got.Class != apdu.ErrorClassInitiate || got.Value != c.value {
				t.Errorf("confirmed service error: got %v, %v", got, err)
			}
			if b.dev.count(server.EventFailed) != 1 {
				t.Errorf("events: %+v", b.dev.events)
			}
			honest.works()
		})
	}
}

func TestAReplayedAARQIsToldTheCounterAndDisturbsNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	recorded := p.aarq()
	p.accept(p.send(recorded))
	p.pass4(p.send(p.pass3()))
	wantCounter(t, 4, p.send(recorded)) // AARQ 1, f() 2, its APDU 3
	p.works()
	b.now = b.now.Add(25 * time.Hour) // also when the association is gone
	wantCounter(t, 4, p.send(recorded))
}

func TestAReplayedAARQDoesNotEndTheAssociationItOpened(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	recorded := p.aarq()
	p.accept(p.send(recorded))
	wantCounter(t, 2, p.send(recorded))
	p.pass4(p.send(p.pass3())) // still half-open, still the same challenge
	p.works()
}

func TestAnotherAARQOfTheSameClientReplacesItsAssociation(t *testing.T) {
	b := newBench(t)
	old := b.concentrator().open()
	fresh := b.concentrator()
	fresh.gloSend, fresh.rand = old.gloSend, old.rand
	fresh.open().works()
	wantAnswer(t, deciphering, old.send(old.sealDedicated(old.getRequest(dlms.ClassRegister, obisEnergy, 2))))
	if n := len(b.dev.events); n < 2 || !errors.Is(b.dev.events[1].Err, server.ErrSuperseded) {
		t.Errorf("events: %+v", b.dev.events)
	}
}

func TestAClientIsServedOnItsOwnLinksOnly(t *testing.T) {
	b := newBench(t)
	p := b.peer(local, sapReadWrite, concTitle, lanKey())
	wantRejected(t, p.send(p.aarq()), apdu.AssociationRejectedPermanent, apdu.DiagnosticNoReason)
	wantAnswer(t, notAllowed, p.send([]byte{0xC0, 1, 0xC1}))
	if got := b.dev.floor(setupLAN, concTitle); got != 0 {
		t.Errorf("floor moved to %d", got)
	}
}

func TestAnAPDUForAnotherServerOrForNobodyIsNotAnswered(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	a := p.aarq()
	if got := b.srv.Handle(t.Context(), lan, request(sapReadWrite, 2, a)); got != nil {
		t.Errorf("another server: got % x", got)
	}
	b.toAll(sapReadWrite, a)
	if got := p.send(nil); got != nil {
		t.Errorf("nothing: got % x", got)
	}
	p.accept(p.send(a))
}

func TestAMeterThatCannotReadItsFloorRefusesTheKey(t *testing.T) {
	b := newBench(t)
	delete(b.dev.keys, setupLAN)
	p := b.concentrator()
	wantRejected(t, p.send(p.aarq()), apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
	b.is().open().works()
}

func TestNothingTakesEffectWhoseFloorCannotBeKept(t *testing.T) {
	b := newBench(t)
	full := errors.New("memory full")
	var failing error
	floor, err := security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return failing }})
	if err != nil {
		t.Fatal(err)
	}
	b.dev.keys[setupLAN].Floor = floor
	p := b.concentrator()
	recorded := p.aarq()
	failing = full
	wantRejected(t, p.send(recorded), apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
	if open, half := b.srv.Associations(); open+half != 0 {
		t.Fatalf("associations: %d, %d", open, half)
	}
	failing = nil
	p.accept(p.send(recorded))
	pass3 := p.pass3()
	failing = full
	wantAnswer(t, otherReason, p.send(pass3))
	failing = nil
	p.pass4(p.send(pass3))
	p.works()
}

func TestANinthTitleWaitsForTheNextKey(t *testing.T) {
	b := newBench(t)
	for i := range security.MaxTitles {
		title := concTitle
		title[7] = byte(0x10 + i)
		b.peer(lan, sapReadWrite, title, lanKey()).open().works()
	}
	p := b.concentrator()
	wantRejected(t, p.send(p.aarq()), apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
}

func TestACounterThatJumpsTooFarIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.freshKey()
	info := p.sealWith(p.glo, security.MaxJump+1, false, p.initiate())
	wantCounter(t, 0, p.send(p.aarq(func(q *apdu.AARQ) { q.UserInformation = info })))
	p.open().works()
}

func TestAForgedHighCounterMovesNothing(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	forged := p.aarq(func(q *apdu.AARQ) { q.UserInformation[3] = 0xFF })
	wantRejected(t, p.send(forged), apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure)
	p.open().works()
	g := p.sealDedicated(p.getRequest(dlms.ClassRegister, obisEnergy, 2))
	g[3] = 0xFF
	wantAnswer(t, deciphering, p.send(g))
	p.works()
}

func TestAnswersToWhatDoesNotVerifyAreRateLimitedAndNobodyIsLockedOut(t *testing.T) {
	b := newBench(t)
	honest := b.concentrator().open()
	forged := honest.sealDedicated(honest.getRequest(dlms.ClassRegister, obisEnergy, 2))
	forged[len(forged)-1] ^= 1
	answered := 0
	for range 1000 {
		if honest.send(forged) != nil {
			answered++
		}
	}
	if answered != 16 || b.dev.count(server.EventRefused) != 16 {
		t.Errorf("want 16 answers and events, got %d and %d", answered, b.dev.count(server.EventRefused))
	}
	honest.works()
	if honest.send(forged) != nil {
		t.Error("answered above the rate")
	}
	b.now = b.now.Add(5 * time.Second)
	wantAnswer(t, deciphering, honest.send(forged))
	other := b.is().open() // another SAP has a rate of its own
	replay := other.sealDedicated(other.getRequest(dlms.ClassRegister, obisEnergy, 2))
	other.send(replay)
	wantCounter(t, 2, other.send(replay))
}

func TestTheInformationOfTheAARQReachesTheDevice(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.accept(p.send(p.aarq(func(q *apdu.AARQ) { q.Implementation = []byte("grant 7") })))
	p.pass4(p.send(p.pass3()))
	if e := b.dev.events; len(e) != 1 || string(e[0].ImplementationInfo) != "grant 7" {
		t.Errorf("events: %+v", e)
	}
}

func TestOnlyWhatBothEndsOfferIsServed(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.conformance = apdu.ConformanceGet | apdu.ConformanceRead
	p.open().works()
	wantAnswer(t, unsupported, p.send(p.sealDedicated(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1)))))
	if len(b.dev.shifts) != 0 {
		t.Error("a method was called that was not agreed on")
	}
}
