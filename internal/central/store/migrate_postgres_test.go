//go:build integration

package store

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/meterseal/meterseal/internal/central/store/pgtest"
)

func TestAPostgreSQLDatabaseOfTheFirstVersionIsBroughtUpToDateToo(t *testing.T) {
	var cluster pgtest.Cluster
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	u := cluster.Database(t)
	cfg, err := pgx.ParseConfig(u)
	if err != nil {
		t.Fatal(err)
	}
	downTo1(t, stdlib.OpenDB(*cfg), goose.DialectPostgres, func(hex string) string { return `'\x` + hex + `'::bytea` })
	s, err := Open(t.Context(), t.TempDir(), Options{URL: u})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keepsVersion1(t, s)
}
