//go:build !race

package sim

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/meterseal/meterseal/internal/defence"
)

// finding is what is broken when a defence is switched off. Which seed shows it stands in the table of docs/simulation.md
// alone: a change of what a world draws gives every seed another life, and make sim-defences finds others and writes them
// there.
type finding struct {
	off string
	law func(Result) bool
	// alone says that the law may be broken a little with all defences in their place, too: then the seed has to show that
	// it is not.
	alone bool
}

func lost(r Result) bool     { return r.Lost > 0 }
func repeated(r Result) bool { return r.NoncesRepeated > 0 }
func outlived(r Result) bool { return r.Outlived > 0 }

// stuck is a meter that is lost, or a change of one that does not end when everything else is well.
func stuck(r Result) bool { return r.Lost > 0 || len(r.Problems) > 0 }

// forgotten is what a database that went back costs: meters, or counters.
func forgotten(r Result) bool { return r.Lost > 0 || r.NoncesRepeated > 0 }

// astray is a meter that has another key than the one in force when all changes are done: it takes a roll call to find it.
func astray(r Result) bool { return r.Astray > 0 || r.Lost > 0 }

func findings() []finding {
	return []finding{
		{"durable-before-send", lost, false},
		{"search", stuck, false},
		{"fencing", astray, true},
		{"fencing,journal", repeated, false},
		{"counter-reservation", repeated, false},
		{"journal", forgotten, false},
		{"fingerprints", repeated, false},
		{"closing-old-associations", outlived, false},
		{"authenticate-then-count", lost, false},
	}
}

const page = "../../docs/simulation.md"

// row finds the row of a finding in the page, and the seed in it.
func (f finding) row() *regexp.Regexp {
	return regexp.MustCompile("(?m)^(\\| `" + regexp.QuoteMeta(f.off) + "` \\| )([0-9]+)( \\|)")
}

func (f finding) seed(t *testing.T, text []byte) uint64 {
	t.Helper()
	m := f.row().FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has no row with the seed of `%s`", page, f.off)
	}
	seed, err := strconv.ParseUint(string(m[2]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// shows reports whether a seed shows the finding.
func (f finding) shows(t *testing.T, seed uint64) (Result, bool) {
	t.Helper()
	without, ok := defence.Parse(f.off)
	if !ok {
		t.Fatalf("no such defence: %s", f.off)
	}
	r := runSeed(t, Options{Seed: seed, Without: without})
	return r, f.law(r) && (!f.alone || !f.law(runSeed(t, Options{Seed: seed})))
}

// search looks for the first seed that shows it, from one on.
func (f finding) search(t *testing.T, from uint64, most int) (uint64, bool) {
	t.Helper()
	for seed := from; seed < from+uint64(most); seed++ {
		if _, ok := f.shows(t, seed); ok {
			return seed, true
		}
		if *flagFind {
			fmt.Fprintf(os.Stderr, "sim: without %s: %d seeds\n", f.off, seed-from+1)
		}
	}
	return 0, false
}

func TestWithoutADefenceTheSimulationFindsTheLoss(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings() {
		t.Run(f.off, func(t *testing.T) {
			if r, ok := f.shows(t, f.seed(t, text)); !ok {
				t.Errorf("no longer found: %s; make sim-defences looks for another seed", r)
			}
		})
	}
}

// TestFindSeeds puts seeds that show what is found into the page, with -sim.find alone.
func TestFindSeeds(t *testing.T) {
	if !*flagFind {
		return
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings() {
		seed := f.seed(t, text)
		if _, ok := f.shows(t, seed); !ok {
			if seed, ok = f.search(t, 1, 600); !ok {
				t.Errorf("without %s: nothing is found in 600 seeds", f.off)
				continue
			}
		}
		fmt.Fprintf(os.Stderr, "sim: without %s: seed %d\n", f.off, seed)
		text = f.row().ReplaceAll(text, []byte(fmt.Sprintf("${1}%d${3}", seed)))
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEveryDefenceIsInTheTable(t *testing.T) {
	var off defence.Set
	for _, f := range findings() {
		s, _ := defence.Parse(f.off)
		off |= s
	}
	for _, d := range defence.All() {
		if !off.Off(d) {
			t.Errorf("%s is not in the table", d)
		}
	}
}
