package client

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

// The rules that peers get wrong, as far as a client can: one test each, by number. The numbers are those of the
// project's list of protocol rules; those that are missing concern the meter or the central system.

// exhausted is a counter with n values left.
type exhausted struct{ n int }

func (c *exhausted) Next() (dlms.InvocationCounter, error) {
	if c.n == 0 {
		return 0, dlms.ErrCounterExhausted
	}
	c.n--
	return dlms.MaxInvocationCounter - dlms.InvocationCounter(c.n), nil
}

func TestRule01CountersArePerKeyAndDirectionAndStopAtTheEnd(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	for range 7 { // the long-term key has been in use before
		must(cfg.Global.Send.Next())
		must(m.send.Next())
	}
	a, w := m.associated(cfg)
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Fatal(err)
	}
	if got := m.counters["ded-get-request"]; !slices.Equal(got, []dlms.InvocationCounter{1}) {
		t.Errorf("a new key's counter begins with %v", got)
	}
	if got := m.counters["glo-initiate-request"]; !slices.Equal(got, []dlms.InvocationCounter{8}) {
		t.Errorf("the long-term key's counter goes on with %v", got)
	}
	if f := a.machine.session.floor.(*security.MemoryFloor).Expected(peerTitle); f != 2 {
		t.Errorf("after counter 1 the floor is %d", f)
	}
	a.machine.session.send = &exhausted{n: 1}
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Errorf("the last counter: %v", err)
	}
	n := len(w.sent)
	for range 2 {
		if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, dlms.ErrCounterExhausted) {
			t.Errorf("after the last: %v", err)
		}
	}
	if len(w.sent) != n {
		t.Error("something was sent without a counter")
	}
}

func TestRule02AForgedHighCounterLocksNobodyOutAndAnEqualOneIsRefused(t *testing.T) {
	m := newMeter(t)
	mc, honest := m.machineWithRequest(m.linky())
	forged := bytes.Clone(honest)
	copy(forged[3:], []byte{0xFF, 0xFF, 0xFF, 0xFE})
	if _, done, err := mc.Receive(forged); done || !errors.Is(err, security.ErrTag) {
		t.Errorf("forged: %t, %v", done, err)
	}
	if _, done, err := mc.Receive(bytes.Clone(honest)); !done || err != nil {
		t.Fatalf("honest: %t, %v", done, err)
	}
	must(mc.Get(apdu.Attribute{Ref: clockRef}))
	if _, done, err := mc.Receive(honest); done || !errors.Is(err, security.ErrReplay) {
		t.Errorf("the last answer again: %t, %v", done, err)
	}
}

func TestRule03NothingThatAMeterSaysLowersOurCounter(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	counter := must(security.NewBlockCounter(security.BlockConfig{
		Start: security.Reservation{Ceiling: 1000}, Reserve: func(security.Reservation) error { return nil },
	}))
	cfg.Global.Send = counter
	m.onAnswer = func([]byte) [][]byte { return [][]byte{{0xD8, 1, 6, 0, 0, 0, 3}} }
	var e *ExceptionError
	if err := m.refusedOpen(cfg); !errors.As(err, &e) {
		t.Fatal(err)
	}
	expected, ok := e.Expected()
	if !ok || expected != 3 {
		t.Fatalf("want 3, got %d, %t", expected, ok)
	}
	if err := counter.RaiseTo(expected); err != nil {
		t.Fatal(err)
	}
	m.onAnswer = nil
	m.associated(cfg)
	if got := m.counters["glo-initiate-request"]; !slices.Equal(got, []dlms.InvocationCounter{1001, 1002}) {
		t.Errorf("counters %v", got)
	}
}

func TestRule04ACounterIsReservedBeforeItIsSent(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	var durable dlms.InvocationCounter
	broken := errors.New("disk full")
	var fail error
	cfg.Global.Send = must(security.NewBlockCounter(security.BlockConfig{Size: 1, Reserve: func(r security.Reservation) error {
		if fail == nil {
			durable = r.Ceiling
		}
		return fail
	}}))
	m.onAnswer = func(b []byte) [][]byte {
		for tag, list := range m.counters {
			if sent := list[len(list)-1]; tag[:3] == "glo" && sent > durable {
				t.Errorf("%s: %d was sent, %d is durable", tag, sent, durable)
			}
		}
		return [][]byte{b}
	}
	a, w := m.associated(cfg)
	fail = broken
	n := len(w.sent)
	if err := a.Release(context.Background()); !errors.Is(err, broken) || len(w.sent) != n {
		t.Errorf("without a reservation: %v, %d sent", err, len(w.sent)-n)
	}
}

func TestRule05AReflectedOrForeignAuthenticationIsAborted(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*fakeMeter, *apdu.AARE)
		want error
	}{
		"our own challenge": {func(m *fakeMeter, e *apdu.AARE) { e.AuthenticationValue = m.theirs }, security.ErrChallenge},
		"our own title":     {func(_ *fakeMeter, e *apdu.AARE) { e.RespondingTitle = ownTitle }, security.ErrTitle},
		"another meter":     {func(_ *fakeMeter, e *apdu.AARE) { e.RespondingTitle[0]++ }, security.ErrTitle},
	} {
		m := newMeter(t)
		m.onAARE = func(e *apdu.AARE) { c.do(m, e) }
		if err := m.refusedOpen(m.linky()); !errors.Is(err, c.want) || len(m.plains) != 0 {
			t.Errorf("%s: %v, %d services went out", name, err, len(m.plains))
		}
	}
	m := newMeter(t)
	mc := must(NewMachine(m.linky()))
	if _, _, err := mc.Receive(m.handle(must(mc.Open()))[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := mc.Get(apdu.Attribute{Ref: clockRef}); !errors.Is(err, ErrState) {
		t.Errorf("a service between pass 3 and pass 4: %v", err)
	}
}

func TestRule06LessProtectionAnotherSuiteAndNoAuthenticationAreRefused(t *testing.T) {
	for control, want := range map[byte]error{
		0x00: security.ErrPolicy, 0x10: security.ErrPolicy, 0x20: security.ErrEncryptedOnly, 0x31: security.ErrSuite, 0x32: security.ErrSuite,
	} {
		m := newMeter(t)
		mc, honest := m.machineWithRequest(m.linky())
		forged := bytes.Clone(honest)
		forged[2] = control
		if _, done, err := mc.Receive(forged); done || !errors.Is(err, want) {
			t.Errorf("control %#02x: want %v, got %t, %v", control, want, done, err)
		}
		if _, done, err := mc.Receive(honest); !done || err != nil {
			t.Errorf("control %#02x: the honest answer after it: %t, %v", control, done, err)
		}
	}
}

func TestRule07TheMeterDoesNotChooseOurPolicy(t *testing.T) {
	for name, do := range map[string]func(*apdu.AARE){
		"no ciphering":       func(e *apdu.AARE) { e.Context, e.UserInformation = apdu.ContextLN, plainInitiate() },
		"an open initiate":   func(e *apdu.AARE) { e.UserInformation = plainInitiate() },
		"a password instead": func(e *apdu.AARE) { e.Mechanism = apdu.MechanismLLS },
		"nothing to prove": func(e *apdu.AARE) {
			e.Diagnostic, e.Authentication, e.Mechanism, e.AuthenticationValue = apdu.DiagnosticNull, false, 0, nil
		},
	} {
		m := newMeter(t)
		m.onAARE = do
		if err := m.refusedOpen(m.linky()); err == nil || len(m.plains) != 0 {
			t.Errorf("%s: %v, %d services went out", name, err, len(m.plains))
		}
	}
	m := newMeter(t)
	a, w := m.associated(m.linky())
	m.serve = func(plain []byte) []byte {
		q := must(apdu.ParseGetRequest(plain))
		return getResponse(q.ID, dlms.Uint8(1))
	}
	clear := getResponse(apdu.NewInvokeID(2, true, true), dlms.Uint8(1))
	m.onAnswer = func([]byte) [][]byte { return [][]byte{clear} }
	if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrUnprotected) {
		t.Errorf("an answer in clear: %v", err)
	}
	for _, b := range w.sent[1:] {
		if !apdu.Tag(b[0]).IsCiphered() {
			t.Errorf("the client sent %s", apdu.Tag(b[0]))
		}
	}
}

func TestRule08TheReleaseIsProtected(t *testing.T) {
	m := newMeter(t)
	a, w := m.associated(m.linky())
	if err := a.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	q := must(apdu.ParseRLRQ(w.sent[len(w.sent)-1]))
	c := must(apdu.ParseCiphered(q.UserInformation))
	if c.Tag != apdu.TagGloInitiateRequest || security.Control(c.Control) != security.AuthenticatedEncrypted {
		t.Errorf("the release carries %s, %s", c.Tag, security.Control(c.Control))
	}
	m = newMeter(t)
	a, _ = m.associated(m.linky())
	m.onInfo = func([]byte) []byte { return nil }
	if err := a.Release(context.Background()); !errors.Is(err, ErrUnprotected) || a.machine.Established() {
		t.Errorf("an answer in clear: %v, established %t", err, a.machine.Established())
	}
}

func TestRule10AFloorThatCannotBeKeptRefusesTheAnswer(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	broken := errors.New("disk full")
	cfg.Global.Floor = must(security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return broken }}))
	if err := m.refusedOpen(cfg); !errors.Is(err, broken) || len(m.plains) != 0 {
		t.Errorf("%v, %d services went out", err, len(m.plains))
	}
	// A floor that was kept refuses the whole recorded association when it is played again.
	kept := must(security.NewFloorTable(security.FloorConfig{Persist: func(security.Floor) error { return nil }}))
	m = newMeter(t)
	cfg = m.linky()
	cfg.Global.Floor = kept
	m.associated(cfg)
	recorded := m.replies
	cfg.Rand = seeded(2) // even with a challenge that comes again
	played := &wire{meter: m}
	m.onAnswer = func([]byte) [][]byte {
		next := recorded[0]
		recorded = recorded[1:]
		return [][]byte{next}
	}
	if _, err := Open(context.Background(), played, cfg); !errors.Is(err, security.ErrReplay) {
		t.Errorf("a recorded association: %v", err)
	}
}

func TestRule11ABroadcastKeyCarriesUnconfirmedRequestsOfOneSenderAlone(t *testing.T) {
	m := newMeter(t)
	b := must(NewBroadcast(BroadcastConfig{Title: ownTitle, Rand: seeded(3), WrapAEAD: m.wrap}))
	cfg := m.linky()
	cfg.Dedicated, cfg.Broadcast = false, b
	a, w := m.associated(cfg)
	n := len(w.sent)
	if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrBroadcast) {
		t.Errorf("a confirmed get: %v", err)
	}
	if err := a.Set(context.Background(), clockRef, dlms.Uint8(1)); !errors.Is(err, ErrBroadcast) || len(w.sent) != n {
		t.Errorf("a confirmed set: %v, %d sent", err, len(w.sent)-n)
	}
	var last dlms.InvocationCounter
	for range 3 {
		c := must(apdu.ParseCiphered(must(b.AppendAction(nil, breaker, dlms.Null()))))
		if c.Tag != apdu.TagDedActionRequest || security.Control(c.Control) != security.AuthenticatedEncrypted || c.Counter != last+1 {
			t.Errorf("got %s, %s, counter %d after %d", c.Tag, security.Control(c.Control), c.Counter, last)
		}
		last = c.Counter
		plain := must(m.session.Open(nil, security.Control(c.Control), ownTitle, c.Counter, c.Content))
		if q := must(apdu.ParseActionRequest(plain)); q.ID.Confirmed() {
			t.Error("it asks for an answer")
		}
	}
}

func TestRule15TheCounterInARefusalIsAHintAndNothingMore(t *testing.T) {
	m := newMeter(t)
	a, _ := m.associated(m.linky())
	m.onAnswer = func([]byte) [][]byte { return [][]byte{{0xD8, 1, 6, 0x00, 0x10, 0, 0}} }
	var e *ExceptionError
	_, err := a.Get(context.Background(), clockRef)
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if v, ok := e.Expected(); !ok || v != 1<<20 {
		t.Errorf("got %d, %t", v, ok)
	}
	m.onAnswer = nil
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Fatal(err)
	}
	if got := m.counters["ded-get-request"]; !slices.Equal(got, []dlms.InvocationCounter{1, 2}) {
		t.Errorf("a stranger's word moved our counter: %v", got)
	}
}

// Whoever acts under one key and title spends its one counter: two associations that share the long-term key, side by
// side, never seal twice under one value.
func TestRule18AssociationsUnderOneKeyAndTitleSpendOneCounter(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	seen := map[dlms.InvocationCounter]string{}
	for range 3 {
		a, _ := m.associated(cfg)
		if err := a.Release(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for name, all := range m.counters {
		if len(name) < 4 || name[:4] != "glo-" {
			continue
		}
		for _, ic := range all {
			if other, ok := seen[ic]; ok {
				t.Errorf("counter %d: %s and %s", ic, other, name)
			}
			seen[ic] = name
		}
	}
	if len(seen) != 3*3 { // aarq, pass 3 and rlrq of each
		t.Errorf("%d counters around apdus: %v", len(seen), seen)
	}
}
