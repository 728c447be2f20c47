package client

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/security"
)

func TestAReplayedAAREIsRefusedByTheFloor(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	m.associated(cfg)
	recorded := slices.Clone(m.replies[0])
	again := newMeter(t)
	again.long = m.long
	again.rekey(m.ak)
	again.onAnswer = again.onFrame(0, func([]byte) []byte { return recorded })
	if err := again.refusedOpen(cfg); !errors.Is(err, security.ErrReplay) {
		t.Errorf("want %v, got %v", security.ErrReplay, err)
	}
}

func TestAForgedHighCounterInTheAARELocksNobodyOut(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	m.onInfo = func(b []byte) []byte {
		copy(b[3:7], []byte{0, 0x80, 0, 0})
		return b
	}
	if err := m.refusedOpen(cfg); !errors.Is(err, security.ErrTag) {
		t.Fatalf("want %v, got %v", security.ErrTag, err)
	}
	if got := cfg.Global.Floor.(*security.MemoryFloor).Expected(peerTitle); got != 0 {
		t.Errorf("the floor moved to %d", got)
	}
	m.onInfo = nil
	m.associated(cfg)
}

func TestACounterFarAboveTheFloorIsRefused(t *testing.T) {
	m := newMeter(t)
	far := newCounterAt(security.MaxJump + 2)
	m.send = far
	if err := m.refusedOpen(m.linky()); !errors.Is(err, security.ErrJump) {
		t.Errorf("want %v, got %v", security.ErrJump, err)
	}
}

// counterAt is a sending counter that starts anywhere.
type counterAt struct{ next dlms.InvocationCounter }

func newCounterAt(v dlms.InvocationCounter) *counterAt { return &counterAt{v} }

func (c *counterAt) Next() (dlms.InvocationCounter, error) {
	c.next++
	return c.next - 1, nil
}

// failing is a counter or a floor whose disk is full.
type failing struct{ security.ReceiveFloor }

var errDisk = errors.New("no space left")

func (failing) Next() (dlms.InvocationCounter, error)                 { return 0, errDisk }
func (failing) Commit(dlms.SystemTitle, dlms.InvocationCounter) error { return errDisk }

func TestNothingIsSentWhenTheCounterCannotBeKept(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	cfg.Global.Send = failing{}
	w := &wire{meter: m}
	if _, err := Open(context.Background(), w, cfg); !errors.Is(err, errDisk) {
		t.Errorf("want %v, got %v", errDisk, err)
	}
	if len(w.sent) != 0 {
		t.Error("an apdu was sent")
	}
	must(m.send.Next())
	m.global.GMAC(m.title, must(m.send.Next()), nil) // the oracle wants to have seen a seal
}

func TestAnAnswerHasNoEffectWhenTheFloorCannotBeKept(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	cfg.Global.Floor = failing{cfg.Global.Floor}
	if err := m.refusedOpen(cfg); !errors.Is(err, errDisk) {
		t.Errorf("want %v, got %v", errDisk, err)
	}
	if len(m.plains) != 0 {
		t.Error("the client went on to pass 3")
	}
}

func TestReleaseIsProtectedAndItsAnswerHasToBe(t *testing.T) {
	for name, c := range map[string]struct {
		info   func([]byte) []byte
		strict bool
		want   error
	}{
		"protected":                      {nil, true, nil},
		"unprotected, strict":            {func([]byte) []byte { return nil }, true, ErrUnprotected},
		"unprotected, generic":           {func([]byte) []byte { return nil }, false, nil},
		"in clear, generic":              {func([]byte) []byte { return plainInitiate() }, false, ErrUnprotected},
		"altered":                        {func(b []byte) []byte { b[9] ^= 1; return b }, true, security.ErrTag},
		"a replay of that from the aare": {nil, true, security.ErrReplay},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMeter(t)
			cfg := m.linky()
			cfg.Strict = c.strict
			a, w := m.associated(cfg)
			m.onInfo = c.info
			if errors.Is(c.want, security.ErrReplay) {
				old := must(apdu.ParseAARE(m.replies[0])).UserInformation
				m.onInfo = func([]byte) []byte { return old }
			}
			if err := a.Release(context.Background()); !errors.Is(err, c.want) {
				t.Errorf("want %v, got %v", c.want, err)
			}
			q := must(apdu.ParseRLRQ(w.sent[len(w.sent)-1]))
			if p := must(apdu.ParseCiphered(q.UserInformation)); p.Control != byte(security.AuthenticatedEncrypted) {
				t.Errorf("rlrq with control %#02x", p.Control)
			}
			if _, err := a.Get(context.Background(), clockRef); err == nil {
				t.Error("the association can still be used")
			}
		})
	}
}

func TestReceiveRefusesAnEqualCounter(t *testing.T) {
	m := newMeter(t)
	mc, honest := m.machineWithRequest(m.linky())
	if _, done, err := mc.Receive(honest); !done || err != nil {
		t.Fatal(done, err)
	}
	second := m.handle(must(mc.Get(apdu.Attribute{Ref: clockRef})))[0]
	if _, done, err := mc.Receive(honest); done || !errors.Is(err, security.ErrReplay) {
		t.Errorf("want %v, got %v", security.ErrReplay, err)
	}
	if _, done, err := mc.Receive(second); !done || err != nil {
		t.Errorf("the honest answer: %v, %v", done, err)
	}
}

func TestGapsInTheCountersOfAnswersAreTaken(t *testing.T) {
	m := newMeter(t)
	a, _ := m.associated(m.linky())
	for range 3 {
		for range 100 {
			must(m.sessSend.Next())
		}
		if _, err := a.Get(context.Background(), clockRef); err != nil {
			t.Fatal(err)
		}
	}
}
