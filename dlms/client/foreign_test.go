package client

import (
	"errors"
	"testing"
	"time"
)

func TestASharedCounterGoesOnUnderTheSessionKey(t *testing.T) {
	m := newMeter(t)
	cfg := m.linky()
	cfg.Strict, cfg.SharedCounter = false, true
	a, _ := m.associated(cfg)
	for range 2 {
		if _, err := a.Get(t.Context(), clockRef); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	// 1 the AARQ, 2 inside f(challenge), 3 around it
	if got := m.counters["ded-get-request"]; len(got) != 2 || got[0] != 4 || got[1] != 5 {
		t.Errorf("want counters 4 and 5 under the session key, got %v", got)
	}
	strict, global := cfg, cfg
	strict.Strict, global.Dedicated = true, false
	for _, wrong := range []Config{strict, global} {
		if _, err := NewMachine(wrong); !errors.Is(err, ErrConfig) {
			t.Errorf("got %v", err)
		}
	}
}

// Seen of every server of one family: the lengths in its RLRE are short of its user-information.
func TestAGarbledRLREClosesTheAssociationWithAnErrorUnlessStrict(t *testing.T) {
	for _, strict := range []bool{false, true} {
		m := newMeter(t)
		cfg := m.linky()
		cfg.Strict, cfg.Timeout = strict, 10*time.Millisecond
		a, _ := m.associated(cfg)
		m.onAnswer = func(b []byte) [][]byte {
			b[1] -= 4
			return [][]byte{b}
		}
		err := a.Release(t.Context())
		if !errors.Is(err, ErrAnswer) || errors.Is(a.Err(), ErrBroken) != strict || a.Err() == nil {
			t.Errorf("strict %t: release %v, then %v", strict, err, a.Err())
		}
	}
}
