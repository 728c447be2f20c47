package cosem_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// rows has one row for each moment of the meter's curve: the time, the number, and twice the number.
type rows struct{}

func (rows) Len(env *cosem.Env) (uint32, error) { return uint32(len(on(env).curve)), on(env).fail }

func (rows) Row(env *cosem.Env, i uint32) ([]dlms.Data, error) {
	return []dlms.Data{dlms.DateTimeOf(on(env).curve[i], 0).Octets(), dlms.Uint16(uint16(i)), dlms.Uint32(2 * i)}, nil
}

func (rows) Find(env *cosem.Env, t time.Time) (uint32, error) {
	i, _ := slices.BinarySearchFunc(on(env).curve, t, time.Time.Compare)
	return uint32(i), nil
}

func columns() []apdu.Column {
	return []apdu.Column{
		{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2},
		{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 96, 11, 0, 255}, Attribute: 2},
		{Class: dlms.ClassRegister, Instance: dlms.OBIS{1, 0, 1, 8, 0, 255}, Attribute: 2},
	}
}

var paris = time.FixedZone("", 3600)

func newProfile() cosem.Object {
	return cosem.NewProfileGeneric(cosem.ProfileConfig{
		Instance: dlms.OBIS{1, 0, 99, 1, 0, 255}, Columns: columns(), Period: 30 * time.Minute, Capacity: 100,
		Rows: rows{}, Local: func(*cosem.Env) *time.Location { return paris },
	})
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, paris)

func profileEnv() *cosem.Env {
	m := &meter{}
	for i := range 10 {
		m.curve = append(m.curve, noon.Add(time.Duration(i)*30*time.Minute))
	}
	return &cosem.Env{Device: m}
}

// numbers reads the buffer and returns column c of each row.
func numbers(t *testing.T, sel apdu.Selection, c int) []uint64 {
	t.Helper()
	d, err := newProfile().Get(profileEnv(), 2, sel)
	if err != nil {
		t.Fatal(err)
	}
	var list []uint64
	for _, row := range d.Elements() {
		v, err := row.At(c).Uint()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

func span(from, to int) []uint64 {
	var list []uint64
	for i := from; i <= to; i++ {
		list = append(list, uint64(i))
	}
	return list
}

func byTime(from, to time.Time) apdu.Selection {
	return apdu.RangeDescriptor{
		Column: columns()[0], From: dlms.DateTimeOf(from, 0).Octets(), To: dlms.DateTimeOf(to, 0).Octets(),
	}.Selection()
}

func TestAProfileTellsItsShape(t *testing.T) {
	o, env := newProfile(), profileEnv()
	want(t, o, env, 3, dlms.Array(columns()[0].Data(), columns()[1].Data(), columns()[2].Data()))
	want(t, o, env, 4, dlms.Uint32(1800))
	want(t, o, env, 5, dlms.Enum(1))
	want(t, o, env, 7, dlms.Uint32(10))
	want(t, o, env, 8, dlms.Uint32(100))
	s, ok := o.(cosem.Selective)
	if !ok || !slices.Equal(s.Selectors(2), []int8{1, 2}) || s.Selectors(3) != nil {
		t.Error("selectors")
	}
}

func TestARangeOfTimeIncludesBothEnds(t *testing.T) {
	at := func(i int) time.Time { return noon.Add(time.Duration(i) * 30 * time.Minute) }
	for name, c := range map[string]struct {
		from, to time.Time
		want     []uint64
	}{
		"inside":            {at(2), at(4), span(2, 4)},
		"one":               {at(3), at(3), span(3, 3)},
		"between two":       {at(3).Add(time.Minute), at(4).Add(-time.Minute), nil},
		"wider":             {at(-100), at(100), span(0, 9)},
		"in another zone":   {at(2).UTC(), at(4).In(time.FixedZone("", -7200)), span(2, 4)},
		"before everything": {at(-9), at(-1), nil},
		"after everything":  {at(10), at(20), nil},
		"backwards":         {at(4), at(2), nil},
	} {
		if got := numbers(t, byTime(c.from, c.to), 1); !slices.Equal(got, c.want) {
			t.Errorf("%s: want %v, got %v", name, c.want, got)
		}
	}
}

func TestARangeWithoutDeviationIsInTheMetersZone(t *testing.T) {
	from := dlms.DateTimeOf(noon.Add(time.Hour), 0)
	from[9], from[10] = 0x80, 0x00
	sel := apdu.RangeDescriptor{Column: columns()[0], From: from.Octets(), To: from.Octets()}.Selection()
	if got := numbers(t, sel, 1); !slices.Equal(got, span(2, 2)) {
		t.Errorf("got %v", got)
	}
}

func TestARangeOfNumbersAndChosenColumns(t *testing.T) {
	sel := apdu.RangeDescriptor{
		Column: columns()[1], From: dlms.Uint8(3), To: dlms.Int64(5), Columns: columns()[1:2],
	}.Selection()
	if got := numbers(t, sel, 0); !slices.Equal(got, span(3, 5)) {
		t.Errorf("got %v", got)
	}
	swapped := []apdu.Column{columns()[2], columns()[1]}
	sel = apdu.RangeDescriptor{Column: columns()[1], From: dlms.Uint8(3), To: dlms.Int64(5), Columns: swapped}.Selection()
	if got := numbers(t, sel, 1); !slices.Equal(got, span(3, 5)) {
		t.Errorf("in the order asked for: got %v", got)
	}
}

func TestEntriesAreCountedFromOne(t *testing.T) {
	for _, c := range []struct {
		d    apdu.EntryDescriptor
		want []uint64
	}{
		{apdu.EntryDescriptor{FromEntry: 1, ToEntry: 3, FromColumn: 2}, span(0, 2)},
		{apdu.EntryDescriptor{FromEntry: 8, FromColumn: 2, ToColumn: 2}, span(7, 9)},
		{apdu.EntryDescriptor{FromEntry: 10, ToEntry: 4294967295, FromColumn: 2, ToColumn: 3}, span(9, 9)},
		{apdu.EntryDescriptor{FromEntry: 11, ToEntry: 12, FromColumn: 2}, nil},
		{apdu.EntryDescriptor{FromEntry: 4294967295, ToEntry: 4294967295, FromColumn: 2}, nil},
		{apdu.EntryDescriptor{FromEntry: 3, ToEntry: 2, FromColumn: 2}, nil},
	} {
		if got := numbers(t, c.d.Selection(), 0); !slices.Equal(got, c.want) {
			t.Errorf("%+v: want %v, got %v", c.d, c.want, got)
		}
	}
}

func TestASelectionThatMakesNoSenseIsRefused(t *testing.T) {
	wild := dlms.DateTimeUnspecified().Octets()
	good := dlms.DateTimeOf(noon, 0).Octets()
	stranger := apdu.Column{Class: 3, Instance: dlms.OBIS{9}, Attribute: 2}
	for name, c := range map[string]struct {
		sel  apdu.Selection
		want dlms.DataAccessResult
	}{
		"another selector":  {apdu.Selection{Selector: 3}, dlms.DataAccessScopeViolated},
		"no descriptor":     {apdu.Selection{Selector: 1}, dlms.DataAccessTypeUnmatched},
		"no entries":        {apdu.Selection{Selector: 2, Parameters: dlms.Array()}, dlms.DataAccessTypeUnmatched},
		"entry zero":        {apdu.EntryDescriptor{FromColumn: 1}.Selection(), dlms.DataAccessScopeViolated},
		"column zero":       {apdu.EntryDescriptor{FromEntry: 1}.Selection(), dlms.DataAccessScopeViolated},
		"column four":       {apdu.EntryDescriptor{FromEntry: 1, FromColumn: 1, ToColumn: 4}.Selection(), dlms.DataAccessScopeViolated},
		"columns backwards": {apdu.EntryDescriptor{FromEntry: 1, FromColumn: 3, ToColumn: 2}.Selection(), dlms.DataAccessScopeViolated},
		"a column that is not there": {
			apdu.RangeDescriptor{Column: stranger, From: good, To: good}.Selection(), dlms.DataAccessScopeViolated,
		},
		"a column wanted that is not there": {
			apdu.RangeDescriptor{Column: columns()[0], From: good, To: good, Columns: []apdu.Column{stranger}}.Selection(),
			dlms.DataAccessScopeViolated,
		},
		"more columns than there are": {
			apdu.RangeDescriptor{
				Column: columns()[0], From: good, To: good, Columns: slices.Repeat(columns()[:1], 4),
			}.Selection(),
			dlms.DataAccessScopeViolated,
		},
		"wildcards":      {apdu.RangeDescriptor{Column: columns()[0], From: wild, To: good}.Selection(), dlms.DataAccessScopeViolated},
		"no time":        {apdu.RangeDescriptor{Column: columns()[0], From: good, To: dlms.Uint32(1)}.Selection(), dlms.DataAccessTypeUnmatched},
		"no number from": {apdu.RangeDescriptor{Column: columns()[1], From: good, To: dlms.Uint8(1)}.Selection(), dlms.DataAccessTypeUnmatched},
		"no number to":   {apdu.RangeDescriptor{Column: columns()[1], From: dlms.Uint8(1), To: good}.Selection(), dlms.DataAccessTypeUnmatched},
	} {
		_, err := newProfile().Get(profileEnv(), 2, c.sel)
		if got := cosem.DataAccess(err); got != c.want {
			t.Errorf("%s: want %s, got %s", name, c.want, got)
		}
	}
}

func TestARowSourceThatFailsFailsTheRead(t *testing.T) {
	env := profileEnv()
	on(env).fail = dlms.DataAccessTemporaryFailure
	for _, attribute := range []int8{2, 7} {
		if _, err := newProfile().Get(env, attribute, apdu.Selection{}); !errors.Is(err, dlms.DataAccessTemporaryFailure) {
			t.Errorf("attribute %d: %v", attribute, err)
		}
	}
	o := cosem.NewProfileGeneric(cosem.ProfileConfig{Columns: columns()[:2], Rows: rows{}}) // rows of three columns
	if _, err := o.Get(profileEnv(), 2, apdu.Selection{}); !errors.Is(err, dlms.DataAccessHardwareFault) {
		t.Errorf("got %v", err)
	}
}

func FuzzProfileSelection(f *testing.F) {
	for _, sel := range []apdu.Selection{
		byTime(noon, noon.Add(time.Hour)), apdu.EntryDescriptor{FromEntry: 1, FromColumn: 1}.Selection(),
	} {
		b, err := sel.Parameters.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sel.Selector, b)
	}
	o, env := newProfile(), profileEnv()
	f.Fuzz(func(t *testing.T, selector uint8, b []byte) {
		d, _, err := dlms.ParseData(b)
		if err != nil {
			return
		}
		got, err := o.Get(env, 2, apdu.Selection{Selector: selector, Parameters: d})
		if err == nil && got.Len() > 10 {
			t.Errorf("%d rows of 10", got.Len())
		}
	})
}
