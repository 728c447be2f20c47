package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// maxGroup is how many updates share one commit at most: PostgreSQL keeps up to 64 parts of a transaction at hand.
const maxGroup = 64

// errUnfinished is for the updates of a group whose leader was ended in the middle.
var errUnfinished = errors.New("store: the update was not finished; nothing was committed")

// commits is the queue in front of the one writer. While a commit is under way others wait; the next one takes all of
// them together, so that the disk is waited for once and not once for each. Nobody waits for company: an update that
// finds the writer idle is alone.
type commits struct {
	db   *database
	turn chan struct{} // holds a value while somebody leads

	mu      sync.Mutex
	waiting []*member
}

// member is one update in the queue.
type member struct {
	s        *Store
	ctx      context.Context //nolint:containedctx // of the caller that waits for this very member
	fn       func(ctx context.Context) error
	done     chan struct{}
	err      error
	panicked any
}

func (m *member) result() error {
	if m.panicked != nil {
		panic(m.panicked)
	}
	return m.err
}

// do queues an update and returns when it is durable or has failed. Whoever finds the writer free leads the others.
func (c *commits) do(ctx context.Context, s *Store, fn func(ctx context.Context) error) error {
	m := &member{s: s, ctx: ctx, fn: fn, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, m)
	c.mu.Unlock()
	for {
		select {
		case <-m.done:
			return m.result()
		default:
		}
		select {
		case <-m.done:
			return m.result()
		case c.turn <- struct{}{}:
			c.lead(m)
		case <-ctx.Done():
			if c.leave(m) {
				return ctx.Err()
			}
			<-m.done // it is part of a commit already, whose outcome counts
			return m.result()
		}
	}
}

// leave takes a member out of the queue; false: it is no longer in it.
func (c *commits) leave(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, w := range c.waiting {
		if w == m {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (c *commits) take() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), maxGroup)
	group := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	return group
}

// lead commits those who wait, together. The caller has the turn, unless m was served in the meantime.
func (c *commits) lead(m *member) {
	defer func() { <-c.turn }()
	select {
	case <-m.done:
		return
	default:
	}
	group := c.take()
	defer func() {
		for _, g := range group {
			close(g.done)
		}
	}()
	for _, g := range group {
		g.err = errUnfinished
	}
	c.commit(group)
}

// commit runs the group in one transaction. A member's failure undoes its own part; whatever keeps the transaction from
// being committed fails all of them.
func (c *commits) commit(group []*member) {
	ctx := context.WithoutCancel(group[0].ctx)
	known := &memo{}
	w, epochs, err := c.db.beginWrite(ctx, known, group)
	if err != nil {
		failAll(group, err)
		return
	}
	// After a commit this does nothing. It also ends the transaction when a function ends its goroutine.
	defer w.rollback()
	var good []*member
	var parts []part
	for _, m := range group {
		left, broken := c.run(ctx, w, known, m, epochs, len(group) == 1)
		if broken != nil {
			failAll(group, broken)
			return
		}
		if m.err == nil && m.panicked == nil {
			good, parts = append(good, m), append(parts, left...)
		}
	}
	if len(good) == 0 {
		return
	}
	err = errors.Join(crashed(good, "commit, before"), c.db.writeParts(ctx, w, known, parts))
	if err == nil {
		err = w.commit(ctx)
	}
	if err == nil {
		err = crashed(good, "commit, after")
	}
	if err != nil {
		failAll(good, err)
	}
}

// crashed asks whether a test has a node of the group die here.
func crashed(group []*member, point string) error {
	for _, m := range group {
		if n := m.s.node; n != nil && n.crash != nil {
			if err := n.crash(point); err != nil {
				return err
			}
		}
	}
	return nil
}

// failAll notes why nothing was committed, for those who have no reason of their own.
func failAll(group []*member, cause error) {
	for _, m := range group {
		if m.panicked == nil && (m.err == nil || errors.Is(m.err, errUnfinished)) {
			m.err = cause
		}
	}
}

// run runs one member's function as a part of the transaction that can be undone alone; where it is the only one, the
// whole transaction is. An error means that the transaction cannot go on.
func (c *commits) run(ctx context.Context, w work, known *memo, m *member, epochs map[string]int64, alone bool) (left []part, broken error) {
	if err := m.ctx.Err(); err != nil {
		m.err = err
		return nil, nil
	}
	mine, err := m.s.isNode(ctx, w, epochs)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if !mine {
		m.err = m.s.replaced()
		return nil, nil
	}
	if !alone {
		if err := w.part(ctx); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	t := &tx{work: w, write: true, memo: known}
	m.err = c.call(m, t)
	switch {
	case alone:
	case m.err != nil || m.panicked != nil:
		known.forget()
		if err := w.undo(ctx); err != nil {
			return nil, fmt.Errorf("store: another update took this one with it: %w", errors.Join(m.err, err))
		}
	default:
		if err := w.keep(ctx); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	return t.parts, nil
}

// call runs the function on the member's part. A panic is kept for the goroutine that asked.
func (c *commits) call(m *member, t *tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			m.panicked = r
		}
	}()
	ctx := context.WithValue(m.ctx, key{c.db}, t)
	if err := m.s.checkFences(ctx, t); err != nil {
		return err
	}
	if err := m.fn(ctx); err != nil {
		return err
	}
	if t.failed != nil {
		return fmt.Errorf("store: a part of the update had failed: %w", t.failed)
	}
	return nil
}

// beginTries is how often a transaction is begun: a connection of the pool may have died with its server, and nothing
// has been done yet.
const beginTries = 3

// beginWrite opens the writing transaction and reads what its members have to know first.
func (db *database) beginWrite(ctx context.Context, known *memo, group []*member) (w work, epochs map[string]int64, err error) {
	for range beginTries {
		epochs = map[string]int64{group[0].s.nodeName(): 0}
		if w, err = db.engine.begin(ctx, known.opening(group, epochs)); err == nil {
			return w, epochs, nil
		}
	}
	return nil, nil, fmt.Errorf("store: begin: %w", err)
}

// writeParts writes what the members left for the end, group by group.
func (db *database) writeParts(ctx context.Context, w work, known *memo, parts []part) error {
	values := map[any][]any{}
	var order []part
	for _, p := range parts {
		if values[p.group] == nil {
			order = append(order, p)
		}
		values[p.group] = append(values[p.group], p.value)
	}
	ctx = context.WithValue(ctx, key{db}, &tx{work: w, write: true, memo: known})
	w.last()
	for _, p := range order {
		if err := p.write(ctx, values[p.group]); err != nil {
			return err
		}
	}
	return nil
}
