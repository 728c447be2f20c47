//go:build integration

package store_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/store/pgtest"
	"github.com/meterseal/meterseal/internal/central/store/storetest"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

func TestConformanceOfPostgreSQL(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (one, other *store.Store) {
		t.Helper()
		u := cluster.Database(t)
		return opened(t, store.Options{URL: u}), opened(t, store.Options{URL: u})
	})
}

func BenchmarkGroupCommitPostgreSQL(b *testing.B) {
	for name, workers := range map[string]int{"alone": 1, "64 at once": 64} {
		b.Run(name, func(b *testing.B) { storetest.Volley(b, opened(b, store.Options{URL: cluster.Database(b)}), workers) })
	}
}

// TestTwoProcessesShareOneDatabase opens one database twice, as two processes do: their updates are serial, and neither
// loses one of the other's.
func TestTwoProcessesShareOneDatabase(t *testing.T) {
	u := cluster.Database(t)
	stores := []*store.Store{opened(t, store.Options{URL: u}), opened(t, store.Options{URL: u})}
	const each = 150
	count := func(ctx context.Context, s *store.Store) (int, error) {
		all := make([]dlms.SystemTitle, 2*each)
		for i := range all {
			all[i] = dlms.SystemTitle{'M', 'S', byte(i >> 8), byte(i)}
		}
		kinds, err := s.TitleKinds(ctx, all)
		return len(kinds), err
	}
	var wg sync.WaitGroup
	for _, s := range stores {
		for range 5 {
			wg.Go(func() {
				for range each / 5 {
					err := s.Durable(t.Context(), func(ctx context.Context) error {
						n, err := count(ctx, s)
						if err != nil {
							return err
						}
						return s.AddNode(ctx, dlms.SystemTitle{'M', 'S', byte(n >> 8), byte(n)}, time.Unix(1, 0))
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n, err := count(t.Context(), stores[0]); n != 2*each || err != nil {
		t.Errorf("want %d titles, got %d, %v", 2*each, n, err)
	}
}

// TestWhatWasCommittedSurvivesTheServersCrash also shows that the store finds its way back by itself.
func TestWhatWasCommittedSurvivesTheServersCrash(t *testing.T) {
	s := opened(t, store.Options{URL: cluster.Database(t)})
	add := func(n byte) error {
		return s.Durable(t.Context(), func(ctx context.Context) error {
			return s.AddNode(ctx, dlms.SystemTitle{'M', 'S', n}, time.Unix(1, 0))
		})
	}
	for n := range byte(20) {
		if err := add(n); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Crash(t)
	read := func() error {
		_, err := s.TitleKinds(t.Context(), []dlms.SystemTitle{{'M', 'S', 100}})
		return err
	}
	// A connection or two of before the crash may still be in the pools, of those who write and of those who read.
	for what, do := range map[string]func() error{"write": func() error { return add(100) }, "read": read} {
		var err error
		for range 10 {
			if err = do(); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s after the crash: %v", what, err)
		}
	}
	for n := range byte(20) {
		if kinds, err := s.TitleKinds(t.Context(), []dlms.SystemTitle{{'M', 'S', n}}); err != nil || len(kinds) != 1 {
			t.Errorf("update %d is lost: %v", n, err)
		}
	}
}

func TestOpenRefusesAServerWhoseCommitsAreNotDurable(t *testing.T) {
	u, err := url.Parse(cluster.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("synchronous_commit", "off")
	u.RawQuery = q.Encode()
	if _, err := store.Open(t.Context(), t.TempDir(), store.Options{URL: u.String()}); !errors.Is(err, store.ErrNotDurable) {
		t.Errorf("want ErrNotDurable, got %v", err)
	}
}

func TestADirectoryHasOneProcessWithPostgreSQLToo(t *testing.T) {
	dir, u := t.TempDir(), cluster.Database(t)
	s, err := store.Open(t.Context(), dir, store.Options{URL: u})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := store.Open(t.Context(), dir, store.Options{URL: u}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("want ErrInUse, got %v", err)
	}
}

func TestAServerThatIsNotThereIsAnErrorWithoutThePassword(t *testing.T) {
	t.Setenv("PGPASSWORD", "sesame")
	_, err := store.Open(t.Context(), t.TempDir(), store.Options{URL: "postgres://u@127.0.0.1:1/x"})
	if err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkStepsPostgreSQL(b *testing.B) {
	storetest.Steps(b, opened(b, store.Options{URL: cluster.Database(b)}), 5000)
}
