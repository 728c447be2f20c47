package server_test

import (
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
)

// sealCiphering protects an APDU under the global key by general-ciphering.
func (p *peer) sealCiphering(plain []byte, change func(g *apdu.GeneralCiphering)) []byte {
	p.t.Helper()
	g := apdu.GeneralCiphering{
		TransactionID: []byte{1, 2, 3}, Originator: p.title, Recipient: meterTitle, Other: []byte("o"),
		Key: apdu.KeyInfo{Kind: apdu.KeyInfoIdentified, KeyID: apdu.KeyIDGlobalUnicast},
		Ciphered: apdu.Ciphered{
			Tag: apdu.TagGeneralCiphering, Control: byte(p.control), Counter: p.next(p.gloSend),
		},
	}
	if change != nil {
		change(&g)
	}
	g.Content = p.must(p.glo.SealWith(nil, security.Control(g.Control), p.title, g.Counter, g.AAD(), plain))
	return p.must(g.AppendBinary(nil))
}

// ciphering is a bench whose client on the local link may use general-ciphering, with its association open.
func ciphering(t testing.TB) (*bench, *peer) {
	t.Helper()
	b, p := withMechanism(t, server.MechanismGMAC, security.PolicyAuthenticated,
		func(c *server.Client) { c.GeneralCiphering = true })
	return b, p.open()
}

func TestGeneralCipheringIsAnsweredInKind(t *testing.T) {
	_, p := ciphering(t)
	for _, change := range []func(g *apdu.GeneralCiphering){
		nil,
		func(g *apdu.GeneralCiphering) { g.Key = apdu.KeyInfo{} },
		func(g *apdu.GeneralCiphering) { g.Recipient = dlms.SystemTitle{} },
		func(g *apdu.GeneralCiphering) { g.TransactionID = nil },
		func(g *apdu.GeneralCiphering) { g.HasTime = true },
	} {
		for _, p.control = range []security.Control{security.AuthenticatedEncrypted, security.Authenticated} {
			answer := p.send(p.sealCiphering(p.energyRequest(), change))
			g, err := apdu.ParseGeneralCiphering(answer)
			if err != nil || g.Originator != meterTitle || security.Control(g.Control) != p.control {
				t.Fatalf("answer: %+v, %v (% x)", g, err, answer)
			}
			plain, err := p.glo.OpenWith(nil, p.control, meterTitle, g.Counter, g.AAD(), g.Content)
			if err != nil {
				t.Fatal(err)
			}
			if r := p.getResult(plain); r.Result != dlms.DataAccessSuccess {
				t.Errorf("got %s", r.Result)
			}
		}
	}
	p.control = security.AuthenticatedEncrypted
	p.works()
}

func TestGeneralCipheringIsRefused(t *testing.T) {
	_, p := ciphering(t)
	for name, c := range map[string]struct {
		change func(g *apdu.GeneralCiphering)
		want   string
	}{
		"for another meter":   {func(g *apdu.GeneralCiphering) { g.Recipient = isTitle }, notAllowed},
		"from another client": {func(g *apdu.GeneralCiphering) { g.Originator = isTitle }, notAllowed},
		"under the broadcast key": {func(g *apdu.GeneralCiphering) {
			g.Key.KeyID = apdu.KeyIDGlobalBroadcast
		}, notAllowed},
		"with its key along": {func(g *apdu.GeneralCiphering) {
			g.Key = apdu.KeyInfo{Kind: apdu.KeyInfoWrapped, Ciphered: make([]byte, 24)}
		}, notAllowed},
		"with an agreed key": {func(g *apdu.GeneralCiphering) {
			g.Key = apdu.KeyInfo{Kind: apdu.KeyInfoAgreed, Parameters: []byte{1}, Ciphered: []byte{2}}
		}, notAllowed},
		"too long": {func(g *apdu.GeneralCiphering) { g.Other = make([]byte, 100) }, notAllowed},
	} {
		if got := p.send(p.sealCiphering(p.energyRequest(), c.change)); string(got) != c.want {
			t.Errorf("%s: want % x, got % x", name, c.want, got)
		}
	}
	g := p.sealCiphering(p.energyRequest(), nil)
	g[3] ^= 1 // the transaction, which is authenticated
	wantAnswer(t, deciphering, p.send(g))
	g[3] ^= 1
	p.send(g)
	wantCounter(t, p.b.dev.floor(setupLAN, p.title), p.send(g))
	wantAnswer(t, otherReason, p.send(g[:9]))
	p.works()
}

// Encrypted without authentication is below every policy, and so is compression, whatever the client may use.
func TestWhatIsEncryptedOnlyOrCompressedIsRefusedUnderEveryPolicy(t *testing.T) {
	for _, policy := range []security.Policy{security.PolicyAuthenticated, security.PolicyAuthenticatedEncrypted} {
		b, p := withMechanism(t, server.MechanismGMAC, policy)
		p.open()
		floor := b.dev.floor(setupLAN, p.title)
		for _, control := range []security.Control{security.Encrypted, 0x90, 0xA0, 0xB0, 0xF0, 0x70, 0x60, 0x31} {
			for _, p.general = range []bool{false, true} {
				for _, g := range [][]byte{p.sealDedicated(p.energyRequest()), p.sealGlobal(p.energyRequest())} {
					at := 2
					if p.general {
						at = 11
					}
					g[at] = byte(control)
					wantAnswer(t, notAllowed, p.send(g))
				}
			}
		}
		if b.dev.floor(setupLAN, p.title) != floor {
			t.Error("the floor moved")
		}
		p.general = false
		p.works()
	}
}

// everybody is a bench whose read/write client may use the global broadcast key, with its association open.
func everybody(t testing.TB) (*bench, *peer, *security.Cipher) {
	t.Helper()
	b := newBenchOf(t, changedModel(t, func(c *server.Client) { c.GlobalBroadcast = c.SAP == sapReadWrite }))
	floor, err := security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	b.dev.everybody, b.dev.everybodyFloor = b.cipherOf([]byte("a key for all...")), floor
	return b, b.concentrator().open(), b.cipherOf([]byte("a key for all..."))
}

// sealForAll protects an APDU under the global broadcast key.
func (p *peer) sealForAll(c *security.Cipher, ic dlms.InvocationCounter, plain []byte) []byte {
	p.t.Helper()
	defer func(was security.Control) { p.control = was }(p.control)
	p.control |= security.Broadcast
	return p.sealWith(c, ic, false, plain)
}

func TestABroadcastUnderTheGlobalBroadcastKeyIsTakenOnce(t *testing.T) {
	b, p, all := everybody(t)
	shift := func(n int16) []byte {
		return unconfirmed(p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(n)))
	}
	first := p.sealForAll(all, 1, shift(4))
	b.toAll(sapReadWrite, first)
	b.toAll(sapReadWrite, first) // a replay
	p.general = true
	b.toAll(sapReadWrite, p.sealForAll(all, 2, shift(5)))
	p.general = false
	if len(b.dev.shifts) != 2 || b.dev.shifts[0] != 4 || b.dev.shifts[1] != 5 {
		t.Fatalf("shifts: %v", b.dev.shifts)
	}
	p.works()
}

func TestABroadcastUnderTheGlobalBroadcastKeyIsRefused(t *testing.T) {
	b, p, all := everybody(t)
	shift := func() []byte { return p.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(9)) }
	stranger := b.cipherOf(otherKey())
	seals := b.oracle.Seals()
	refused := [][]byte{
		p.sealForAll(all, 1, shift()), // confirmed
		p.sealForAll(all, 2, unconfirmed(p.getRequest(dlms.ClassRegister, obisEnergy, 2))),
		p.sealForAll(all, 3, unconfirmed(p.actionRequest(dlms.ClassDisconnectControl, obisBreaker, 1, dlms.Int8(0)))),
		p.sealForAll(stranger, 4, unconfirmed(shift())),
		p.sealWith(all, 5, false, unconfirmed(shift())), // not of the key set
		p.sealGlobal(unconfirmed(shift())),
		p.sealDedicated(unconfirmed(shift())),
		{0xCB, 5, 0x70, 0, 0},
	}
	for _, g := range refused {
		b.toAll(sapReadWrite, g)
	}
	if got := b.oracle.Seals() - seals; got != len(refused)-1 {
		t.Errorf("the meter sealed %d times", got-len(refused)+1)
	}
	// Addressed to this meter alone it is no broadcast.
	wantAnswer(t, notAllowed, p.send(p.sealForAll(all, 6, unconfirmed(shift()))))
	// A client without the flag, and an association that is not open.
	is := b.is().open()
	b.toAll(sapIS, is.sealForAll(all, 7, unconfirmed(is.actionRequest(dlms.ClassClock, obisClock, 6, dlms.Int16(1)))))
	p.halfOpen()
	b.toAll(sapReadWrite, p.sealForAll(all, 8, unconfirmed(shift())))
	if len(b.dev.shifts) != 0 || b.dev.breaker != 1 {
		t.Fatalf("taken: %v", b.dev.shifts)
	}
	p.pass4(p.send(p.pass3()))
	b.dev.everybody = nil // the device has lost the key
	b.toAll(sapReadWrite, p.sealForAll(all, 9, unconfirmed(shift())))
	if len(b.dev.shifts) != 0 {
		t.Fatal("taken without a key")
	}
	if last := b.dev.events[len(b.dev.events)-1]; last.Kind != server.EventRefused {
		t.Errorf("last event: %s", last.Kind)
	}
}
