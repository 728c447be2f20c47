package meter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/internal/keysfile"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
)

// BenchConfig describes a meter for a test bench.
type BenchConfig struct {
	// Listen is where it serves the COSEM wrapper on TCP; HDLC where it serves HDLC on TCP. Either may be empty.
	Listen, HDLC string
	// Keys is the keys file; the counters file is kept beside it.
	Keys string
	// Ephemeral keeps counters and new keys in memory alone: for throw-away keys.
	Ephemeral bool
	// LoadCurve is a file to replay; empty takes the built-in household.
	LoadCurve string
	// Clock is the world's time at the start; zero is the host's.
	Clock time.Time
	// InstalledAt is when the load profile begins; zero is the first full day of the file, or a week ago.
	InstalledAt time.Time
	// PressAfter is how long after an arming of the breaker the customer presses its button; 0 is never.
	PressAfter time.Duration
}

// Bench is a generic meter whose keys are in a keys file. It remembers nothing else over a restart.
type Bench struct {
	meter    *Meter
	warnings []string
	log      *slog.Logger
	lan      net.Listener
	local    net.Listener
}

// OpenBench reads the keys and opens the sockets. Close, or Run to its end, gives them up.
func OpenBench(cfg BenchConfig, deps Deps) (*Bench, error) {
	if deps.Now == nil || deps.Rand == nil {
		return nil, errors.New("meter: want a clock and a source of randomness")
	}
	held, err := keysfile.Load(cfg.Keys)
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	if err := held.NeedMaster(); err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	counters := keysfile.EphemeralCounters()
	if !cfg.Ephemeral {
		if counters, err = keysfile.OpenCounters(cfg.Keys); err != nil {
			return nil, fmt.Errorf("meter: %w", err)
		}
	}
	m, err := newBench(cfg, deps, held, counters)
	if err != nil {
		return nil, err
	}
	b := &Bench{meter: m, warnings: held.Warnings, log: deps.Log}
	if err := b.listen(cfg); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// newBench makes the meter around its keys.
func newBench(cfg BenchConfig, deps Deps, held *keysfile.Keys, counters *keysfile.Counters) (*Meter, error) {
	host := deps.Now()
	world := host
	if !cfg.Clock.IsZero() {
		world = cfg.Clock
	}
	curve, err := benchCurve(cfg, world)
	if err != nil {
		return nil, err
	}
	k, err := newKind(Generic(), deps.options(curve, world.Sub(host), cfg.PressAfter))
	if err != nil {
		return nil, err
	}
	installed := cfg.InstalledAt
	if installed.IsZero() {
		installed = curve.FirstFullDay()
	}
	m := &Meter{kind: k, memory: new(nvm.Volatile), full: firstFull}
	w := new(frameWriter)
	w.birth(birth{title: held.SystemTitle, installed: momentOf(installed), scale: loadcurve.Unscaled})
	w.clock(clockStep{at: momentOf(installed)})
	w.breaker(breakerState{position: cosem.Connected, since: momentOf(installed)})
	m.mu.Lock()
	err = m.commitLocked(w, true)
	m.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("meter: %w", err)
	}
	m.bench = newBenchKeys(k, cfg.Keys, held, counters)
	m.start()
	return m, nil
}

func benchCurve(cfg BenchConfig, world time.Time) (*loadcurve.Curve, error) {
	if cfg.LoadCurve != "" {
		c, err := loadcurve.ReadFile(cfg.LoadCurve)
		if err != nil {
			return nil, fmt.Errorf("meter: load curve: %w", err)
		}
		return c, nil
	}
	start := world.Add(-aWeek)
	if !cfg.InstalledAt.IsZero() && cfg.InstalledAt.Before(start) {
		start = cfg.InstalledAt
	}
	return loadcurve.Household(start, householdSeed), nil
}

func (b *Bench) listen(cfg BenchConfig) (err error) {
	if cfg.Listen != "" {
		if b.lan, err = net.Listen("tcp", cfg.Listen); err != nil {
			return fmt.Errorf("meter: listen: %w", err)
		}
	}
	if cfg.HDLC != "" {
		if b.local, err = net.Listen("tcp", cfg.HDLC); err != nil {
			return fmt.Errorf("meter: hdlc: %w", err)
		}
	}
	return nil
}

// Meter returns the meter.
func (b *Bench) Meter() *Meter { return b.meter }

// Warnings say what is doubtful about the keys file, for a person to read.
func (b *Bench) Warnings() []string { return b.warnings }

// Title returns the meter's system title.
func (b *Bench) Title() dlms.SystemTitle { return b.meter.SystemTitle() }

// Addr returns where the wrapper is served, nil where it is not.
func (b *Bench) Addr() net.Addr { return addrOf(b.lan) }

// HDLCAddr returns where HDLC is served, nil where it is not.
func (b *Bench) HDLCAddr() net.Addr { return addrOf(b.local) }

func addrOf(ln net.Listener) net.Addr {
	if ln == nil {
		return nil
	}
	return ln.Addr()
}

// Run serves until ctx ends or a socket fails.
func (b *Bench) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for link, ln := range map[string]net.Listener{LinkLAN: b.lan, LinkLocal: b.local} {
		if ln != nil {
			p := port{b.meter, link, ln}
			g.Go(func() error { return p.serve(ctx, b.log) })
		}
	}
	g.Go(func() error { <-ctx.Done(); return nil })
	return errors.Join(g.Wait(), b.Close())
}

// Close gives up the sockets. It may be called again.
func (b *Bench) Close() error {
	for _, ln := range []net.Listener{b.lan, b.local} {
		if ln != nil {
			_ = ln.Close() // it may be closed already
		}
	}
	return b.meter.Close()
}
