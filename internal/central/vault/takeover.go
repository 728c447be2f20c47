package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// ErrWhoseJournal is returned for a journal of this vault that no node of the store can be told to have written.
var ErrWhoseJournal = errors.New("key journal: of this vault, and it cannot be told which node's: it says no name, and no node's place is in it")

// TakenOver says what TakeOver did.
type TakenOver struct {
	// Batches is how many batches the journals had beyond the store.
	Batches int `json:"batches"`
	// Lost are the journals that the store knows and that were not given.
	Lost []LostJournal `json:"lost,omitempty"`
}

// TakeOver brings a store that was taken back, by a restore or a fail-over, to what the key journals of its nodes have: all
// of them together, for one goes on from what another has. The journals are read and not changed. Nothing is taken over
// unless all of them are sound, of this vault and of this store's history, and not older than it. A journal that is lost
// is in the answer; the vault must then be sealed, which SealUp does.
//
// No node may be at work on the store meanwhile.
func TakeOver(ctx context.Context, hold Hold, store Store, log *audit.Log, now func() time.Time, paths []string) (TakenOver, error) {
	v := &Software{keys: hold, store: store, audit: log, now: now, log: slog.New(slog.DiscardHandler)}
	places, err := store.JournalPlaces(ctx)
	if err != nil {
		return TakenOver{}, fmt.Errorf("take over the key journals: %w", err)
	}
	var t TakenOver
	ends := map[string]Position{}
	var lists [][][]record
	for _, path := range paths {
		node, end, batches, err := readOver(path, hold.ID(), places)
		if err != nil {
			return TakenOver{}, fmt.Errorf("take over the key journals: %w", err)
		}
		if _, twice := ends[node]; twice {
			return TakenOver{}, fmt.Errorf("take over the key journals: %w: %s: a second journal of node %q", ErrJournalForeign, path, node)
		}
		ends[node] = end
		lists = append(lists, batches)
		t.Batches += len(batches)
	}
	for _, node := range slices.Sorted(maps.Keys(places)) {
		if _, given := ends[node]; !given {
			t.Lost = append(t.Lost, LostJournal{node, places[node].Bytes})
		}
	}
	err = store.Durable(ctx, func(ctx context.Context) error {
		if err := v.replay(ctx, merge(lists)); err != nil {
			return err
		}
		for node, p := range ends {
			if err := store.SetJournalPlace(ctx, node, p); err != nil {
				return err
			}
		}
		return v.tellReplayed(ctx, t.Batches)
	})
	if err != nil {
		return TakenOver{}, fmt.Errorf("take over the key journals: %w", err)
	}
	return t, nil
}

// readOver reads what a journal has beyond the store.
func readOver(path, vault string, places map[string]Position) (node string, end Position, batches [][]record, err error) {
	j, err := readJournal(path, vault)
	if err != nil {
		return "", Position{}, nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	node, p, err := j.place(places)
	if err != nil {
		return "", Position{}, nil, fmt.Errorf("%w: %s", err, path)
	}
	if batches, err = j.After(p); err != nil {
		return "", Position{}, nil, fmt.Errorf("%w: %s", err, path)
	}
	return node, j.Position(), batches, nil
}

// place finds the node whose journal it is, and how far the store has it. A journal that says no name is from before nodes
// had names: it is the node's whose place is in it.
func (j *journal) place(places map[string]Position) (node string, p Position, err error) {
	if p, known := places[j.node]; known {
		return j.node, p, nil
	}
	for _, n := range slices.Sorted(maps.Keys(places)) {
		if _, err := j.After(places[n]); err == nil {
			return n, places[n], nil
		}
	}
	switch {
	case j.node != "":
		return j.node, Position{Vault: j.vault}, nil
	case len(places) == 1: // then it is that node's, and says itself what is wrong with it
		for n, p := range places {
			return n, p, nil
		}
	}
	return "", Position{}, ErrWhoseJournal
}

// merge puts the batches of several journals in the order of their times, each journal's own in the order that they have.
func merge(lists [][][]record) (out [][]record) {
	last := make([]time.Time, len(lists))
	for {
		next := -1
		var at time.Time
		for i, l := range lists {
			if len(l) == 0 {
				continue
			}
			if t := timeOf(l[0], last[i]); next < 0 || t.Before(at) {
				next, at = i, t
			}
		}
		if next < 0 {
			return out
		}
		out, lists[next], last[next] = append(out, lists[next][0]), lists[next][1:], at
	}
}

// timeOf is the latest time that a batch tells, else that of the batch before.
func timeOf(batch []record, before time.Time) time.Time {
	var at time.Time
	for _, r := range batch {
		t := r.At
		switch {
		case r.Key != nil:
			t = r.Key.CreatedAt
		case r.State != nil:
			t = r.State.At
		case r.Meter != nil:
			t = r.Meter.EnrolledAt
		case r.Device != nil:
			t = r.Device.EnrolledAt
		}
		if t.After(at) {
			at = t
		}
	}
	if at.IsZero() {
		return before
	}
	return at
}
