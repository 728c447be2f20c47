package meter

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/dlms/server"
	"github.com/meterseal/meterseal/internal/role"
)

// Reasons to refuse a derived key.
var (
	// ErrDayPassed: the last day of the key has passed.
	ErrDayPassed = errors.New("derived key: its last day has passed")
	// ErrNoDay: the meter's clock was never set or was lost, so that no day can be told. The key may be tried again when
	// the central system has set the clock.
	ErrNoDay = errors.New("derived key: the clock is not set, and no day can be told")
)

// maxDays is how many derived keys of one key have counters at a time. One more is refused until the day of one of them
// has passed.
const maxDays = role.MostLent

// A table of titles has room for as many terminals.
const _ = uint(security.MaxTitles - role.MostLent)

// dayFloor is the receive floor of one derived key: the highest counter accepted from the terminal with that title until
// that day.
type dayFloor struct {
	title dlms.SystemTitle
	day   dlms.Day
	last  dlms.InvocationCounter
}

func (f dayFloor) of(title dlms.SystemTitle, day dlms.Day) bool {
	return f.title == title && f.day == day
}

func (s *state) applyDayFloor(b body) {
	r, generation := role.Role(b.u8()), b.u32()
	v := dayFloor{title: b.title(), day: b.day(), last: dlms.InvocationCounter(b.u32())}
	k := s.counters(r, generation, b.whole())
	if k == nil || v.day.Compare(k.passed) <= 0 {
		return
	}
	i := slices.IndexFunc(k.days, func(f dayFloor) bool { return f.of(v.title, v.day) })
	switch {
	case i >= 0:
		k.days[i].last = max(k.days[i].last, v.last)
	case len(k.days) < maxDays:
		k.days = append(k.days, v)
	default:
		k.unproven = true
	}
}

func (s *state) applyPassed(b body) {
	r, generation, day := role.Role(b.u8()), b.u32(), b.day()
	k := s.counters(r, generation, b.whole())
	if k == nil || day.Compare(k.passed) <= 0 {
		return
	}
	k.passed = day
	k.days = slices.DeleteFunc(k.days, func(f dayFloor) bool { return f.day.Compare(day) <= 0 })
}

// PeerLongTerm implements server.PeerKeys: the key of the setup is never used itself; who calls has the one that was
// derived for its title until the day that it says. Nothing is kept of it before the tag of its AARQ has verified.
//
// All keys derived from one version share its sending counter: each is another key, and no value comes twice under any
// of them (law 4). The receive floor is each one's own, so that two grants of one terminal do not lock each other out.
func (m *Meter) PeerLongTerm(setup dlms.OBIS, peer dlms.SystemTitle, info []byte) (*security.LongTerm, error) {
	r, ok := roleOf(setup)
	if !ok || m.bench != nil {
		return nil, ErrNoSuchKey
	}
	last, err := role.ParseLastDay(info)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", server.ErrNoPeerKey, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &m.state.keys[r]
	switch {
	case k.key.IsZero():
		return nil, ErrNoSuchKey
	case k.unproven:
		return nil, fmt.Errorf("%s: %w", r, ErrUnproven)
	}
	if err := m.dayLocked(k, last); err != nil {
		return nil, err
	}
	return m.derivedLocked(r, peer, last)
}

func (m *Meter) derivedLocked(r role.Role, peer dlms.SystemTitle, last dlms.Day) (*security.LongTerm, error) {
	k := &m.state.keys[r]
	live, err := m.liveLocked(r)
	if err != nil {
		return nil, err
	}
	d, err := k.key.Derive(peer, last)
	if err != nil {
		return nil, err
	}
	c, err := m.kind.cipher(d, key.Authentication{})
	if err != nil {
		return nil, err
	}
	generation := k.generation
	return &security.LongTerm{
		Cipher: c, Send: live.send, Generation: generation,
		Floor: &derivedFloor{m: m, role: r, generation: generation, title: peer, day: last},
		Over: func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.dayLocked(&m.state.keys[r], last)
		},
	}, nil
}

// dayLocked refuses a last day that has passed by the meter's own clock, or that passed once: a clock that goes back
// brings no key back whose counters are forgotten.
func (m *Meter) dayLocked(k *heldKey, last dlms.Day) error {
	shows, cold := m.state.clock.read(m.kind.world())
	switch {
	case cold:
		return ErrNoDay
	case last.Compare(dlms.DayOf(m.kind.local(shows))) < 0 || last.Compare(k.passed) <= 0:
		return fmt.Errorf("%w: %w: %s", server.ErrNoPeerKey, ErrDayPassed, last)
	}
	return nil
}

// derivedFloor is the receive floor of one derived key, in the meter's memory.
type derivedFloor struct {
	m          *Meter
	role       role.Role
	generation uint32
	title      dlms.SystemTitle
	day        dlms.Day
}

var _ security.ReceiveFloor = (*derivedFloor)(nil)

// Check implements security.ReceiveFloor.
func (f *derivedFloor) Check(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	t, err := f.tableLocked(title, func(security.Floor) error { return nil })
	if err != nil {
		return err
	}
	return t.Check(title, ic)
}

// Commit implements security.ReceiveFloor. A new terminal or day takes the place of days that have passed.
func (f *derivedFloor) Commit(title dlms.SystemTitle, ic dlms.InvocationCounter) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	t, err := f.tableLocked(title, f.persistLocked)
	if err != nil {
		return err
	}
	return t.Commit(title, ic)
}

// tableLocked is the table of this one floor. A counter may jump as far as it likes: who makes it jump burns a key that is
// his alone and ends with its day.
func (f *derivedFloor) tableLocked(title dlms.SystemTitle, persist func(security.Floor) error) (*security.FloorTable, error) {
	k := &f.m.state.keys[f.role]
	switch {
	case k.generation != f.generation:
		return nil, ErrNoSuchKey
	case title != f.title:
		return nil, fmt.Errorf("%w: want %s, got %s", security.ErrTitle, f.title, title)
	}
	cfg := security.FloorConfig{MaxJump: math.MaxUint32, Persist: persist}
	for _, d := range k.days {
		if d.of(f.title, f.day) {
			cfg.Floors = []security.Floor{{Title: d.title, Last: d.last}}
		}
	}
	return security.NewFloorTable(cfg)
}

func (f *derivedFloor) persistLocked(v security.Floor) error {
	w := new(frameWriter)
	if err := f.roomLocked(w); err != nil {
		return err
	}
	w.dayFloor(f.role, f.generation, dayFloor{title: v.Title, day: f.day, last: v.Last})
	return f.m.commitLocked(w, true)
}

// roomLocked makes room for a derived key that is new here, by forgetting those whose day has passed. To forget a floor
// and still take its key would let old associations replay, so the day is written down as passed for good.
func (f *derivedFloor) roomLocked(w *frameWriter) error {
	k := &f.m.state.keys[f.role]
	if len(k.days) < maxDays || slices.ContainsFunc(k.days, func(d dayFloor) bool { return d.of(f.title, f.day) }) {
		return nil
	}
	shows, cold := f.m.state.clock.read(f.m.kind.world())
	today, passed := dlms.DayOf(f.m.kind.local(shows)), dlms.Day{}
	for _, d := range k.days {
		if !cold && d.day.Compare(today) < 0 && d.day.Compare(passed) > 0 {
			passed = d.day
		}
	}
	if passed.IsZero() {
		return security.ErrTitles
	}
	w.passed(f.role, f.generation, passed)
	return nil
}
