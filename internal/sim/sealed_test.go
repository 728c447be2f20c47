//go:build !race

package sim

import (
	"testing"
	"testing/synctest"
)

// TestLaw5NoMeterIsLostWithTheKeyJournals loses all journals in the middle of a storm, twice, whoever lies and whoever is
// stolen in the same hours.
func TestLaw5NoMeterIsLostWithTheKeyJournals(t *testing.T) {
	for seed := uint64(1); seed <= *flagSealed; seed++ {
		opt := Options{Seed: *flagBase + seed - 1, Dir: inMemory(t), Keep: 2000}
		synctest.Test(t, func(t *testing.T) {
			w, err := New(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				w.storm(t.Context())
				s := w.snapshot(t.Context())
				w.keepTerms = true
				w.storm(t.Context())
				w.keepTerms = false
				w.fault(withoutJournal)
				if err := w.loseJournals(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			w.storm(t.Context())
			w.settle(t.Context())
			r := w.count(t.Context())
			if r.Failed() {
				t.Errorf("%s", r)
				for _, l := range r.Record[max(0, len(r.Record)-100):] {
					t.Log(l)
				}
			}
			t.Log(r)
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
