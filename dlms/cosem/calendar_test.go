package cosem_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
)

var (
	calendarName = dlms.OBIS{0, 0, 13, 0, 0, 255}
	tariffTable  = dlms.OBIS{0, 0, 10, 0, 100, 255}
)

func tariff(hour byte, selector uint16) cosem.DayAction {
	return cosem.DayAction{Start: dlms.TimeOfDay{hour, 0, 0, 0}, Script: cosem.ScriptRef{Table: tariffTable, Selector: selector}}
}

func yearly(month, day byte) dlms.DateTime {
	t := dlms.DateTimeUnspecified()
	t[2], t[3] = month, day
	t[5], t[6], t[7], t[8] = 0, 0, 0, 0
	return t
}

// calendar has a winter from 1 November and a summer from 1 April; in winter working days are dear from 6 to 22.
func calendar() cosem.Calendar {
	return cosem.Calendar{
		Name: []byte("2026"),
		Seasons: []cosem.Season{
			{Name: []byte("winter"), Start: yearly(11, 1), Week: []byte("w")},
			{Name: []byte("summer"), Start: yearly(4, 1), Week: []byte("s")},
		},
		Weeks: []cosem.Week{
			{Name: []byte("w"), Days: [7]uint8{1, 1, 1, 1, 1, 2, 2}},
			{Name: []byte("s"), Days: [7]uint8{2, 2, 2, 2, 2, 2, 2}},
		},
		Days: []cosem.Day{
			{ID: 1, Actions: []cosem.DayAction{tariff(22, 1), tariff(6, 2)}}, // in any order
			{ID: 2, Actions: []cosem.DayAction{tariff(0, 1)}},
		},
	}
}

func TestACalendarSaysWhatIsInForce(t *testing.T) {
	c := calendar()
	must(t, c.Validate())
	for _, q := range []struct {
		at   string
		want uint16
	}{
		{"2026-01-05 05:59", 1}, // a Monday, still the Sunday's
		{"2026-01-05 06:00", 2},
		{"2026-01-05 21:59", 2},
		{"2026-01-05 22:00", 1},
		{"2026-01-06 00:30", 1}, // the Monday's, over midnight
		{"2026-01-10 12:00", 1}, // a Saturday
		{"2026-07-01 12:00", 1}, // summer
		{"2026-03-31 23:00", 1},
		{"2026-03-31 12:00", 2}, // the last day of winter, a Tuesday
		{"2026-04-01 12:00", 1},
		{"2026-10-30 12:00", 1}, // a Friday of summer
		{"2026-11-02 12:00", 2}, // a Monday of winter
	} {
		at, err := time.ParseInLocation("2006-01-02 15:04", q.at, paris)
		must(t, err)
		if a, ok := c.At(at.UTC(), paris); !ok || a.Script.Selector != q.want {
			t.Errorf("%s: want %d, got %d (%t)", q.at, q.want, a.Script.Selector, ok)
		}
	}
	for name, empty := range map[string]cosem.Calendar{
		"nothing":                 {},
		"a season without a week": {Seasons: c.Seasons},
		"a week without days":     {Seasons: c.Seasons, Weeks: c.Weeks},
		"days without actions":    {Seasons: c.Seasons, Weeks: c.Weeks, Days: []cosem.Day{{ID: 1}, {ID: 2}}},
	} {
		if a, ok := empty.At(noon, paris); ok {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestACalendarThatIsNotWholeIsFoundOut(t *testing.T) {
	for name, change := range map[string]func(*cosem.Calendar){
		"no season":         func(c *cosem.Calendar) { c.Seasons = nil },
		"no such week":      func(c *cosem.Calendar) { c.Seasons[0].Week = []byte("x") },
		"no such day":       func(c *cosem.Calendar) { c.Weeks[1].Days[6] = 3 },
		"a season twice":    func(c *cosem.Calendar) { c.Seasons[0].Name = c.Seasons[1].Name },
		"a week twice":      func(c *cosem.Calendar) { c.Weeks[0].Name = c.Weeks[1].Name },
		"a day twice":       func(c *cosem.Calendar) { c.Days[0].ID = 2 },
		"a long name":       func(c *cosem.Calendar) { c.Name = make([]byte, 65) },
		"a long week name":  func(c *cosem.Calendar) { c.Weeks[0].Name = make([]byte, 65) },
		"too many seasons":  func(c *cosem.Calendar) { c.Seasons = make([]cosem.Season, 33) },
		"too many weeks":    func(c *cosem.Calendar) { c.Weeks = make([]cosem.Week, 33) },
		"too many days":     func(c *cosem.Calendar) { c.Days = make([]cosem.Day, 65) },
		"too many actions":  func(c *cosem.Calendar) { c.Days[0].Actions = make([]cosem.DayAction, 65) },
		"a long season":     func(c *cosem.Calendar) { c.Seasons[0].Name = make([]byte, 65) },
		"a long reference":  func(c *cosem.Calendar) { c.Seasons[0].Week = make([]byte, 65) },
		"a week named zero": func(c *cosem.Calendar) { c.Weeks[0].Name = nil },
	} {
		c := calendar()
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: whole", name)
		}
	}
}

func TestThePassiveCalendarIsWrittenAndActivated(t *testing.T) {
	state := cosem.CalendarState{Active: calendar(), ActivateAt: dlms.DateTimeUnspecified()}
	line := reach(t, cosem.NewActivityCalendar(calendarName, kept(&state)))
	r := cosem.ActivityCalendarAt(line, calendarName)
	refused(t, r.Activate(ctx), dlms.ActionTemporaryFailure) // there is none yet
	next := calendar()
	next.Name, next.Days[0].Actions = []byte("2027"), []cosem.DayAction{tariff(7, 3)}
	must(t, r.WritePassive(ctx, next))
	read := got(r.Read(ctx))(t)
	want := cosem.CalendarState{Active: calendar(), Passive: next, ActivateAt: dlms.DateTimeUnspecified()}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Error(diff)
	}
	must(t, r.ActivateAt(ctx, dlms.DateTimeOf(noon, 0)))
	if state.Due(noon.Add(-time.Second), paris) || !state.Due(noon, paris) {
		t.Error("due")
	}
	must(t, r.Activate(ctx))
	if diff := cmp.Diff(next, state.Active); diff != "" {
		t.Error(diff)
	}
	if state.Due(noon.AddDate(1, 0, 0), paris) {
		t.Error("due again")
	}
	// A line that breaks in the middle leaves a calendar that is not activated.
	wrong := calendar()
	wrong.Weeks[0].Days[0] = 9
	if err := r.WritePassive(ctx, wrong); err == nil {
		t.Error("a calendar was written that is not whole")
	}
	other := calendar()
	other.Seasons[0].Week, other.Weeks[0].Name = []byte("v"), []byte("v")
	line.calls, line.cut = 0, 3
	refused(t, r.WritePassive(ctx, other), errLine)
	refused(t, r.Activate(ctx), dlms.ActionTemporaryFailure)
	if diff := cmp.Diff(next, state.Active); diff != "" {
		t.Error(diff)
	}
	object := cosem.NewActivityCalendar(calendarName, kept(&state))
	for n := int8(2); n <= 5; n++ {
		refused(t, object.Set(&cosem.Env{}, n, got(object.Get(&cosem.Env{}, n, apdu.Selection{}))(t)), dlms.DataAccessReadWriteDenied)
	}
	refused(t, object.Set(&cosem.Env{}, 6, dlms.OctetString(make([]byte, 65))), dlms.DataAccessScopeViolated)
	refused(t, object.Set(&cosem.Env{}, 7, dlms.Array(dlms.Null())), dlms.DataAccessTypeUnmatched)
}

func dayActions() *rapid.Generator[cosem.DayAction] {
	return rapid.Custom(func(t *rapid.T) cosem.DayAction {
		return cosem.DayAction{Start: anyClock.Draw(t, "start"), Script: scriptRefs().Draw(t, "script")}
	})
}

func TestTheValuesOfACalendarReadBackAsWritten(t *testing.T) {
	travels(t, dayActions(), cosem.ParseDayAction)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.Day {
		return cosem.Day{ID: rapid.Byte().Draw(t, "id"), Actions: rapid.SliceOfN(dayActions(), 0, 5).Draw(t, "actions")}
	}), cosem.ParseDay)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.Week {
		w := cosem.Week{Name: anyOctets.Draw(t, "name")}
		copy(w.Days[:], rapid.SliceOfN(rapid.Byte(), 7, 7).Draw(t, "days"))
		return w
	}), cosem.ParseWeek)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.Season {
		return cosem.Season{Name: anyOctets.Draw(t, "name"), Start: anyTime.Draw(t, "start"), Week: anyOctets.Draw(t, "week")}
	}), cosem.ParseSeason)
}

func FuzzActivityCalendar(f *testing.F) {
	c := calendar()
	fuzz(f, []value{c.Seasons[0], c.Weeks[0], c.Days[0], c.Days[0].Actions[0]}, parses(cosem.ParseSeason),
		parses(cosem.ParseWeek), parses(cosem.ParseDay), parses(cosem.ParseDayAction))
}
