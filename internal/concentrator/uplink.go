package concentrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/durable"
)

// Pace of the uplink.
const (
	logDelay    = 300 * time.Millisecond // entries of one moment go together
	retryFirst  = 500 * time.Millisecond
	retryMax    = 30 * time.Second
	upIdle      = 30 * time.Second
	logDelivery = 500
)

// uplink is what this concentrator still has to tell.
type uplink struct {
	dir     string
	epoch   uint64
	acked   uint64        // last entry of the key log that the IS has
	greeted chan struct{} // closed when the IS has taken the greeting of this process
	found   chan struct{} // closed after the first search for meters
	wake    chan struct{}
	soon    chan struct{}
}

func newUplink() uplink {
	return uplink{
		greeted: make(chan struct{}), found: make(chan struct{}), wake: make(chan struct{}, 1), soon: make(chan struct{}, 1),
	}
}

// load reads what was told before. The boot counter is raised before anything is sealed, and durably: a rewound copy
// of this directory shows by it.
func (u *uplink) load(dir string, last uint64) error {
	u.dir = dir
	var err error
	if u.epoch, err = readNumber(filepath.Join(dir, epochFile)); err != nil {
		return err
	}
	if u.acked, err = readNumber(filepath.Join(dir, ackedFile)); err != nil {
		return err
	}
	if u.acked > last {
		return fmt.Errorf("concentrator: the central system has %d entries of the key log, and the log ends at %d: it was cut", u.acked, last)
	}
	return u.raise()
}

func (u *uplink) raise() error {
	u.epoch++
	return writeNumber(filepath.Join(u.dir, epochFile), u.epoch)
}

func readNumber(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("concentrator: %w", err)
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("concentrator: %s: want a number", path)
	}
	return n, nil
}

func writeNumber(path string, n uint64) error {
	if err := durable.Replace(path, []byte(strconv.FormatUint(n, 10)+"\n")); err != nil {
		return fmt.Errorf("concentrator: %w", err)
	}
	return nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (u *uplink) wakeNow() { poke(u.wake) }

// scanned says that the first search for meters is over.
func (u *uplink) scanned() { close(u.found) }

// wakeSoon has the key log delivered, a moment later with what else was logged then.
func (c *Concentrator) wakeSoon() { poke(c.up.soon) }

// awaitGreeting waits until the IS has taken this process's boot counter. Nothing is sealed under a long-term key
// before: if this is a rewound copy of the data directory, its counters are, too.
func (c *Concentrator) awaitGreeting(ctx context.Context) error {
	select {
	case <-c.up.greeted:
		return nil
	case <-ctx.Done():
		return refused("the central system has not taken this concentrator's start yet (hello): nothing is sealed before")
	}
}

// report tells the IS what there is to tell, until ctx ends.
func (c *Concentrator) report(ctx context.Context) error {
	select {
	case <-c.up.found:
	case <-ctx.Done():
		return nil
	}
	retry := retryFirst
	for {
		wait := upIdle
		if err := c.deliver(ctx); err != nil && ctx.Err() == nil {
			c.deps.Log.Info("up.not_delivered", "error", err)
			wait, retry = retry, min(2*retry, retryMax)
		} else {
			retry = retryFirst
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-c.up.wake:
		case <-c.up.soon:
			pause(ctx, logDelay)
		case <-t.C:
		}
		t.Stop()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (c *Concentrator) deliver(ctx context.Context) error {
	if !c.wan.Up() {
		return nil // woken when it is
	}
	if err := c.greet(ctx); err != nil {
		return err
	}
	// A log that the IS does not take is the IS's alarm; it holds no readings back.
	return errors.Join(c.deliverLog(ctx), c.deliverReadings(ctx))
}

// greet sends the Hello of this process, once. A greeting whose answer was lost may have been taken: it is repeated
// with a higher boot counter. One that the IS refuses is repeated as it is, for a person to look at.
func (c *Concentrator) greet(ctx context.Context) error {
	select {
	case <-c.up.greeted:
		return nil
	default:
	}
	_, err := c.wan.SendUp(ctx, bus.Up{Hello: &bus.Hello{Epoch: c.up.epoch, Found: c.lan.found(), Held: c.ring.Held(), LogSequence: c.log.Last()}})
	var f *bus.Fault
	switch {
	case err == nil:
		close(c.up.greeted)
		return nil
	case errors.As(err, &f) && f.Code == bus.FaultUnknown:
		return errors.Join(err, c.up.raise())
	case errors.As(err, &f) && f.Code == bus.FaultRefused:
		c.deps.Log.Error("hello.refused", "epoch", c.up.epoch, "error", err)
	}
	return err
}

// deliverLog tells the IS what is new in the log. An IS that has been taken back to an earlier time says from where on it
// wants it again.
func (c *Concentrator) deliverLog(ctx context.Context) error {
	for back := false; c.up.acked < c.log.Last(); {
		entries, err := c.log.Since(c.up.acked, logDelivery)
		if err != nil || len(entries) == 0 {
			return err
		}
		_, err = c.wan.SendUp(ctx, bus.Up{Log: &bus.Log{Entries: entries}})
		next := entries[len(entries)-1].Sequence
		var f *bus.Fault
		if gap := errors.As(err, &f) && f.Code == bus.FaultLogGap && f.From > 0 && f.From <= c.up.acked; gap && !back {
			next, back, err = f.From-1, true, nil
		}
		if err != nil {
			return fmt.Errorf("key log: %w", err)
		}
		c.up.acked = next
		if err := writeNumber(filepath.Join(c.up.dir, ackedFile), c.up.acked); err != nil {
			return err
		}
	}
	return nil
}

func (c *Concentrator) deliverReadings(ctx context.Context) error {
	for {
		blocks, err := c.spool.next()
		if err != nil || len(blocks) == 0 {
			return err
		}
		if _, err := c.wan.SendUp(ctx, bus.Up{Readings: &bus.Readings{Blocks: blocks}}); err != nil {
			return fmt.Errorf("readings: %w", err)
		}
		if err := c.spool.done(blocks); err != nil {
			return err
		}
	}
}
