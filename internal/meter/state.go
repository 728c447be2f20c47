package meter

import (
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/role"
)

// maxPrints is how many keys a meter remembers. A full store refuses the next one, for to forget a key would let it
// come back (law 6).
const maxPrints = 1024

// birth is what the factory and the installation set.
type birth struct {
	title     dlms.SystemTitle
	installed moment
	scale     uint32 // of the load, per mille
	shift     int32  // of the load, seconds
}

// heldKey is one association key, with the counters of this version and no other.
type heldKey struct {
	key        key.Unicast
	generation uint32
	changed    moment // of the meter's clock
	send       security.Reservation
	floors     []security.Floor
	// days are the floors of keys derived from this one. Of passed and the days before it nothing is kept, and derived
	// keys of them are refused whatever the clock shows.
	days   []dayFloor
	passed dlms.Day
	// unproven is set when a counter of this version cannot be read. The key is then refused until it is replaced: with
	// a floor of zero old sessions replay, with a ceiling of zero nonces repeat.
	unproven bool
}

// roles indexes arrays by role; index 0 is unused.
const roles = role.CCIS + 1

// state is all that the memory holds, as records applied one after the other.
type state struct {
	birth   birth
	master  key.Master
	keys    [roles]heldKey
	prints  []key.Fingerprint
	breaker breakerState
	clock   clockHistory
	logs    [logCount]eventLog
}

// apply applies a frame of records. An error leaves the state useless.
func (s *state) apply(frame []byte) error { return records(frame, s.applyRecord) }

func (s *state) applyRecord(kind recordKind, b body) error {
	if s.birth.title.IsZero() != (kind == recBirth) {
		return fmt.Errorf("%w: want one birth record, the first", ErrMemory)
	}
	switch kind {
	case recSend:
		s.applySend(b)
		return nil
	case recFloor:
		s.applyFloor(b)
		return nil
	case recDayFloor:
		s.applyDayFloor(b)
		return nil
	case recPassed:
		s.applyPassed(b)
		return nil
	case recBirth:
		s.birth = birth{
			title: b.title(), installed: moment(b.u64()), scale: b.u32(), shift: int32(b.u32()),
		}
	case recMaster:
		return s.applyMaster(b)
	case recKey:
		return s.applyKey(b)
	case recPrint:
		s.remember(key.Fingerprint(b.take(len(key.Fingerprint{}))))
	case recBreaker:
		s.breaker = breakerState{position: breakerPosition(b.u8()), since: moment(b.u64())}
	case recClock:
		s.clock.add(clockStep{
			at: moment(b.u64()), offset: int64(b.u64()), counted: int32(b.u32()), cold: b.u8() != 0,
		})
	case recEvent:
		return s.applyEvent(b)
	default:
		return fmt.Errorf("%w: record of kind %d: written by another version", ErrMemory, kind)
	}
	if b.whole() {
		return nil
	}
	return fmt.Errorf("%w: record of kind %d has the wrong length", ErrMemory, kind)
}

func (s *state) applyMaster(b body) error {
	k, err := key.NewMaster(b.take(key.Size))
	if err != nil || !b.whole() {
		return fmt.Errorf("%w: the master key cannot be read", ErrMemory)
	}
	s.master = k
	s.remember(k.Fingerprint())
	return nil
}

func (s *state) applyKey(b body) error {
	r, generation, changed := role.Role(b.u8()), b.u32(), moment(b.u64())
	k, err := key.NewUnicast(b.take(key.Size))
	if err != nil || !b.whole() || r <= role.CCC || r >= roles {
		return fmt.Errorf("%w: a key record cannot be read", ErrMemory)
	}
	if generation <= s.keys[r].generation {
		return fmt.Errorf("%w: %s goes from generation %d to %d", ErrMemory, r, s.keys[r].generation, generation)
	}
	s.keys[r] = heldKey{key: k, generation: generation, changed: changed}
	s.remember(k.Fingerprint())
	return nil
}

// counters finds the key whose counters a record holds: nil for an older version, whose counters are spent. A record
// that cannot be read, or of a version that is not there, makes a key unproven.
func (s *state) counters(r role.Role, generation uint32, whole bool) *heldKey {
	if r <= role.CCC || r >= roles {
		for i := range s.keys { // whose counter it was cannot be told
			s.keys[i].unproven = true
		}
		return nil
	}
	k := &s.keys[r]
	switch {
	case !whole || generation > k.generation:
		k.unproven = true
	case generation == k.generation:
		return k
	}
	return nil
}

func (s *state) applySend(b body) {
	r, generation := role.Role(b.u8()), b.u32()
	v := security.Reservation{Ceiling: dlms.InvocationCounter(b.u32()), Raised: b.u32()}
	if k := s.counters(r, generation, b.whole()); k != nil {
		k.send.Ceiling, k.send.Raised = max(k.send.Ceiling, v.Ceiling), max(k.send.Raised, v.Raised)
	}
}

func (s *state) applyFloor(b body) {
	r, generation := role.Role(b.u8()), b.u32()
	v := security.Floor{Title: b.title(), Last: dlms.InvocationCounter(b.u32())}
	k := s.counters(r, generation, b.whole())
	if k == nil {
		return
	}
	i := slices.IndexFunc(k.floors, func(f security.Floor) bool { return f.Title == v.Title })
	switch {
	case i >= 0:
		k.floors[i].Last = max(k.floors[i].Last, v.Last)
	case len(k.floors) < security.MaxTitles:
		k.floors = append(k.floors, v)
	default:
		k.unproven = true
	}
}

func (s *state) applyEvent(b body) error {
	e := logEntry{log: logNumber(b.u8()), at: moment(b.u64()), code: Code(b.u8())}
	if !b.whole() || e.log < 1 || e.log > logCount {
		return fmt.Errorf("%w: an entry of a log cannot be read", ErrMemory)
	}
	s.logs[e.log-1].add(e)
	return nil
}

func (s *state) remember(fp key.Fingerprint) {
	if !s.known(fp) {
		s.prints = append(s.prints, fp)
	}
}

// known reports whether any role holds or ever held the key.
func (s *state) known(fp key.Fingerprint) bool { return slices.Contains(s.prints, fp) }

// highest is the lowest counter that every peer of a role may use next, at least 1.
func (k *heldKey) highest() dlms.InvocationCounter {
	next := uint64(1)
	for _, f := range k.floors {
		next = max(next, uint64(f.Last)+1)
	}
	for _, f := range k.days {
		next = max(next, uint64(f.last)+1)
	}
	return dlms.InvocationCounter(min(next, uint64(dlms.MaxInvocationCounter)))
}

// snapshot writes the whole state as one frame, from which apply makes it again. An unproven key is written as such:
// compacting must not make it look proven.
func (s *state) snapshot() []byte {
	w := new(frameWriter)
	w.birth(s.birth)
	for _, fp := range s.prints {
		w.print(fp)
	}
	if !s.master.IsZero() { // a bench meter has its keys elsewhere
		w.master(s.master)
	}
	for r := range roles {
		if k := &s.keys[r]; !k.key.IsZero() {
			k.snapshot(w, r)
		}
	}
	w.breaker(s.breaker)
	for _, step := range s.clock.steps {
		w.clock(step)
	}
	for i := range s.logs {
		for e := range s.logs[i].all() {
			w.event(e)
		}
	}
	return w.b
}

func (k *heldKey) snapshot(w *frameWriter, r role.Role) {
	w.key(r, k.generation, k.changed, k.key)
	w.send(r, k.generation, k.send)
	for _, f := range k.floors {
		w.floor(r, k.generation, f)
	}
	if !k.passed.IsZero() {
		w.passed(r, k.generation, k.passed)
	}
	for _, f := range k.days {
		w.dayFloor(r, k.generation, f)
	}
	if k.unproven {
		w.send(r, k.generation+1, security.Reservation{}) // a version that is not there: see counters
	}
}
