package store

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// version1 is what a system of the first schema has after some work, in words that both engines understand: X'..' and
// '\x..' are put in by the engine's own spelling of bytes.
func version1(bytes func(hex string) string) []string {
	meter, dc, fp := bytes("4D534C0000000001"), bytes("4D534C4400000001"), bytes("000102030405060708090A0B0C0D0E0F")
	return []string{
		`INSERT INTO titles (title, kind, created_at) VALUES (` + meter + `, 'meter', 5), (` + dc + `, 'concentrator', 5)`,
		`INSERT INTO devices (title, kind, nkey_public, fingerprint, state, enrolled_at) VALUES (` + dc + `, 'concentrator', 'U1', 'f', 'enrolled', 5)`,
		`INSERT INTO meters (title, maker, batch, profile, suite, concentrator, state, enrolled_at) VALUES (` + meter + `, 'MSL', '1', 'hardened', 0, ` + dc + `, 'enrolled', 5)`,
		`INSERT INTO keys (meter, role, version, suite, term, sealed, mac, check_value, fingerprint, state, created_at, sent_at, active_at, ended_at)
			VALUES (` + meter + `, 4, 1, 0, 1, ` + fp + `, ` + fp + `, ` + bytes("AABBCC") + `, ` + fp + `, 'active', 5, 6, 7, 0)`,
		`INSERT INTO send_counters (meter, role, version, title, ceiling, raised) VALUES (` + meter + `, 4, 1, ` + dc + `, 640, 3)`,
		`INSERT INTO audit_entries (at, actor, action, meter, body) VALUES (5, 'a', 'b.c', ` + meter + `, ` + bytes("7B7D") + `)`,
		`INSERT INTO journal_position (id, vault, bytes, hash) VALUES (1, 'v', 77, ` + bytes("01") + `)`,
	}
}

// downTo1 makes a database as the first version left it.
func downTo1(t *testing.T, db *sql.DB, dialect goose.Dialect, bytes func(string) string) {
	t.Helper()
	p, err := migrator(db, dialect)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for _, stmt := range version1(bytes) {
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// keepsVersion1 checks that nothing of version1 is lost, and that work goes on with it.
func keepsVersion1(t *testing.T, s *Store) {
	t.Helper()
	meter, dc := dlms.SystemTitle{'M', 'S', 'L', 0, 0, 0, 0, 1}, dlms.SystemTitle{'M', 'S', 'L', 'D', 0, 0, 0, 1}
	node, err := s.As(t.Context(), NodeOptions{Name: "n"})
	if err != nil {
		t.Fatal(err)
	}
	ref := role.KeyRef{Meter: meter, Role: role.CCIS, Version: 1}
	rows, errK := node.KeyRows(t.Context(), []role.KeyRef{ref})
	counters, errC := node.SendCounters(t.Context(), dc, []role.KeyRef{ref})
	place, known, errP := node.JournalPosition(t.Context())
	m, _, errM := node.Meter(t.Context(), meter)
	entries, errA := node.UnnumberedAudit(t.Context(), 10)
	for _, err := range []error{errK, errC, errP, errM, errA} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if k := rows[ref]; k.State != vault.Active || k.CheckValue != (vault.CheckValue{0xAA, 0xBB, 0xCC}) || len(k.Sealed) != 16 {
		t.Errorf("key: got %+v", k)
	}
	if counters[ref].Ceiling != 640 || !known || place.Bytes != 77 || m.Concentrator != dc || len(entries) != 1 || string(entries[0].Body) != "{}" {
		t.Errorf("got counters %+v, journal %+v, meter %+v, audit %+v", counters[ref], place, m, entries)
	}
	again := rows[ref]
	again.Ref.Version = 2
	err = node.Update(t.Context(), func(ctx context.Context) error { return node.AddKeys(ctx, []vault.KeyRow{again}) })
	if !errors.Is(err, vault.ErrKeyTaken) {
		t.Errorf("an old key once more: want ErrKeyTaken, got %v", err)
	}
	err = node.Update(t.Context(), func(ctx context.Context) error {
		return node.RaiseSendCounters(ctx, []vault.CounterRow{{Ref: ref, Title: dc, Ceiling: 700, Raised: 3}})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestADatabaseOfTheFirstVersionIsBroughtUpToDateWithAllThatIsInIt(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, FileName), false, false))
	if err != nil {
		t.Fatal(err)
	}
	downTo1(t, db, goose.DialectSQLite3, func(hex string) string { return "X'" + hex + "'" })
	keepsVersion1(t, open(t, dir))
}

func TestBothEnginesHaveTheSameMigrations(t *testing.T) {
	var names [][]string
	for _, dialect := range []goose.Dialect{goose.DialectSQLite3, goose.DialectPostgres} {
		entries, err := migrations.ReadDir(folders[dialect])
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: no migrations: %v", dialect, err)
		}
		var own []string
		for _, e := range entries {
			own = append(own, e.Name())
		}
		names = append(names, own)
	}
	if !slices.Equal(names[0], names[1]) {
		t.Errorf("want the same versions, got %v and %v", names[0], names[1])
	}
}

func TestStatementsAreNumberedForPostgreSQL(t *testing.T) {
	for in, want := range map[string]string{
		`SELECT 1`:                           `SELECT 1`,
		`a = ? AND b = ?`:                    `a = $1 AND b = $2`,
		`a = ?2 OR b = ?1 OR c = ?2`:         `a = $2 OR b = $1 OR c = $2`,
		`VALUES (?, ?, NULL), (?, ?, NULL)`:  `VALUES ($1, $2, NULL), ($3, $4, NULL)`,
		`x IN (?,?,?,?,?,?,?,?,?,?) AND y=?`: `x IN ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) AND y=$11`,
	} {
		if got := numbered(in); got != want {
			t.Errorf("%s: want %s, got %s", in, want, got)
		}
	}
}

func TestPasswordsInAURLAreRefused(t *testing.T) {
	for u, want := range map[string]bool{
		"postgres://u@h/db": true, "postgresql:///db?host=/run/postgresql": true, "postgres://h1:5432,h2:5432/db?target_session_attrs=read-write": true,
		"postgres://u:p@h/db": false, "postgres:///db?password=p": false, "mysql://h/db": false, "host=h password=p": false, "": false,
	} {
		if err := CheckURL(u); (err == nil) != want {
			t.Errorf("%s: got %v", u, err)
		}
	}
}
