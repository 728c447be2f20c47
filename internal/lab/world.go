package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/concentrator"
	"github.com/meterseal/meterseal/internal/drill"
	"github.com/meterseal/meterseal/internal/meter"
	"github.com/meterseal/meterseal/internal/shipment"
)

// memo is what a lab keeps of itself in its data directory.
type memo struct {
	Profile       string    `json:"profile"`
	Meters        int       `json:"meters"`
	Concentrators int       `json:"concentrators"`
	OffsetMS      int64     `json:"offset_ms"`
	Installed     time.Time `json:"installed_at"`
	Day           string    `json:"day"`
	Round         int       `json:"round"`
}

// world is the running lab.
type world struct {
	cfg    Config
	report *Report
	memo   memo
	now    func() time.Time
	oracle dlmstest.Oracle
	took   []timed

	is *central.IS
	// The people of the lab, each with a certificate of their own: an operator, a field manager, an auditor and the maker.
	api, field, auditor, factory *api.Client

	fleet         *meter.Fleet
	maker         shipment.MakerKey
	rows          []shipment.Meter
	shipment      []byte
	concentrators []dlms.SystemTitle
	taps          []*drill.Tap
	localTaps     map[int]*drill.Tap
	recording     *os.File

	stop  context.CancelFunc
	group *errgroup.Group
	ctx   context.Context //nolint:containedctx // ends the roles
	once  sync.Once

	// thief counts what a changed terminal seals: above every range that the IS has lent, below what a meter refuses as
	// a jump, and elsewhere in each process.
	thief security.SendCounter
}

const maker = "MSL"

// Serial numbers of what is no meter, far from the meters' own.
const (
	serialConcentrator = 0xC000000000
	serialTerminal     = 0x7500000000
	serialIS           = 0x1500000000
)

func title(serial uint64, i int) dlms.SystemTitle {
	t, _ := shipment.Title(maker, serial+uint64(i))
	return t
}

func open(ctx context.Context, cfg Config, r *Report) (*world, error) {
	w := &world{cfg: cfg, report: r, localTaps: map[int]*drill.Tap{}}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := w.remember(); err != nil {
		return nil, err
	}
	offset := time.Duration(w.memo.OffsetMS) * time.Millisecond
	w.now = func() time.Time { return cfg.Now().Add(offset) }
	r.Round = w.memo.Round
	var err error
	w.thief, err = security.NewBlockCounter(security.BlockConfig{
		Start:   security.Reservation{Ceiling: 1<<23 + dlms.InvocationCounter(cfg.Now().Unix()%(1<<22))},
		Reserve: func(security.Reservation) error { return nil },
	})
	if err != nil {
		return nil, err
	}
	inner, stop := context.WithCancel(ctx)
	w.stop = stop
	w.group, w.ctx = errgroup.WithContext(inner)
	for _, start := range []func() error{w.startIS, w.manufacture, w.startMeters} {
		if err := start(); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

// remember reads the memo, or decides it.
func (w *world) remember() error {
	path := filepath.Join(w.cfg.Data, "lab.json")
	b, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(b, &w.memo); err != nil {
			return fmt.Errorf("lab: %s: %w", path, err)
		}
		m := w.memo
		if m.Profile != w.cfg.Profile || m.Meters != w.cfg.Meters || m.Concentrators != w.cfg.Concentrators {
			return fmt.Errorf("lab: %s holds a lab of %d meters under %d concentrators, profile %s: give the same flags, or another --data",
				w.cfg.Data, m.Meters, m.Concentrators, m.Profile)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lab: %w", err)
	}
	start, installed, err := worldStart(w.cfg)
	if err != nil {
		return err
	}
	w.memo = memo{
		Profile: w.cfg.Profile, Meters: w.cfg.Meters, Concentrators: w.cfg.Concentrators, Round: 1,
		OffsetMS: start.Sub(w.cfg.Now()).Milliseconds(), Installed: installed, Day: installed.Format(time.DateOnly),
	}
	return w.keep()
}

func (w *world) keep() error {
	b, err := json.MarshalIndent(w.memo, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(w.cfg.Data, "lab.json")
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return os.Rename(path+".new", path)
}

// finish closes the round: the next start with the same data begins another.
func (w *world) finish() error {
	w.memo.Round++
	return w.keep()
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.cfg.Data}, parts...)...)
}

func (w *world) startIS() error {
	c := central.Config{
		Data: w.path("is"), Vault: w.cfg.Vault, SystemTitle: title(serialIS, 1).String(), Listen: "127.0.0.1:0",
		RetryMin: 300 * time.Millisecond, RetryMax: 5 * time.Second,
	}
	d := central.Deps{Now: w.now, Rand: w.cfg.Rand, Log: w.cfg.Log.With("role", "is"), WrapAEAD: w.oracle.Wrap}
	if _, err := central.Init(w.ctx, c, d); err != nil {
		return err
	}
	if err := w.people(c, d); err != nil {
		return err
	}
	is, err := central.Open(w.ctx, c, d)
	if err != nil {
		return err
	}
	w.is = is
	w.group.Go(func() error { return is.Run(w.ctx) })
	return w.await("the central system", func() error {
		_, err := w.api.Status(w.ctx)
		return err
	})
}

// await tries until f succeeds, for as long as a start may take.
func (w *world) await(what string, f func() error) error { return w.awaitFor(20*time.Second, what, f) }

func (w *world) awaitFor(most time.Duration, what string, f func() error) error {
	deadline := time.Now().Add(most)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if w.ctx.Err() != nil {
			return errors.Join(context.Cause(w.ctx), err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not come up: %w", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Meters with a part of their own in the lab, counted from 0. The first measures the curve itself.
const (
	meterGranted = 1 // read by a terminal; its second grant expires
	meterOther   = 2 // never granted
	meterSlow    = 3 // its clock is wrong within the bound
	meterCold    = 4 // its clock was lost
	meterVictim  = 5 // attacked, and its breaker operated
)

// slowBy is how wrong the clock of meterSlow is: within what a broadcast may correct.
const slowBy = -20 * time.Second

func (w *world) startMeters() error {
	c := meter.Config{
		Profile: w.cfg.Profile, Factory: w.path("maker", "meters.age"), FactoryIdentity: w.path("maker", "factory.key"),
		Data: w.path("meters"), LANListen: "127.0.0.1:0", LocalListen: "127.0.0.1:0", LoadCurve: w.cfg.LoadCurve,
		InstalledAt: w.memo.Installed, PressAfter: 100 * time.Millisecond,
		Clock: meter.ClockConfig{Cold: []int{meterCold}, Wrong: []int{meterSlow}, Offset: slowBy},
	}
	f, err := meter.OpenFleet(c, meter.Deps{
		Now: w.now, Rand: w.cfg.Rand, Log: w.cfg.Log.With("role", "meters"), WrapAEAD: w.oracle.Wrap,
	})
	if err != nil {
		return err
	}
	w.fleet = f
	w.group.Go(func() error { return f.Run(w.ctx) })
	return w.tap()
}

// tap puts the attacker's recorder on every line. What it recorded of the victim survives a restart.
func (w *world) tap() error {
	for i, a := range w.fleet.Addresses() {
		var record io.Writer
		var before []byte
		if i == meterVictim {
			path := w.path("tap.jsonl")
			var err error
			if before, err = os.ReadFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if w.recording, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
				return err
			}
			record = w.recording
		}
		t, err := drill.NewTap(w.ctx, a.LAN.String(), record)
		if err != nil {
			return err
		}
		w.taps = append(w.taps, t)
		if err := t.Load(bytes.NewReader(before)); err != nil {
			return err
		}
	}
	return nil
}

// metersOf returns the rows under concentrator i: as equal shares as there can be.
func (w *world) metersOf(i int) (from, to int) {
	n := w.cfg.Concentrators
	return i * w.cfg.Meters / n, (i + 1) * w.cfg.Meters / n
}

func (w *world) startConcentrator(i int) error {
	from, to := w.metersOf(i)
	addresses := make([]string, 0, to-from)
	for _, t := range w.taps[from:to] {
		addresses = append(addresses, t.Addr())
	}
	c := concentrator.Config{
		Data: w.path(fmt.Sprintf("concentrator-%d", i+1)), ISURL: w.is.URL(), ISCA: w.path("is", "tls", "ca.pem"),
		LAN: addresses,
	}
	d, err := concentrator.New(c, concentrator.Deps{
		Now: w.now, Rand: w.cfg.Rand, Log: w.cfg.Log.With("role", "concentrator"), WrapAEAD: w.oracle.Wrap,
	})
	if err != nil {
		return err
	}
	w.group.Go(func() error { return d.Run(w.ctx) })
	return nil
}

// close stops the roles and waits for them.
func (w *world) close() (err error) {
	w.once.Do(func() {
		w.stop()
		err = w.group.Wait()
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		for _, t := range w.taps {
			_ = t.Close() // a proxy on its way out
		}
		for _, t := range w.localTaps {
			_ = t.Close() // as above
		}
		if w.recording != nil {
			err = errors.Join(err, w.recording.Close())
		}
		for _, c := range []*api.Client{w.api, w.field, w.auditor, w.factory} {
			if c != nil {
				c.Close()
			}
		}
		if w.is != nil {
			err = errors.Join(err, w.is.Close())
		}
	})
	return err
}

// stay keeps everything up until ctx ends.
func (w *world) stay(ctx context.Context) {
	w.printf("\nThe system stays up until Ctrl-C. Its data is in %s. Try in another terminal:\n", w.cfg.Data)
	w.printf("  export METERSEAL_AS=operations    # or fieldwork, audit, maker-msl\n")
	w.printf("  meterseal central status --data %s\n", w.path("is"))
	w.printf("  meterseal central keys --data %s %s\n", w.path("is"), w.rows[0].Title)
	w.printf("  meterseal dlms get --connect %s --client 16 --auth none 1/0.0.42.0.0.255/2\n", w.fleet.Addresses()[0].LAN)
	select {
	case <-ctx.Done():
	case <-w.ctx.Done():
	}
}
