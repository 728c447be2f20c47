package central

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// peopled adds n meters of profile hardened and puts the first assigned of them under the concentrator.
func peopled(t *testing.T, is *IS, n, assigned int) (titles []dlms.SystemTitle) {
	t.Helper()
	rows := make([]vault.MeterRow, n)
	for i := range rows {
		copy(rows[i].Title[:], "MSL")
		binary.BigEndian.PutUint32(rows[i].Title[4:], uint32(i+1))
		rows[i].Maker, rows[i].Batch, rows[i].Profile, rows[i].EnrolledAt = "MSL", "1", "hardened", time.Now()
		titles = append(titles, rows[i].Title)
	}
	err := is.store.Update(t.Context(), func(ctx context.Context) error {
		if err := is.store.AddMeters(ctx, rows); err != nil {
			return err
		}
		_, err := is.store.AssignMeters(ctx, dcTitle, titles[:assigned])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return titles
}

func TestTheFleetIsListedByPages(t *testing.T) {
	is := opened(t)
	titles := peopled(t, is, 25, 20)
	for _, c := range []struct {
		q          api.MeterQuery
		first, all int
	}{
		{api.MeterQuery{}, 0, 25},
		{api.MeterQuery{Limit: 5}, 0, 25},
		{api.MeterQuery{Limit: 7}, 0, 25},
		{api.MeterQuery{Limit: 7, Unassigned: true}, 20, 5},
		{api.MeterQuery{Limit: 1 << 30}, 0, 25},
	} {
		var got []dlms.SystemTitle
		for q := c.q; ; {
			p, err := is.Meters(t.Context(), q)
			if err != nil || p.Meters == nil || c.q.Limit > 0 && len(p.Meters) > c.q.Limit {
				t.Fatalf("%+v: %+v, %v", q, p, err)
			}
			for _, m := range p.Meters {
				got = append(got, m.Meter)
			}
			if q.After = p.Next; p.Next.IsZero() {
				break
			}
		}
		if len(got) != c.all || got[0] != titles[c.first] || got[len(got)-1] != titles[24] {
			t.Errorf("%+v: want %d meters from %s on, got %v", c.q, c.all, titles[c.first], got)
		}
	}
	if s, err := is.Status(t.Context()); err != nil || s.Meters != 25 {
		t.Errorf("want 25 meters counted, got %d, %v", s.Meters, err)
	}
}

func TestARotationOfMoreKeysThanOneCommitMayHaveIsACampaigns(t *testing.T) {
	is := opened(t)
	peopled(t, is, maxRotate/3+1, maxRotate/3+1)
	a, err := is.Rotate(t.Context(), api.Rotation{Reason: "all at once"})
	if !errors.Is(err, errTooMany) || a.Asked != 0 {
		t.Errorf("want it refused, got %+v, %v", a, err)
	}
	if n, _, err := is.store.Changes().Open(t.Context()); err != nil || n != 0 {
		t.Errorf("want no change asked for, got %d, %v", n, err)
	}
}

func TestOnlyAMeterThatTookNoKeyIsSearchedFor(t *testing.T) {
	is := opened(t)
	titles := peopled(t, is, 3, 3)
	for code, want := range map[bus.FaultCode]int{
		bus.FaultRefused: 0, bus.FaultUnreachable: 0, bus.FaultUnknown: 0, bus.FaultNoMeter: 0, bus.FaultExpired: 0, bus.FaultKeyRefused: 3,
	} {
		var failed []bus.MeterFault
		for _, m := range titles { // busy, claimed, without rows of a day: its key is not in doubt
			failed = append(failed, bus.MeterFault{Meter: m, Code: code})
		}
		before, _, err := is.store.Changes().Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := is.lacking(t.Context(), dcTitle, failed); err != nil {
			t.Fatal(err)
		}
		after, _, err := is.store.Changes().Open(t.Context())
		if err != nil || after-before != want {
			t.Errorf("%s: want %d searches, got %d, %v", code, want, after-before, err)
		}
	}
}
