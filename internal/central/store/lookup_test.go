package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestOnlyQueriesForEqualColumnsOfOneTableAreAskedTogether(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT kind FROM titles WHERE title = ?": "asked.a1",
		`SELECT a, b FROM keys
			WHERE meter = ? AND role = ? ORDER BY version DESC`: "ORDER BY asked.i, version DESC",
		"SELECT 1 FROM meters WHERE title = ? AND state = 'enrolled'": "state = 'enrolled'",
	} {
		if l, ok := parseLookup(query); !ok || !strings.Contains(l.together(2), want) {
			t.Errorf("%s: want it together with %q, got %t, %s", query, want, ok, l.together(2))
		}
	}
	for _, query := range []string{
		"SELECT idx, hash FROM audit_hashes WHERE idx <= ? ORDER BY idx DESC LIMIT 1",
		"SELECT 1 FROM fingerprints WHERE fingerprint = ? UNION ALL SELECT 1 FROM device_keys WHERE fingerprint = ?",
		"SELECT k.a FROM keys k JOIN meters m ON m.title = k.meter WHERE meter = ?",
		"DELETE FROM keys WHERE meter = ? RETURNING version", "SELECT kind FROM titles WHERE title = 'x'",
		"SELECT a FROM keys WHERE meter = ?1 OR role = ?",
	} {
		if l, ok := parseLookup(query); ok {
			t.Errorf("%s: want it alone, got %+v", query, l)
		}
	}
}

func TestManyQueriesAskedTogetherAnswerAsEachAlone(t *testing.T) {
	s := open(t, t.TempDir())
	var titles []string
	for i := range 150 {
		titles = append(titles, fmt.Sprintf("MSL%05d", i))
	}
	err := s.Update(t.Context(), func(ctx context.Context) error {
		for i := 0; i < len(titles); i += 3 {
			if err := addTitle(ctx, s, titles[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	query := func(ctx context.Context, some []string) []bool {
		rows, err := each(ctx, s, some, func(t string) []any { return []any{[]byte(t)} }, scanText, `SELECT kind FROM titles WHERE title = ?`)
		if err != nil {
			t.Fatal(err)
		}
		found := make([]bool, len(rows))
		for i, r := range rows {
			found[i] = slices.Equal(r, []string{"meter"})
		}
		return found
	}
	for i, found := range query(t.Context(), titles) {
		if alone := query(t.Context(), titles[i:i+1])[0]; found != (i%3 == 0) || alone != found {
			t.Errorf("title %d: found %t, alone %t", i, found, alone)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := each(ended, s, titles, func(t string) []any { return []any{[]byte(t)} }, scanText, `SELECT kind FROM titles WHERE title = ?`); err == nil {
		t.Error("want nothing for somebody who is gone")
	}
}
