package sim

import (
	"os"
	"testing"
)

// inMemory is a directory for worlds, in memory where the machine has such a place.
func inMemory(t testing.TB) string {
	t.Helper()
	root := ""
	if s, err := os.Stat("/dev/shm"); err == nil && s.IsDir() {
		root = "/dev/shm"
	}
	dir, err := os.MkdirTemp(root, "meterseal-sim-") //nolint:usetesting // TempDir cannot be put into memory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
