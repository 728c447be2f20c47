package lease

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/defence"
)

// shelf is a store of leases in memory.
type shelf struct {
	leases  map[Name]Lease
	token   int64
	renewed int
}

func (s *shelf) AcquireLeases(_ context.Context, owner string, now, until time.Time, names []Name) (got []Lease, err error) {
	for _, n := range names {
		if l, held := s.leases[n]; held && l.Owner != owner && l.Until.After(now) {
			continue
		}
		s.token++
		s.leases[n] = Lease{n, owner, s.token, until}
		got = append(got, s.leases[n])
	}
	return got, nil
}

func (s *shelf) RenewLeases(_ context.Context, until time.Time, leases []Lease) (kept []Lease, err error) {
	s.renewed++
	for _, l := range leases {
		if s.leases[l.Name].Token == l.Token {
			l.Until = until
			s.leases[l.Name] = l
			kept = append(kept, l)
		}
	}
	return kept, nil
}

func (s *shelf) ReleaseLeases(context.Context, []Lease) error { return nil }

func (s *shelf) Leases(context.Context, string) ([]Lease, error) { return nil, nil }

func TestWhoWakesUpPastItsLeaseIsToldBeforeItSends(t *testing.T) {
	for _, without := range []defence.Set{0, defence.Fencing} {
		s, now := &shelf{leases: map[Name]Lease{}}, time.Unix(1000, 0)
		clock := func() time.Time { return now }
		paused, other := New(s, "paused", Options{Now: clock, Still: true, Without: without}), New(s, "other", Options{Now: clock, Still: true})
		held, err := paused.Hold(t.Context(), Audit())
		if err != nil {
			t.Fatal(err)
		}
		ctx, ok := held.Context(Audit())
		if !ok {
			t.Fatal("want the lease")
		}
		for range 10 { // at work: the database is asked once in half the time of a lease
			if err := Check(ctx); err != nil {
				t.Fatal(err)
			}
			now = now.Add(DefaultTTL / 10)
		}
		if want := 1; without == 0 && s.renewed != want {
			t.Errorf("want %d renewal, got %d", want, s.renewed)
		}
		now = now.Add(2 * DefaultTTL)
		if got, err := other.Acquire(t.Context(), Audit()); err != nil || len(got) != 1 {
			t.Fatalf("want the lease to be free, got %v, %v", got, err)
		}
		if err := Check(ctx); (without == 0) != errors.Is(err, ErrFenced) {
			t.Errorf("without %s: want the lease lost where fencing is on, got %v", without, err)
		}
		if without == 0 && !errors.Is(context.Cause(ctx), ErrFenced) {
			t.Errorf("want the work ended, got %v", context.Cause(ctx))
		}
	}
}

func TestWorkUnderNoLeaseIsNotHeldUp(t *testing.T) {
	if err := Check(t.Context()); err != nil {
		t.Error(err)
	}
}
