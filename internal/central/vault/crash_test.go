package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

var errCrash = errors.New("crash")

// crashing is a store in which the power fails at the n-th write. What the journal has by then, it has.
type crashing struct {
	*store.Store
	left int
}

func (c *crashing) write() error {
	c.left--
	if c.left < 0 {
		return errCrash
	}
	return nil
}

func (c *crashing) AddMeters(ctx context.Context, m []vault.MeterRow) error {
	return errors.Join(c.write(), c.Store.AddMeters(ctx, m))
}

func (c *crashing) AddKeys(ctx context.Context, k []vault.KeyRow) error {
	return errors.Join(c.write(), c.Store.AddKeys(ctx, k))
}

func (c *crashing) SetKeyStates(ctx context.Context, s []vault.StateChange) error {
	return errors.Join(c.write(), c.Store.SetKeyStates(ctx, s))
}

func (c *crashing) RaiseSendCounters(ctx context.Context, r []vault.CounterRow) error {
	return errors.Join(c.write(), c.Store.RaiseSendCounters(ctx, r))
}

func (c *crashing) AddDevice(ctx context.Context, d vault.DeviceRow) error {
	return errors.Join(c.write(), c.Store.AddDevice(ctx, d))
}

func (c *crashing) SetJournalPosition(ctx context.Context, p vault.Position) error {
	return errors.Join(c.write(), c.Store.SetJournalPosition(ctx, p))
}

func (c *crashing) PutMakers(ctx context.Context, m []vault.MakerRow) error {
	return errors.Join(c.write(), c.Store.PutMakers(ctx, m))
}

func (c *crashing) AddExports(ctx context.Context, e []vault.ExportRow) error {
	return errors.Join(c.write(), c.Store.AddExports(ctx, e))
}

func (c *crashing) AddHandouts(ctx context.Context, h []vault.Handout) error {
	return errors.Join(c.write(), c.Store.AddHandouts(ctx, h))
}

func (c *crashing) RaiseReceiveFloors(ctx context.Context, f []vault.FloorRow) ([]error, error) {
	raised, err := c.Store.RaiseReceiveFloors(ctx, f)
	return raised, errors.Join(c.write(), err)
}

func (c *crashing) LoseCounters(ctx context.Context, refs []role.KeyRef) error {
	return errors.Join(c.write(), c.Store.LoseCounters(ctx, refs))
}

// Durable fails after the commit: all is there, and nobody was told.
func (c *crashing) Durable(ctx context.Context, fn func(ctx context.Context) error) error {
	err := c.Store.Durable(ctx, fn)
	return errors.Join(err, c.write())
}

// crashWith puts a store in place of the vault's that fails at the n-th write. Before and after a line of the key journal are
// writes, too.
func (w *world) crashWith(n int) {
	w.t.Helper()
	_ = w.vault.Close()
	root, err := vault.Unseal(w.dir, nil)
	w.ok(err)
	c := &crashing{w.store, 1 << 30}
	w.vault, err = vault.Open(w.t.Context(), w.dir, root, c, w.log, vault.Options{
		Journal: w.journal, Block: 4, Crash: func(string) error { return c.write() },
	})
	w.ok(err)
	c.left = n
	clock := func() time.Time { return w.now }
	w.fleet = fleet.New(fleet.Journalled(w.store, w.vault, clock), w.log, clock, rand.Reader)
}

// inMemory keeps the files of a test in memory, where this machine has a place for that: it writes and syncs some thousand
// times, and its crashes are none of the machine's.
func inMemory(t *testing.T) {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm")
	}
}

// TestLaw5ACrashAtAnyWriteLosesNoMeter lets the power fail at every write of an import, an enrolment and a key
// change. Afterwards all of it is done over, and must come out as if nothing had happened.
func TestLaw5ACrashAtAnyWriteLosesNoMeter(t *testing.T) {
	inMemory(t)
	crashed := 0
	for n := 0; ; n++ {
		w := newWorld(t)
		meters := made(t, 2, shipment.ProfileHardened, 1)
		file := w.file("b1", meters)
		id, err := enrol.NewIdentity(enrol.Concentrator, dc, rand.Reader)
		w.ok(err)
		device, err := id.File(w.vault.Transport(), rand.Reader)
		w.ok(err)
		spent := map[dlms.InvocationCounter]bool{}

		w.crashWith(n)
		err = w.life(file, device, meters[0], spent)
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatalf("write %d: want the crash, got %v", n, err)
		}
		w.restart()
		if again := w.life(file, device, meters[0], spent); again != nil {
			t.Fatalf("write %d: doing it over: %v", n, again)
		}
		w.everyKeyOpens(meters)
		w.stop()
		if err == nil {
			break
		}
		crashed++
	}
	if crashed < 60 {
		t.Fatalf("the power failed %d times only", crashed)
	}
}

// life is what happens to a meter: import, enrolment of its concentrator, an association, a key change.
func (w *world) life(file []byte, device enrol.File, m shipment.Meter, spent map[dlms.InvocationCounter]bool) error {
	ctx := w.t.Context()
	report, err := w.vault.ImportShipment(ctx, by, bytes.NewReader(file))
	if err != nil {
		return err
	}
	if !report.Clean() {
		return errors.New(report.String())
	}
	if err := w.vault.EnrolDevice(ctx, by, device, device.Fingerprint()); err != nil {
		return err
	}
	if err := w.fleet.Assign(ctx, by, dc, []dlms.SystemTitle{m.Title}); err != nil {
		return err
	}
	g, err := w.vault.Generate(ctx, by, []vault.Target{{Meter: m.Title, Role: role.CCIS}})
	if err != nil {
		return err
	}
	k := []role.KeyRef{g[0].Info.Ref}
	if _, err := w.vault.Wrap(ctx, by, k); err != nil {
		return err
	}
	if err := w.vault.MarkSent(ctx, by, k); err != nil {
		return err
	}
	if err := w.vault.MarkActive(ctx, by, k, "test"); err != nil {
		return err
	}
	return w.spend(first(m, role.CCLAN), spent)
}

// spend draws counters over more than one block and refuses one that was drawn before.
func (w *world) spend(k role.KeyRef, spent map[dlms.InvocationCounter]bool) error {
	opened, err := w.vault.OpenFor(w.t.Context(), by, node, "test", []role.KeyRef{k})
	if err != nil {
		return err
	}
	if opened[0].Err != nil {
		return opened[0].Err
	}
	for range 20 {
		ic, err := opened[0].Use.LongTerm().Send.Next()
		if err != nil {
			return err
		}
		if spent[ic] {
			w.t.Fatalf("counter %d was handed out twice", ic)
		}
		spent[ic] = true
	}
	return nil
}

// everyKeyOpens takes every association key of every version that was ever sent.
func (w *world) everyKeyOpens(meters []shipment.Meter) {
	w.t.Helper()
	for _, m := range meters {
		all, err := w.vault.History(w.t.Context(), m.Title)
		w.ok(err)
		active := map[role.Role]int{}
		for _, k := range all {
			if k.State == vault.Active {
				active[k.Ref.Role]++
			}
			if k.State == vault.Pending || (k.Ref.Role != role.CCIS && k.Ref.Role != role.CCLAN) {
				continue
			}
			opened, err := w.vault.OpenFor(w.t.Context(), by, node, "test", []role.KeyRef{k.Ref})
			w.ok(err)
			w.ok(opened[0].Err)
		}
		for _, r := range []role.Role{role.CCC, role.CCLAN, role.CCLOCALE, role.CCIS} {
			if active[r] != 1 {
				w.t.Fatalf("%s has %d active versions of %s", m.Title, active[r], r)
			}
		}
	}
}
