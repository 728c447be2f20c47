package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
)

// Sighting is what a concentrator last said of a meter: its index, and its clock less the concentrator's.
type Sighting struct {
	Meter        dlms.SystemTitle `json:"meter"`
	IndexWh      int64            `json:"index_wh"`
	ClockSeconds int64            `json:"clock_seconds"`
	SeenAt       time.Time        `json:"seen_at"`
}

// Store keeps the day blocks.
type Store interface {
	// Update is one durable commit.
	Update(ctx context.Context, fn func(ctx context.Context) error) error
	// PutDay inserts a block and reports whether there was one already; that one is never replaced.
	PutDay(ctx context.Context, d Day, block []byte, at time.Time) (exists bool, err error)
	// Block returns a stored block.
	Block(ctx context.Context, meter dlms.SystemTitle, day string, channel dlms.OBIS) ([]byte, error)
	// PutSighting keeps the newest sighting.
	PutSighting(ctx context.Context, s Sighting) error
	// MetersOf returns the meters of a concentrator.
	MetersOf(ctx context.Context, concentrator dlms.SystemTitle) ([]dlms.SystemTitle, error)
}

// Collector takes deliveries of concentrators.
type Collector struct {
	store Store
	now   func() time.Time
	log   *slog.Logger
}

// New returns a Collector.
func New(store Store, now func() time.Time, log *slog.Logger) *Collector {
	return &Collector{store: store, now: now, log: log}
}

// Take stores one delivery, all of it in one commit. A block that is there already is left as it is, so a delivery
// may be repeated; one that differs from what is stored is kept out and alarmed. A concentrator speaks for its own
// meters only.
func (c *Collector) Take(ctx context.Context, concentrator dlms.SystemTitle, r bus.Readings) error {
	mine, err := c.store.MetersOf(ctx, concentrator)
	if err != nil {
		return fmt.Errorf("readings of %s: %w", concentrator, err)
	}
	return c.store.Update(ctx, func(ctx context.Context) error {
		for _, b := range r.Blocks {
			if !slices.Contains(mine, b.Meter) {
				c.log.Error("readings refused: not a meter of this concentrator", "concentrator", concentrator.String(),
					"meter", b.Meter.String())
				continue
			}
			if err := c.take(ctx, b); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Collector) take(ctx context.Context, b bus.DayBlock) error {
	d := Day{
		Meter: b.Meter, Date: b.Day, Channel: b.Channel, Start: b.Start,
		Period: time.Duration(b.PeriodSeconds) * time.Second, Values: b.Values, Status: b.Status,
	}
	if err := check(d); err != nil {
		// Refusing to acknowledge would make the concentrator repeat it for ever; it is alarmed and dropped.
		c.log.Error("day block refused", "meter", b.Meter.String(), "error", err)
		return nil
	}
	block, err := d.Pack()
	if err != nil {
		return err
	}
	exists, err := c.store.PutDay(ctx, d, block, c.now())
	if err != nil {
		return err
	}
	if exists {
		if err := c.compare(ctx, d, block); err != nil {
			return err
		}
	}
	return c.store.PutSighting(ctx, Sighting{b.Meter, b.Index, b.ClockSeconds, c.now()})
}

// compare alarms a delivery that contradicts what is stored.
func (c *Collector) compare(ctx context.Context, d Day, block []byte) error {
	stored, err := c.store.Block(ctx, d.Meter, d.Date, d.Channel)
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, block) {
		c.log.Error("a second, different delivery of a day was kept out", "meter", d.Meter.String(), "day", d.Date)
	}
	return nil
}

// maxWh bounds the energy of one interval: 10 MW for an hour is no household.
const maxWh = 10_000_000

func check(d Day) error {
	day, err := time.Parse(time.DateOnly, d.Date)
	if err != nil {
		return fmt.Errorf("day: want YYYY-MM-DD, got %q", d.Date)
	}
	if off := d.Start.Sub(day); off < -24*time.Hour || off > 24*time.Hour {
		return errors.New("the first interval does not begin on that day")
	}
	if d.Period < time.Minute || d.Period > 24*time.Hour {
		return fmt.Errorf("capture period %s is not between a minute and a day", d.Period)
	}
	for _, v := range d.Values {
		if v < 0 || v > maxWh {
			return fmt.Errorf("an energy of %d Wh in one interval", v)
		}
	}
	return nil
}

// Read returns a stored day.
func (c *Collector) Read(ctx context.Context, meter dlms.SystemTitle, day string, channel dlms.OBIS) (Day, error) {
	block, err := c.store.Block(ctx, meter, day, channel)
	if err != nil {
		return Day{}, fmt.Errorf("readings of %s on %s: %w", meter, day, err)
	}
	d := Day{Meter: meter, Date: day, Channel: channel}
	return d, d.Unpack(block)
}
