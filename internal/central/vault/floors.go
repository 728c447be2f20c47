package vault

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// errFloorsUnfinished is for those who waited for a commit that was cut.
var errFloorsUnfinished = errors.New("vault: receive floor: the commit was not finished")

// floors makes receive floors durable. Those that are raised at one time share one commit, as one part of it: the answers
// of many meters come at once, and each waits until the counter that it came with is on the disk.
type floors struct {
	store Store
	turn  chan struct{} // holds a value while somebody commits

	mu      sync.Mutex
	waiting []*floorRaise
}

// floorRaise is one of them.
type floorRaise struct {
	row  FloorRow
	done chan struct{}
	err  error
}

func newFloors(s Store) *floors { return &floors{store: s, turn: make(chan struct{}, 1)} }

// raise returns when the floor is durable, or was refused.
func (f *floors) raise(row FloorRow) error {
	r := &floorRaise{row: row, done: make(chan struct{})}
	f.mu.Lock()
	f.waiting = append(f.waiting, r)
	f.mu.Unlock()
	select {
	case <-r.done:
	case f.turn <- struct{}{}:
		f.lead(r)
	}
	return r.err
}

// lead commits the floors that wait when the transaction has begun, r among them unless it was served before. The caller
// has taken the turn, and lead gives it back.
func (f *floors) lead(r *floorRaise) {
	defer func() { <-f.turn }()
	select {
	case <-r.done:
		return
	default:
	}
	ctx, cancel := background()
	defer cancel()
	var batch []*floorRaise
	var refused []error
	err := errFloorsUnfinished
	defer func() { // also where the store panics
		if len(batch) == 0 {
			batch = f.take(r)
		}
		for i, b := range batch {
			if b.err = err; err == nil {
				b.err = refused[i]
			}
			close(b.done)
		}
	}()
	err = f.store.Durable(ctx, func(ctx context.Context) (err error) {
		batch = f.take(nil)
		rows := make([]FloorRow, len(batch))
		for i, b := range batch {
			rows[i] = b.row
		}
		refused, err = f.store.RaiseReceiveFloors(ctx, rows)
		return err
	})
}

// take takes all that wait out of the queue, or only one of them.
func (f *floors) take(only *floorRaise) []*floorRaise {
	f.mu.Lock()
	defer f.mu.Unlock()
	if only == nil {
		all := f.waiting
		f.waiting = nil
		return all
	}
	f.waiting = slices.DeleteFunc(f.waiting, func(r *floorRaise) bool { return r == only })
	return []*floorRaise{only}
}
