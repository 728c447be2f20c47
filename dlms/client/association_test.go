package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
)

func silence([]byte) [][]byte { return nil }

func TestSilenceBreaksTheAssociationWhichSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t)
		cfg := m.linky()
		cfg.Timeout = 5 * time.Second
		a, w := m.associated(cfg)
		m.onAnswer = silence
		start := time.Now()
		_, err := a.Get(context.Background(), clockRef)
		if !errors.Is(err, ErrBroken) || !errors.Is(err, ErrTimeout) {
			t.Errorf("want %v, got %v", ErrBroken, err)
		}
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("waited %s", waited)
		}
		m.onAnswer = nil
		if a.machine.hasSession() || a.machine.Established() {
			t.Error("the session key is not forgotten")
		}
		n := len(w.sent)
		if err := a.Set(context.Background(), clockRef, dlms.Uint8(1)); !errors.Is(err, ErrBroken) {
			t.Errorf("afterwards: want %v, got %v", ErrBroken, err)
		}
		if err := a.Release(context.Background()); !errors.Is(err, ErrBroken) {
			t.Errorf("release: want %v, got %v", ErrBroken, err)
		}
		if len(w.sent) != n || !errors.Is(a.Err(), ErrBroken) {
			t.Errorf("a broken association sends, or does not say what it is: %v", a.Err())
		}
	})
}

func TestACancelledContextBreaksTheAssociationOnlyOnceSomethingWasSent(t *testing.T) {
	m := newMeter(t)
	a, w := m.associated(m.linky())
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the operator went home")
	cancel(why)
	n := len(w.sent)
	if _, err := a.Get(ctx, clockRef); !errors.Is(err, why) || errors.Is(err, ErrBroken) {
		t.Errorf("before: got %v", err)
	}
	if len(w.sent) != n {
		t.Error("something was sent")
	}
	ctx, cancel = context.WithCancelCause(context.Background())
	m.onAnswer = func([]byte) [][]byte {
		cancel(why)
		return nil
	}
	if _, err := a.Get(ctx, clockRef); !errors.Is(err, why) || !errors.Is(err, ErrBroken) {
		t.Errorf("in the middle: got %v", err)
	}
	if !errors.Is(a.Err(), ErrBroken) {
		t.Errorf("want %v, got %v", ErrBroken, a.Err())
	}
}

func TestARetrySendsTheSameBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t)
		cfg := m.linky()
		cfg.Retries, cfg.Timeout = 3, time.Second
		w := &lossy{meter: m}
		a, err := Open(context.Background(), w, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if _, err := a.Get(context.Background(), clockRef); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.sent) != 3*len(w.arrived) {
			t.Fatalf("%d sent for %d that arrived", len(w.sent), len(w.arrived))
		}
		for i, b := range w.sent {
			if !bytes.Equal(b, w.arrived[i/3]) {
				t.Errorf("copy %d differs from what arrived", i)
			}
		}
	})
}

// lossy loses the first two copies of everything.
type lossy struct {
	meter         *fakeMeter
	sent, arrived [][]byte
	queue         [][]byte
}

func (l *lossy) Send(_ context.Context, b []byte) error {
	l.sent = append(l.sent, bytes.Clone(b))
	if len(l.sent)%3 == 0 {
		l.arrived = append(l.arrived, bytes.Clone(b))
		l.queue = append(l.queue, l.meter.handle(b)...)
	}
	return nil
}

func (l *lossy) Receive(ctx context.Context) ([]byte, error) {
	if len(l.queue) > 0 {
		b := l.queue[0]
		l.queue = l.queue[1:]
		return b, nil
	}
	<-ctx.Done()
	return nil, context.DeadlineExceeded // in words of its own
}

func (l *lossy) Close() error { return nil }

var _ link.Conn = (*lossy)(nil)

func TestAnExceptionToASecondCopyIsAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t)
		cfg := m.linky()
		cfg.Retries, cfg.Timeout = 1, time.Second
		a, _ := m.associated(cfg)
		answers := [][][]byte{nil, {{0xD8, 1, 6, 0, 0, 0, 2}}}
		served := 0
		m.serve = func(plain []byte) []byte {
			served++
			return m.echo(plain)
		}
		m.onAnswer = func([]byte) [][]byte {
			next := answers[0]
			answers = answers[1:]
			return next
		}
		err := a.Set(context.Background(), clockRef, dlms.Uint8(1))
		if !errors.Is(err, ErrBroken) || !errors.As(err, new(*ExceptionError)) {
			t.Errorf("want %v, got %v", ErrBroken, err)
		}
	})
}

func TestAForgedAnswerIsDroppedWithinTheToleranceAndBreaksBeyondIt(t *testing.T) {
	for tolerate := range 4 {
		m := newMeter(t)
		cfg := m.linky()
		cfg.Tolerate = tolerate
		a, _ := m.associated(cfg)
		m.onAnswer = func(b []byte) [][]byte {
			forged := bytes.Clone(b)
			forged[len(forged)-1] ^= 1
			return [][]byte{forged, forged, b}
		}
		_, err := a.Get(context.Background(), clockRef)
		switch {
		case tolerate < 2 && (!errors.Is(err, ErrBroken) || !errors.Is(err, security.ErrTag)):
			t.Errorf("tolerance %d: got %v", tolerate, err)
		case tolerate >= 2 && err != nil:
			t.Errorf("tolerance %d: %v", tolerate, err)
		}
	}
}

func TestAForgedExceptionIsOverruledByAnAnswerThatVerifies(t *testing.T) {
	forged := []byte{0xD8, 1, 1}
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t)
		cfg := m.linky()
		cfg.Tolerate, cfg.Timeout = 1, 8*time.Second
		a, _ := m.associated(cfg)
		m.onAnswer = func(b []byte) [][]byte { return [][]byte{forged, forged, b} }
		if _, err := a.Get(context.Background(), clockRef); err != nil {
			t.Errorf("before the honest answer: %v", err)
		}
		start := time.Now()
		m.onAnswer = func([]byte) [][]byte { return [][]byte{forged} }
		if _, err := a.Get(context.Background(), clockRef); !errors.As(err, new(*ExceptionError)) || errors.Is(err, ErrBroken) {
			t.Errorf("alone: %v", err)
		}
		if waited := time.Since(start); waited != 2*time.Second {
			t.Errorf("waited %s", waited)
		}
		m.onAnswer = nil
		if _, err := a.Get(context.Background(), clockRef); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestAForgedAAREIsPassedOverWithinTheTolerance(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	cfg.Tolerate = 2
	m.onAnswer = func(b []byte) [][]byte {
		m.onAnswer = nil
		e := must(apdu.ParseAARE(b))
		e.UserInformation = plainInitiate()
		wrongTitle := must(apdu.ParseAARE(b))
		wrongTitle.RespondingTitle = ownTitle
		return [][]byte{must(e.AppendBinary(nil)), must(wrongTitle.AppendBinary(nil)), b}
	}
	a, _ := m.associated(cfg)
	if _, err := a.Get(context.Background(), clockRef); err != nil {
		t.Error(err)
	}
}

func TestAFloodOfNotificationsEndsTheWait(t *testing.T) {
	m := newMeter(t)
	a, _ := m.associated(m.linky())
	m.onAnswer = func([]byte) [][]byte {
		flood := make([][]byte, 2*maxDropped)
		for i := range flood {
			flood[i] = []byte{0x0F, 0, 0, 0, 1, 0, 0}
		}
		return flood
	}
	if _, err := a.Get(context.Background(), clockRef); !errors.Is(err, ErrBroken) {
		t.Errorf("want %v, got %v", ErrBroken, err)
	}
}

func TestNoOperationIsPossibleOutOfItsState(t *testing.T) {
	m := newMeter(t)
	mc := must(NewMachine(m.linky()))
	if _, err := mc.Get(apdu.Attribute{}); !errors.Is(err, ErrState) {
		t.Errorf("get before open: %v", err)
	}
	if _, _, err := mc.Receive([]byte{0xC4, 1, 0xC1, 0, 0}); !errors.Is(err, ErrState) {
		t.Errorf("an answer to nothing: %v", err)
	}
	q := must(mc.Open())
	for name, start := range map[string]func() ([]byte, error){
		"open":    mc.Open,
		"get":     func() ([]byte, error) { return mc.Get(apdu.Attribute{}) },
		"release": mc.Release,
	} {
		if _, err := start(); !errors.Is(err, ErrState) {
			t.Errorf("%s while opening: %v", name, err)
		}
	}
	next, _, err := mc.Receive(m.handle(q)[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mc.Get(apdu.Attribute{}); !errors.Is(err, ErrState) {
		t.Errorf("get between passes 2 and 4: %v", err)
	}
	if mc.Established() {
		t.Error("established before pass 4")
	}
	if _, done, err := mc.Receive(m.handle(next)[0]); !done || err != nil || !mc.Established() {
		t.Errorf("pass 4: %v, %v", done, err)
	}
	mc.Abandon()
	if _, err := mc.Get(apdu.Attribute{}); !errors.Is(err, ErrState) || mc.Established() {
		t.Errorf("get after abandon: %v", err)
	}
}

func TestConfigurationsThatContradictThemselvesAreRefused(t *testing.T) {
	m := newMeter(t)
	m.global.GMAC(peerTitle, 1, nil)
	for name, change := range map[string]func(*Config){
		"no own title":                  func(c *Config) { c.Title = dlms.SystemTitle{} },
		"our title is the meter's":      func(c *Config) { c.PeerTitle = c.Title },
		"no key":                        func(c *Config) { c.Global = security.LongTerm{} },
		"no counter":                    func(c *Config) { c.Global.Send = nil },
		"no floor":                      func(c *Config) { c.Global.Floor = nil },
		"no randomness":                 func(c *Config) { c.Rand = nil },
		"strict without the title":      func(c *Config) { c.PeerTitle = dlms.SystemTitle{} },
		"strict without a session":      func(c *Config) { c.Dedicated = false },
		"strict without encryption":     func(c *Config) { c.Policy = security.PolicyAuthenticated },
		"strict without hls":            func(c *Config) { c.Mechanism = apdu.MechanismLowest },
		"unknown policy":                func(c *Config) { c.Policy, c.Strict = 9, false },
		"mechanism md5":                 func(c *Config) { c.Mechanism = apdu.MechanismHLSMD5 },
		"lls without a password":        func(c *Config) { c.Mechanism, c.Strict = apdu.MechanismLLS, false },
		"session without ciphering":     func(c *Config) { c.Policy, c.Strict = security.PolicyNone, false },
		"broadcast key without hls":     func(c *Config) { c.Mechanism, c.Strict, c.Dedicated, c.Broadcast = 0, false, false, new(Broadcast) },
		"two session keys":              func(c *Config) { c.Broadcast = new(Broadcast) },
		"more conformance than 24 bits": func(c *Config) { c.Conformance = 1 << 24 },
	} {
		cfg := m.linky()
		change(&cfg)
		mc, err := NewMachine(cfg)
		if err == nil {
			_, err = mc.Open()
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAConfigurationPrintsNoSecret(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	cfg.Secret = must(key.NewSecret([]byte("open sesame")))
	mc := must(NewMachine(cfg))
	must(mc.Open())
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg), fmt.Sprintf("%+v %#v", mc, mc)} {
		if strings.Contains(text, "sesame") || strings.Contains(text, fmt.Sprint([]byte("sesame"))) {
			t.Errorf("the password is in %s", text)
		}
	}
	if _, err := cfg.Secret.MarshalText(); err == nil {
		t.Error("a password was marshalled")
	}
}
