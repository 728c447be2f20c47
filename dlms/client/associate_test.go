package client

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

func TestLinkyOpensUnderTheLongTermKeyAndSpeaksUnderTheSessionKeyAlone(t *testing.T) {
	m := newMeter(t)
	a, w := m.associated(m.linky())
	ctx := context.Background()
	for range 3 {
		if _, err := a.Get(ctx, clockRef); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Set(ctx, clockRef, dlms.OctetString(make([]byte, 12))); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Action(ctx, breaker, dlms.Int8(0)); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(ctx); err != nil {
		t.Fatal(err)
	}
	// InitiateRequest takes 1, f() 2, the action around it 3, and the release 4; the session starts at 1.
	want := map[string][]dlms.InvocationCounter{
		"glo-initiate-request": {1, 4}, "glo-action-request": {3},
		"ded-get-request": {1, 2, 3}, "ded-set-request": {4}, "ded-action-request": {5},
	}
	if diff := cmp.Diff(want, m.counters); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	for i, b := range w.sent[2 : len(w.sent)-1] {
		if _, dedicated, ok := apdu.PlainTag(apdu.Tag(b[0])); !ok || !dedicated {
			t.Errorf("apdu %d after hls is %s", i, apdu.Tag(b[0]))
		}
	}
}

func TestEachAssociationDrawsASessionKeyAndAChallengeOfItsOwn(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	m.associated(cfg)
	first, challenge := m.sent, m.theirs
	m.associated(cfg)
	if m.sent.Equal(first) || m.sent.IsZero() {
		t.Error("the session key came twice")
	}
	if bytes.Equal(challenge, m.theirs) || len(challenge) != security.ChallengeSize {
		t.Errorf("challenges: %x and %x", challenge, m.theirs)
	}
}

func TestTheSessionKeyIsNowhereInClear(t *testing.T) {
	m := newMeter(t)
	a, w := m.associated(m.linky())
	_ = a
	var k []byte
	m.revealSession(func(b []byte) { k = b })
	for i, b := range w.sent {
		if bytes.Contains(b, k) {
			t.Errorf("apdu %d shows the session key", i)
		}
	}
}

// Rules on the AARE: each is a way to weaken, reflect or forge it.
func TestOpenRefusesAnAAREThat(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*fakeMeter, *apdu.AARE)
		want error
	}{
		"names our own title":          {func(_ *fakeMeter, e *apdu.AARE) { e.RespondingTitle = ownTitle }, security.ErrTitle},
		"names an unexpected title":    {func(_ *fakeMeter, e *apdu.AARE) { e.RespondingTitle[7]++ }, security.ErrTitle},
		"names no title":               {func(_ *fakeMeter, e *apdu.AARE) { e.RespondingTitle = dlms.SystemTitle{} }, ErrAnswer},
		"reflects our challenge":       {func(m *fakeMeter, e *apdu.AARE) { e.AuthenticationValue = m.theirs }, security.ErrChallenge},
		"has a challenge of 7 bytes":   {func(_ *fakeMeter, e *apdu.AARE) { e.AuthenticationValue = make([]byte, 7) }, security.ErrChallenge},
		"has a challenge of 65 bytes":  {func(_ *fakeMeter, e *apdu.AARE) { e.AuthenticationValue = make([]byte, 65) }, security.ErrChallenge},
		"has no challenge":             {func(_ *fakeMeter, e *apdu.AARE) { e.AuthenticationValue = nil }, security.ErrChallenge},
		"chooses no ciphering":         {func(_ *fakeMeter, e *apdu.AARE) { e.Context = apdu.ContextLN }, ErrAnswer},
		"chooses short names":          {func(_ *fakeMeter, e *apdu.AARE) { e.Context = apdu.ContextSNCiphered }, ErrAnswer},
		"chooses a password":           {func(_ *fakeMeter, e *apdu.AARE) { e.Mechanism = apdu.MechanismLLS }, ErrAnswer},
		"chooses another mechanism":    {func(_ *fakeMeter, e *apdu.AARE) { e.Mechanism = apdu.MechanismHLSMD5 }, ErrAnswer},
		"chooses no authentication":    {func(_ *fakeMeter, e *apdu.AARE) { e.Authentication, e.Mechanism, e.AuthenticationValue = false, 0, nil }, ErrAnswer},
		"has no user information":      {func(_ *fakeMeter, e *apdu.AARE) { e.UserInformation = nil }, ErrAnswer},
		"has an altered initiate":      {func(_ *fakeMeter, e *apdu.AARE) { e.UserInformation[12] ^= 1 }, security.ErrTag},
		"has a truncated initiate":     {func(_ *fakeMeter, e *apdu.AARE) { e.UserInformation = e.UserInformation[:6] }, ErrAnswer},
		"has trailing bytes in it":     {func(_ *fakeMeter, e *apdu.AARE) { e.UserInformation = append(e.UserInformation, 0) }, ErrAnswer},
		"has an initiate in clear":     {func(m *fakeMeter, e *apdu.AARE) { e.UserInformation = plainInitiate() }, ErrUnprotected},
		"has our own initiate-request": {func(m *fakeMeter, e *apdu.AARE) { e.UserInformation = m.ourInitiate() }, ErrUnprotected},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			m.onAARE = func(e *apdu.AARE) { c.do(m, e) }
			if err := m.refusedOpen(m.linky()); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
			if len(m.plains) != 0 {
				t.Error("the client went on to pass 3")
			}
		})
	}
}

func plainInitiate() []byte {
	return must(apdu.InitiateResponse{Version: 6, Conformance: DefaultConformance, MaxPDU: 1024, VAAName: 7}.AppendBinary(nil))
}

// ourInitiate is the ciphered InitiateRequest that the client has just sent.
func (m *fakeMeter) ourInitiate() []byte {
	return must(apdu.ParseAARQ(m.received[len(m.received)-1])).UserInformation
}

func (m *fakeMeter) revealSession(f func([]byte)) {
	for _, b := range m.received {
		if b[0] != byte(apdu.TagAARQ) {
			continue
		}
		q := must(apdu.ParseAARQ(b))
		c := must(apdu.ParseCiphered(q.UserInformation))
		plain := must(m.global.Open(nil, security.Control(c.Control), ownTitle, c.Counter, c.Content))
		f(must(apdu.ParseInitiateRequest(plain)).DedicatedKey)
	}
}

// Rules on the protection of the InitiateResponse.
func TestOpenRefusesAnInitiateResponseThat(t *testing.T) {
	for name, c := range map[string]struct {
		control func(security.Control) security.Control
		initial func([]byte) []byte
		want    error
	}{
		"is authenticated only": {control: func(security.Control) security.Control { return security.Authenticated }, want: security.ErrPolicy},
		"proposes dlms version 5": {initial: func(b []byte) []byte {
			b[2] = 5
			return b
		}, want: ErrAnswer},
		"names a short-name association": {initial: func(b []byte) []byte { return append(b[:len(b)-2], 0xFA, 0x00) }, want: ErrAnswer},
		"has trailing bytes":             {initial: func(b []byte) []byte { return append(b, 0) }, want: apdu.ErrTrailing},
		"is cut":                         {initial: func(b []byte) []byte { return b[:len(b)-3] }, want: apdu.ErrTruncated},
		"is something else":              {initial: func([]byte) []byte { return []byte{0x0E, 1, 6, 1} }, want: ErrUnprotected},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			m.onControl, m.onInitiate = c.control, c.initial
			if err := m.refusedOpen(m.linky()); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
		})
	}
}

func TestOpenRefusesOtherSuitesAndKeySetsAndCompression(t *testing.T) {
	for name, c := range map[string]struct {
		control byte
		want    error
	}{
		"suite 1": {0x31, security.ErrSuite}, "suite 2": {0x32, security.ErrSuite}, "broadcast key set": {0x70, security.ErrKeySet},
		"compressed": {0xB0, security.ErrCompressed}, "encrypted only": {0x20, security.ErrPolicy}, "nothing": {0x00, security.ErrPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			m.onInfo = func(b []byte) []byte {
				b[2] = c.control
				return b
			}
			if err := m.refusedOpen(m.linky()); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
		})
	}
}

func TestOpenReportsARejectionWithItsReasons(t *testing.T) {
	m := newMeter(t)
	m.onAARE = func(e *apdu.AARE) {
		e.Result, e.Diagnostic = apdu.AssociationRejectedPermanent, apdu.DiagnosticAuthenticationFailure
		e.UserInformation = must(apdu.ConfirmedServiceError{Service: 1, Class: 6, Value: 1}.AppendBinary(nil))
	}
	var r *RejectError
	if err := m.refusedOpen(m.linky()); !errors.As(err, &r) {
		t.Fatalf("want a *RejectError, got %v", err)
	}
	if r.Result != apdu.AssociationRejectedPermanent || r.Diagnostic != apdu.DiagnosticAuthenticationFailure ||
		r.Initiate == nil || r.Initiate.Value != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestOpenReportsTheCounterThatTheMeterExpectsAndLowersNothing(t *testing.T) {
	m := newMeter(t)
	m.onAnswer = func([]byte) [][]byte { return [][]byte{{0xD8, 1, 6, 0, 0, 0, 3}} }
	cfg := m.linky()
	for range 5 {
		must(cfg.Global.Send.Next())
	}
	var e *ExceptionError
	if err := m.refusedOpen(cfg); !errors.As(err, &e) {
		t.Fatalf("want an *ExceptionError, got %v", err)
	}
	if ic, ok := e.Expected(); !ok || ic != 3 {
		t.Errorf("want 3, got %d, %v", ic, ok)
	}
	if ic := must(cfg.Global.Send.Next()); ic != 7 {
		t.Errorf("the next counter: want 7, got %d", ic)
	}
}

// Rules on pass 4: only who holds the key and answers this challenge is the meter.
func TestOpenRefusesAPass4That(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*fakeMeter)
		want error
	}{
		"answers another challenge": {func(m *fakeMeter) {
			m.onReply = func(ic dlms.InvocationCounter, _ []byte) []byte {
				return must(security.BuildReply(m.untracked(), m.title, ic, []byte("another challenge")))
			}
		}, security.ErrTag},
		"reflects our own reply": {func(m *fakeMeter) {
			m.onReply = func(dlms.InvocationCounter, []byte) []byte {
				return must(apdu.ParseActionRequest(m.plains[0])).Parameters.Bytes()
			}
		}, security.ErrTag},
		"claims encryption in f()": {func(m *fakeMeter) {
			m.onReply = func(_ dlms.InvocationCounter, b []byte) []byte {
				b[0] = 0x30
				return b
			}
		}, security.ErrPolicy},
		"is too short": {func(m *fakeMeter) {
			m.onReply = func(_ dlms.InvocationCounter, b []byte) []byte { return b[:16] }
		}, ErrAuthentication},
		"is empty": {func(m *fakeMeter) {
			m.onReply = func(dlms.InvocationCounter, []byte) []byte { return nil }
		}, ErrAuthentication},
		"refuses": {func(m *fakeMeter) {
			m.onPass4 = func(b []byte) []byte { return []byte{0xC7, 1, b[2], byte(dlms.ActionOtherReason), 0} }
		}, dlms.ActionOtherReason},
		"has no return value": {func(m *fakeMeter) {
			m.onPass4 = func(b []byte) []byte { return []byte{0xC7, 1, b[2], 0, 0} }
		}, ErrAuthentication},
		"has another invoke-id": {func(m *fakeMeter) {
			m.onPass4 = func(b []byte) []byte {
				b[2] ^= 1
				return b
			}
		}, ErrAuthentication},
		"is a get-response": {func(m *fakeMeter) {
			m.onPass4 = func(b []byte) []byte { return getResponse(apdu.InvokeID(b[2]), dlms.Null()) }
		}, ErrUnprotected},
		"has trailing bytes": {func(m *fakeMeter) {
			m.onPass4 = func(b []byte) []byte { return append(b, 0) }
		}, apdu.ErrTrailing},
		"uses one counter inside and outside": {func(m *fakeMeter) {
			m.outerIC = func(inner dlms.InvocationCounter) dlms.InvocationCounter { return inner }
		}, ErrAuthentication},
		"comes in clear": {func(m *fakeMeter) {
			m.onAnswer = m.onFrame(1, func([]byte) []byte { return []byte{0xC7, 1, 0xC1, 0, 0} })
		}, ErrUnprotected},
		"comes under the session key": {func(m *fakeMeter) {
			m.onAnswer = m.onFrame(1, func(b []byte) []byte {
				b[0] = byte(apdu.TagDedActionResponse)
				return b
			})
		}, ErrUnprotected},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			c.do(m)
			if err := m.refusedOpen(m.linky()); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
		})
	}
}

// untracked is the meter's cipher out of the oracle's sight, for forgeries that repeat a counter.
func (m *fakeMeter) untracked() *security.Cipher {
	return must(security.NewCipher(must(m.long.AEAD()), m.ak))
}

// onFrame changes answer n.
func (m *fakeMeter) onFrame(n int, do func([]byte) []byte) func([]byte) [][]byte {
	at := -1
	return func(b []byte) [][]byte {
		if at++; at == n {
			b = do(b)
		}
		return [][]byte{b}
	}
}

func TestGenericToleratesOneCounterInsideAndOutsideFromAForeignMeter(t *testing.T) {
	m := newMeter(t)
	m.outerIC = func(inner dlms.InvocationCounter) dlms.InvocationCounter { return inner }
	cfg := m.linky()
	cfg.Strict = false
	a, _ := m.associated(cfg)
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Error(err)
	}
}

func TestTheInnerCounterOfPass4IsNotHeldAgainstTheFloorAndRaisesIt(t *testing.T) {
	for name, c := range map[string]struct{ inner, outer, floor dlms.InvocationCounter }{
		"inner first": {2, 3, 4}, "outer first": {9, 3, 10},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			m.onReply = func(dlms.InvocationCounter, []byte) []byte {
				return must(security.BuildReply(m.untracked(), m.title, c.inner, m.theirs))
			}
			m.outerIC = func(dlms.InvocationCounter) dlms.InvocationCounter { return c.outer }
			cfg := m.linky()
			m.associated(cfg)
			if got := cfg.Global.Floor.(*security.MemoryFloor).Expected(peerTitle); got != c.floor {
				t.Errorf("floor: want %d, got %d", c.floor, got)
			}
		})
	}
}

func TestTheSessionCipherIsMadeWithTheFirstAPDUUnderItsKey(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	made := 0
	cfg.WrapAEAD = func(a cipher.AEAD, fp key.Fingerprint) cipher.AEAD {
		made++
		return m.wrap(a, fp)
	}
	a, _ := m.associated(cfg)
	if made != 0 {
		t.Errorf("%d ciphers before anything was asked", made)
	}
	for range 2 {
		if _, err := a.Get(context.Background(), clockRef); err != nil {
			t.Fatal(err)
		}
	}
	if made != 1 {
		t.Errorf("%d ciphers for one session", made)
	}
	fresh, _ := m.associated(cfg)
	if fresh.Abandon(); fresh.machine.hasSession() {
		t.Error("a session key that was not used is not forgotten")
	}
	if err := a.Release(context.Background()); err != nil || a.machine.hasSession() {
		t.Errorf("released: %v", err)
	}
}
