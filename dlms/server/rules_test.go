package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// The rules that implementations get wrong, in their numbering. The server's part of each; the others are the client's
// and the device's.

// Rule 1: counters are per key, separately for sending and receiving; below the floor is refused, and a success makes
// the floor the value behind it; at its end a counter gives an error and stays.
func TestRule01CountersArePerKeyAndDirectionAndEndWithAnError(t *testing.T) {
	b := newBench(t)
	p := b.tester().open() // global and dedicated traffic
	floor := b.dev.floor(setupLAN, p.title)
	p.works() // dedicated: the global floor stays
	if got := b.dev.floor(setupLAN, p.title); got != floor {
		t.Errorf("the global floor moved by dedicated traffic: %d, %d", floor, got)
	}
	gap := p.sealWith(p.ded, 100, true, p.energyRequest())
	p.openWith(p.ded, p.send(gap)) // a gap is allowed
	wantCounter(t, 101, p.send(p.sealWith(p.ded, 50, true, p.energyRequest())))
	last := p.sealWith(p.ded, dlms.MaxInvocationCounter, true, p.energyRequest())
	p.openWith(p.ded, p.send(last))
	wantCounter(t, dlms.MaxInvocationCounter, p.send(last))
	p.noDedicated = true
	p.works() // the global key has its own

	spent := &exhausted{last: dlms.MaxInvocationCounter - 1}
	b.dev.keys[setupLAN].Send = spent
	p.openWith(p.glo, p.send(p.sealGlobal(p.energyRequest())))
	for range 2 {
		if answer := p.send(p.sealGlobal(p.energyRequest())); answer[0] != byte(apdu.TagExceptionResponse) {
			t.Fatalf("sealed beyond the end: % x", answer)
		}
	}
	if spent.last != dlms.MaxInvocationCounter {
		t.Errorf("the counter went on to %d", spent.last)
	}
}

// exhausted is a sending counter near its end.
type exhausted struct{ last dlms.InvocationCounter }

func (c *exhausted) Next() (dlms.InvocationCounter, error) {
	if c.last == dlms.MaxInvocationCounter {
		return 0, dlms.ErrCounterExhausted
	}
	c.last++
	return c.last, nil
}

// Rule 2: the floor moves only after the tag verified, and an equal value is refused.
func TestRule02AForgedCounterLocksNobodyOutAndAnEqualOneIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	forged := p.sealDedicated(p.energyRequest())
	honest := bytes.Clone(forged)
	forged[3], forged[4] = 0x7F, 0xFF // a high counter, which breaks the tag
	wantAnswer(t, deciphering, p.send(forged))
	p.openWith(p.ded, p.send(honest))
	wantCounter(t, 2, p.send(honest))
	p.works()
}

// Rule 3: nothing that a client says lowers what the meter sends under.
func TestRule03NoClientLowersTheSendingCounter(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	first := p.sealDedicated(p.energyRequest())
	last := counterOf(t, p.send(first))
	for _, say := range []func(){
		func() { p.send([]byte{0xD8, 1, 6, 0, 0, 0, 1}) }, // an invocation-counter-error, of a client
		func() { p.send(first) },
		func() { p.open() },
		func() { p.useKey(p.dedBytes, p.dedSend); p.open() },
		func() { p.send(p.release(p.sealGlobal(p.farewell()))); p.open() },
	} {
		say()
		ic := counterOf(t, p.send(p.sealDedicated(p.energyRequest())))
		if ic <= last {
			t.Fatalf("%d after %d", ic, last)
		}
		last = ic
	}
}

// Rule 4: the receive floor is kept before the effect, and exactly: not ahead.
func TestRule04TheFloorIsKeptBeforeTheEffectAndNotAhead(t *testing.T) {
	b := newBench(t)
	p := b.tester()
	p.noDedicated = true
	p.open()
	var kept []dlms.InvocationCounter
	full := errors.New("memory full")
	var fail error
	table, err := security.NewFloorTable(security.FloorConfig{
		Floors: b.floors(setupLAN),
		Persist: func(f security.Floor) error {
			if fail == nil {
				kept = append(kept, f.Last)
			}
			return fail
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.dev.keys[setupLAN].Floor = table
	shift := func() []byte {
		return p.sealGlobal(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1)))
	}
	g := shift()
	p.openWith(p.glo, p.send(g))
	c, err := apdu.ParseCiphered(g)
	if err != nil || len(kept) != 1 || kept[0] != c.Counter {
		t.Fatalf("kept %v for %d (%v)", kept, c.Counter, err)
	}
	fail = full
	if answer := p.send(shift()); answer[0] != byte(apdu.TagExceptionResponse) {
		t.Fatalf("answered: % x", answer)
	}
	if len(b.dev.shifts) != 1 {
		t.Fatal("done without a floor")
	}
}

func (b *bench) floors(setup dlms.OBIS) []security.Floor {
	b.t.Helper()
	table, ok := b.dev.keys[setup].Floor.(*security.FloorTable)
	if !ok {
		b.t.Fatal("no table")
	}
	return table.Floors()
}

// Rule 5: after pass 2 only reply_to_HLS_authentication is served; a title or challenge that could be reflected is
// refused.
func TestRule05AHalfOpenAssociationServesPass3AloneAndNothingIsReflected(t *testing.T) {
	b := newBench(t)
	p := b.is().halfOpen()
	for _, plain := range [][]byte{
		p.energyRequest(), p.listRequest(3), p.nextBlock(1),
		p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)),
		p.actionRequest(dlms.ClassSecuritySetup, setupLAN, 2, cosem.KeyTransfer(0, newKey())),
	} {
		wantAnswer(t, notAllowed, p.send(p.sealDedicated(plain)))
		wantAnswer(t, notAllowed, p.send(p.sealGlobal(plain)))
	}
	if b.dev.breaker != cosem.Connected {
		t.Fatal("the breaker moved")
	}
	p.pass4(p.send(p.pass3()))
	stranger := b.peer(lan, sapIS, meterTitle, isKey()) // claims to be the meter
	stranger.control = security.AuthenticatedEncrypted
	b.repeats = true // it repeats the meter's own nonces
	wantRejected(t, stranger.send(stranger.aarq()), apdu.AssociationRejectedPermanent, apdu.DiagnosticCallingTitleUnknown)
	p.works()
}

// Rule 6: less protection than the policy, another suite, and encrypted without authentication are refused.
func TestRule06LessProtectionAnotherSuiteAndEncryptedOnlyAreRefused(t *testing.T) {
	b := newBench(t)
	for _, p := range []*peer{b.concentrator().open(), b.tester().open()} {
		for control := range 256 {
			c := security.Control(control)
			if c == security.AuthenticatedEncrypted || c == security.Authenticated && p.sap == sapBench {
				continue
			}
			g := p.sealDedicated(p.energyRequest())
			g[2] = byte(c)
			wantAnswer(t, notAllowed, p.send(g))
		}
		p.works()
	}
}

// Rule 7: the client does not choose the policy: what it proposes, and how it protects its AARQ, changes nothing.
func TestRule07TheClientDoesNotChooseThePolicy(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	p.control = security.Authenticated
	wantRejected(t, p.send(p.aarq()), apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure)
	p.control = security.AuthenticatedEncrypted
	p.context = apdu.ContextLN
	wantRejected(t, p.send(p.aarq()), apdu.AssociationRejectedPermanent, apdu.DiagnosticContextNotSupported)
	p.context = apdu.ContextLNCiphered
	p.conformance = 0xFFFFFF // general protection among them
	p.open()
	wantAnswer(t, notAllowed, p.send(p.energyRequest()))
	p.control = security.Authenticated
	wantAnswer(t, notAllowed, p.send(p.sealDedicated(p.energyRequest())))
	p.control = security.AuthenticatedEncrypted
	p.works()
}

// Rule 8: the release is protected, and half-open associations are bounded.
func TestRule08TheReleaseIsProtectedAndHalfOpenAssociationsAreBounded(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	p.wantReleased(p.send(p.release(nil)), apdu.ReleaseNotFinished)
	p.wantReleased(p.send(p.release(p.initiate())), apdu.ReleaseNotFinished)
	p.works()
	is := b.is()
	for range 30 {
		is.halfOpen()
	}
	if open, half := b.srv.Associations(); open != 1 || half != 1 {
		t.Errorf("%d open, %d half-open", open, half)
	}
	b.now = b.now.Add(61e9)
	b.srv.Sweep()
	if _, half := b.srv.Associations(); half != 0 {
		t.Error("a half-open association was not forgotten")
	}
	p.wantReleased(p.send(p.release(p.sealGlobal(p.farewell()))), apdu.ReleaseNormal)
}

// Rule 10: a meter that cannot read its floor refuses the key.
func TestRule10WithoutItsFloorAKeyIsRefusedAndNoOldSessionReplays(t *testing.T) {
	b := newBench(t)
	p := b.concentrator()
	aarq := p.aarq()
	p.accept(p.send(aarq))
	pass3 := p.pass3()
	p.pass4(p.send(pass3))
	command := p.sealDedicated(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(5)))
	p.openWith(p.ded, p.send(command))
	held := b.dev.keys[setupLAN]
	b.srv = server.New(changedModel(t, nil), b.dev, nil) // a restart
	delete(b.dev.keys, setupLAN)                         // and the floor is not readable
	wantRejected(t, p.send(aarq), apdu.AssociationRejectedTransient, apdu.DiagnosticNoReason)
	b.dev.keys[setupLAN] = held // it is again, and the recorded session is old
	p.send(aarq)
	p.send(pass3)
	p.send(command)
	if open, half := b.srv.Associations(); open+half != 0 || len(b.dev.shifts) != 1 {
		t.Errorf("%d open, %d half-open, shifts %v", open, half, b.dev.shifts)
	}
}

// Rule 11: broadcast is unconfirmed, under a key under which no meter seals, carries what it may, and does not replay
// when the same key is brought again.
func TestRule11ABroadcastKeySealsNothingAndCarriesOnlyWhatItMay(t *testing.T) {
	b := newBench(t)
	_, bc := b.broadcasting()
	seals := b.oracle.Seals()
	shift := bc.broadcastShift(7)
	b.toAll(sapBroadcast, shift)
	breaker := bc.sealDedicated(unconfirmed(bc.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0))))
	keys := bc.sealDedicated(unconfirmed(bc.actionRequest(dlms.ClassSecuritySetup, setupLAN, 2, cosem.KeyTransfer(0, newKey()))))
	b.toAll(sapBroadcast, breaker)
	b.toAll(sapBroadcast, keys)
	wantAnswer(t, notAllowed, bc.send(bc.sealDedicated(bc.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1)))))
	if got := b.oracle.Seals() - seals; got != 4 { // the sender's own
		t.Errorf("the meter sealed %d times", got-4)
	}
	bc.open()
	b.toAll(sapBroadcast, shift)
	if len(b.dev.shifts) != 1 || b.dev.breaker != cosem.Connected {
		t.Errorf("shifts %v, breaker %d", b.dev.shifts, b.dev.breaker)
	}
}

// Rule 11, for a client that may do everything by itself: a broadcast in its name may not, for every meter holds the key.
func TestRule11ABroadcastInTheNameOfWhoMayDoEverythingGivesNoOrders(t *testing.T) {
	b := newBenchOf(t, changedModel(t, func(c *server.Client) { c.GlobalBroadcast = c.SAP == sapIS }))
	floor, err := security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	all := b.cipherOf([]byte("a key for all..."))
	b.dev.everybody, b.dev.everybodyFloor = b.cipherOf([]byte("a key for all...")), floor
	is := b.is().open()
	ic := dlms.InvocationCounter(0)
	cast := func(plain []byte) {
		ic++
		b.toAll(sapIS, is.sealForAll(all, ic, unconfirmed(plain)))
	}
	keys := b.dev.keys[setupLAN]
	cast(is.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)))
	cast(is.actionRequest(dlms.ClassSecuritySetup, setupLAN, 2, cosem.KeyTransfer(0, newKey())))
	if b.dev.breaker != cosem.Connected || b.dev.keys[setupLAN] != keys {
		t.Errorf("breaker %s, and the key changed: %t", b.dev.breaker, b.dev.keys[setupLAN] != keys)
	}
	cast(is.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(3)))
	if len(b.dev.shifts) != 1 {
		t.Errorf("shifts: %v", b.dev.shifts)
	}
	// By itself it may.
	r := is.actionResponse(is.exchange(is.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0))))
	if r.Outcome.Result != dlms.ActionSuccess || b.dev.breaker != cosem.Disconnected {
		t.Errorf("in its association: %s, breaker %s", r.Outcome.Result, b.dev.breaker)
	}
}

// Rule 12: what the concentrator's session may not reach it cannot reach by any session that it can see or make.
func TestRule12TheConcentratorCannotReachTheBreakerOrTheKeys(t *testing.T) {
	b := newBench(t)
	rw, is := b.concentrator().open(), b.is().open()
	for _, m := range []dlms.MethodRef{
		{Class: dlms.ClassDisconnectControl, Instance: obisBreaker, Method: 1},
		{Class: dlms.ClassSecuritySetup, Instance: setupIS, Method: 2},
	} {
		plain := rw.actionRequest(m.Class, m.Instance, m.Method, dlms.Int8(0))
		if r := rw.actionResponse(rw.exchange(plain)); r.Outcome.Result != dlms.ActionObjectUndefined {
			t.Errorf("%s: %s", m, r.Outcome.Result)
		}
		wantAnswer(t, deciphering, b.handle(lan, sapIS, rw.sealDedicated(plain))) // in the other's name
	}
	is.works()
	if b.dev.breaker != cosem.Connected {
		t.Error("the breaker moved")
	}
}

// Rule 15: who asks without knowing anything is told counters and failures at a rate, per (link, SAP), and keeps nobody
// else out.
func TestRule15CountersAndFailuresAreToldAtARate(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	old := p.sealDedicated(p.energyRequest())
	p.send(old)
	forged := bytes.Clone(old)
	forged[len(forged)-1] ^= 1
	told := 0
	for i := range 200 {
		g := old
		if i%2 == 0 {
			g = forged
		}
		if p.send(g) != nil {
			told++
		}
	}
	if told != 16 {
		t.Errorf("told %d times", told)
	}
	p.works()
	b.is().open().works()
	b.now = b.now.Add(5e9)
	wantCounter(t, p.dedSendFloor(), p.send(old))
}

// dedSendFloor is the counter behind the last one that the peer spent under its dedicated key.
func (p *peer) dedSendFloor() dlms.InvocationCounter {
	p.t.Helper()
	return p.next(p.dedSend)
}

// Rule 18: two clients never share a counter of the meter: each title has a floor of its own under one key.
func TestRule18EachTitleHasAFloorOfItsOwn(t *testing.T) {
	b := newBench(t)
	first := b.concentrator().open()
	second := b.peer(lan, sapReadWrite, dlms.SystemTitle{'C', 'O', 'N', 0, 0, 0, 0, 7}, lanKey())
	second.open().works() // its counter starts at 1, where the other's stands higher
	if a, c := b.dev.floor(setupLAN, first.title), b.dev.floor(setupLAN, second.title); a != c || a != 4 {
		t.Errorf("floors: %d, %d", a, c)
	}
}

// Every answer to what is refused has the code of the table in the package comment.
func TestExceptionsSayExactlyWhatWasWrong(t *testing.T) {
	b := newBench(t)
	p := b.concentrator().open()
	old := p.sealDedicated(p.energyRequest())
	p.send(old)
	forged := p.sealDedicated(p.energyRequest())
	forged[9] ^= 1
	for name, c := range map[string]struct {
		answer []byte
		want   string
	}{
		"a stranger":           {b.handle(lan, 99, p.energyRequest()), notAllowed},
		"no association":       {b.handle(lan, sapIS, p.energyRequest()), notAllowed},
		"in clear":             {p.send(p.energyRequest()), notAllowed},
		"a response":           {p.send([]byte{0xC4, 1, 0xC1, 0, 0}), notAllowed},
		"a release of nothing": {b.handle(lan, sapIS, p.release(nil)), notAllowed},
		"a bad tag":            {p.send(forged), deciphering},
		"an old counter":       {p.send(old), "\xD8\x01\x06\x00\x00\x00\x02"},
		"an unknown service":   {p.send(p.sealDedicated([]byte{0xC2, 0, 0, 1, 0, 0, 1, 0, 0, 255, 2, 0})), unsupported},
		"an unknown kind":      {p.send(p.sealDedicated([]byte{0xC0, 9, 0xC1})), otherReason},
		"a next of an action":  {p.send(p.sealDedicated([]byte{0xC3, 2, 0xC1, 0, 0, 0, 1})), "ok"},
		"too long":             {p.send(make([]byte, 1025)), tooLong},
		"a lying length":       {p.send([]byte{0xD0, 0x82, 0xFF, 0xFF, 0x30}), otherReason},
		"a bad release":        {p.send([]byte{0x62, 1}), otherReason},
	} {
		got := string(c.answer)
		if c.want == "ok" {
			if !strings.HasPrefix(got, "\xD7") {
				t.Errorf("%s: % x", name, got)
			}
			continue
		}
		if got != c.want {
			t.Errorf("%s: want % x, got % x", name, c.want, got)
		}
	}
	e, err := apdu.ParseAARE(b.initiateWith(func(p *peer) { p.maxPDU = 20 }))
	if err != nil {
		t.Fatal(err)
	}
	if why, err := apdu.ParseConfirmedServiceError(e.UserInformation); err != nil || fmt.Sprint(why.Service, why.Class, why.Value) != "1 initiate 3" {
		t.Errorf("a tiny pdu: %v, %v", why, err)
	}
}

// initiateWith is the answer to an authentic AARQ with another proposal.
func (b *bench) initiateWith(change func(p *peer)) []byte {
	p := b.is()
	change(p)
	return p.send(p.aarq())
}
