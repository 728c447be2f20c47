package store

import (
	"context"
	"regexp"
	"strconv"
	"strings"
)

// lookup is a query that finds rows of one table by columns that are equal to what is asked for. Many of them are asked in
// one statement: a statement costs more than the rows that it finds.
type lookup struct {
	columns, table, where, order string
	args                         int
}

// lookupForm is how a lookup is written.
var lookupForm = regexp.MustCompile(`^SELECT ([^?]+) FROM (\w+) WHERE (\w+ = (?:\?|'\w+'|\d+)(?: AND \w+ = (?:\?|'\w+'|\d+))*)(?: ORDER BY (\w+(?: DESC)?))?$`)

// parseLookup reports whether a query is a lookup.
func parseLookup(query string) (l lookup, ok bool) {
	m := lookupForm.FindStringSubmatch(strings.Join(strings.Fields(query), " "))
	if m == nil {
		return l, false
	}
	l = lookup{columns: m[1], table: m[2], order: m[4]}
	for part := range strings.SplitAfterSeq(m[3], "?") {
		l.where += part
		if strings.HasSuffix(part, "?") {
			l.args++
			l.where = strings.TrimSuffix(l.where, "?") + "asked.a" + strconv.Itoa(l.args)
		}
	}
	return l, l.args > 0
}

// together is the statement for so many of them. CROSS JOIN has SQLite take what is asked for in its order and look for
// the rows of each, whatever it thinks of the sizes. The first column says which one a row belongs to.
func (l lookup) together(n int) string {
	var b strings.Builder
	b.WriteString(`WITH asked (i`)
	for a := range l.args {
		b.WriteString(`, a` + strconv.Itoa(a+1))
	}
	row := `(?` + strings.Repeat(`, ?`, l.args) + `)`
	b.WriteString(`) AS (VALUES ` + row + strings.Repeat(`, `+row, n-1) + `) SELECT asked.i, ` + l.columns +
		` FROM asked CROSS JOIN ` + l.table + ` WHERE ` + l.where)
	if l.order != "" {
		b.WriteString(` ORDER BY asked.i, ` + l.order)
	}
	return b.String()
}

// lookupOf is parseLookup with a memory.
func (s sqliteSession) lookupOf(query string) (lookup, bool) {
	if known, ok := s.lookups.Load(query); ok {
		l := known.(lookup) //nolint:errcheck,forcetypeassert // only lookups are stored
		return l, l.args > 0
	}
	l, ok := parseLookup(query)
	if !ok {
		l = lookup{}
	}
	s.lookups.Store(query, l)
	return l, ok
}

// queryTogether asks for rows lookups from the i-th on in one statement.
func (s sqliteSession) queryTogether(ctx context.Context, l lookup, i, rows int, args func(int) []any, each func(row) error) error {
	all := make([]any, 0, rows*(1+l.args))
	for j := range rows {
		bound, err := bind(args(i + j))
		if err != nil {
			return err
		}
		all = append(append(all, int64(i+j)), bound...)
	}
	r := &numberedRow{}
	return s.queryOne(ctx, l.together(rows), all, func(from scanner) error {
		r.from = from
		return each(r)
	})
}

// numberedRow is a row whose first column says what it belongs to.
type numberedRow struct {
	from scanner
	i    int
}

// Scan implements row.
func (r *numberedRow) Scan(dest ...any) error { return r.from.Scan(append([]any{&r.i}, dest...)...) }

// Item implements row.
func (r *numberedRow) Item() int { return r.i }
