package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/security"
)

// Two ends with a hostile middle: whatever it does, no write takes effect twice, no read returns another value, no
// nonce comes twice, every failure says what it is, and when the middle is gone the two ends understand each other.
func TestTwoEndsWithAHostileMiddle(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { besiege(t, seed) })
		})
	}
}

func besiege(t *testing.T, seed uint64) {
	e := newEnds(t, key.Authentication{}, nil)
	h := dlmstest.NewHostile(dlmstest.Seeded(seed, dlmstest.Chances{
		Drop: 0.05, Repeat: 0.1, Alter: 0.1, Delay: 0.1, Reorder: 0.05, Replay: 0.1, MaxDelay: 20 * time.Second,
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _ = h.Serve(ctx, e.server.Handler(lan), sapReadWrite, dlms.SAPManagement) }()
	s := &siege{t: t, ends: e, conn: h.Client()}
	for i := range uint32(60) {
		s.round(ctx, seed, i)
	}
	h.SetScript(dlmstest.Pass)
	time.Sleep(time.Minute) // what is on its way arrives
	s.drain()
	a, err := client.Open(ctx, s.conn, s.config(9999))
	if err != nil {
		t.Fatalf("after the siege: %v", err)
	}
	if err := a.Set(ctx, note, dlms.Uint32(1<<31)); err != nil || e.last() != 1<<31 {
		t.Errorf("after the siege: %v, the meter has %d", err, e.last())
	}
	seen := map[uint32]bool{}
	for _, v := range e.notes {
		if seen[v] {
			t.Errorf("write %d took effect twice", v)
		}
		seen[v] = true
	}
	for _, v := range s.written {
		if !seen[v] {
			t.Errorf("write %d was confirmed and did not take effect", v)
		}
	}
	if len(s.written) == 0 {
		t.Error("nothing got through")
	}
	cancel()
	_ = h.Close()
	synctest.Wait()
}

type siege struct {
	t       *testing.T
	ends    *ends
	conn    link.Conn
	a       *client.Association
	written []uint32
}

func (s *siege) config(seed uint64) client.Config {
	cfg := s.ends.linky(seed)
	cfg.Timeout, cfg.Retries, cfg.Tolerate = 5*time.Second, int(seed%3), 4
	return cfg
}

func (s *siege) round(ctx context.Context, seed uint64, i uint32) {
	if i%20 == 19 {
		s.ends.restart()
		s.a = nil
	}
	var err error
	if s.a == nil || s.a.Err() != nil {
		if s.a, err = client.Open(ctx, s.conn, s.config(seed<<8+uint64(i))); err != nil {
			s.a = nil
			s.typed(err)
			return
		}
	}
	if err = s.a.Set(ctx, note, dlms.Uint32(i+1)); err == nil {
		s.written = append(s.written, i+1)
	}
	s.typed(err)
	if s.a.Err() != nil {
		return
	}
	d, err := s.a.Get(ctx, note)
	if v, _ := d.Uint(); err == nil && uint32(v) != s.ends.last() {
		s.t.Errorf("read %d, the meter has %d", v, s.ends.last())
	}
	s.typed(err)
	if d, err := s.a.Get(ctx, big); err == nil && d.Len() != 1200 {
		s.t.Errorf("%d bytes came in blocks", d.Len())
	}
}

// typed checks that an error says what happened in a way that a program can act on.
func (s *siege) typed(err error) {
	switch {
	case err == nil, errors.Is(err, client.ErrBroken), errors.Is(err, client.ErrTimeout), errors.Is(err, client.ErrAnswer), errors.Is(err, client.ErrAuthentication),
		errors.Is(err, client.ErrUnprotected), errors.Is(err, security.ErrTag), errors.Is(err, security.ErrReplay), errors.Is(err, security.ErrJump),
		errors.Is(err, security.ErrTitle), errors.Is(err, security.ErrChallenge), errors.Is(err, security.ErrPolicy),
		errors.Is(err, security.ErrSuite), errors.Is(err, security.ErrCompressed), errors.Is(err, security.ErrKeySet),
		errors.As(err, new(*client.ExceptionError)), errors.As(err, new(*client.RejectError)), errors.As(err, new(*client.ServiceError)):
	default:
		s.t.Errorf("an error of no kind: %v", err)
	}
}

// drain takes what is left in the link.
func (s *siege) drain() {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	for {
		if _, err := s.conn.Receive(ctx); err != nil {
			return
		}
	}
}
