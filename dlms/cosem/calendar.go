package cosem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// Season is one season of a calendar (BB 4.5.5): from Start on the week with the name Week is in force.
//
//	season ::= structure { season_profile_name octet-string, season_start octet-string, week_name octet-string }
type Season struct {
	// Name tells the season from the others of the calendar.
	Name []byte
	// Start is when it begins; wildcards make it come every year.
	Start dlms.DateTime
	// Week is the name of a week of the same calendar.
	Week []byte
}

// Data returns the season as it travels.
func (s Season) Data() dlms.Data {
	return dlms.Structure(dlms.OctetString(s.Name), s.Start.Octets(), dlms.OctetString(s.Week))
}

// ParseSeason takes a season out of a value.
func ParseSeason(d dlms.Data) (Season, error) {
	c := structure(d, 3)
	return finish(&c, Season{Name: c.octets(), Start: c.dateTime(), Week: c.octets()}, "season")
}

// Week is one week of a calendar (BB 4.5.5): the day_id for each day from Monday.
//
//	week_profile ::= structure { week_profile_name octet-string, monday day_id, ..., sunday day_id }
type Week struct {
	// Name is what a season calls the week.
	Name []byte
	// Days are day ids, from Monday to Sunday.
	Days [7]uint8
}

// Data returns the week as it travels.
func (w Week) Data() dlms.Data {
	list := []dlms.Data{dlms.OctetString(w.Name)}
	for _, id := range w.Days {
		list = append(list, dlms.Uint8(id))
	}
	return dlms.Structure(list...)
}

// ParseWeek takes a week out of a value.
func ParseWeek(d dlms.Data) (Week, error) {
	c := structure(d, 8)
	w := Week{Name: c.octets()}
	for i := range w.Days {
		w.Days[i] = c.uint8()
	}
	return finish(&c, w, "week")
}

// DayAction is one entry of a day (BB 4.5.5): at Start the script runs.
//
//	day_profile_action ::= structure { start_time octet-string, script_logical_name octet-string,
//	  script_selector long-unsigned }
type DayAction struct {
	// Start is local time.
	Start dlms.TimeOfDay
	// Script is what is run.
	Script ScriptRef
}

// Data returns the entry as it travels.
func (a DayAction) Data() dlms.Data {
	return dlms.Structure(dlms.OctetString(a.Start[:]), dlms.LogicalNameData(a.Script.Table), dlms.Uint16(a.Script.Selector))
}

// ParseDayAction takes an entry out of a value.
func ParseDayAction(d dlms.Data) (DayAction, error) {
	c := structure(d, 3)
	return finish(&c, DayAction{Start: c.clock(), Script: ScriptRef{Table: c.name(), Selector: c.uint16()}}, "day action")
}

// since returns how long after midnight the action begins; what is not specified counts as 0.
func (a DayAction) since() time.Duration {
	return time.Duration(specified(a.Start[0]))*time.Hour + time.Duration(specified(a.Start[1]))*time.Minute +
		time.Duration(specified(a.Start[2]))*time.Second + time.Duration(specified(a.Start[3]))*10*time.Millisecond
}

// Day is one day of a calendar (BB 4.5.5).
//
//	day_profile ::= structure { day_id unsigned, day_schedule array day_profile_action }
type Day struct {
	// ID is what a week calls the day.
	ID uint8
	// Actions are what happens on it, in the order of their times.
	Actions []DayAction
}

// Data returns the day as it travels.
func (d Day) Data() dlms.Data { return dlms.Structure(dlms.Uint8(d.ID), listData(d.Actions)) }

// ParseDay takes a day out of a value.
func ParseDay(d dlms.Data) (Day, error) {
	c := structure(d, 2)
	return finish(&c, Day{ID: c.uint8(), Actions: each(&c, listOf("day action", ParseDayAction))}, "day")
}

// Calendar is the active or the passive half of an Activity calendar (BB 4.5.5).
type Calendar struct {
	// Name is calendar_name, of the maker's or the utility's choice.
	Name []byte
	// Seasons is season_profile.
	Seasons []Season
	// Weeks is week_profile_table.
	Weeks []Week
	// Days is day_profile_table.
	Days []Day
}

// Bounds of a calendar, ours.
const (
	maxCalendarName = 64
	maxSeasons      = 32
	maxWeeks        = 32
	maxDays         = 64
	maxDayActions   = 64
)

// Bound checks that a device can hold the calendar. One that is being written attribute by attribute may still name
// weeks and days that are not there: see Validate.
func (c Calendar) Bound() error {
	errs := []error{
		outside("calendar name", len(c.Name), 0, maxCalendarName), outside("seasons", len(c.Seasons), 0, maxSeasons),
		outside("weeks", len(c.Weeks), 0, maxWeeks), outside("days", len(c.Days), 0, maxDays),
	}
	for _, s := range c.Seasons {
		errs = append(errs, outside("season name", len(s.Name), 0, maxCalendarName), outside("week name", len(s.Week), 0, maxCalendarName))
	}
	for _, w := range c.Weeks {
		errs = append(errs, outside("week name", len(w.Name), 0, maxCalendarName))
	}
	for _, d := range c.Days {
		errs = append(errs, outside("actions of a day", len(d.Actions), 0, maxDayActions))
	}
	return errors.Join(errs...)
}

// Validate checks that the calendar is whole: every season names a week, every week its days, no name or id twice.
func (c Calendar) Validate() error {
	if err := c.Bound(); err != nil {
		return err
	}
	if len(c.Seasons) == 0 {
		return fmt.Errorf("calendar: %w: no season", ErrValue)
	}
	weeks := map[string]bool{}
	for _, w := range c.Weeks {
		if weeks[string(w.Name)] {
			return fmt.Errorf("calendar: %w: week %q twice", ErrValue, w.Name)
		}
		weeks[string(w.Name)] = true
	}
	seasons := map[string]bool{}
	for _, s := range c.Seasons {
		if seasons[string(s.Name)] {
			return fmt.Errorf("calendar: %w: season %q twice", ErrValue, s.Name)
		}
		seasons[string(s.Name)] = true
		if !weeks[string(s.Week)] {
			return fmt.Errorf("calendar: %w: season %q has no week %q", ErrValue, s.Name, s.Week)
		}
	}
	return c.checkDays()
}

func (c Calendar) checkDays() error {
	days := map[uint8]bool{}
	for _, d := range c.Days {
		if days[d.ID] {
			return fmt.Errorf("calendar: %w: day %d twice", ErrValue, d.ID)
		}
		days[d.ID] = true
	}
	for _, w := range c.Weeks {
		for _, id := range w.Days {
			if !days[id] {
				return fmt.Errorf("calendar: %w: week %q has no day %d", ErrValue, w.Name, id)
			}
		}
	}
	return nil
}

// SeasonAt returns the season in force at t: the one that began last. loc is the zone of the meter.
func (c Calendar) SeasonAt(t time.Time, loc *time.Location) (Season, bool) {
	var found Season
	var began time.Time
	for _, s := range c.Seasons {
		if at, ok := patternOf(s.Start, loc).last(t); ok && (began.IsZero() || at.After(began)) {
			found, began = s, at
		}
	}
	return found, !began.IsZero()
}

// DayAt returns the day of the calendar that t falls on. Special days are not the calendar's.
func (c Calendar) DayAt(t time.Time, loc *time.Location) (Day, bool) {
	s, ok := c.SeasonAt(t, loc)
	if !ok {
		return Day{}, false
	}
	for _, w := range c.Weeks {
		if !bytes.Equal(w.Name, s.Week) {
			continue
		}
		id := w.Days[isoDay(t.In(loc))-1]
		for _, d := range c.Days {
			if d.ID == id {
				return d, true
			}
		}
	}
	return Day{}, false
}

// At returns the action in force at t: the last one that began, of the day or, before its first one, of a day before.
func (c Calendar) At(t time.Time, loc *time.Location) (DayAction, bool) {
	local := t.In(loc)
	y, m, d := local.Date()
	h, minute, second := local.Clock()
	in := time.Duration(h)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second +
		time.Duration(local.Nanosecond())
	for back := range 8 {
		if back > 0 {
			local, in = time.Date(y, m, d-back, 23, 59, 59, 0, loc), 24*time.Hour
		}
		if day, ok := c.DayAt(local, loc); ok {
			if a, ok := day.at(in); ok {
				return a, true
			}
		}
	}
	return DayAction{}, false
}

// at returns the last action that began by so long after midnight.
func (d Day) at(in time.Duration) (DayAction, bool) {
	found := -1
	for i, a := range d.Actions {
		if a.since() <= in && (found < 0 || a.since() >= d.Actions[found].since()) {
			found = i
		}
	}
	if found < 0 {
		return DayAction{}, false
	}
	return d.Actions[found], true
}

// CalendarState is the value of an Activity calendar (BB 4.5.5, attributes 2 to 10).
type CalendarState struct {
	// Active is the half in force, Passive the one that is prepared.
	Active, Passive Calendar
	// ActivateAt is when Passive takes the place of Active; nothing specified is never.
	ActivateAt dlms.DateTime
}

// Due reports whether the time has come for the passive calendar. A device asks now and then, and then calls Activate.
func (s CalendarState) Due(now time.Time, loc *time.Location) bool {
	at, err := s.ActivateAt.TimeIn(loc)
	return err == nil && !now.Before(at)
}

// Activate returns the state with the passive calendar in force and nothing due. It refuses a passive calendar that is
// not whole.
func (s CalendarState) Activate() (CalendarState, error) {
	if err := s.Passive.Validate(); err != nil {
		return s, err
	}
	s.Active, s.ActivateAt = s.Passive, dlms.DateTimeUnspecified()
	return s, nil
}

func half(at func(*CalendarState) *Calendar) []field[CalendarState] {
	return []field[CalendarState]{
		fieldOf(func(s *CalendarState) *[]byte { return &at(s).Name }, dlms.OctetString, parseOctets),
		fieldOf(func(s *CalendarState) *[]Season { return &at(s).Seasons }, listData[Season], listOf("season", ParseSeason)),
		fieldOf(func(s *CalendarState) *[]Week { return &at(s).Weeks }, listData[Week], listOf("week", ParseWeek)),
		fieldOf(func(s *CalendarState) *[]Day { return &at(s).Days }, listData[Day], listOf("day", ParseDay)),
	}
}

func calendarFields() []field[CalendarState] {
	var list []field[CalendarState]
	for _, f := range half(func(s *CalendarState) *Calendar { return &s.Active }) {
		list = append(list, f.fixed())
	}
	list = append(list, half(func(s *CalendarState) *Calendar { return &s.Passive })...)
	return append(list, fieldOf(func(s *CalendarState) *dlms.DateTime { return &s.ActivateAt }, dlms.DateTime.Octets, dlms.Data.DateTime))
}

// NewActivityCalendar returns an object of class Activity calendar (BB 4.5.5, class 20 version 0). The active calendar
// is read-only: it changes by activation alone, so that no half-written calendar is ever in force.
func NewActivityCalendar(instance dlms.OBIS, state Stored[CalendarState]) Object {
	o := &record[CalendarState]{
		base:  base{ID{Class: dlms.ClassActivityCalendar, Instance: instance}},
		store: state, fields: calendarFields(),
		check: func(s CalendarState) error { return s.Passive.Bound() },
	}
	if state.Load != nil && state.Save != nil {
		o.methods = append(o.methods, func(env *Env, _ dlms.Data) error {
			s, err := state.Load(env)
			if err != nil {
				return err
			}
			if s, err = s.Activate(); err != nil {
				return dlms.ActionTemporaryFailure // until the passive calendar is whole
			}
			return state.Save(env, s)
		})
	}
	return o
}

// RemoteActivityCalendar is an Activity calendar of a meter.
type RemoteActivityCalendar struct{ remote }

// ActivityCalendarAt returns the Activity calendar under a logical name, 0.0.13.0.0.255 by the standard.
func ActivityCalendarAt(c Caller, o dlms.OBIS) RemoteActivityCalendar {
	return RemoteActivityCalendar{remote{c, dlms.ClassActivityCalendar, o}}
}

// Read reads both calendars, one request for each attribute.
func (r RemoteActivityCalendar) Read(ctx context.Context) (CalendarState, error) {
	return readRecord(ctx, r.remote, calendarFields())
}

// WritePassive checks a calendar and writes the passive one, in four requests.
func (r RemoteActivityCalendar) WritePassive(ctx context.Context, c Calendar) error {
	if err := c.Validate(); err != nil {
		return err
	}
	for n := int8(6); n <= 9; n++ {
		if err := write(ctx, r.remote, calendarFields(), n, CalendarState{Passive: c}); err != nil {
			return err
		}
	}
	return nil
}

// ActivateAt writes when the passive calendar takes the place of the active one.
func (r RemoteActivityCalendar) ActivateAt(ctx context.Context, t dlms.DateTime) error {
	return r.set(ctx, 10, t.Octets())
}

// Activate puts the passive calendar in force now.
func (r RemoteActivityCalendar) Activate(ctx context.Context) error { return r.trigger(ctx, 1) }
