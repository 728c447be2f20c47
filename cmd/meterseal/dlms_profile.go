package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
)

// profileFlags says which rows.
type profileFlags struct {
	meterFlags
	from, to string
	last     uint32
}

// profileRead is a profile as it came.
type profileRead struct {
	Profile       dlms.OBIS     `json:"profile"`
	PeriodSeconds uint64        `json:"period_seconds"`
	Columns       []string      `json:"columns"`
	Rows          [][]dlms.Data `json:"rows"`

	definitions []apdu.Column
}

func profileCommand() *cobra.Command {
	var f profileFlags
	c := &cobra.Command{
		Use:   "profile OBIS",
		Short: "Read the rows of a profile: a load curve, a log",
		Long: `Reads the buffer of a profile (class 7), in blocks if the meter so chooses, and shows it as a table.

--from and --to take a day (2026-01-31), a time (2026-01-31T12:00:00, by the meter's own clock) or a moment with its
zone (2026-01-31T12:00:00+01:00); both ends are part of it. A day as --to is the whole day. OBIS may also be written
7/OBIS/2.`,
		Example: `  meterseal dlms profile --connect 127.0.0.1:4059 --keys keys.json --last 48 1.0.99.1.0.255
  meterseal dlms profile --connect 127.0.0.1:4059 --keys keys.json --from 2026-01-31 --to 2026-01-31 --json 1.0.99.1.0.255`,
		Args: exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			instance, err := parseProfile(args[0])
			if err != nil {
				return usage(c, "%w", err)
			}
			if err := f.check(c); err != nil {
				return err
			}
			return f.with(c, func(ctx context.Context, s *session) error {
				p, err := f.read(ctx, s, instance)
				if err != nil {
					return fmt.Errorf("profile %s: %w", instance, err)
				}
				if f.json {
					return printJSON(c, p)
				}
				return p.print(c)
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.from, "from", "", "the first row: a day, a time or a moment")
	c.Flags().StringVar(&f.to, "to", "", "the last row")
	c.Flags().Uint32Var(&f.last, "last", 0, "the newest N rows")
	return c
}

func parseProfile(s string) (dlms.OBIS, error) {
	if !strings.Contains(s, "/") {
		return dlms.ParseOBIS(s)
	}
	ref, err := dlms.ParseAttributeRef(s)
	if err == nil && (ref.Class != dlms.ClassProfileGeneric || ref.Attribute != 2) {
		err = fmt.Errorf("want OBIS or 7/OBIS/2, got %s", ref)
	}
	return ref.Instance, err
}

func (f *profileFlags) check(c *cobra.Command) error {
	if f.last > 0 && (f.from != "" || f.to != "") {
		return usage(c, "--last: want either it or --from and --to")
	}
	if f.to != "" && f.from == "" {
		return usage(c, "--to: want --from with it")
	}
	for name, s := range map[string]string{"--from": f.from, "--to": f.to} {
		if s == "" {
			continue
		}
		if _, err := parseMoment(s, false); err != nil {
			return usage(c, "%s: %w", name, err)
		}
	}
	return nil
}

// parseMoment reads a moment for a range. One without a zone has no deviation: the meter reads it by its own clock.
func parseMoment(s string, end bool) (dlms.DateTime, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return dlms.DateTimeOf(t, 0), nil
	}
	t, err := time.Parse("2006-01-02T15:04:05", s)
	if err != nil {
		if t, err = time.Parse(time.DateOnly, s); err == nil && end {
			t = t.AddDate(0, 0, 1)
		}
	}
	if err != nil {
		return dlms.DateTime{}, fmt.Errorf("want 2026-01-31, 2026-01-31T12:00:00 or 2026-01-31T12:00:00+01:00, got %q", s)
	}
	const deviation = 9 // after five bytes of date and four of time
	d := dlms.DateTimeOf(t, 0)
	d[deviation], d[deviation+1] = 0x80, 0x00
	return d, nil
}

// errColumns is returned for a profile whose definition makes no sense.
var errColumns = errors.New("the meter's answer is no profile")

func (f *profileFlags) read(ctx context.Context, s *session, instance dlms.OBIS) (*profileRead, error) {
	p := &profileRead{Profile: instance, Rows: [][]dlms.Data{}}
	attribute := func(n int8) dlms.AttributeRef {
		return dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: instance, Attribute: n}
	}
	v, err := s.Get(ctx, attribute(3))
	if err != nil {
		return nil, fmt.Errorf("capture objects: %w", err)
	}
	if p.definitions, err = apdu.ParseColumns(v); err != nil {
		return nil, fmt.Errorf("capture objects: %w", err)
	}
	for _, d := range p.definitions {
		p.Columns = append(p.Columns, columnName(d))
	}
	if v, err = s.Get(ctx, attribute(4)); err == nil {
		p.PeriodSeconds, err = v.Uint()
	}
	if err != nil {
		return nil, fmt.Errorf("capture period: %w", err)
	}
	selection, empty, err := f.selection(ctx, s, attribute(7), p.definitions)
	if err != nil || empty {
		return p, err
	}
	if v, err = s.GetSelected(ctx, attribute(2), selection); err != nil {
		return nil, fmt.Errorf("buffer: %w", err)
	}
	return p, p.take(v)
}

func columnName(d apdu.Column) string {
	name := fmt.Sprintf("%d/%s/%d", d.Class, d.Instance, d.Attribute)
	if d.Index > 0 {
		name += fmt.Sprintf("[%d]", d.Index)
	}
	return name
}

func (f *profileFlags) selection(ctx context.Context, s *session, entries dlms.AttributeRef, columns []apdu.Column) (sel apdu.Selection, empty bool, err error) {
	if f.last > 0 {
		v, err := s.Get(ctx, entries)
		if err != nil {
			return sel, false, fmt.Errorf("entries in use: %w", err)
		}
		n, err := v.Uint()
		if err != nil || n > 1<<32-1 {
			return sel, false, fmt.Errorf("entries in use: %w: got %s", errColumns, v)
		}
		first := uint32(n) - min(uint32(n), f.last) + 1
		return apdu.EntryDescriptor{FromEntry: first, ToEntry: uint32(n), FromColumn: 1}.Selection(), n == 0, nil
	}
	if f.from == "" {
		return sel, false, nil
	}
	from, err := parseMoment(f.from, false)
	if err != nil {
		return sel, false, err
	}
	var to dlms.DateTime
	if f.to != "" {
		if to, err = parseMoment(f.to, true); err != nil {
			return sel, false, err
		}
	} else if to, err = parseMoment("2099-12-31T23:59:59", false); err != nil {
		return sel, false, err
	}
	clock, err := clockColumn(columns)
	if err != nil {
		return sel, false, err
	}
	return apdu.RangeDescriptor{Column: clock, From: from.Octets(), To: to.Octets()}.Selection(), false, nil
}

func clockColumn(columns []apdu.Column) (apdu.Column, error) {
	for _, c := range columns {
		if c.Class == dlms.ClassClock && c.Attribute == 2 {
			return c, nil
		}
	}
	return apdu.Column{}, errors.New("it has no column of the clock; read it with --last")
}

// take reads the buffer: an array of structures, or a compact-array of them.
func (p *profileRead) take(v dlms.Data) error {
	v, err := v.Expand()
	if err != nil {
		return fmt.Errorf("buffer: %w", err)
	}
	if err := v.Expect(dlms.TagArray, -1); err != nil {
		return fmt.Errorf("buffer: %w", err)
	}
	for i, row := range v.Elements() {
		if err := row.Expect(dlms.TagStructure, len(p.Columns)); err != nil {
			return fmt.Errorf("buffer: row %d: %w", i+1, err)
		}
		p.Rows = append(p.Rows, row.Elements())
	}
	return nil
}

func (p *profileRead) print(c *cobra.Command) error {
	rows := [][]string{p.Columns}
	previous := make([]string, len(p.Columns))
	for _, row := range p.Rows {
		line := make([]string, len(row))
		for i, v := range row {
			line[i] = p.cell(i, v)
			if v.IsNull() { // as in the row above, or one period later (BB 4.3.6)
				line[i] = p.implied(i, previous[i])
			}
			previous[i] = line[i]
		}
		rows = append(rows, line)
	}
	if err := table(c.OutOrStdout(), rows); err != nil {
		return err
	}
	notef(c, "%d rows, one every %s", len(p.Rows), time.Duration(p.PeriodSeconds)*time.Second)
	return nil
}

// cellTime is how a table shows a moment.
const cellTime = "2006-01-02 15:04:05 -07:00"

func (p *profileRead) isClock(i int) bool {
	return p.definitions[i].Class == dlms.ClassClock && p.definitions[i].Attribute == 2
}

func (p *profileRead) cell(i int, v dlms.Data) string {
	if p.isClock(i) {
		if t, err := v.DateTime(); err == nil {
			if at, err := t.Time(); err == nil {
				return at.Format(cellTime)
			}
			return t.String()
		}
	}
	return content(v)
}

func (p *profileRead) implied(i int, above string) string {
	if !p.isClock(i) {
		return above
	}
	at, err := time.Parse(cellTime, above)
	if err != nil {
		return "-"
	}
	return at.Add(time.Duration(p.PeriodSeconds) * time.Second).Format(cellTime)
}

// content is a value without its type, where it has one that is plain.
func content(v dlms.Data) string {
	if n, err := v.Int(); err == nil {
		return strconv.FormatInt(n, 10)
	}
	return v.String()
}
