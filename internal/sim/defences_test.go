//go:build !race

package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/meterseal/meterseal/internal/defence"
)

// finding is what a seed shows when a defence is switched off.
type finding struct {
	off  string
	seed uint64
	// law is what is broken then.
	law func(Result) bool
}

func lost(r Result) bool     { return r.Lost > 0 }
func repeated(r Result) bool { return r.NoncesRepeated > 0 }
func outlived(r Result) bool { return r.Outlived > 0 }

// stuck is a meter that is lost, or a change of one that does not end when everything else is well.
func stuck(r Result) bool { return r.Lost > 0 || len(r.Problems) > 0 }

// forgotten is what a database that went back costs: meters, or counters.
func forgotten(r Result) bool { return r.Lost > 0 || r.NoncesRepeated > 0 }

// findings is the table of docs/simulation.md. A change of what a world draws gives every seed another life: then the
// test names a seed that finds it again.
func findings() []finding {
	return []finding{
		{"durable-before-send", 4, lost},
		{"search", 3, stuck},
		{"fencing,journal", 5, repeated},
		{"counter-reservation", 4, repeated},
		{"journal", 6, forgotten},
		{"fingerprints", 7, repeated},
		{"closing-old-associations", 5, outlived},
		{"authenticate-then-count", 4, lost},
	}
}

func TestWithoutADefenceTheSimulationFindsTheLoss(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings() {
		t.Run(f.off, func(t *testing.T) {
			if row := fmt.Sprintf("| `%s` | %d |", f.off, f.seed); !strings.Contains(string(page), row) {
				t.Errorf("docs/simulation.md has no row that begins %q", row)
			}
			without, ok := defence.Parse(f.off)
			if !ok {
				t.Fatalf("no such defence: %s", f.off)
			}
			if r := runSeed(t, Options{Seed: f.seed, Without: without}); !f.law(r) {
				t.Errorf("seed %d no longer finds it: %s; %s", f.seed, r, another(t, f, without))
			}
		})
	}
}

// another looks for a seed that does.
func another(t *testing.T, f finding, without defence.Set) string {
	t.Helper()
	for seed := uint64(1); seed <= 20; seed++ {
		if f.law(runSeed(t, Options{Seed: seed, Without: without})) {
			return fmt.Sprintf("seed %d does: put it into the table here and in docs/simulation.md", seed)
		}
	}
	return "nor does any of the first 20"
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
