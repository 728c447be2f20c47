//go:build !race

package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meterseal/meterseal/internal/defence"
)

// Flags of the simulation, which scripts/sim.sh sets.
var (
	flagSeeds   = flag.Uint64("sim.seeds", 0, "how many seeds to run; 0 runs until -sim.changes")
	flagBase    = flag.Uint64("sim.base", 1, "the first seed")
	flagChanges = flag.Int("sim.changes", 300, "how many key changes to reach where no number of seeds is given")
	flagOut     = flag.String("sim.out", "", "a file for the summary, one JSON object")
	flagWithout = flag.String("sim.without", "", "a defence to switch off")
	flagProfile = flag.String("sim.profile", "", "hardened or linky; by the seed when empty")
	flagRecord  = flag.Bool("sim.record", false, "print the record of each seed")
	flagFind    = flag.Bool("sim.find", false, "find seeds that show what falls without each defence, and write them into docs/simulation.md")
	flagSealed  = flag.Uint64("sim.sealed", 5, "how many seeds lose all key journals; of the first 10 the sixth still loses meters (README, not yet)")
	flagLog     = flag.Bool("sim.log", false, "print what the parts log")
)

// runSeed runs one world in a bubble of its own.
func runSeed(t *testing.T, opt Options) (r Result) {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = inMemory(t)
	}
	synctest.Test(t, func(t *testing.T) {
		var err error
		if r, err = Run(t.Context(), opt); err != nil {
			t.Fatalf("seed %d: %v", opt.Seed, err)
		}
	})
	return r
}

// total is the sum over many seeds.
type total struct {
	Seeds          int            `json:"seeds"`
	KeyChanges     int            `json:"key_changes"`
	Faults         int            `json:"faults"`
	Lost           int            `json:"lost"`
	NoncesRepeated int            `json:"nonces_repeated"`
	RolledBack     int            `json:"rolled_back"`
	Outlived       int            `json:"associations_outlived"`
	Astray         int            `json:"astray"`
	FailedSeeds    []uint64       `json:"failed_seeds"`
	FaultKinds     map[string]int `json:"fault_kinds"`
}

func (s *total) add(r Result) {
	s.Seeds++
	s.KeyChanges += r.KeyChanges
	s.Faults += r.Faults
	s.Lost += r.Lost
	s.NoncesRepeated += r.NoncesRepeated
	s.RolledBack += r.RolledBack
	s.Outlived += r.Outlived
	s.Astray += r.Astray
	for k, n := range r.FaultKinds {
		s.FaultKinds[k] += n
	}
	if r.Failed() {
		s.FailedSeeds = append(s.FailedSeeds, r.Seed)
	}
}

// queue hands out seeds to the workers until there is enough.
type queue struct {
	mu    sync.Mutex
	next  uint64
	sum   total
	began time.Time
	told  time.Time
}

func newQueue() *queue {
	return &queue{next: *flagBase, began: time.Now(), sum: total{FailedSeeds: []uint64{}, FaultKinds: map[string]int{}}}
}

func (q *queue) take() (uint64, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.sum.FailedSeeds) >= enoughFailed {
		return 0, false
	}
	if *flagSeeds > 0 && q.next >= *flagBase+*flagSeeds || *flagSeeds == 0 && q.sum.KeyChanges >= *flagChanges {
		return 0, false
	}
	q.next++
	return q.next - 1, true
}

func (q *queue) done(r Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sum.add(r)
	if now := time.Now(); now.Sub(q.told) > 5*time.Second {
		q.told = now
		fmt.Fprintf(os.Stderr, "sim: %d seeds, %d key changes, %d faults, %d lost, %d nonces repeated, %d rolled back, after %s\n",
			q.sum.Seeds, q.sum.KeyChanges, q.sum.Faults, q.sum.Lost, q.sum.NoncesRepeated, q.sum.RolledBack, now.Sub(q.began).Round(time.Second))
	}
}

func options(t *testing.T, seed uint64) Options {
	t.Helper()
	without, ok := defence.Parse(*flagWithout)
	if !ok {
		t.Fatalf("no such defence: %q", *flagWithout)
	}
	opt := Options{Seed: seed, Without: without, Profile: *flagProfile, Keep: 400}
	if *flagRecord {
		opt.Keep = 1 << 20
	}
	if *flagLog {
		opt.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return opt
}

// TestNoMeterIsLost is the simulation: laws 4, 5 and 6 under faults.
func TestNoMeterIsLost(t *testing.T) {
	debug.SetGCPercent(400) // worlds are small and short, and die as a whole
	q := newQueue()
	t.Run("seeds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprintf("worker %d", i), func(t *testing.T) {
				t.Parallel()
				root := inMemory(t)
				for seed, ok := q.take(); ok; seed, ok = q.take() {
					t.Run(fmt.Sprint(seed), func(t *testing.T) {
						r := Result{Seed: seed, Problems: []string{"it did not come to its end"}}
						defer func() { q.done(r) }() // also where the test of the seed was given up
						opt := options(t, seed)
						opt.Root = root
						r = oneSeed(t, opt)
					})
				}
			})
		}
	})
	if q.sum.KeyChanges == 0 || q.sum.Faults == 0 {
		t.Errorf("nothing was tried: %+v", q.sum)
	}
	if q.sum.KeyChanges >= enough {
		for _, k := range faultKinds() {
			if q.sum.FaultKinds[k] == 0 {
				t.Errorf("of %d faults none was %q: what is never injected proves nothing", q.sum.Faults, k)
			}
		}
	}
	if *flagOut == "" {
		return
	}
	slices.Sort(q.sum.FailedSeeds)
	b, err := json.Marshal(q.sum)
	if err == nil {
		err = os.WriteFile(*flagOut, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// enoughFailed is how many seeds may fail before no more are run: what is broken for all of them has no end otherwise.
const enoughFailed = 100

// enough is how many key changes have seen every fault.
const enough = 20_000

// faultKinds are all faults that a world may draw.
func faultKinds() []string {
	kinds := []string{
		"meter power cut", "meter restarted", "central system restarted", "concentrator restarted", "clock of a concentrator jumps",
		"clock of the central system jumps", "an old request is replayed by a stranger", "message up lost", "acknowledgement lost",
		"meter moved to another concentrator", "concentrator stolen and evicted", "an evicted concentrator replays all that it saw",
		"a node is paused in the middle of a step", "a process that was taken for dead goes on beside its successor",
		"lie: an old order carried out again", "lie: an order carried out after its deadline",
	}
	for _, point := range []string{"commit, before", "commit, after", "journal, before", "journal, after"} {
		kinds = append(kinds, "central system dies: "+point)
	}
	for _, list := range [][]odds{lineFaults, wanFaults, lies, keyFaults} {
		for _, o := range list {
			kinds = append(kinds, o.fault)
		}
	}
	for _, p := range pasts {
		kinds = append(kinds, p.fault)
	}
	return kinds
}

func oneSeed(t *testing.T, opt Options) Result {
	r := runSeed(t, opt)
	if r.Failed() {
		t.Errorf("%s\nagain: make sim SEEDS=1 SEED_BASE=%d", r, r.Seed)
		fmt.Fprintf(os.Stderr, "FAILED: %s\n", r)
	}
	if *flagRecord || r.Failed() {
		for _, l := range r.Record {
			_, _ = io.WriteString(os.Stderr, l+"\n")
		}
	}
	return r
}

func TestASeedReplaysExactly(t *testing.T) {
	for _, seed := range []uint64{1, 2, 4, 9, 12, 14, 15, 23} {
		a, b := runSeed(t, Options{Seed: seed, Keep: 1 << 20}), runSeed(t, Options{Seed: seed, Keep: 1 << 20})
		if a.Trace != b.Trace || a.KeyChanges != b.KeyChanges {
			t.Errorf("seed %d: trace %s and %s, %d and %d key changes", seed, a.Trace, b.Trace, a.KeyChanges, b.KeyChanges)
			i := 0
			for i = range min(len(a.Record), len(b.Record)) {
				if a.Record[i] != b.Record[i] {
					break
				}
			}
			for _, l := range a.Record[max(0, i-12):i] {
				t.Log(l)
			}
			t.Errorf("they part at line %d: %q and %q", i, a.Record[i], b.Record[i])
		}
	}
}
