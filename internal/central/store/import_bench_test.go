package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/shipment"
)

const (
	oldMeters  = 1_000_000 // in the store beforehand
	oneFile    = 24_000    // meters in a shipment
	firstFresh = 10_000_001
)

// importing is a vault over a store that holds a million meters.
type importing struct {
	b     *testing.B
	store *store.Store
	vault *vault.Software
	log   *audit.Log
	maker shipment.MakerKey
	next  uint64
}

func (i *importing) must(err error) {
	i.b.Helper()
	if err != nil {
		i.b.Fatal(err)
	}
}

func newImporting(b *testing.B) *importing {
	b.Helper()
	i := &importing{b: b, next: firstFresh}
	dir := b.TempDir()
	s, err := store.Open(b.Context(), dir, store.Options{})
	i.must(err)
	i.must(s.Close())
	i.fill(filepath.Join(dir, store.FileName))
	i.store, err = store.Open(b.Context(), dir, store.Options{})
	i.must(err)
	b.Cleanup(func() { _ = i.store.Close() })
	root, err := vault.Init(filepath.Join(dir, "vault"), vault.InitOptions{Rand: rand.Reader})
	i.must(err)
	i.log = audit.New(i.store, audit.Options{Signer: root.Signer()})
	i.vault, err = vault.Open(b.Context(), filepath.Join(dir, "vault"), root, i.store, i.log, vault.Options{})
	i.must(err)
	b.Cleanup(func() { _ = i.vault.Close() })
	i.maker, err = shipment.NewMakerKey(rand.Reader, "MSL")
	i.must(err)
	i.must(i.vault.AddMaker(b.Context(), "bench", i.maker.Public(), i.maker.Public().Fingerprint()))
	return i
}

// fill puts a million meters of four keys each into the database, with the statements of a bulk load. Their keys open
// nowhere; nobody tries.
func (i *importing) fill(path string) {
	start := time.Now()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=cache_size(-500000)")
	i.must(err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	numbers := fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)`, oldMeters)
	const title = `unhex(printf('4D534C%010X', i))`
	for _, statement := range []string{
		`INSERT INTO titles (title, kind, created_at) ` + numbers + ` SELECT ` + title + `, 'meter', 1 FROM n`,
		`INSERT INTO meters (title, maker, batch, profile, suite, state, enrolled_at) ` + numbers + ` SELECT ` + title + `, 'MSL', 'old', 'hardened', 0, 'enrolled', 1 FROM n`,
		`INSERT INTO keys (meter, role, version, suite, term, sealed, mac, check_value, fingerprint, state, created_at, sent_at, active_at, ended_at)
			SELECT m.title, r.column1, 1, 0, 1, randomblob(24), randomblob(16), randomblob(3), randomblob(16), 'active', 1, 0, 1, 0
			FROM meters m, (VALUES (1), (2), (3), (4)) r`,
		`INSERT INTO fingerprints (fingerprint) SELECT fingerprint FROM keys ORDER BY fingerprint`,
		`PRAGMA wal_checkpoint(TRUNCATE)`,
	} {
		_, err := db.ExecContext(context.Background(), statement)
		i.must(err)
	}
	i.b.Logf("%d meters filled in %s", oldMeters, time.Since(start).Round(time.Second))
}

// shipped makes a shipment of meters that nobody has seen.
func (i *importing) shipped() []byte {
	meters, err := shipment.Generate(rand.Reader, "MSL", oneFile, shipment.ProfileHardened, i.next)
	i.must(err)
	var file bytes.Buffer
	i.must(shipment.Write(&file, rand.Reader, i.maker, fmt.Sprint("bench ", i.next), meters, i.vault.Transport()))
	i.next += oneFile
	return file.Bytes()
}

// floor inserts rows of the same kinds and sizes, in one statement for many rows and a commit for as many as the import
// makes: no file, no keys, no look at what is there, no journal and no audit log.
func (i *importing) floor() {
	const batch = 8000
	meters, err := shipment.Generate(rand.Reader, "MSL", 1, shipment.ProfileHardened, 1)
	i.must(err)
	at := time.Now()
	for left := oneFile; left > 0; left -= batch {
		i.must(i.store.Durable(i.b.Context(), func(ctx context.Context) error {
			rows := make([]vault.MeterRow, min(batch, left))
			var keys []vault.KeyRow
			for n := range rows {
				t, err := shipment.Title("MSL", i.next)
				if err != nil {
					return err
				}
				i.next++
				rows[n] = vault.MeterRow{Title: t, Maker: "MSL", Batch: "floor", Profile: shipment.ProfileHardened, EnrolledAt: at}
				for _, k := range meters[0].Keys() {
					row := vault.KeyRow{Term: 1, Sealed: make([]byte, 24), MAC: make([]byte, 16), State: vault.Active, CreatedAt: at, ActiveAt: at}
					row.Ref.Meter, row.Ref.Role, row.Ref.Version = t, k.Role, 1
					_, _ = rand.Read(row.Fingerprint[:])
					keys = append(keys, row)
				}
			}
			if err := i.store.AddMeters(ctx, rows); err != nil {
				return err
			}
			return i.store.AddKeys(ctx, keys)
		}))
	}
}

// processorTime is what this process has used, in user and system mode.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkImport imports shipments into a SQLite store that holds a million meters: decryption, signature, the search for
// duplicates, journal and audit log included. Beside it, in turns, the floor.
func BenchmarkImport(b *testing.B) {
	i := newImporting(b)
	var took, floor, used, floorUsed time.Duration
	meters := 0
	for b.Loop() {
		b.StopTimer()
		file := i.shipped()
		cpu, start := processorTime(), time.Now()
		b.StartTimer()
		r, err := i.vault.ImportShipment(b.Context(), "bench", bytes.NewReader(file))
		b.StopTimer()
		took, used = took+time.Since(start), used+processorTime()-cpu
		if err != nil || r.Imported != oneFile || !r.Clean() {
			b.Fatal(r, err)
		}
		meters += oneFile
		start, cpu = time.Now(), processorTime()
		i.floor()
		floor, floorUsed = floor+time.Since(start), floorUsed+processorTime()-cpu
		b.StartTimer()
	}
	b.ReportMetric(float64(meters)/took.Seconds(), "meters/s")
	b.ReportMetric(float64(meters)/floor.Seconds(), "floor-meters/s")
	b.ReportMetric(float64(used.Microseconds())/float64(meters), "cpu-us/meter")
	b.ReportMetric(float64(floorUsed.Microseconds())/float64(meters), "floor-cpu-us/meter")
	b.ReportMetric(0, "ns/op")
}
