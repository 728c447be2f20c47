package store_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/store/storetest"
	"github.com/meterseal/meterseal/internal/role"
)

func BenchmarkCampaign(b *testing.B) {
	for name, meters := range map[string]int{"10k": 10_000, "100k": 100_000} {
		b.Run(name, func(b *testing.B) { campaign(b, opened(b, store.Options{}), meters) })
	}
}

// campaign measures a campaign over a fleet: how long the selection takes, how long a beat with all its room taken anew,
// and what memory is in use meanwhile.
func campaign(b *testing.B, s *store.Store, meters int) {
	b.Helper()
	storetest.Fleet(b, s, meters)
	now := time.Date(2026, 11, 3, 4, 5, 6, 0, time.UTC)
	r := rotation.NewCampaigns(rotation.CampaignsConfig{Store: s.Campaigns(), Now: func() time.Time { return now }})
	c, err := r.Start(b.Context(), rotation.Campaign{Reason: "bench", Roles: []role.Role{role.CCLAN}, Budget: -1})
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	for !c.Selected {
		if _, err := r.Beat(b.Context()); err != nil {
			b.Fatal(err)
		}
		if c, err = s.Campaigns().Campaign(b.Context(), c.ID); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(time.Since(began).Seconds(), "select-s")
	b.ReportMetric(float64(c.Total), "keys")
	var took time.Duration
	for range b.N {
		now = now.Add(time.Second)
		err := s.Update(b.Context(), func(ctx context.Context) error { return finishAll(ctx, s, now) })
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if _, err := r.Beat(b.Context()); err != nil {
			b.Fatal(err)
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "beat-ms")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapInuse)/(1<<20), "heap-MB")
}

func finishAll(ctx context.Context, s *store.Store, now time.Time) error {
	open, err := s.Changes().Due(ctx, now, now.Add(time.Hour), 1<<20)
	if err != nil {
		return err
	}
	for i := range open {
		open[i].Step, open[i].DoneAt = rotation.StepDone, now
	}
	return s.Changes().Save(ctx, open)
}
