package rotationbench

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/role"
)

var flagLarge = flag.Int("rotation.large", 1_000_000, "how many meters the larger fleet of BenchmarkRotationMemory has")

// live is how many meters of a fleet can be asked something, in the benchmark of the memory.
const live = 2000

// BenchmarkRotationMemory measures the time of a rotation and the memory of the central system in a small fleet and in a
// large one, on SQLite. The metrics are what is in use after a collection, without concentrators and meters: open-MB before
// any work, worked-MB after the rotations; rss-MB is what the process then has of the machine. Most of the fleet is rows alone.
func BenchmarkRotationMemory(b *testing.B) {
	for _, meters := range []int{10_000, *flagLarge} {
		b.Run(fmt.Sprint(meters), func(b *testing.B) {
			w := worlds.of(b, "sqlite", size{meters, live})
			before := inUse()
			stop := w.run(b)
			w.measure(b, func(ctx context.Context, stations []int, n int) error {
				return errors.Join(w.ask(ctx, stations, n), w.finish(ctx))
			})
			if err := w.forget(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(before, "open-MB")
			b.ReportMetric(inUse(), "worked-MB")
			if rss := resident(); rss > 0 {
				b.ReportMetric(rss, "rss-MB")
			}
			stop()
			if err := worlds.close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// inUse is the heap in use after a collection, in MB.
func inUse() float64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// resident is the memory that the process has of the machine, SQLite's among it, once it has given back what it does not
// use; 0 where /proc does not tell.
func resident() float64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(text), &total, &pages); err != nil {
		return 0
	}
	return float64(pages) * float64(os.Getpagesize()) / 1e6
}

// forget ends all concentrators and meters.
func (w *world) forget() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for t, s := range w.stations {
		errs = append(errs, s.c.Close())
		delete(w.stations, t)
	}
	return errors.Join(errs...)
}

// fill adds the rows of meters that are never asked anything, each with a key of each role, and of their concentrators. What
// stands for their keys opens for nobody.
func (w *world) fill(ctx context.Context, first, end int) error {
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "store", store.FileName)+"?_pragma=synchronous(OFF)&_pragma=journal_mode(WAL)&_pragma=cache_size(-200000)")
	if err != nil {
		return err
	}
	defer db.Close()
	const each = 50_000
	for ; first < end; first += each {
		if err := fillSome(ctx, db, first, min(first+each, end)); err != nil {
			return err
		}
	}
	return nil
}

func fillSome(ctx context.Context, db *sql.DB, first, end int) error {
	const (
		numbers = `WITH RECURSIVE n (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) `
		meter   = `unhex(printf('4D5358%010X', i))`
		device  = `unhex(printf('4D5344%010X', i / 50))`
	)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing
	statements := []string{
		`INSERT INTO titles (title, kind, created_at) ` + numbers + `SELECT DISTINCT ` + device + `, 'concentrator', 1 FROM n`,
		`INSERT INTO devices (title, kind, nkey_public, fingerprint, state, enrolled_at) ` + numbers + `SELECT DISTINCT ` + device + `, 'concentrator', '', '', 'enrolled', 1 FROM n`,
		`INSERT INTO titles (title, kind, created_at) ` + numbers + `SELECT ` + meter + `, 'meter', 1 FROM n`,
		`INSERT INTO meters (title, maker, batch, profile, suite, concentrator, state, enrolled_at) ` + numbers +
			`SELECT ` + meter + `, 'MSX', 'filled', 'hardened', 0, ` + device + `, 'enrolled', 1 FROM n`,
	}
	for r := role.CCC; r <= role.CCIS; r++ {
		statements = append(statements, `INSERT INTO keys (meter, role, version, suite, term, sealed, mac, check_value, fingerprint, state,
			created_at, sent_at, active_at, ended_at) `+numbers+`SELECT `+meter+`, `+fmt.Sprint(int(r))+`, 1, 0, 1, zeroblob(24), zeroblob(16),
			x'000000', randomblob(16), 'active', 1, 1, 1, 0 FROM n`)
	}
	statements = append(statements, `INSERT INTO fingerprints (fingerprint) SELECT fingerprint FROM keys
		WHERE meter >= unhex(printf('4D5358%010X', ?1)) AND meter < unhex(printf('4D5358%010X', ?2)) ORDER BY fingerprint`)
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s, first, end); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return tx.Commit()
}
