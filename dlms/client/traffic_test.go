package client

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
)

func TestServicesCarryValuesBothWays(t *testing.T) {
	m := newMeter(t)
	a, _ := m.associated(m.linky())
	ctx := context.Background()
	if d, err := a.Get(ctx, clockRef); err != nil || d.Text() != clockRef.String() {
		t.Errorf("get: got %s, %v", d, err)
	}
	if d, err := a.Action(ctx, breaker, dlms.Int8(5)); err != nil || !d.Equal(dlms.Int8(5)) {
		t.Errorf("action: got %s, %v", d, err)
	}
	if d, err := a.Action(ctx, breaker, dlms.Null()); err != nil || !d.IsNull() {
		t.Errorf("action without parameters: got %s, %v", d, err)
	}
	list, err := a.GetList(ctx, []apdu.Attribute{{Ref: clockRef}, {Ref: clockRef}})
	if err != nil || len(list) != 2 || list[1].Data.Text() != clockRef.String() {
		t.Errorf("get list: got %v, %v", list, err)
	}
	if a.PeerTitle() != peerTitle || a.Conformance() != DefaultConformance || a.Err() != nil {
		t.Errorf("got %s, %s, %v", a.PeerTitle(), a.Conformance(), a.Err())
	}
}

func TestAResultIsNotOverwrittenByTheNextAnswer(t *testing.T) {
	m := newMeter(t)
	a, _ := m.associated(m.linky())
	n := byte(0)
	m.serve = func(plain []byte) []byte {
		n++
		return getResponse(getID(plain), dlms.OctetString(bytes.Repeat([]byte{n}, 8)))
	}
	first, err := a.Get(context.Background(), clockRef)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), bytes.Repeat([]byte{1}, 8)) {
		t.Errorf("the first value is now % x", first.Bytes())
	}
}

func TestARefusalByTheMeterIsAnErrorAndTheAssociationStays(t *testing.T) {
	m := newMeter(t)
	a, _ := m.associated(m.linky())
	ctx := context.Background()
	m.serve = func(plain []byte) []byte {
		id := apdu.InvokeID(plain[2])
		switch apdu.Tag(plain[0]) {
		case apdu.TagGetRequest:
			return must(apdu.GetResponse{Kind: apdu.GetResponseNormal, ID: id, Result: apdu.GetResult{Result: dlms.DataAccessReadWriteDenied}}.AppendBinary(nil))
		case apdu.TagSetRequest:
			return must(apdu.SetResponse{Kind: apdu.SetResponseNormal, ID: id, Result: dlms.DataAccessTypeUnmatched}.AppendBinary(nil))
		}
		return must(apdu.ActionResponse{Kind: apdu.ActionResponseNormal, ID: id, Outcome: apdu.ActionOutcome{Result: dlms.ActionObjectUndefined}}.AppendBinary(nil))
	}
	if _, err := a.Get(ctx, clockRef); !errors.Is(err, dlms.DataAccessReadWriteDenied) {
		t.Errorf("get: got %v", err)
	}
	if err := a.Set(ctx, clockRef, dlms.Uint8(1)); !errors.Is(err, dlms.DataAccessTypeUnmatched) {
		t.Errorf("set: got %v", err)
	}
	if _, err := a.Action(ctx, breaker, dlms.Null()); !errors.Is(err, dlms.ActionObjectUndefined) {
		t.Errorf("action: got %v", err)
	}
	m.serve = func([]byte) []byte { return []byte{0xD8, 2, 2} }
	var e *ExceptionError
	if _, err := a.Get(ctx, clockRef); !errors.As(err, &e) || e.StateError != apdu.StateServiceUnknown {
		t.Errorf("exception: got %v", err)
	}
	m.serve = m.echo
	if _, err := a.Get(ctx, clockRef); err != nil {
		t.Errorf("after refusals: %v", err)
	}
}

// machine opens an association and hands out the machine behind it, with a request under way and its honest answer.
func (m *fakeMeter) machineWithRequest(cfg Config) (mc *Machine, honest []byte) {
	m.t.Helper()
	mc = must(NewMachine(cfg))
	next := must(mc.Open())
	for done := false; !done; {
		var err error
		next, done, err = mc.Receive(m.handle(next)[0])
		if err != nil {
			m.t.Fatal(err)
		}
	}
	return mc, m.handle(must(mc.Get(apdu.Attribute{Ref: clockRef})))[0]
}

// Rules 2 and 6 on traffic: whatever a stranger sends in place of the answer is refused, moves nothing, and the
// honest answer is then still taken.
func TestReceiveRefusesAnAnswerThat(t *testing.T) {
	clear := getResponse(apdu.NewInvokeID(2, true, true), dlms.Uint8(1))
	control := func(c byte) func(*fakeMeter, []byte) []byte {
		return func(_ *fakeMeter, b []byte) []byte {
			b[2] = c
			return b
		}
	}
	for name, c := range map[string]struct {
		forge func(m *fakeMeter, honest []byte) []byte
		want  error
	}{
		"comes in clear":                  {func(*fakeMeter, []byte) []byte { return clear }, ErrUnprotected},
		"is under the long-term key":      {func(m *fakeMeter, _ []byte) []byte { return m.underGlobal(clear) }, ErrUnprotected},
		"is in the general form":          {func(m *fakeMeter, b []byte) []byte { return m.asGeneral(b) }, ErrUnprotected},
		"is the ded-form of a set":        {func(_ *fakeMeter, b []byte) []byte { b[0] = 0xD5; return b }, ErrUnprotected},
		"is our own request":              {func(m *fakeMeter, _ []byte) []byte { return m.received[len(m.received)-1] }, ErrUnprotected},
		"has an altered tag":              {func(_ *fakeMeter, b []byte) []byte { b[len(b)-1] ^= 1; return b }, security.ErrTag},
		"has altered content":             {func(_ *fakeMeter, b []byte) []byte { b[8] ^= 1; return b }, security.ErrTag},
		"has a forged high counter":       {func(_ *fakeMeter, b []byte) []byte { b[3] = 0xFF; return b }, security.ErrTag},
		"has counter 0":                   {func(_ *fakeMeter, b []byte) []byte { b[6] = 0; return b }, security.ErrTag},
		"is authenticated only":           {control(0x10), security.ErrPolicy},
		"is encrypted only":               {control(0x20), security.ErrPolicy},
		"has no protection in its header": {control(0x00), security.ErrPolicy},
		"is of suite 1":                   {control(0x31), security.ErrSuite},
		"is of suite 15":                  {control(0x3F), security.ErrSuite},
		"is under the broadcast key set":  {control(0x70), security.ErrKeySet},
		"is compressed":                   {control(0xB0), security.ErrCompressed},
		"is cut":                          {func(_ *fakeMeter, b []byte) []byte { return b[:len(b)-5] }, ErrAnswer},
		"is cut in its header":            {func(_ *fakeMeter, b []byte) []byte { return b[:4] }, ErrAnswer},
		"lies about its length":           {func(_ *fakeMeter, b []byte) []byte { b[1]++; return b }, ErrAnswer},
		"has trailing bytes":              {func(_ *fakeMeter, b []byte) []byte { return append(b, 0) }, ErrAnswer},
		"has no bytes":                    {func(*fakeMeter, []byte) []byte { return nil }, ErrAnswer},
		"is a broken exception":           {func(*fakeMeter, []byte) []byte { return []byte{0xD8, 1, 6, 0} }, ErrAnswer},
		"is another meter's":              {func(m *fakeMeter, _ []byte) []byte { return m.fromAnother(clear) }, security.ErrTag},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			mc, honest := m.machineWithRequest(m.linky())
			floor := mc.session.floor.(*security.MemoryFloor).Expected(peerTitle)
			next, done, err := mc.Receive(c.forge(m, bytes.Clone(honest)))
			if done || next != nil || !errors.Is(err, c.want) {
				t.Fatalf("want %v and not done, got %v, %v", c.want, err, done)
			}
			if now := mc.session.floor.(*security.MemoryFloor).Expected(peerTitle); now != floor {
				t.Errorf("the floor moved from %d to %d", floor, now)
			}
			if _, done, err := mc.Receive(honest); !done || err != nil {
				t.Errorf("the honest answer: %v, %v", done, err)
			}
			if mc.Value().Text() != clockRef.String() {
				t.Errorf("value: got %s", mc.Value())
			}
		})
	}
}

func (m *fakeMeter) underGlobal(plain []byte) []byte {
	return m.seal(plain, sealing{form{ciphered: true}, security.AuthenticatedEncrypted})
}

func (m *fakeMeter) asGeneral(b []byte) []byte {
	c := must(apdu.ParseCiphered(b))
	c.Tag = apdu.TagGeneralDed
	return must(apdu.GeneralCiphered{Title: m.title, Ciphered: c}.AppendBinary(nil))
}

func (m *fakeMeter) fromAnother(plain []byte) []byte {
	title := m.title
	title[7]++
	content := must(m.session.Seal(nil, security.AuthenticatedEncrypted, title, 50, plain))
	return must(apdu.Ciphered{Tag: apdu.TagDedGetResponse, Control: 0x30, Counter: 50, Content: content}.AppendBinary(nil))
}

func TestAnAuthenticAnswerThatIsNoAnswerFailsTheOperationAlone(t *testing.T) {
	for name, serve := range map[string]func(plain []byte) []byte{
		"trailing bytes after the data": func(p []byte) []byte { return append(getResponse(getID(p), dlms.Uint8(1)), 0) },
		"cut data":                      func(p []byte) []byte { return getResponse(getID(p), dlms.Uint32(1))[:6] },
		"a list that was not asked for": func(p []byte) []byte {
			return must(apdu.GetResponse{Kind: apdu.GetResponseWithList, ID: getID(p)}.AppendBinary(nil))
		},
		"an unknown kind":          func(p []byte) []byte { return []byte{0xC4, 9, p[2], 0, 0} },
		"a lying length":           func(p []byte) []byte { return []byte{0xC4, 1, p[2], 0, 9, 0x84, 0x7F, 0xFF, 0xFF, 0xFF} },
		"nested deeper than bound": func(p []byte) []byte { return append([]byte{0xC4, 1, p[2], 0}, bytes.Repeat([]byte{2, 1}, 40)...) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			a, _ := m.associated(m.linky())
			m.serve = serve
			if d, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrAnswer) {
				t.Errorf("want %v, got %s and %v", ErrAnswer, d, err)
			}
			m.serve = m.echo
			if _, err := a.Get(context.Background(), clockRef); err != nil {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

func TestAnAPDUOtherThanTheTagPromisesIsRefused(t *testing.T) {
	for name, plain := range map[string][]byte{
		"a set-response":            must(apdu.SetResponse{Kind: apdu.SetResponseNormal, ID: 0xC2}.AppendBinary(nil)),
		"a confirmed-service-error": {0x0E, 5, 0, 1},
		"nothing":                   {},
	} {
		m := newMeter(t)
		mc, _ := m.machineWithRequest(m.linky())
		content := must(m.session.Seal(nil, security.AuthenticatedEncrypted, m.title, must(m.sessSend.Next()), plain))
		b := must(apdu.Ciphered{Tag: apdu.TagDedGetResponse, Control: 0x30, Counter: 2, Content: content}.AppendBinary(nil))
		if _, done, err := mc.Receive(b); !done || !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: want %v, got %v, %v", name, ErrAnswer, done, err)
		}
	}
}

func TestAGeneralFormWithAnotherTitleIsRefused(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	cfg.General = true
	mc, honest := m.machineWithRequest(cfg)
	g := must(apdu.ParseGeneralCiphered(honest))
	g.Title[7]++
	if _, done, err := mc.Receive(must(g.AppendBinary(nil))); done || !errors.Is(err, security.ErrTitle) {
		t.Errorf("want %v, got %v, %v", security.ErrTitle, done, err)
	}
	g.Title = dlms.SystemTitle{} // known from the association
	if _, done, err := mc.Receive(must(g.AppendBinary(nil))); !done || err != nil {
		t.Errorf("without a title: %v, %v", done, err)
	}
}

func TestAListOfAnotherLengthIsRefused(t *testing.T) {
	m := newMeter(t)
	a, _ := m.associated(m.linky())
	if _, err := a.GetList(context.Background(), nil); !errors.Is(err, ErrState) {
		t.Errorf("an empty list: %v", err)
	}
	m.serve = func(plain []byte) []byte {
		list := make([]apdu.GetResult, 3)
		return must(apdu.GetResponse{Kind: apdu.GetResponseWithList, ID: getID(plain), List: list}.AppendBinary(nil))
	}
	if list, err := a.GetList(context.Background(), make([]apdu.Attribute, 2)); !errors.Is(err, ErrAnswer) {
		t.Errorf("want %v, got %v, %v", ErrAnswer, list, err)
	}
}

func TestNotificationsAndLateAnswersArePassedOver(t *testing.T) {
	m := newMeter(t)
	mc, honest := m.machineWithRequest(m.linky())
	other := sealing{form{ciphered: true, dedicated: true}, security.AuthenticatedEncrypted}
	for name, b := range map[string][]byte{
		"event":     {0xC2, 0, 0, 1, 0, 0, 96, 11, 0, 255, 2, 0x11, 1},
		"ded event": m.seal([]byte{0xC2, 0, 0, 1, 0, 0, 96, 11, 0, 255, 2, 0x11, 1}, other),
		"push":      {0x0F, 0, 0, 0, 1, 0, 0},
		"aare":      m.replies[0],
	} {
		if next, done, err := mc.Receive(b); next != nil || done || err != nil {
			t.Errorf("%s: got %x, %v, %v", name, next, done, err)
		}
	}
	if _, done, err := mc.Receive(honest); !done || err != nil {
		t.Fatal(done, err)
	}
	// The meter answers to the request before, in time for the next one.
	must(mc.Get(apdu.Attribute{Ref: clockRef}))
	late := m.seal(getResponse(apdu.NewInvokeID(2, true, true), dlms.Uint8(99)), other)
	if next, done, err := mc.Receive(late); next != nil || done || err != nil {
		t.Errorf("late answer: got %x, %v, %v", next, done, err)
	}
}

// The forms of the generic profile.
func TestGenericFormsOfCiphering(t *testing.T) {
	ak := must(key.NewAuthentication(bytes.Repeat([]byte{0xA1, 0xB2}, 8)))
	for name, c := range map[string]struct {
		change func(*Config)
		tag    apdu.Tag
	}{
		"global":                 {func(*Config) {}, apdu.TagGloGetRequest},
		"dedicated":              {func(c *Config) { c.Dedicated = true }, apdu.TagDedGetRequest},
		"general global":         {func(c *Config) { c.General = true }, apdu.TagGeneralGlo},
		"general dedicated":      {func(c *Config) { c.General, c.Dedicated = true, true }, apdu.TagGeneralDed},
		"authenticated":          {func(c *Config) { c.Policy = security.PolicyAuthenticated }, apdu.TagGloGetRequest},
		"authenticated, ded":     {func(c *Config) { c.Policy, c.Dedicated = security.PolicyAuthenticated, true }, apdu.TagDedGetRequest},
		"gmac without ciphering": {func(c *Config) { c.Policy = security.PolicyNone }, apdu.TagGetRequest},
		"ciphering without hls":  {func(c *Config) { c.Mechanism = apdu.MechanismLowest }, apdu.TagGloGetRequest},
		"ciphering with lls": {func(c *Config) {
			c.Mechanism, c.Secret = apdu.MechanismLLS, must(key.NewSecret([]byte("12345678")))
		}, apdu.TagGloGetRequest},
		"an unknown title": {func(c *Config) { c.PeerTitle = dlms.SystemTitle{} }, apdu.TagGloGetRequest},
	} {
		for _, withAK := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				m := newMeter(t)
				if withAK {
					m.rekey(ak)
				}
				cfg := m.linky()
				cfg.Strict, cfg.Dedicated = false, false
				c.change(&cfg)
				a, w := m.associated(cfg)
				if d, err := a.Get(context.Background(), clockRef); err != nil || d.Text() != clockRef.String() {
					t.Errorf("got %s, %v", d, err)
				}
				if got := apdu.Tag(w.sent[len(w.sent)-1][0]); got != c.tag {
					t.Errorf("want %s, got %s", c.tag, got)
				}
				if err := a.Release(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestAuthenticatedPolicyStillEncryptsASessionKey(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	cfg.Strict, cfg.Policy = false, security.PolicyAuthenticated
	_, w := m.associated(cfg)
	q := must(apdu.ParseAARQ(w.sent[0]))
	if c := must(apdu.ParseCiphered(q.UserInformation)); c.Control != 0x30 {
		t.Errorf("initiate-request with a session key under control %#02x", c.Control)
	}
	if c := must(apdu.ParseCiphered(w.sent[1])); c.Control != 0x10 {
		t.Errorf("pass 3 under control %#02x, the policy is authenticated", c.Control)
	}
}

func TestPublicAndPasswordClientsUseNoKey(t *testing.T) {
	m := newMeter(t)
	m.title = dlms.SystemTitle{}
	a, w := m.associated(Config{})
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Error(err)
	}
	if err := a.Release(context.Background()); err != nil {
		t.Error(err)
	}
	if q := must(apdu.ParseAARQ(w.sent[0])); q.Authentication || q.Context != apdu.ContextLN {
		t.Errorf("aarq of the public client: %s", q)
	}
	_, w = m.associated(Config{Mechanism: apdu.MechanismLLS, Secret: must(key.NewSecret([]byte("open sesame")))})
	if q := must(apdu.ParseAARQ(w.sent[0])); string(q.AuthenticationValue) != "open sesame" || q.Mechanism != apdu.MechanismLLS {
		t.Errorf("aarq with password: %s", q)
	}
	m.global.GMAC(peerTitle, 1, nil) // the oracle wants to have seen a seal
}

func TestReadFloorAsksAsThePublicClient(t *testing.T) {
	m := newMeter(t)
	m.serve = func(plain []byte) []byte {
		q := must(apdu.ParseGetRequest(plain))
		if q.Attribute.Ref.String() != "1/0.0.43.1.2.255/2" {
			t.Errorf("asked for %s", q.Attribute.Ref)
		}
		return getResponse(q.ID, dlms.Uint32(77))
	}
	ic, err := ReadFloor(context.Background(), &wire{meter: m}, dlms.OBIS{0, 0, 43, 0, 2, 255})
	if err != nil || ic != 77 {
		t.Errorf("want 77, got %d, %v", ic, err)
	}
	m.serve = func(plain []byte) []byte { return getResponse(getID(plain), dlms.Int8(-1)) }
	if _, err := ReadFloor(context.Background(), &wire{meter: m}, dlms.OBIS{0, 0, 43, 0, 2, 255}); err == nil {
		t.Error("a negative floor was taken")
	}
	m.serve = func(plain []byte) []byte { // a stranger who goes on for ever
		q := must(apdu.ParseGetRequest(plain))
		return must(apdu.GetResponse{
			Kind: apdu.GetResponseBlock, ID: q.ID, Block: apdu.Block{Number: q.Block + 1, Raw: make([]byte, 40)},
		}.AppendBinary(nil))
	}
	if _, err := ReadFloor(context.Background(), &wire{meter: m}, dlms.OBIS{0, 0, 43, 0, 2, 255}); !errors.Is(err, ErrTooMuch) {
		t.Errorf("a floor of many blocks: %v", err)
	}
	m.global.GMAC(peerTitle, 1, nil)
}
