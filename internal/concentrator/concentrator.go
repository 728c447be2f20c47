package concentrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"golang.org/x/sync/errgroup"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/concentrator/keyring"
	"github.com/meterseal/meterseal/internal/durable"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
)

// firstScan bounds how long the first search for meters may hold up the greeting of the IS.
const firstScan = 10 * time.Second

// Concentrator is one concentrator. New opens its data directory, Run works until its context ends, once.
type Concentrator struct {
	cfg    Config
	deps   Deps
	id     *enrol.Identity
	unlock func() error
	ring   *keyring.Ring
	log    *keylog.Log
	spool  *spool
	escrow *escrow
	tries  *tries
	lan    *lan
	wan    WAN
	nkey   nkeys.KeyPair // of the connection, wiped when it is over
	pool   chan struct{} // places of those who work on many meters
	up     uplink

	mu     sync.Mutex
	meters map[dlms.SystemTitle]*meter

	broadcasting sync.Mutex        // guards the two below, and the making of a new key for all
	key          *client.Broadcast // in use, nil before the first
	keySince     time.Time

	closing  sync.Once
	closeErr error
}

// New opens the concentrator in cfg.Data for this process alone. Run or Close gives it up.
func New(cfg Config, deps Deps) (*Concentrator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Now == nil || deps.Rand == nil {
		return nil, errors.New("concentrator: want a clock and a source of randomness")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	c := &Concentrator{
		cfg: cfg, deps: deps, pool: make(chan struct{}, cfg.Parallel), up: newUplink(), meters: map[dlms.SystemTitle]*meter{},
	}
	if err := c.open(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Concentrator) open() error {
	var err error
	if c.id, err = loadIdentity(c.cfg.Identity); err != nil {
		return err
	}
	if c.unlock, err = durable.Lock(c.cfg.Data); err != nil {
		return fmt.Errorf("concentrator: %w", err)
	}
	if c.log, err = keylog.Open(filepath.Join(c.cfg.Data, logFile), c.deps.Now); err != nil {
		return err
	}
	c.ring, err = keyring.Open(keyring.Config{
		Dir: filepath.Join(c.cfg.Data, keysDir), Owner: c.id, Log: c.deps.Log, WrapAEAD: c.deps.WrapAEAD,
	})
	if err != nil {
		return err
	}
	if c.spool, err = openSpool(filepath.Join(c.cfg.Data, spoolDir), c.deps.Log); err != nil {
		return err
	}
	var damaged error
	if c.escrow, damaged, err = openEscrow(filepath.Join(c.cfg.Data, escrowFile)); err != nil {
		return err
	}
	if damaged != nil {
		c.deps.Log.Error("escrow.damaged", "error", damaged)
	}
	if c.tries, damaged, err = openTries(filepath.Join(c.cfg.Data, triesFile), c.cfg, c.deps.Now); err != nil {
		return err
	}
	if damaged != nil {
		c.deps.Log.Error("tries.damaged", "error", damaged)
	}
	if err := c.up.load(c.cfg.Data, c.log.Last()); err != nil {
		return err
	}
	c.lan, err = newLAN(c.cfg, c.deps)
	return err
}

// Title is the concentrator's system title.
func (c *Concentrator) Title() dlms.SystemTitle { return c.id.Title() }

// Run works until ctx ends, and then returns nil with everything closed.
func (c *Concentrator) Run(ctx context.Context) error {
	if err := c.connect(); err != nil {
		return errors.Join(err, c.Close())
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	g, work := errgroup.WithContext(work)
	if err := c.wan.HandleOrder(func(orderCtx context.Context, o bus.Order) bus.Reply {
		orderCtx, cancel := joined(orderCtx, work)
		defer cancel()
		return c.order(orderCtx, o)
	}); err != nil {
		c.wan.Close()
		return errors.Join(err, c.Close())
	}
	g.Go(func() error { return c.discover(work) })
	g.Go(func() error { return c.report(work) })
	<-work.Done()
	c.wan.Close() // waits for the orders under way, which have ended with work
	return errors.Join(g.Wait(), c.Close())
}

// Serve is Run for a caller that keeps the time itself: orders come as they come, and Beat is what is done now and then.
func (c *Concentrator) Serve() error {
	if err := c.connect(); err != nil {
		return err
	}
	return c.wan.HandleOrder(c.order)
}

// Beat looks for meters on silent lines and tells the IS what there is to tell.
func (c *Concentrator) Beat(ctx context.Context) error {
	c.lan.scan(ctx)
	return c.deliver(ctx)
}

func (c *Concentrator) connect() error {
	if c.wan = c.deps.WAN; c.wan != nil {
		return nil
	}
	pair, err := c.id.NKey()
	if err != nil {
		return err
	}
	c.nkey = pair
	c.wan, err = bus.Connect(bus.ConcentratorConfig{
		Title: c.id.Title(), URL: c.cfg.ISURL, CAFile: c.cfg.ISCA, NKey: pair, Now: c.deps.Now, Rand: c.deps.Rand,
		Log: c.deps.Log, Connected: c.up.wakeNow,
	})
	return err
}

// joined is ctx that also ends with other.
func joined(ctx, other context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(other, cancel)
	return ctx, func() { stop(); cancel() }
}

// Close gives up the data directory and forgets all session keys. It is for a concentrator that was never run.
func (c *Concentrator) Close() error {
	c.closing.Do(func() {
		for _, m := range c.allMeters() {
			m.forget()
		}
		if c.nkey != nil {
			c.nkey.Wipe()
		}
		if c.lan != nil {
			c.lan.close()
		}
		if c.ring != nil {
			c.closeErr = errors.Join(c.closeErr, c.ring.Close())
		}
		if c.escrow != nil {
			c.closeErr = errors.Join(c.closeErr, c.escrow.close())
		}
		if c.tries != nil {
			c.closeErr = errors.Join(c.closeErr, c.tries.close())
		}
		if c.log != nil {
			c.closeErr = errors.Join(c.closeErr, c.log.Close())
		}
		if c.unlock != nil {
			c.closeErr = errors.Join(c.closeErr, c.unlock())
		}
	})
	return c.closeErr
}

// discover looks for meters, now and then.
func (c *Concentrator) discover(ctx context.Context) error {
	first, cancel := context.WithTimeout(ctx, firstScan)
	c.lan.scan(first)
	cancel()
	c.up.scanned()
	t := time.NewTicker(c.cfg.Rediscover)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			c.lan.scan(ctx)
		}
	}
}

// meter returns what is known of a meter that this concentrator has to do with.
func (c *Concentrator) meter(t dlms.SystemTitle) *meter {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.meters[t]
	if m == nil {
		m = newMeter(t)
		c.meters[t] = m
	}
	return m
}

func (c *Concentrator) allMeters() []*meter {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*meter, 0, len(c.meters))
	for _, m := range c.meters {
		list = append(list, m)
	}
	return list
}

// concerns reports whether a meter is this concentrator's: it has a key of it or has found it. It keeps strange titles
// in orders from filling the memory.
func (c *Concentrator) concerns(t dlms.SystemTitle) bool {
	return len(c.ring.Usable(t)) > 0 || len(c.lan.known(t)) > 0
}
