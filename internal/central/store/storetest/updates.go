package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/store"
)

var errBoom = errors.New("boom")

func updateRollsBack(t *testing.T, w *world) {
	err := w.Update(t.Context(), func(ctx context.Context) error {
		if err := w.add(ctx, 0); err != nil {
			return err
		}
		_ = w.Update(ctx, func(context.Context) error { return errBoom }) // ignored, and still no commit
		return nil
	})
	if !errors.Is(err, errBoom) {
		t.Fatalf("want the inner error, got %v", err)
	}
	if n := w.has(t.Context(), 1); n != 0 {
		t.Fatalf("want nothing written, got %d titles", n)
	}
}

func updatePanics(t *testing.T, w *world) {
	func() {
		defer func() {
			if r := recover(); r != "x" {
				t.Errorf("want the panic of the function, got %v", r)
			}
		}()
		_ = w.Update(t.Context(), func(ctx context.Context) error { _ = w.add(ctx, 0); panic("x") })
	}()
	w.update(func(ctx context.Context) error { return w.add(ctx, 1) })
	if n := w.has(t.Context(), 2); n != 1 {
		t.Fatalf("want 1 title, got %d", n)
	}
}

func durableNested(t *testing.T, w *world) {
	err := w.Update(t.Context(), func(ctx context.Context) error {
		return w.Durable(ctx, func(context.Context) error { return nil })
	})
	if !errors.Is(err, store.ErrNested) {
		t.Fatalf("want ErrNested, got %v", err)
	}
}

func writesOutside(t *testing.T, w *world) {
	if err := w.add(t.Context(), 0); !errors.Is(err, store.ErrWriteOutsideUpdate) {
		t.Fatalf("without a transaction: want ErrWriteOutsideUpdate, got %v", err)
	}
	err := w.View(t.Context(), func(ctx context.Context) error { return w.add(ctx, 0) })
	if !errors.Is(err, store.ErrWriteOutsideUpdate) {
		t.Fatalf("in a view: want ErrWriteOutsideUpdate, got %v", err)
	}
}

func viewIsASnapshot(t *testing.T, w *world) {
	w.must(w.View(t.Context(), func(ctx context.Context) error {
		before := w.has(ctx, 1)
		w.update(func(ctx context.Context) error { return w.add(ctx, 0) })
		if after := w.has(ctx, 1); before != 0 || after != 0 {
			t.Errorf("want nothing in the view, got %d before the update and %d after it", before, after)
		}
		return nil
	}))
	if n := w.has(t.Context(), 1); n != 1 {
		t.Errorf("want 1 title after the view, got %d", n)
	}
}

func ownWrites(t *testing.T, w *world) {
	w.update(func(ctx context.Context) error {
		w.must(w.add(ctx, 0))
		return w.View(ctx, func(ctx context.Context) error {
			if n := w.has(ctx, 1); n != 1 {
				t.Errorf("want the update's own title, got %d", n)
			}
			return nil
		})
	})
}

// concurrent counts up by reading and writing from many goroutines: one update that is lost is one too few.
func concurrent(t *testing.T, w *world) {
	const workers, each = 20, 10
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				err := w.Durable(t.Context(), func(ctx context.Context) error {
					return w.add(ctx, w.has(ctx, workers*each))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := w.has(t.Context(), workers*each); n != workers*each {
		t.Errorf("want %d titles, got %d", workers*each, n)
	}
}

// grouped runs updates that are all in the queue before the first is taken, so that they share commits.
func (w *world) grouped(fns ...func(ctx context.Context) error) []error {
	w.t.Helper()
	errs := make([]error, len(fns))
	var queued, done sync.WaitGroup
	w.update(func(context.Context) error { // while it runs, the others can only queue
		for i, fn := range fns {
			queued.Add(1)
			done.Go(func() {
				queued.Done()
				errs[i] = w.Durable(w.t.Context(), fn)
			})
		}
		queued.Wait()
		return nil
	})
	done.Wait()
	return errs
}

func failedMember(t *testing.T, w *world) {
	var fns []func(ctx context.Context) error
	for i := range 30 {
		fns = append(fns, func(ctx context.Context) error {
			switch err := w.add(ctx, i); {
			case err != nil:
				return err
			case i%3 == 0:
				return errBoom
			case i%3 == 1:
				return w.add(ctx, i) // the title is in use: the database itself refuses
			}
			return nil
		})
	}
	for i, err := range w.grouped(fns...) {
		if (err == nil) != (i%3 == 2) || i%3 == 0 && !errors.Is(err, errBoom) {
			t.Errorf("update %d: got %v", i, err)
		}
	}
	if n := w.has(t.Context(), 30); n != 10 {
		t.Errorf("want the 10 titles of those that succeeded, got %d", n)
	}
}

func panickedMember(t *testing.T, w *world) {
	var caught atomic.Int32
	var fns []func(ctx context.Context) error
	for i := range 8 {
		fns = append(fns, func(ctx context.Context) error { return w.add(ctx, i) })
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if recover() != nil {
				caught.Add(1)
			}
		}()
		_ = w.Durable(t.Context(), func(ctx context.Context) error { _ = w.add(ctx, 9); panic("x") })
	})
	for i, err := range w.grouped(fns...) {
		if err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	}
	wg.Wait()
	if n := w.has(t.Context(), 10); n != 8 || caught.Load() != 1 {
		t.Errorf("want 8 titles and one panic, got %d and %d", n, caught.Load())
	}
}

func cancelled(t *testing.T, w *world) {
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	w.update(func(context.Context) error {
		go func() { result <- w.Durable(ctx, func(ctx context.Context) error { return w.add(ctx, 0) }) }()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("want the caller's own end, got %v", err)
		}
		return nil
	})
	if n := w.has(t.Context(), 1); n != 0 {
		t.Error("an update that nobody waited for was done")
	}
}

func beforeCommit(t *testing.T, w *world) {
	type batch struct{ values []any }
	var mu sync.Mutex
	var batches []batch
	write := func(ctx context.Context, values []any) error {
		mu.Lock()
		defer mu.Unlock()
		batches = append(batches, batch{values})
		return w.add(ctx, 100+len(batches))
	}
	var fns []func(ctx context.Context) error
	for i := range 20 {
		fns = append(fns, func(ctx context.Context) error {
			if err := w.BeforeCommit(ctx, "journal", i, write); err != nil {
				return err
			}
			if i%2 == 0 {
				return errBoom
			}
			return nil
		})
	}
	w.grouped(fns...)
	seen := map[any]int{}
	for _, b := range batches {
		for _, v := range b.values {
			seen[v]++
		}
	}
	for i := range 20 {
		if want := i % 2; seen[i] != want {
			t.Errorf("value %d: want it %d times, got %d", i, want, seen[i])
		}
	}
	if len(batches) > 10 || w.has(t.Context(), 200) != len(batches) {
		t.Errorf("want each batch's own write and few batches, got %d batches, %d writes", len(batches), w.has(t.Context(), 200))
	}
}

func beforeCommitFails(t *testing.T, w *world) {
	err := w.Update(t.Context(), func(ctx context.Context) error {
		w.must(w.add(ctx, 0))
		return w.BeforeCommit(ctx, "x", 1, func(context.Context, []any) error { return errBoom })
	})
	if !errors.Is(err, errBoom) || w.has(t.Context(), 1) != 0 {
		t.Errorf("want nothing committed and the error, got %v", err)
	}
}

func auditOfAFailed(t *testing.T, w *world) {
	var fns []func(ctx context.Context) error
	for i := range 20 {
		row := audit.Row{At: at, Actor: "a", Action: audit.Action(fmt.Sprintf("x.%d", i)), Body: []byte("{}")}
		fns = append(fns, func(ctx context.Context) error {
			if err := w.AppendAudit(ctx, []audit.Row{row}); err != nil {
				return err
			}
			switch rows, err := w.ListAudit(ctx, audit.Filter{Action: row.Action}); {
			case err != nil || i%2 == 0:
				return errors.Join(err, errBoom)
			case i%4 == 1 && len(rows) != 1:
				t.Errorf("an update does not see its own entry: got %d", len(rows))
			}
			return nil
		})
	}
	for i, err := range w.grouped(fns...) {
		if (err == nil) != (i%2 == 1) {
			t.Errorf("update %d: got %v", i, err)
		}
	}
	rows, err := w.UnnumberedAudit(t.Context(), 100)
	w.must(err)
	seen := map[audit.Action]int{}
	for _, r := range rows {
		seen[r.Action]++
	}
	for i := range 20 {
		if n := seen[audit.Action(fmt.Sprintf("x.%d", i))]; n != i%2 {
			t.Errorf("update %d: want %d entries, got %d", i, i%2, n)
		}
	}
	for _, bad := range []audit.Row{{At: at, Actor: "a\x00", Action: "b", Body: []byte("{}")}, {At: at, Actor: "a", Action: "\xff", Body: []byte("{}")}} {
		if err := w.Update(t.Context(), func(ctx context.Context) error { return w.AppendAudit(ctx, []audit.Row{bad}) }); err == nil {
			t.Errorf("%q, %q: want it refused", bad.Actor, bad.Action)
		}
	}
}

// takenInOneCommit: of two updates that share a commit one works under a lease that the other takes.
func takenInOneCommit(t *testing.T, w *world) {
	a, errA := w.As(t.Context(), store.NodeOptions{Name: "a", At: at})
	b, errB := w.As(t.Context(), store.NodeOptions{Name: "b", At: at})
	w.must(errors.Join(errA, errB))
	orders := map[string]bool{}
	for i := range 40 {
		n := []lease.Name{lease.Concentrator(title('D', i))}
		mine, err := a.AcquireLeases(t.Context(), "a", at, at.Add(ttl), n)
		w.must(err)
		var order string
		var wrote error
		ctx := lease.With(t.Context(), mine...)
		w.grouped2(func() {
			_, err := b.AcquireLeases(t.Context(), "b", at.Add(2*ttl), at.Add(3*ttl), n)
			w.must(err)
		}, func() {
			wrote = a.Update(ctx, func(ctx context.Context) error {
				order = "wrote"
				held, err := a.Leases(ctx, lease.KindConcentrator)
				if len(held) == 0 || held[len(held)-1].Owner != "a" {
					t.Errorf("an update under a lease of %+v", held)
				}
				return err
			})
		})
		if order == "" && !errors.Is(wrote, store.ErrFenced) || order != "" && wrote != nil {
			t.Fatalf("%q: got %v", order, wrote)
		}
		orders[order] = true
	}
	t.Logf("orders that came: %v", orders)
}

// grouped2 runs two functions, each of which queues an update, so that they share a commit more often than not.
func (w *world) grouped2(one, other func()) {
	w.t.Helper()
	var done sync.WaitGroup
	w.update(func(context.Context) error {
		done.Go(one)
		done.Go(other)
		time.Sleep(time.Millisecond)
		return nil
	})
	done.Wait()
}

// Volley measures many small durable updates at once: BenchmarkGroupCommit of either engine.
func Volley(b *testing.B, s *store.Store, workers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				var t dlms.SystemTitle
				copy(t[:], fmt.Sprintf("%08d", i))
				err := s.Durable(b.Context(), func(ctx context.Context) error { return s.AddNode(ctx, t, at) })
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

var _ fleet.Store = (*store.Store)(nil)
