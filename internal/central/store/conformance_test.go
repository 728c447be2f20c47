package store_test

import (
	"testing"

	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/store/storetest"
)

func opened(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformanceOfSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (one, other *store.Store) {
		t.Helper()
		s := opened(t, store.Options{})
		return s, s
	})
}

func BenchmarkGroupCommitSQLite(b *testing.B) {
	for name, workers := range map[string]int{"alone": 1, "64 at once": 64} {
		b.Run(name, func(b *testing.B) { storetest.Volley(b, opened(b, store.Options{}), workers) })
	}
}

func BenchmarkStepsSQLite(b *testing.B) { storetest.Steps(b, opened(b, store.Options{}), 5000) }
