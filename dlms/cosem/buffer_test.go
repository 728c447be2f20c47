package cosem_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

// recorder is a device whose clock and register are captured into a buffer.
type recorder struct {
	value  dlms.Data
	list   dlms.Data
	buffer *cosem.ProfileBuffer
	line   *near
}

var (
	clockColumn = apdu.Column{Class: dlms.ClassClock, Instance: dlms.OBIS{0, 0, 1, 0, 0, 255}, Attribute: 2}
	valueColumn = apdu.Column{Class: dlms.ClassRegister, Instance: dlms.OBIS{1, 0, 1, 7, 0, 255}, Attribute: 2}
	listColumn  = apdu.Column{Class: dlms.ClassData, Instance: dlms.OBIS{0, 0, 96, 5, 0, 255}, Attribute: 2, Index: 2}
	curveName   = dlms.OBIS{1, 0, 99, 1, 0, 255}
)

func shape(m cosem.SortMethod, capacity uint32) cosem.ProfileShape {
	s := cosem.ProfileShape{
		Columns: []apdu.Column{clockColumn, valueColumn}, Period: 15 * time.Minute, Sort: m, Capacity: capacity,
	}
	if m > cosem.SortLIFO {
		s.SortObject = valueColumn
	}
	return s
}

func newRecorder(t testing.TB, s cosem.ProfileShape) *recorder {
	t.Helper()
	d := &recorder{list: dlms.Structure(dlms.Uint8(1), dlms.Uint8(2))}
	set := cosem.NewObjectSet(
		cosem.NewClock(cosem.ClockConfig{Instance: clockColumn.Instance, Time: func(env *cosem.Env) (dlms.DateTime, error) {
			return dlms.DateTimeOf(env.Now, 0), nil
		}}),
		cosem.NewRegister(valueColumn.Instance, func(*cosem.Env) (dlms.Data, error) { return d.value, nil }, 0, cosem.UnitWatt),
		cosem.NewData(listColumn.Instance, func(*cosem.Env) (dlms.Data, error) { return d.list, nil }, nil),
	)
	b, err := cosem.NewProfileBuffer(s, set)
	must(t, err)
	d.buffer = b
	d.line = reach(t, cosem.NewBufferedProfile(cosem.BufferedProfileConfig{
		Instance: curveName, Buffer: func(*cosem.Env) (*cosem.ProfileBuffer, error) { return b, nil },
		Local: func(*cosem.Env) *time.Location { return paris },
	}))
	d.line.env.Now = noon
	return d
}

func (d *recorder) remote() cosem.RemoteProfile { return cosem.ProfileAt(d.line, curveName) }

// capture captures values a quarter of an hour apart.
func (d *recorder) capture(t testing.TB, values ...int64) {
	t.Helper()
	for _, v := range values {
		d.value = dlms.Int64(v)
		must(t, d.remote().Capture(ctx))
		d.line.env.Now = d.line.env.Now.Add(15 * time.Minute)
	}
}

// column returns column c of rows as text.
func column(t testing.TB, rows [][]dlms.Data, err error, c int) string {
	t.Helper()
	must(t, err)
	var list []string
	for _, row := range rows {
		v, err := row[c].Int()
		must(t, err)
		list = append(list, fmt.Sprint(v))
	}
	return strings.Join(list, " ")
}

func TestRowsStandAsTheSortMethodSays(t *testing.T) {
	for m, want := range map[cosem.SortMethod]string{
		cosem.SortFIFO:             "1 -9 7 7 0",
		cosem.SortLIFO:             "0 7 7 -9 1",
		cosem.SortLargest:          "7 7 5 3 1",
		cosem.SortSmallest:         "-9 -4 0 1 3",
		cosem.SortNearestToZero:    "0 1 3 -4 5",
		cosem.SortFarthestFromZero: "-9 7 7 5 -4",
	} {
		d := newRecorder(t, shape(m, 5))
		d.capture(t, 5, 3, -4, 1, -9, 7, 7, 0)
		rows, err := d.remote().Rows(ctx)
		if got := column(t, rows, err, 1); got != want {
			t.Errorf("%s: want %s, got %s", m, want, got)
		}
		if used, capacity, err := d.remote().Entries(ctx); used != 5 || capacity != 5 || err != nil {
			t.Errorf("%s: %d of %d, %v", m, used, capacity, err)
		}
	}
}

// Equal values stand in the order of their capture, so that the oldest of them stays.
func TestEqualValuesKeepTheirOrder(t *testing.T) {
	d := newRecorder(t, shape(cosem.SortLargest, 3))
	d.capture(t, 7, 7, 7, 7)
	rows := got(d.remote().Rows(ctx))(t)
	for i, row := range rows {
		if want := dlms.DateTimeOf(noon.Add(time.Duration(i)*15*time.Minute), 0).Octets(); !row[0].Equal(want) {
			t.Errorf("row %d: %s", i, row[0])
		}
	}
}

func TestABufferTakesBothSelectionsInEveryOrder(t *testing.T) {
	for m, want := range map[cosem.SortMethod][2]string{
		cosem.SortFIFO:             {"3 -4 1", "3 -4"},
		cosem.SortLIFO:             {"1 -4 3", "-9 1"},
		cosem.SortLargest:          {"3 1 -4", "3 1"},
		cosem.SortSmallest:         {"-4 1 3", "-4 1"},
		cosem.SortNearestToZero:    {"1 3 -4", "3 -4"},
		cosem.SortFarthestFromZero: {"-4 3 1", "5 -4"},
	} {
		d := newRecorder(t, shape(m, 10))
		d.capture(t, 5, 3, -4, 1, -9)
		r := d.remote()
		rows, err := r.RowsBetween(ctx, clockColumn, noon.Add(15*time.Minute), noon.Add(45*time.Minute), valueColumn)
		if got := column(t, rows, err, 0); got != want[0] {
			t.Errorf("%s, by time: want %s, got %s", m, want[0], got)
		}
		rows, err = r.RowsByEntry(ctx, apdu.EntryDescriptor{FromEntry: 2, ToEntry: 3, FromColumn: 2, ToColumn: 2})
		if m == cosem.SortLIFO {
			rows, err = r.RowsByEntry(ctx, apdu.EntryDescriptor{FromEntry: 1, ToEntry: 2, FromColumn: 2})
		}
		if got := column(t, rows, err, 0); got != want[1] {
			t.Errorf("%s, by entry: want %s, got %s", m, want[1], got)
		}
		rows, err = r.RowsByRange(ctx, apdu.RangeDescriptor{Column: valueColumn, From: dlms.Int8(-4), To: dlms.Float64(2.5), Columns: []apdu.Column{valueColumn}})
		if got := column(t, rows, err, 0); len(strings.Fields(got)) != 2 || !strings.Contains(got, "-4") {
			t.Errorf("%s, by value: got %s", m, got)
		}
	}
}

func TestACaptureReadsElementsAndWholeObjects(t *testing.T) {
	whole := apdu.Column{Class: dlms.ClassRegister, Instance: valueColumn.Instance}
	s := cosem.ProfileShape{Columns: []apdu.Column{listColumn, whole}, Capacity: 4}
	d := newRecorder(t, s)
	d.capture(t, 42)
	rows := got(d.remote().Rows(ctx))(t)
	want := dlms.Structure(dlms.LogicalNameData(valueColumn.Instance), dlms.Int64(42), dlms.Structure(dlms.Int8(0), dlms.Enum(27)))
	if !rows[0][0].Equal(dlms.Uint8(2)) || !rows[0][1].Equal(want) {
		t.Errorf("got %v", rows[0])
	}
}

// A capture that fails adds no row: a row with a hole would be read as a value.
func TestACaptureThatFailsAddsNoRow(t *testing.T) {
	d := newRecorder(t, shape(cosem.SortLargest, 4))
	d.capture(t, 1)
	for name, change := range map[string]func(){
		"no number to sort by": func() { d.value = dlms.OctetString(nil) },
		"not a number":         func() { d.value = dlms.Float64(math.NaN()) },
		"too long":             func() { d.value = dlms.Structure(dlms.OctetString(make([]byte, 5000))) },
	} {
		change()
		if err := d.remote().Capture(ctx); err == nil {
			t.Errorf("%s: captured", name)
		}
	}
	for name, c := range map[string]apdu.Column{
		"no such object":    {Class: 3, Instance: dlms.OBIS{9}, Attribute: 2},
		"no such attribute": {Class: 3, Instance: valueColumn.Instance, Attribute: 9},
		"no such element":   {Class: 1, Instance: listColumn.Instance, Attribute: 2, Index: 3},
		"no elements":       {Class: 3, Instance: valueColumn.Instance, Attribute: 2, Index: 1},
		"unknown class":     {Class: 9999, Instance: valueColumn.Instance},
	} {
		s := shape(cosem.SortFIFO, 4)
		s.Columns = append(s.Columns, c)
		must(t, d.buffer.SetShape(s))
		d.value = dlms.Uint8(1)
		if err := d.remote().Capture(ctx); err == nil {
			t.Errorf("%s: captured", name)
		}
		if used, _, err := d.remote().Entries(ctx); used != 0 || err != nil {
			t.Errorf("%s: %d rows, %v", name, used, err)
		}
	}
}

func TestTheShapeOfAProfileIsChangedFromAfar(t *testing.T) {
	d := newRecorder(t, shape(cosem.SortFIFO, 10))
	r := d.remote()
	d.capture(t, 1, 2, 3)
	must(t, r.SetSort(ctx, cosem.SortSmallest, valueColumn))
	must(t, r.SetCapacity(ctx, 2))
	must(t, r.SetPeriod(ctx, time.Minute))
	must(t, r.SetColumns(ctx, []apdu.Column{valueColumn, clockColumn}))
	want := cosem.ProfileShape{
		Columns: []apdu.Column{valueColumn, clockColumn}, Period: time.Minute, Sort: cosem.SortSmallest, SortObject: valueColumn, Capacity: 2,
	}
	if diff := cmp.Diff(want, got(r.Shape(ctx))(t)); diff != "" {
		t.Error(diff)
	}
	if c := got(r.Columns(ctx))(t); !slices.Equal(c, want.Columns) {
		t.Errorf("columns: %v", c)
	}
	if d := got(r.Period(ctx))(t); d != time.Minute {
		t.Errorf("period: %s", d)
	}
	if used, _, err := r.Entries(ctx); used != 0 || err != nil {
		t.Errorf("rows of another shape: %d, %v", used, err)
	}
	refused(t, r.SetColumns(ctx, []apdu.Column{clockColumn}), dlms.DataAccessScopeViolated) // the sort object
	refused(t, r.SetCapacity(ctx, 0), dlms.DataAccessScopeViolated)
	refused(t, r.SetCapacity(ctx, 1<<16+1), dlms.DataAccessScopeViolated)
	refused(t, r.SetCapacity(ctx, 1<<32-1), dlms.DataAccessScopeViolated)
	refused(t, r.SetSort(ctx, 7, valueColumn), dlms.DataAccessScopeViolated)
	refused(t, r.SetColumns(ctx, slices.Repeat([]apdu.Column{valueColumn}, 65)), dlms.DataAccessScopeViolated)
	d.capture(t, 5, 4, 6)
	rows, err := r.Rows(ctx)
	if got := column(t, rows, err, 0); got != "4 5" {
		t.Errorf("rows: %s", got)
	}
	must(t, r.SetSort(ctx, cosem.SortFIFO, apdu.Column{}))
	must(t, r.Reset(ctx))
	if s := got(r.Shape(ctx))(t); s.Sort != cosem.SortFIFO || s.SortObject != (apdu.Column{}) {
		t.Errorf("shape: %+v", s)
	}
	rigid := newProfile()
	refused(t, rigid.Set(profileEnv(), 8, dlms.Uint32(5)), dlms.DataAccessReadWriteDenied)
	_, err = rigid.Invoke(profileEnv(), 2, dlms.Int8(0))
	refused(t, err, dlms.ActionReadWriteDenied)
}

func TestTheNextCaptureIsAtAMultipleOfThePeriod(t *testing.T) {
	b := newRecorder(t, shape(cosem.SortFIFO, 10)).buffer
	for at, want := range map[time.Duration]time.Duration{0: 15, 1: 15, 14: 15, 15: 30} {
		if got := b.NextCapture(noon.Add(at * time.Minute)); !got.Equal(noon.Add(want * time.Minute)) {
			t.Errorf("after %d minutes: %s", at, got)
		}
	}
	s := shape(cosem.SortFIFO, 10)
	s.Period = 0
	must(t, b.SetShape(s))
	if got := b.NextCapture(noon); !got.IsZero() {
		t.Errorf("without a period: %s", got)
	}
}

func TestShortenedRowsAreFilledIn(t *testing.T) {
	at := dlms.DateTimeOf(noon, dlms.ClockDoubtful)
	next := dlms.DateTimeOf(noon.Add(30*time.Minute), dlms.ClockDoubtful)
	last := dlms.DateTimeOf(noon.Add(60*time.Minute), dlms.ClockDoubtful)
	d := dlms.Array(
		dlms.Structure(at.Octets(), dlms.Uint8(1), dlms.Null()),
		dlms.Structure(dlms.Null(), dlms.Null(), dlms.Uint8(9)),
		dlms.Structure(dlms.Null(), dlms.Uint8(2), dlms.Null()))
	rows := got(cosem.ExpandProfileRows(d, 0, 30*time.Minute))(t)
	want := [][]dlms.Data{
		{at.Octets(), dlms.Uint8(1), dlms.Null()},
		{next.Octets(), dlms.Uint8(1), dlms.Uint8(9)},
		{last.Octets(), dlms.Uint8(2), dlms.Uint8(9)},
	}
	if diff := cmp.Diff(want, rows, cmp.Comparer(dlms.Data.Equal)); diff != "" {
		t.Error(diff)
	}
	uneven := dlms.Array(dlms.Structure(dlms.Uint8(1)), dlms.Structure())
	if _, err := cosem.ExpandProfileRows(uneven, -1, 0); err == nil {
		t.Error("rows of different lengths")
	}
	noClock := dlms.Array(dlms.Structure(dlms.Uint8(1)), dlms.Structure(dlms.Null()))
	if _, err := cosem.ExpandProfileRows(noClock, 0, time.Minute); err == nil {
		t.Error("a clock that is none")
	}
}

// Whatever is captured, the buffer holds what the method promises: so many rows, in order, and none that is lost
// would stand before one that is there.
func TestABufferHoldsTheRowsThatCount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := cosem.SortMethod(rapid.IntRange(1, 6).Draw(rt, "method"))
		capacity := rapid.IntRange(1, 8).Draw(rt, "capacity")
		d := newRecorder(t, shape(m, uint32(capacity)))
		values := rapid.SliceOfN(rapid.Int64Range(-20, 20), 0, 25).Draw(rt, "values")
		d.capture(t, values...)
		rows, err := d.remote().Rows(ctx)
		got := column(t, rows, err, 1)
		var text []string
		for _, v := range model(m, values, capacity) {
			text = append(text, fmt.Sprint(v))
		}
		if want := strings.Join(text, " "); got != want {
			rt.Fatalf("%s of %v: want %s, got %s", m, values, want, got)
		}
	})
}

// model is a buffer in the plainest way: sort everything, keep what fits.
func model(m cosem.SortMethod, values []int64, capacity int) []int64 {
	kept := slices.Clone(values)
	key := map[cosem.SortMethod]func(int64) int64{
		cosem.SortLargest:          func(v int64) int64 { return -v },
		cosem.SortSmallest:         func(v int64) int64 { return v },
		cosem.SortNearestToZero:    func(v int64) int64 { return max(v, -v) },
		cosem.SortFarthestFromZero: func(v int64) int64 { return -max(v, -v) },
	}[m]
	if key == nil {
		kept = kept[max(0, len(kept)-capacity):]
		if m == cosem.SortLIFO {
			slices.Reverse(kept)
		}
		return kept
	}
	slices.SortStableFunc(kept, func(a, b int64) int { return int(key(a) - key(b)) })
	return kept[:min(len(kept), capacity)]
}

func TestValuesOfEveryNumberAreSorted(t *testing.T) {
	d := newRecorder(t, shape(cosem.SortFarthestFromZero, 10))
	for _, v := range []dlms.Data{
		dlms.Int64(math.MinInt64), dlms.Uint64(math.MaxUint64), dlms.Float32(-2.5), dlms.Int8(2), dlms.Uint64(1 << 63),
	} {
		d.value = v
		must(t, d.remote().Capture(ctx))
	}
	var order []string
	for _, row := range got(d.remote().Rows(ctx))(t) {
		order = append(order, row[1].String())
	}
	if got := strings.Join(order, ", "); !strings.HasPrefix(got, dlms.Uint64(math.MaxUint64).String()) || !strings.HasSuffix(got, dlms.Int8(2).String()) {
		t.Errorf("order: %s", got)
	}
}

func FuzzProfile(f *testing.F) {
	for _, d := range []dlms.Data{
		dlms.Array(dlms.Structure(dlms.DateTimeOf(noon, 0).Octets(), dlms.Uint8(1)), dlms.Structure(dlms.Null(), dlms.Null())),
		dlms.Array(clockColumn.Data()),
	} {
		b, err := d.AppendBinary(nil)
		must(f, err)
		f.Add(b, true)
	}
	d := newRecorder(f, shape(cosem.SortFIFO, 10))
	d.capture(f, 1, 2, 3, 4)
	selection, err := apdu.EntryDescriptor{FromEntry: 2}.Selection().Parameters.AppendBinary(nil)
	must(f, err)
	f.Add(selection, false)
	f.Fuzz(func(t *testing.T, b []byte, byRange bool) {
		v, _, err := dlms.ParseData(b)
		if err != nil {
			return
		}
		rows, err := cosem.ParseProfileRows(v)
		if full, err2 := cosem.ExpandProfileRows(v, 0, time.Minute); err == nil && err2 == nil && len(full) != len(rows) {
			t.Errorf("%d rows became %d", len(rows), len(full))
		}
		s := apdu.Selection{Selector: apdu.SelectorEntry, Parameters: v}
		if byRange {
			s.Selector = apdu.SelectorRange
		}
		_, err = d.line.GetSelected(ctx, dlms.AttributeRef{Class: 7, Instance: curveName, Attribute: 2}, s)
		var refusal dlms.DataAccessResult
		if err != nil && !errors.As(err, &refusal) {
			t.Errorf("no refusal: %v", err)
		}
	})
}

func TestARangeOfTimeHoldsWhatItSaysThoughTheClockWasSetBack(t *testing.T) {
	d := newRecorder(t, shape(cosem.SortFIFO, 16))
	d.capture(t, 1, 2, 3, 4) // at noon, a quarter past, half past, a quarter to
	d.line.env.Now = noon.Add(5 * time.Minute)
	d.capture(t, 5, 6, 7)
	for _, c := range []struct {
		from, to int // minutes past noon
		want     string
	}{
		{0, 59, "1 2 3 4 5 6 7"},
		{0, 15, "1 2 5"},
		{20, 30, "3 6"},
		{5, 5, "5"},
		{31, 34, ""},
		{40, 60, "4"},
	} {
		rows, err := d.remote().RowsBetween(ctx, clockColumn,
			noon.Add(time.Duration(c.from)*time.Minute), noon.Add(time.Duration(c.to)*time.Minute))
		if got := column(t, rows, err, 1); got != c.want {
			t.Errorf("from %d to %d: got %q, want %q", c.from, c.to, got, c.want)
		}
	}
	must(t, d.remote().Reset(ctx))
	d.capture(t, 8)
	rows, err := d.remote().RowsBetween(ctx, clockColumn, noon, d.line.env.Now)
	if got := column(t, rows, err, 1); got != "8" {
		t.Errorf("after a reset: got %q", got)
	}
}
