package sim

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"

	"github.com/meterseal/meterseal/internal/defence"
)

// inMemory is a directory for worlds, in memory where the machine has such a place.
func inMemory(t testing.TB) string {
	t.Helper()
	root := ""
	if s, err := os.Stat("/dev/shm"); err == nil && s.IsDir() {
		root = "/dev/shm"
	}
	dir, err := os.MkdirTemp(root, "meterseal-sim-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

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

func TestOneSeed(t *testing.T) {
	var seed uint64 = 1
	if s := os.Getenv("SEED"); s != "" {
		fmt.Sscan(s, &seed)
	}
	without, _ := defence.Parse(os.Getenv("WITHOUT"))
	var log *slog.Logger
	if os.Getenv("DEBUG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r := runSeed(t, Options{Seed: seed, Keep: 4000, Without: without, Log: log})
	t.Log(r)
	if r.Failed() || testing.Verbose() {
		for _, l := range r.Record {
			fmt.Println(l)
		}
	}
}
