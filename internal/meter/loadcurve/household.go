package loadcurve

import (
	"math/rand/v2"
	"time"
)

const (
	householdDays = 28 // four weeks, so that week-ends repeat as week-ends
	minutesPerDay = 24 * 60
)

// Household is the built-in model of a French household with electric hot water
// and no electric heating: a base load, a fridge that cycles, a breakfast, a
// supper, an evening of light and screens, a water heater at off-peak rates in
// the night, a week-end with late mornings, a cooked lunch and the washing. It
// takes 6 to 15 kWh a day.
//
// The same start and seed give the same curve; each seed is another household.
// It begins at start, cut down to the minute, has no missing minute, and goes on
// for ever: four weeks are laid out by the minute and repeat. Times of day and
// week-ends are those of file time.
func Household(start time.Time, seed uint64) *Curve {
	first := floorTo(start.Unix(), secondsPerMinute)
	b := builder{start: first, end: first}
	h := newHome(seed)
	day, minute := clock(first)
	for range householdDays * minutesPerDay {
		b.lay(secondsPerMinute, h.watts(day, minute))
		if minute++; minute == minutesPerDay {
			day, minute = day+1, 0
		}
	}
	c := b.closed()
	c.endless = true
	return c
}

// clock splits Unix seconds into the day since 1970 and the minute of it, in file time.
func clock(unix int64) (day, minute int64) {
	local := unix + fileOffset
	midnight := floorTo(local, secondsPerDay)
	return midnight / secondsPerDay, (local - midnight) / secondsPerMinute
}

// home is what is particular to one household.
type home struct {
	seed   uint64
	base   int64   // W, always on
	fridge int64   // W while its compressor runs
	phase  int64   // of the fridge, minutes
	heater int64   // W
	plans  [2]plan // of yesterday and today: a night belongs to two days
	day    int64   // whose plan is plans[1]
	known  bool    // plans are made
}

func newHome(seed uint64) *home {
	r := rand.New(rand.NewPCG(seed, 0))
	return &home{
		seed:   seed,
		base:   between(r, 70, 100),
		fridge: between(r, 90, 130),
		phase:  between(r, 0, fridgePeriod),
		heater: between(r, 1800, 2000),
	}
}

const (
	fridgePeriod = 50 // minutes
	fridgeRuns   = 18 // of them
)

// watts is the power of one minute.
func (h *home) watts(day, minute int64) int64 {
	h.turn(day)
	w := h.base + h.plans[1].watts(minute) + h.plans[0].watts(minute+minutesPerDay)
	beat := day*minutesPerDay + minute + h.phase
	if beat-floorTo(beat, fridgePeriod) < fridgeRuns {
		w += h.fridge
	}
	return w
}

// turn makes the plans of a day when it begins. A plan depends on the seed and
// the day alone.
func (h *home) turn(day int64) {
	if h.known && h.day == day {
		return
	}
	h.plans = [2]plan{h.plan(day - 1), h.plan(day)}
	h.day, h.known = day, true
}

// run is an appliance at work: minutes of the day, the end excluded and possibly
// past midnight, and what it takes.
type run struct{ from, to, watts int64 }

type plan []run

func (p plan) watts(minute int64) (w int64) {
	for _, r := range p {
		if r.from <= minute && minute < r.to {
			w += r.watts
		}
	}
	return w
}

// plan draws one day. The bounds keep every day between 6 and 15 kWh.
func (h *home) plan(day int64) plan {
	r := rand.New(rand.NewPCG(h.seed, uint64(day)+1))
	p := h.evening(r)
	if weekend(day) {
		return append(p, lateMorning(r)...)
	}
	return append(p, workingMorning(r)...)
}

// weekend: 1 January 1970 was a Thursday, so days 2 and 3 of a week counted from it.
func weekend(day int64) bool {
	d := day - floorTo(day, 7)
	return d == 2 || d == 3
}

func workingMorning(r *rand.Rand) plan {
	up := between(r, 6*60, 7*60)
	return plan{
		{up, up + between(r, 70, 100), between(r, 250, 450)},          // light, radio, bathroom
		{up + 20, up + 20 + between(r, 4, 8), between(r, 1800, 2200)}, // kettle, toaster
	}
}

func lateMorning(r *rand.Rand) plan {
	up, lunch, wash := between(r, 8*60, 9*60+30), between(r, 11*60+45, 12*60+30), between(r, 14*60, 16*60)
	return plan{
		{up, up + between(r, 90, 120), between(r, 250, 400)},
		{up + 30, up + 30 + between(r, 4, 8), between(r, 1800, 2200)},
		{lunch, lunch + between(r, 20, 35), between(r, 1500, 2000)}, // oven, hob
		{wash, wash + between(r, 15, 25), between(r, 1900, 2100)},   // washing machine heats
		{wash + 25, wash + between(r, 70, 100), between(r, 150, 300)},
	}
}

func (h *home) evening(r *rand.Rand) plan {
	home, supper, heat := between(r, 17*60, 18*60+30), between(r, 18*60+45, 19*60+45), int64(22*60+30)
	return plan{
		{home, between(r, 22*60, 23*60+30), between(r, 250, 400)},     // light, screens
		{supper, supper + between(r, 20, 35), between(r, 1500, 2000)}, // cooking
		{heat, heat + between(r, 75, 120), h.heater},                  // hot water, off-peak
	}
}

// between draws from low to high, high excluded.
func between(r *rand.Rand, low, high int64) int64 { return low + r.Int64N(high-low) }
