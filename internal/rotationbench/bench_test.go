package rotationbench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/store/pgtest"
)

var flagMeters = flag.Int("rotation.meters", 100_000, "how many meters the fleet has; the published figures are for 100,000")

var (
	cluster pgtest.Cluster
	worlds  = fleets{}
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if err := errors.Join(worlds.close(), cluster.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// fleets are the worlds that several benchmarks share: a fleet takes minutes to import.
type fleets map[string]*world

// of returns the world with that many meters on an engine, whose first live meters can be asked something.
func (f fleets) of(tb testing.TB, engine string, s size) *world {
	tb.Helper()
	name := fmt.Sprintf("%s %+v", engine, s)
	if w := f[name]; w != nil {
		return w
	}
	url := ""
	if engine == "postgres" {
		var err error
		if url, err = cluster.Keep(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	begun := time.Now()
	w, err := newWorld(context.WithoutCancel(tb.Context()), url, s)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("%s: a fleet of %d meters was made ready in %s", engine, s.meters, time.Since(begun).Round(time.Second))
	f[name] = w
	return w
}

func (f fleets) close() error {
	var errs []error
	for name, w := range f {
		errs = append(errs, w.close())
		delete(f, name)
	}
	return errors.Join(errs...)
}

func engines(b *testing.B, run func(b *testing.B, engine string)) {
	b.Helper()
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) { run(b, engine) })
	}
}

// BenchmarkRotation measures complete rotations of CC_LAN: asked for, generated, journalled, sealed to the concentrator,
// wrapped, sent in an association of the central system's own, proven by another one under the new key, told to the
// concentrator, with every audit entry numbered. The central system runs as it always does.
func BenchmarkRotation(b *testing.B) {
	engines(b, func(b *testing.B, engine string) {
		w := worlds.of(b, engine, size{*flagMeters, *flagMeters})
		stop := w.run(b)
		w.measure(b, func(ctx context.Context, stations []int, n int) error {
			return errors.Join(w.ask(ctx, stations, n), w.finish(ctx))
		})
		stop()
	})
}

// BenchmarkRotationFloor measures the same rows and the same commits without a key, in the same database.
func BenchmarkRotationFloor(b *testing.B) {
	engines(b, func(b *testing.B, engine string) {
		w := worlds.of(b, engine, size{*flagMeters, *flagMeters})
		w.measure(b, w.floorOf)
	})
}

// measure does something with b.N meters, those of a fleet one after the other, and round again.
func (w *world) measure(b *testing.B, do func(ctx context.Context, stations []int, n int) error) {
	b.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(central.GCPercent)) // as `meterseal central run` does
	ctx := b.Context()
	var used cpu
	b.ResetTimer()
	b.StopTimer()
	for left := b.N; left > 0; {
		n := min(left, len(w.rows))
		stations, err := w.some(ctx, n)
		if err == nil {
			err = w.greeted(ctx)
		}
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC() // what was made ready is not what is measured
		before := spent(b)
		b.StartTimer()
		err = do(ctx, stations, n)
		b.StopTimer()
		after := spent(b)
		used.own, used.server = used.own+after.own-before.own, used.server+after.server-before.server
		if err != nil {
			b.Fatal(err)
		}
		left -= n
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rotations/s")
	b.ReportMetric(float64(used.own.Microseconds())/float64(b.N), "cpu-us/rotation")
	if used.server > 0 {
		b.ReportMetric(float64(used.server.Microseconds())/float64(b.N), "server-cpu-us/rotation")
	}
}

// cpu is processor time: of this process, which is all of the parts, and of PostgreSQL.
type cpu struct{ own, server time.Duration }

func spent(b *testing.B) (c cpu) {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	c.own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	if pid := cluster.PID(); pid != 0 {
		c.server = serverSpent(pid)
	}
	return c
}

// serverSpent is the processor time of a process, its children, and those that have ended. 0 where /proc does not tell.
func serverSpent(pid int) (sum time.Duration) {
	const tick = 10 * time.Millisecond // of /proc
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		var state string
		var parent, skip int
		var n [4]int64
		_, err = fmt.Sscan(rest, &state, &parent, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &skip, &n[0], &n[1], &n[2], &n[3])
		own := filepath.Base(filepath.Dir(f)) == strconv.Itoa(pid)
		if err != nil || parent != pid && !own {
			continue
		}
		if !own {
			n[2], n[3] = 0, 0
		}
		for _, ticks := range n {
			sum += time.Duration(ticks) * tick
		}
	}
	return sum
}
