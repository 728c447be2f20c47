package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const ttl = 10 * time.Second

// as is the database as a node sees it; all but the first are another process's.
func (w *world) as(name string) *store.Store {
	w.t.Helper()
	s := w.Store
	if name != "a" {
		s = w.other
	}
	s, err := s.As(w.t.Context(), store.NodeOptions{Name: name, At: at})
	w.must(err)
	return s
}

// managers are two owners with one clock.
func (w *world) managers() (a, b *lease.Manager, c *clock) {
	c = &clock{t: at}
	o := lease.Options{Now: c.now, TTL: ttl}
	return lease.New(w.as("a"), "a", o), lease.New(w.as("b"), "b", o), c
}

func (w *world) acquire(m *lease.Manager, names ...lease.Name) []lease.Lease {
	w.t.Helper()
	got, err := m.Acquire(w.t.Context(), names...)
	w.must(err)
	return got
}

func leaseHeld(t *testing.T, w *world) {
	a, b, c := w.managers()
	one, two := lease.Concentrator(title('D', 1)), lease.Concentrator(title('D', 2))
	mine := w.acquire(a, one, lease.Audit())
	if len(mine) != 2 || mine[0].Owner != "a" || !mine[0].Until.Equal(at.Add(ttl)) {
		t.Fatalf("got %+v", mine)
	}
	got := w.acquire(b, one, two, lease.Audit())
	if len(got) != 1 || got[0].Name != two {
		t.Fatalf("want only what is free, got %+v", got)
	}
	c.add(ttl - time.Microsecond)
	kept, err := a.Renew(t.Context(), mine...)
	w.must(err)
	if len(kept) != 2 || kept[0].Token != mine[0].Token {
		t.Errorf("renewed: got %+v", kept)
	}
	c.add(ttl - time.Microsecond)
	if got := w.acquire(b, one); len(got) != 0 {
		t.Errorf("a renewed lease was taken: %+v", got)
	}
	w.must(a.Release(t.Context(), kept...))
	if got := w.acquire(b, one, lease.Audit()); len(got) != 2 {
		t.Errorf("want what was released, got %+v", got)
	}
	kept, err = a.Renew(t.Context(), kept...)
	if len(kept) != 0 || err != nil {
		t.Errorf("a lease that is another's was renewed: %+v, %v", kept, err)
	}
	w.must(a.Release(t.Context(), mine...)) // of what was lost: nothing
	all, err := w.Leases(t.Context(), lease.KindConcentrator)
	w.must(err)
	if len(all) != 2 || all[0].Owner != "b" || all[0].Name != one {
		t.Errorf("got %+v", all)
	}
}

func tokenRises(t *testing.T, w *world) {
	a, b, c := w.managers()
	n, last := lease.Concentrator(title('D', 1)), int64(0)
	for i := range 12 {
		m := a
		if i%3 == 2 {
			m = b
		}
		got := w.acquire(m, n)
		if len(got) != 1 || got[0].Token <= last {
			t.Fatalf("round %d: want a token above %d, got %+v", i, last, got)
		}
		last = got[0].Token
		if i%2 == 0 {
			w.must(m.Release(t.Context(), got...))
		}
		c.add(ttl)
	}
}

// fencing: an owner is paused past its lease, another works on, and then the first one wakes up and writes.
func fencing(t *testing.T, w *world) {
	meters, dc := w.enrol(1)
	a, b, c := w.managers()
	w.ask(dc, []role.Role{role.CCIS}, meters...)
	due, err := w.Changes().Due(t.Context(), at, at.Add(time.Hour), 1)
	w.must(err)
	old := lease.With(t.Context(), w.acquire(a, lease.Concentrator(dc))...)
	step := func(ctx context.Context, version uint32) error {
		return w.Durable(ctx, func(ctx context.Context) error {
			due[0].Step, due[0].To = rotation.StepGenerated, version
			return errors.Join(w.AddKeys(ctx, []vault.KeyRow{keyRow(meters[0], version, vault.Pending)}), w.Changes().Save(ctx, due))
		})
	}
	w.must(step(old, 2))
	c.add(ttl)
	fresh := lease.With(t.Context(), w.acquire(b, lease.Concentrator(dc))...)
	w.must(step(fresh, 3))
	for name, err := range map[string]error{
		"a step":                 step(old, 4),
		"a write":                w.Changes().Save(old, due),
		"under both":             step(lease.With(fresh, lease.From(old)...), 5),
		"an empty update":        w.Update(old, func(context.Context) error { return nil }),
		"after its own deadline": step(context.WithoutCancel(old), 6),
	} {
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s of the old owner: want ErrFenced, got %v", name, err)
		}
	}
	rows, err := w.MeterKeyRows(t.Context(), meters[0])
	w.must(err)
	last, err := w.Changes().Last(t.Context(), rotation.MeterRole{Meter: meters[0], Role: role.CCIS})
	w.must(err)
	if len(rows) != 3 || last.To != 3 {
		t.Errorf("want versions 1 to 3 and the change at 3, got %d and %d", len(rows), last.To)
	}
}

func fencingJoined(t *testing.T, w *world) {
	a, b, c := w.managers()
	old := lease.With(t.Context(), w.acquire(a, lease.Audit())...)
	c.add(ttl)
	w.acquire(b, lease.Audit())
	err := w.Update(t.Context(), func(ctx context.Context) error {
		w.must(w.add(ctx, 0))
		return w.Update(lease.With(ctx, lease.From(old)...), func(ctx context.Context) error { return w.add(ctx, 1) })
	})
	if !errors.Is(err, store.ErrFenced) || w.has(t.Context(), 2) != 0 {
		t.Errorf("want ErrFenced and nothing written, got %v", err)
	}
}

func endedNotTaken(t *testing.T, w *world) {
	a, _, c := w.managers()
	mine := w.acquire(a, lease.Audit())
	c.add(100 * ttl)
	w.must(w.Update(lease.With(t.Context(), mine...), func(ctx context.Context) error { return w.add(ctx, 0) }))
	kept, err := a.Renew(t.Context(), mine...)
	if err != nil || len(kept) != 1 || kept[0].Token != mine[0].Token {
		t.Errorf("want the lease that nobody took, got %+v, %v", kept, err)
	}
}

func replacedNode(t *testing.T, w *world) {
	first := w.as("a")
	add := func(s *store.Store, n int) error {
		return s.Durable(t.Context(), func(ctx context.Context) error { return s.AddNode(ctx, title('N', n), at) })
	}
	w.must(add(first, 0))
	other, second := w.as("b"), w.as("a")
	select {
	case <-first.Replaced():
		t.Error("told before it asked")
	default:
	}
	if err := add(first, 1); !errors.Is(err, store.ErrFenced) {
		t.Errorf("the node that was replaced: want ErrFenced, got %v", err)
	}
	select {
	case <-first.Replaced():
	default:
		t.Error("the node that was replaced is not told")
	}
	w.must(errors.Join(add(second, 2), add(other, 3), add(w.Store, 4)))
	var wg sync.WaitGroup
	for i := range 40 { // in one group with others
		wg.Go(func() {
			s, want := second, error(nil)
			if i%2 == 0 {
				s, want = first, store.ErrFenced
			}
			if err := add(s, 10+i); !errors.Is(err, want) {
				t.Errorf("update %d: want %v, got %v", i, want, err)
			}
		})
	}
	wg.Wait()
	if n := w.has(t.Context(), 50); n != 24 {
		t.Errorf("want 24 titles, got %d", n)
	}
}

func journalPlaces(t *testing.T, w *world) {
	place := func(s *store.Store) int64 {
		p, _, err := s.JournalPosition(t.Context())
		w.must(err)
		return p.Bytes
	}
	set := func(s *store.Store, n int64) {
		w.must(s.Update(t.Context(), func(ctx context.Context) error {
			return s.SetJournalPosition(ctx, vault.Position{Vault: "v", Bytes: n, Hash: []byte{1}})
		}))
	}
	set(w.Store, 7)
	a, b := w.as("a"), w.as("b") // the first to take a name takes the place without one
	if place(a) != 7 || place(b) != 0 || place(w.Store) != 0 {
		t.Errorf("got %d, %d, %d", place(a), place(b), place(w.Store))
	}
	set(a, 9)
	set(b, 3)
	if place(w.as("a")) != 9 || place(b) != 3 {
		t.Errorf("got %d, %d", place(a), place(b))
	}
}

func dueLeased(t *testing.T, w *world) {
	meters, dc := w.enrol(3)
	w.ask(dc, []role.Role{role.CCIS}, meters...)
	a, b := w.as("a"), w.as("b")
	c := &clock{t: at}
	w.acquire(lease.New(a, "a", lease.Options{Now: c.now, TTL: ttl}), lease.Concentrator(dc))
	for i, want := range []struct{ a, b int }{{3, 0}, {3, 3}} {
		own, err := a.Changes().Due(t.Context(), c.now(), c.now().Add(time.Hour), 10)
		w.must(err)
		others, err := b.Changes().Due(t.Context(), c.now(), c.now().Add(time.Hour), 10)
		w.must(err)
		if len(own) != want.a || len(others) != want.b {
			t.Errorf("round %d: want %d for the owner and %d for the other, got %d and %d", i, want.a, want.b, len(own), len(others))
		}
		c.add(ttl)
	}
}

func lostCancels(t *testing.T, w *world) {
	_, b, c := w.managers()
	a := lease.New(w.as("a"), "a", lease.Options{Now: c.now, TTL: ttl})
	dc, other := lease.Concentrator(title('D', 1)), lease.Concentrator(title('D', 2))
	held, err := a.Hold(t.Context(), dc, other)
	w.must(err)
	ctx, ok := held.Context(dc)
	if !ok {
		t.Fatal("not held")
	}
	c.add(ttl)
	w.acquire(b, dc)
	w.must(held.Renew(t.Context()))
	if !errors.Is(context.Cause(ctx), store.ErrFenced) {
		t.Errorf("want the context ended by ErrFenced, got %v", context.Cause(ctx))
	}
	if kept, ok := held.Context(other); !ok || kept.Err() != nil {
		t.Error("the other lease went with it")
	}
	w.must(held.Release(t.Context()))
	if got := w.acquire(b, other); len(got) != 1 {
		t.Error("not released")
	}
}

func raceForLease(t *testing.T, w *world) {
	c := &clock{t: at}
	var mu sync.Mutex
	var got []lease.Lease
	var wg sync.WaitGroup
	for i := range 16 {
		name := string(rune('a' + i))
		m := lease.New(w.as(name), name, lease.Options{Now: c.now, TTL: ttl})
		wg.Go(func() {
			l, err := m.Acquire(t.Context(), lease.Audit())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, l...)
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Errorf("want one owner, got %+v", got)
	}
}

func leaseOfAClockAhead(t *testing.T, w *world) {
	a, b, c := w.managers()
	c.add(1000 * time.Hour)
	ahead := w.acquire(a, lease.Audit())
	c.add(-1000 * time.Hour)
	got := w.acquire(b, lease.Audit())
	if len(got) != 1 || got[0].Token <= ahead[0].Token {
		t.Errorf("want the lease that a wrong clock took for six weeks, got %+v", got)
	}
}

func standingLease(t *testing.T, w *world) {
	a, b, c := w.managers()
	sa, sb := a.Standing(lease.Audit()), b.Standing(lease.Audit())
	turn := func(s *lease.Standing, want bool) context.Context {
		t.Helper()
		ctx, mine, err := s.Turn(t.Context())
		w.must(err)
		if mine != want {
			t.Fatalf("want the turn %t, got %t", want, mine)
		}
		return ctx
	}
	write := func(ctx context.Context, n int) error {
		return w.Update(ctx, func(ctx context.Context) error { return w.add(ctx, n) })
	}
	first := turn(sa, true)
	for range 10 { // kept for as long as it is asked for
		c.add(ttl / 3)
		turn(sb, false)
		w.must(write(turn(sa, true), int(c.now().Sub(at)/time.Second)))
	}
	c.add(ttl)
	w.must(write(turn(sb, true), 200))
	if err := write(first, 201); !errors.Is(err, store.ErrFenced) {
		t.Errorf("want ErrFenced, got %v", err)
	}
	turn(sa, false)
	w.must(sb.Release(t.Context()))
	turn(sa, true)
}
