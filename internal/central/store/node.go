package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meterseal/meterseal/internal/defence"
)

// node is one of the central systems that share a database: its name, and the epoch that the process took it in.
type node struct {
	name    string
	epoch   int64
	without defence.Set
	crash   func(point string) error
	once    sync.Once
	taken   chan struct{}
}

// NodeOptions of As.
type NodeOptions struct {
	// Name of the node: its system title. It owns the node's leases, and its place in its own key journal.
	Name string
	// At is the time, for the record.
	At time.Time
	// Crash, if set, is asked before and after each commit of this node, for a test of crashes: an error ends the update
	// there, committed or not.
	Crash func(point string) error
	// Without takes defences away, for the simulation alone.
	Without defence.Set
}

// As returns the database as one of the nodes that share it. Whoever takes a name last has it: from then on every
// Update through an earlier Store of that name fails with ErrFenced, so that a process that was thought dead, or a
// second one started by mistake, can neither reserve counters nor move a key; a restart after a crash waits for nothing.
// Close belongs to the Store that Open has returned.
func (s *Store) As(ctx context.Context, o NodeOptions) (*Store, error) {
	var epoch int64
	err := s.Update(ctx, func(ctx context.Context) (err error) {
		epoch, err = one(ctx, s, scanInt, `INSERT INTO nodes (name, epoch, taken_at) VALUES (?, 1, ?)
			ON CONFLICT (name) DO UPDATE SET epoch = nodes.epoch + 1, taken_at = excluded.taken_at RETURNING epoch`, o.Name, micros(o.At))
		if err != nil {
			return err
		}
		s.memo(ctx).places = nil
		// The place in the journal from the time when a database had one process, without a name.
		_, err = s.exec(ctx, `UPDATE journal_position SET node = ?1 WHERE node = ''
			AND NOT EXISTS (SELECT 1 FROM journal_position p WHERE p.node = ?1)`, o.Name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: take the name of node %s: %w", o.Name, err)
	}
	n := &node{name: o.Name, epoch: epoch, without: o.Without, crash: o.Crash, taken: make(chan struct{})}
	return &Store{database: s.database, node: n}, nil
}

// Replaced is closed once an Update has failed because another process has taken this node's name: this one must end.
// It is nil for a Store that is no node.
func (s *Store) Replaced() <-chan struct{} {
	if s.node == nil {
		return nil
	}
	return s.node.taken
}

// nodeName is the name of the node, "" for none.
func (s *Store) nodeName() string {
	if s.node == nil {
		return ""
	}
	return s.node.name
}

// isNode reports whether the name is still this Store's. What was read of other nodes in the transaction is in epochs.
func (s *Store) isNode(ctx context.Context, w work, epochs map[string]int64) (bool, error) {
	if s.node == nil || s.node.without.Off(defence.Fencing) {
		return true, nil
	}
	epoch, known := epochs[s.node.name]
	if !known {
		var err error
		if epoch, err = epochOf(ctx, w, s.node.name); err != nil {
			return false, err
		}
		epochs[s.node.name] = epoch
	}
	return epoch == s.node.epoch, nil
}

// replaced tells, once and for all, that the name is another process's.
func (s *Store) replaced() error {
	s.node.once.Do(func() { close(s.node.taken) })
	return fmt.Errorf("%w: another process has taken the name of node %s", ErrFenced, s.node.name)
}
