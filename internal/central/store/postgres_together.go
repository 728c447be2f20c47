package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxTogether is how many rows one statement takes at most.
const maxTogether = 1000

// together is a statement for many rows at once: each argument is an array, and unnest makes rows of them again, called
// asked. One statement for many rows costs the server a small part of what as many statements cost.
type together struct {
	before, after string // around the call of unnest
	args          int
	numbered      bool  // the first column of asked is the number of the row
	distinct      []int // arguments that must not be the same in two rows, none if all may
}

// Statements that are run for many rows at once.
var (
	insertForm = regexp.MustCompile(`^(INSERT INTO \w+ \(([\w, ]+)\)) VALUES (\(\?(?:, \?)*\))( ON CONFLICT .*)?$`)
	updateForm = regexp.MustCompile(`^(UPDATE \w+ SET [^?]*(?:\?[^?]*)*) WHERE (\w+ = (?:\?|'\w+'|\d+)(?: AND \w+ = (?:\?|'\w+'|\d+))*)$`)
	selectForm = regexp.MustCompile(`^(INSERT INTO \w+ \([\w, ]+\) SELECT [^()]*) FROM (\w+) WHERE ([^()]*?)( ON CONFLICT DO NOTHING)?$`)
	conflict   = regexp.MustCompile(`ON CONFLICT \(([\w, ]+)\) DO UPDATE`)
)

// togetherOf finds how a statement is written for many rows.
func togetherOf(query string) (together, bool) {
	query = strings.Join(strings.Fields(query), " ")
	if m := selectForm.FindStringSubmatch(query); m != nil {
		return selectTogether(m[1], m[2], m[3], m[4])
	}
	if strings.Contains(query, " RETURNING ") || numberedArg.MatchString(query) {
		return together{}, false
	}
	if l, ok := parseLookup(query); ok {
		t := together{before: `SELECT asked.i, found.* FROM `, args: l.args, numbered: true}
		order := ""
		if l.order != "" {
			order = ` ORDER BY ` + l.order
		}
		// OFFSET has PostgreSQL look for the rows of each, by the index, whatever it thinks of the sizes.
		t.after = ` CROSS JOIN LATERAL (SELECT ` + l.columns + ` FROM ` + l.table + ` WHERE ` + l.where + order + ` OFFSET 0) AS found`
		return t, true
	}
	if m := insertForm.FindStringSubmatch(query); m != nil {
		return insertTogether(m[1], strings.Split(m[2], ", "), strings.Count(m[3], "?"), m[4])
	}
	if m := updateForm.FindStringSubmatch(query); m != nil {
		return updateTogether(m[1], m[2])
	}
	return together{}, false
}

var numberedArg = regexp.MustCompile(`\?(\d)`)

// selectTogether is for rows that are made out of those of another table; every argument has its number.
func selectTogether(head, table, where, tail string) (together, bool) {
	t := together{}
	name := func(s string) string {
		return numberedArg.ReplaceAllStringFunc(s, func(arg string) string {
			n := int(arg[1] - '0')
			t.args = max(t.args, n)
			return `asked.a` + strconv.Itoa(n)
		})
	}
	t.before = name(head) + ` FROM `
	t.after = ` CROSS JOIN LATERAL (SELECT * FROM ` + table + ` WHERE ` + name(where) + ` OFFSET 0) AS ` + table + tail
	return t, t.args > 0 && !strings.Contains(t.before+t.after, "?")
}

func insertTogether(head string, columns []string, args int, tail string) (together, bool) {
	t := together{before: head + ` SELECT * FROM `, after: tail, args: args}
	if args != len(columns) || strings.Contains(tail, "?") {
		return t, false
	}
	if !strings.Contains(tail, "DO UPDATE") {
		return t, true
	}
	m := conflict.FindStringSubmatch(tail)
	if m == nil {
		return t, false
	}
	for c := range strings.SplitSeq(m[1], ", ") {
		i := slices.Index(columns, c)
		if i < 0 {
			return t, false
		}
		t.distinct = append(t.distinct, i)
	}
	return t, true
}

func updateTogether(set, where string) (together, bool) {
	t := together{}
	name := func(s string) string {
		var b strings.Builder
		for part := range strings.SplitAfterSeq(s, "?") {
			if before, has := strings.CutSuffix(part, "?"); has {
				t.args++
				part = before + "asked.a" + strconv.Itoa(t.args)
			}
			b.WriteString(part)
		}
		return b.String()
	}
	t.before = name(set) + ` FROM `
	first := t.args
	t.after = ` WHERE ` + name(where)
	for i := first; i < t.args; i++ {
		t.distinct = append(t.distinct, i)
	}
	return t, len(t.distinct) > 0
}

// sql writes the statement for arguments of these types.
func (t together) sql(types []string) string {
	var b strings.Builder
	b.WriteString(t.before + `unnest(`)
	names := `a1`
	for i := range types {
		if i > 0 {
			b.WriteString(`, `)
			names += `, a` + strconv.Itoa(i+1)
		}
		b.WriteString(`$` + strconv.Itoa(i+1) + `::` + types[i] + `[]`)
	}
	if t.numbered {
		names = `i, ` + strings.Join(strings.Split(names, ", ")[:len(types)-1], `, `)
	}
	b.WriteString(`) AS asked (` + names + `)` + t.after)
	return b.String()
}

// columns collects the arguments of many rows by column.
type columns struct {
	types  []string
	values []any
	rows   int
}

// columnsOf binds the arguments of rows from the i-th on. ok is false where two of them have the same distinct ones.
func (t together) columnsOf(first, rows int, args func(int) []any) (c columns, ok bool, err error) {
	all := make([][]any, rows)
	seen := map[string]bool{}
	for j := range rows {
		bound, err := bind(args(first + j))
		if err != nil {
			return c, false, err
		}
		if len(bound) != t.args {
			return c, false, fmt.Errorf("store: want %d arguments, got %d", t.args, len(bound))
		}
		all[j] = bound
		if t.distinct == nil {
			continue
		}
		name := t.nameOf(bound)
		if seen[name] {
			return c, false, nil
		}
		seen[name] = true
	}
	c.rows = rows
	if t.numbered {
		c.add("int8", numbers(first, rows))
	}
	for i := range t.args {
		if err := c.addArg(all, i); err != nil {
			return c, false, err
		}
	}
	return c, true, nil
}

func numbers(first, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(first + i)
	}
	return out
}

// nameOf writes the distinct arguments of a row so that no two different ones read the same.
func (t together) nameOf(row []any) string {
	var b []byte
	for _, i := range t.distinct {
		switch v := row[i].(type) {
		case int64:
			b = strconv.AppendInt(append(b, 'i'), v, 10)
		case string:
			b = append(strconv.AppendInt(append(b, 's'), int64(len(v)), 10), ':')
			b = append(b, v...)
		case []byte:
			b = append(strconv.AppendInt(append(b, 'b'), int64(len(v)), 10), ':')
			b = append(b, v...)
		default:
			b = append(b, 'n')
		}
	}
	return string(b)
}

func (c *columns) add(kind string, values any) {
	c.types, c.values = append(c.types, kind), append(c.values, values)
}

// addArg makes an array of the i-th argument of all rows. What is nil everywhere is taken for bytes.
func (c *columns) addArg(all [][]any, i int) error {
	var first any
	for _, row := range all {
		if first = row[i]; first != nil {
			break
		}
	}
	switch first.(type) {
	case nil, []byte:
		return addAs[[]byte](c, "bytea", all, i)
	case int64:
		return addAs[*int64](c, "int8", all, i)
	default:
		return addAs[*string](c, "text", all, i)
	}
}

// addAs makes an array with elements that can be NULL.
func addAs[T any](c *columns, kind string, all [][]any, i int) error {
	out := make([]T, len(all))
	for j, row := range all {
		var v any
		switch x := row[i].(type) {
		case nil:
			continue
		case int64:
			v = &x
		case string:
			v = &x
		default:
			v = x
		}
		t, ok := v.(T)
		if !ok {
			return fmt.Errorf("store: argument %d has another type in row %d", i+1, j+1)
		}
		out[j] = t
	}
	c.add(kind, out)
	return nil
}

// knownTogether is a statement as it was found once.
type knownTogether struct {
	together
	ok bool
}

func (e *postgresEngine) together(query string) (together, bool) {
	if known, ok := e.togethers.Load(query); ok {
		k := known.(knownTogether) //nolint:errcheck,forcetypeassert // only these are stored
		return k.together, k.ok
	}
	t, ok := togetherOf(query)
	e.togethers.Store(query, knownTogether{t, ok})
	return t, ok
}

// execTogether runs a statement for all rows at once. done is false where it has to be run for each: nothing was changed.
func (s postgresSession) execTogether(ctx context.Context, query string, n int, args func(int) []any) (changed int64, done bool, err error) {
	t, ok := s.e.together(query)
	if !ok || n < 2 {
		return 0, false, nil
	}
	var parts []columns
	for first := 0; first < n; first += maxTogether {
		c, ok, err := t.columnsOf(first, min(maxTogether, n-first), args)
		if err != nil || !ok {
			return 0, false, err
		}
		parts = append(parts, c)
	}
	for _, c := range parts {
		n, err := s.send(ctx, t.sql(c.types), c.values)
		if err != nil {
			return 0, true, err
		}
		changed += n
	}
	return changed, true, nil
}

// queryTogether asks all lookups at once. done is false where they have to be asked one by one.
func (s postgresSession) queryTogether(ctx context.Context, query string, n int, args func(int) []any, each func(row) error) (done bool, err error) {
	t, ok := s.e.together(query)
	if !ok || !t.numbered || n < 2 {
		return false, nil
	}
	for first := 0; first < n; first += maxTogether {
		c, _, err := t.columnsOf(first, min(maxTogether, n-first), args)
		if err != nil {
			return true, err
		}
		r := &numberedRow{}
		if err := s.ask(ctx, t.sql(c.types), c.values, func(from scanner) error { r.from = from; return each(r) }); err != nil {
			return true, err
		}
	}
	return true, nil
}
