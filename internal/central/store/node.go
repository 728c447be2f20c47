package store

import (
	"context"
	"fmt"
	"time"
)

// node is a name and the epoch that this process took it in.
type node struct {
	name  string
	epoch int64
}

// TakeNode gives this process its name among those that share the database: the owner of its leases, and of its place
// in its own key journal. Whoever takes a name last has it: from then on every write of an earlier process of that name
// fails with ErrFenced, so that a process that was thought dead, or a second one started by mistake, can neither
// reserve counters nor move a key. Of a restart after a crash nothing more is asked. It is called once, before all else.
func (s *Store) TakeNode(ctx context.Context, name string, at time.Time) error {
	var epoch int64
	err := s.Update(ctx, func(ctx context.Context) (err error) {
		epoch, err = one(ctx, s, scanInt, `INSERT INTO nodes (name, epoch, taken_at) VALUES (?, 1, ?)
			ON CONFLICT (name) DO UPDATE SET epoch = nodes.epoch + 1, taken_at = excluded.taken_at RETURNING epoch`, name, micros(at))
		if err != nil {
			return err
		}
		// The place in the journal from the time when a database had one process, without a name.
		_, err = s.exec(ctx, `UPDATE journal_position SET node = ?1 WHERE node = ''
			AND NOT EXISTS (SELECT 1 FROM journal_position p WHERE p.node = ?1)`, name)
		return err
	})
	if err != nil {
		return fmt.Errorf("take node %s: %w", name, err)
	}
	s.node.Store(&node{name, epoch})
	return nil
}

// Taken is closed when a write has failed because another process has taken this one's name: it must end.
func (s *Store) Taken() <-chan struct{} { return s.taken }

// nodeName is the name of this process, "" before TakeNode.
func (s *Store) nodeName() string {
	if n := s.node.Load(); n != nil {
		return n.name
	}
	return ""
}
