package rotation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/role"
)

// Each test here is one way in which systems for key changes have lost meters, and ends with every meter reachable.

// scripted is a world whose transfers go as a test says: taken says whether the meter applies the key, err what comes
// back. When the script is at its end everything goes well.
type scripted struct {
	*world
	script []carried
	count  map[role.Role]int // of transfers
	fenced bool              // another process has the lease
}

type carried struct {
	role  role.Role
	taken bool
	err   error
}

func newScripted(t *testing.T, script ...carried) *scripted {
	t.Helper()
	w := newWorld(1, 1)
	w.faulty = false
	return &scripted{world: w, script: script, count: map[role.Role]int{}}
}

// Transfer implements Hand.
func (s *scripted) Transfer(ctx context.Context, parcels []Parcel) []error {
	out := make([]error, len(parcels))
	for i, p := range parcels {
		s.count[p.Key.Role]++
		at := slices.IndexFunc(s.script, func(c carried) bool { return c.role == p.Key.Role })
		if at < 0 {
			out[i] = s.world.transfer(p.Key)
			continue
		}
		c := s.script[at]
		s.script = slices.Delete(s.script, at, at+1)
		if c.taken {
			s.meters[MeterRole{p.Key.Meter, p.Key.Role}].apply(p.Key.Version)
		}
		out[i] = c.err
	}
	return out
}

// Save implements Store.
func (s *scripted) Save(ctx context.Context, changes []Change) error {
	if s.fenced {
		return lease.ErrFenced
	}
	return s.world.Save(ctx, changes)
}

// process is a new process on the same rows: it remembers nothing.
func (s *scripted) process() *Reconciler {
	r := s.reconciler()
	r.cfg.Store, r.cfg.Hand, r.cfg.Now = s, s, s.world.reconciler().cfg.Now
	return r
}

// reach lets one new process after the other work until nothing is open, and checks that every meter is reachable: what
// the vault has in force, the meter has.
func (s *scripted) reach(t *testing.T) {
	t.Helper()
	for range 30 {
		if _, err := s.process().Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(s.process().cfg.RetryMax * 2)
	}
	for mr, m := range s.meters {
		active, err := s.Active(t.Context(), []MeterRole{mr})
		if err != nil || active[0].Version != m.inForce {
			t.Errorf("%s %s is lost: the vault holds v%d in force, the meter v%d, %v", mr.Meter, mr.Role, active[0].Version, m.inForce, err)
		}
	}
	if n, _, _ := s.Open(t.Context()); n > 0 {
		t.Errorf("%d changes are still open", n)
	}
	for _, law := range s.broken {
		t.Error(law)
	}
}

// meterHolds returns the version that the meter has in force.
func (s *scripted) meterHolds(r role.Role) uint32 {
	for mr, m := range s.meters {
		if mr.Role == r {
			return m.inForce
		}
	}
	return 0
}

// put makes the meter hold a version without anybody having been told.
func (s *scripted) put(r role.Role, version uint32) {
	for mr, m := range s.meters {
		if mr.Role == r {
			m.apply(version)
		}
	}
}

func TestTwoKeysOfWhichOneWasAppliedWithItsAnswerLostAreFoundOneByOneNotAsAPair(t *testing.T) {
	s := newScripted(t, carried{role.CCLAN, true, io.ErrUnexpectedEOF}, carried{role.CCLOCALE, false, io.ErrUnexpectedEOF})
	askAll(t, s.world)
	s.reach(t)
	if lan, local := s.meterHolds(role.CCLAN), s.meterHolds(role.CCLOCALE); lan != 2 || local != 3 {
		t.Errorf("want CC_LAN v2, which was taken, and CC_LOCALE v3 after v2 was lost; got v%d and v%d", lan, local)
	}
}

func TestKeysThatWereWithdrawnOrAreLongOverAreTriedAgain(t *testing.T) {
	for name, back := range map[string]uint32{"given up": 2, "superseded": 1} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, carried{role.CCIS, false, io.EOF}) // v2 is given up, v3 comes into force
			askAll(t, s.world)
			s.reach(t)
			if got := s.meterHolds(role.CCIS); got != 3 {
				t.Fatalf("want v3 in force, got v%d", got)
			}
			s.put(role.CCIS, back)
			askAll(t, s.world)
			s.script = []carried{{role.CCIS, false, io.EOF}}
			s.reach(t)
			if got := s.meterHolds(role.CCIS); got != 5 {
				t.Errorf("want it found and changed to v5, got v%d", got)
			}
		})
	}
}

func TestARecoveryIsInTheRowsAndNotInATimerOfOneProcess(t *testing.T) {
	s := newScripted(t, carried{role.CCIS, false, io.EOF})
	askAll(t, s.world)
	s.put(role.CCIS, 9) // a key that nobody knows, for now
	if _, err := s.process().Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	var searching int
	for _, c := range s.changes {
		if c.Step == StepSearching {
			searching++
		}
	}
	if searching != 1 {
		t.Fatalf("want the search in the rows, got %d", searching)
	}
	s.put(role.CCIS, 1)
	s.reach(t) // by processes that were not there
}

func TestAProcessWhoseLockTimedOutSendsNothing(t *testing.T) {
	s := newScripted(t)
	askAll(t, s.world)
	s.fenced = true
	for range 3 {
		_, _ = s.process().Pass(t.Context()) // every write of it is refused, and said to be
	}
	if len(s.count) != 0 {
		t.Fatalf("keys were sent without the lease: %v", s.count)
	}
	s.fenced = false
	s.reach(t)
}

func TestSuccessOfTheTransferIsNoProofOfTheKey(t *testing.T) {
	s := newScripted(t, carried{role.CCIS, false, nil}, carried{role.CCLAN, false, nil}, carried{role.CCLOCALE, false, nil})
	askAll(t, s.world)
	s.reach(t)
	for _, r := range role.Associations() {
		if got := s.meterHolds(r); got != 3 {
			t.Errorf("%s: want v2 given up, whose transfer was said to have succeeded, and v3 in force; got v%d", r, got)
		}
	}
}

func TestEveryKindOfErrorLeadsToTheProof(t *testing.T) {
	kinds := map[string]error{
		"cut off": io.ErrUnexpectedEOF, "timed out": context.DeadlineExceeded, "stopped": context.Canceled, "refused": ErrRefused,
		"not entered": ErrEntry, "not opened": errors.New("something new"), "wrapped": fmt.Errorf("far away: %w", io.EOF),
	}
	for _, code := range []bus.FaultCode{bus.FaultRefused, bus.FaultExpired, bus.FaultNoMeter, bus.FaultNoKey, bus.FaultUnreachable, bus.FaultUnknown, bus.FaultKeyRefused, "new"} {
		kinds["fault "+string(code)] = &bus.Fault{Code: code}
	}
	for code := range 256 {
		kinds[fmt.Sprintf("action result %d", code)] = dlms.ActionResult(code)
	}
	for name, err := range kinds {
		for _, taken := range []bool{true, false} {
			s := newScripted(t)
			for _, r := range role.Associations() {
				s.script = append(s.script, carried{r, taken, err})
			}
			askAll(t, s.world)
			s.reach(t)
			for _, r := range role.Associations() {
				if got, want := s.meterHolds(r), map[bool]uint32{true: 2, false: 3}[taken]; got != want {
					t.Errorf("%s, taken %t: %s: want v%d, got v%d", name, taken, r, want, got)
				}
			}
		}
	}
}

func TestAMeterThatAnswersNotOKAndHasChangedTheKeyAllTheSameIsReached(t *testing.T) {
	s := newScripted(t)
	for _, r := range role.Associations() {
		s.script = append(s.script, carried{r, true, dlms.ActionOtherReason})
	}
	askAll(t, s.world)
	s.reach(t)
	for _, r := range role.Associations() {
		if got := s.meterHolds(r); got != 2 || s.count[r] != 1 {
			t.Errorf("%s: want v2, which the meter has, after one transfer; got v%d after %d", r, got, s.count[r])
		}
	}
}

// counting is a scripted world that notes which versions are tried, and lets only so many be tried before the line is cut.
type counting struct {
	*scripted
	tried []role.KeyRef
	left  int
}

// Opens implements Hand.
func (c *counting) Opens(ctx context.Context, keys []role.KeyRef) []error {
	out := make([]error, len(keys))
	for i, k := range keys {
		if out[i] = io.ErrUnexpectedEOF; c.left > 0 {
			c.left--
			c.tried = append(c.tried, k)
			out[i] = c.scripted.opens(k)
		}
	}
	return out
}

func TestASearchGoesOnWhereAnEarlierProcessLeftIt(t *testing.T) {
	s := &counting{scripted: newScripted(t), left: 1000}
	for range 5 { // to v6
		askAll(t, s.world)
		s.reach(t)
	}
	s.put(role.CCIS, 1)
	askAll(t, s.world)
	s.script, s.tried = []carried{{role.CCIS, false, io.EOF}}, nil
	for range 40 {
		s.left = 2 // of each process, and then the line is cut
		r := s.process()
		r.cfg.Hand = s
		if _, err := r.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(r.cfg.RetryMax * 2)
	}
	s.reach(t)
	var versions []uint32
	for _, k := range s.tried {
		if k.Role == role.CCIS {
			versions = append(versions, k.Version)
		}
	}
	if want := []uint32{7, 6, 7, 6, 5, 4, 3, 2, 1, 8}; !slices.Equal(versions, want) {
		t.Errorf("want each version tried once by the search, the newest first: %v, got %v", want, versions)
	}
}

func TestAKeyThatNoSearchFindsIsReplacedThroughTheKeyThatTheCentralSystemEntersWith(t *testing.T) {
	for _, r := range []role.Role{role.CCLAN, role.CCLOCALE} {
		s := newScripted(t)
		s.put(r, 99) // which nobody ever sent
		for mr := range s.meters {
			if mr.Role == r {
				if n, err := s.process().Search(t.Context(), []Change{{Meter: mr.Meter, Role: r, Reason: "test"}}); n != 1 || err != nil {
					t.Fatalf("want a search asked for, got %d, %v", n, err)
				}
			}
		}
		s.reach(t)
		if got := s.meterHolds(r); got != 2 {
			t.Errorf("%s: want a new version, got v%d", r, got)
		}
	}
}

func TestASearchThatFindsTheVersionInForceChangesNothing(t *testing.T) {
	s := newScripted(t)
	for mr := range s.meters {
		if _, err := s.process().Search(t.Context(), []Change{{Meter: mr.Meter, Role: mr.Role, Reason: "test"}}); err != nil {
			t.Fatal(err)
		}
	}
	s.reach(t)
	for _, r := range role.Associations() {
		if got := s.meterHolds(r); got != 1 || s.count[r] != 0 {
			t.Errorf("%s: want v1 and no transfer, got v%d after %d", r, got, s.count[r])
		}
	}
}

// flooded is a scripted world in which somebody has the meter write its main log full after its first change.
type flooded struct {
	*scripted
	from int // the transfer of CC_LOCALE from which on the event stays
}

// Shows implements Hand.
func (f *flooded) Shows(ctx context.Context, k MeterRole) (key.CheckValue, bool, error) {
	cv, logged, err := f.scripted.Shows(ctx, k)
	return cv, logged && f.count[role.CCLOCALE] >= f.from, err
}

func TestAKeyWhoseEventWasPushedOutOfTheLogIsReplacedAndNotOnItsWayForEver(t *testing.T) {
	f := &flooded{scripted: newScripted(t), from: 3}
	askAll(t, f.world)
	for range 40 {
		r := f.process()
		r.cfg.Hand = f
		if _, err := r.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.now = f.now.Add(r.cfg.RetryMax * 2)
	}
	f.reach(t)
	if got := f.meterHolds(role.CCLOCALE); got != 4 || f.count[role.CCLOCALE] != 3 {
		t.Errorf("want v4 after three transfers, got v%d after %d", got, f.count[role.CCLOCALE])
	}
	if got := f.meterHolds(role.CCIS); got != 2 {
		t.Errorf("CC_IS, which is proven otherwise: want v2, got v%d", got)
	}
}

func TestTheOtherKeysOfAMeterWhoseCCISWasSearchedForAreChanged(t *testing.T) {
	s := newScripted(t)
	askAll(t, s.world)
	s.reach(t) // v2 of all of them
	s.put(role.CCIS, 1)
	for mr := range s.meters {
		if mr.Role == role.CCIS {
			if _, err := s.process().Search(t.Context(), []Change{{Meter: mr.Meter, Role: mr.Role, Reason: "test"}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.reach(t)
	for _, r := range role.Associations() {
		if got := s.meterHolds(r); got != 3 {
			t.Errorf("%s: want v3, got v%d", r, got)
		}
	}
}
