package store

import (
	"strings"
	"testing"
)

func TestStatementsOfOneTableAreRunForManyRowsTogether(t *testing.T) {
	for query, want := range map[string]string{
		`INSERT INTO titles (title, kind) VALUES (?, ?)`: `INSERT INTO titles (title, kind) SELECT * FROM unnest($1::int8[], $2::int8[]) AS asked (a1, a2)`,
		`INSERT INTO a (b, c) VALUES (?, ?)
			ON CONFLICT (c) DO UPDATE SET b = excluded.b`: `SELECT * FROM unnest($1::int8[], $2::int8[]) AS asked (a1, a2) ON CONFLICT (c) DO UPDATE SET b = excluded.b`,
		`UPDATE keys SET state = ?, active_at = ?, ended_at = 0 WHERE meter = ? AND role = 4`: `UPDATE keys SET state = asked.a1, active_at = asked.a2, ended_at = 0 FROM unnest($1::int8[], $2::int8[], $3::int8[]) AS asked (a1, a2, a3) WHERE meter = asked.a3 AND role = 4`,
		`SELECT a, b FROM keys WHERE meter = ? ORDER BY b`:                                    `SELECT asked.i, found.* FROM unnest($1::int8[], $2::int8[]) AS asked (i, a1) CROSS JOIN LATERAL (SELECT a, b FROM keys WHERE meter = asked.a1 ORDER BY b OFFSET 0) AS found`,
		`INSERT INTO a (b, c) SELECT d, ?2 FROM e
			WHERE d = ?1 AND f IS NOT NULL ON CONFLICT DO NOTHING`: `INSERT INTO a (b, c) SELECT d, asked.a2 FROM unnest($1::int8[], $2::int8[]) AS asked (a1, a2) CROSS JOIN LATERAL (SELECT * FROM e WHERE d = asked.a1 AND f IS NOT NULL OFFSET 0) AS e ON CONFLICT DO NOTHING`,
	} {
		got, ok := togetherOf(query)
		if !ok {
			t.Errorf("%s: want it together", query)
			continue
		}
		types := make([]string, got.args)
		for i := range types {
			types[i] = "int8"
		}
		if got.numbered {
			types = append(types, "int8")
		}
		if s := got.sql(types); !strings.HasSuffix(s, want) {
			t.Errorf("%s:\nwant %s\ngot  %s", query, want, s)
		}
	}
	for _, query := range []string{
		`INSERT INTO a (b) VALUES (?) RETURNING id`, `INSERT INTO a (b, c) VALUES (?, 5)`, `INSERT INTO a (b) SELECT ?2 FROM c WHERE d = ?`,
		`INSERT INTO a (b) VALUES (?) ON CONFLICT (b) DO UPDATE SET b = ?`, `UPDATE a SET b = 1 WHERE c = 2`, `UPDATE a SET b = ? WHERE c < ?`,
		`DELETE FROM a WHERE b = ?`, `INSERT INTO a (b) VALUES (?) ON CONFLICT (c) DO UPDATE SET b = 1`,
	} {
		if got, ok := togetherOf(query); ok {
			t.Errorf("%s: want it alone, got %+v", query, got)
		}
	}
}

func TestRowsThatTouchTheSameRowAreNotRunTogether(t *testing.T) {
	query, ok := togetherOf(`UPDATE a SET b = ? WHERE c = ? AND d = ?`)
	if !ok {
		t.Fatal("not together")
	}
	for _, c := range []struct {
		rows [][]any
		want bool
	}{
		{[][]any{{1, "x", 2}, {1, "x", 3}, {1, []byte("x"), 2}, {1, nil, 2}, {1, "", 2}}, true},
		{[][]any{{1, "x", 2}, {2, "x", 2}}, false},
		{[][]any{{1, []byte("ab"), 2}, {2, []byte("ab"), 2}}, false},
	} {
		seen := map[string]bool{}
		ok := true
		for _, r := range c.rows {
			bound, err := bind(append([]any(nil), r...))
			if err != nil {
				t.Fatal(err)
			}
			name := query.nameOf(bound)
			ok = ok && !seen[name]
			seen[name] = true
		}
		if ok != c.want {
			t.Errorf("%v: want %t", c.rows, c.want)
		}
	}
	if _, ok, err := query.columnsOf(0, 2, func(int) []any { return []any{1, "x", 2} }); ok || err != nil {
		t.Errorf("the same row twice: got %t, %v", ok, err)
	}
	if _, _, err := query.columnsOf(0, 2, func(i int) []any { return [][]any{{1, "x", 2}, {"y", "x", 3}}[i] }); err == nil {
		t.Error("two types in one column were taken")
	}
}
