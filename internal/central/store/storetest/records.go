package storetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/role"
)

func auditLeaves(t *testing.T, w *world) {
	log := audit.New(w.Store, audit.Options{Now: func() time.Time { return at }})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 10 {
				if err := log.Append(t.Context(), audit.Entry{Actor: "a", Action: "b.c", Phase: audit.Done, Outcome: "x"}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			if _, err := log.Sequence(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, err := log.Sequence(t.Context())
	w.must(err)
	size, err := w.AuditSize(t.Context())
	w.must(err)
	leaves, err := w.AuditLeaves(t.Context(), 0, 1000)
	w.must(err)
	if size != 100 || len(leaves) != 100 {
		t.Fatalf("want 100 leaves, got %d and %d", size, len(leaves))
	}
	for i, l := range leaves {
		if l.N != int64(i) || i > 0 && l.ID <= leaves[i-1].ID {
			t.Fatalf("leaf %d: got %d, entry %d", i, l.N, l.ID)
		}
	}
	newest, err := log.List(t.Context(), audit.Filter{Action: "b.c", Newest: true, Limit: 3})
	w.must(err)
	if len(newest) != 3 || newest[0].ID <= newest[2].ID || !newest[0].At.Equal(at) || !newest[0].Meter.IsZero() {
		t.Errorf("newest: got %+v", newest)
	}
}

// auditMentions appends batches, some of them numbered, and looks for one meter.
func auditMentions(t *testing.T, w *world) {
	log := audit.New(w.Store, audit.Options{Now: func() time.Time { return at }})
	m := dlms.SystemTitle{'M', 'S', 'L', 9, 0, 0, 0, 2}
	for round := range 5 {
		var batch []audit.Entry
		for i := range 50 {
			ref := role.KeyRef{Meter: dlms.SystemTitle{'M', 'S', 'L', 9, 0, 0, 0, byte(i)}, Role: role.CCLAN, Version: uint32(round + 1)}
			batch = append(batch, audit.Entry{Actor: "a", Action: "b.c", Phase: audit.Done, Subject: audit.KeySubject(ref, "aabbcc")})
		}
		w.must(log.Append(t.Context(), batch...))
		w.must(log.Append(t.Context(), batch[2]))
		if round != 1 && round != 4 {
			_, err := log.Sequence(t.Context())
			w.must(err)
		}
		rows, err := log.List(t.Context(), audit.Filter{Meter: m, Action: "b.c"})
		w.must(err)
		if len(rows) != 2*(round+1) {
			t.Errorf("round %d: got %d entries of the meter", round, len(rows))
		}
		for i, r := range rows {
			if r.Meter != m || i > 0 && r.ID <= rows[i-1].ID {
				t.Errorf("round %d, row %d: got record %d of %s", round, i, r.ID, r.Meter)
			}
		}
	}
	all, err := log.List(t.Context(), audit.Filter{Limit: 2})
	w.must(err)
	if len(all) != 51 {
		t.Errorf("two records: got %d entries, want 51", len(all))
	}
}

func pages(t *testing.T, w *world) {
	want, _ := w.enrol(5)
	var got []dlms.SystemTitle
	var after dlms.SystemTitle
	for {
		some, err := w.MetersAfter(t.Context(), after, 2)
		w.must(err)
		if len(some) == 0 {
			break
		}
		for _, m := range some {
			got = append(got, m.Title)
		}
		after = some[len(some)-1].Title
	}
	n, err := w.CountMeters(t.Context())
	if w.must(err); n != len(want) || !slices.Equal(got, want) {
		t.Errorf("want %v, got %v, counted %d", want, got, n)
	}
}
