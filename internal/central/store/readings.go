package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/collect"
)

// Readings is the table of day blocks; it implements collect.Store.
type Readings struct{ s *Store }

// Readings returns the table of day blocks.
func (s *Store) Readings() Readings { return Readings{s} }

var _ collect.Store = Readings{}

// Update is one durable commit.
func (r Readings) Update(ctx context.Context, fn func(context.Context) error) error {
	return r.s.Update(ctx, fn)
}

// PutDay inserts a block; one that is there is never replaced.
func (r Readings) PutDay(ctx context.Context, d collect.Day, block []byte, at time.Time) (bool, error) {
	n, err := r.s.exec(ctx, `INSERT INTO readings (meter, day, channel, vals, block, received_at)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		d.Meter[:], d.Date, d.Channel[:], len(d.Values), block, micros(at))
	if err != nil {
		return false, fmt.Errorf("insert readings: %w", err)
	}
	return n == 0, nil
}

// Block returns a stored block, or ErrNotFound.
func (r Readings) Block(ctx context.Context, m dlms.SystemTitle, day string, ch dlms.OBIS) ([]byte, error) {
	return one(ctx, r.s, func(s scanner) (b []byte, err error) { return b, s.Scan(&b) },
		`SELECT block FROM readings WHERE meter = ? AND day = ? AND channel = ?`, m[:], day, ch[:])
}

// PutSighting keeps the newest sighting of a meter.
func (r Readings) PutSighting(ctx context.Context, g collect.Sighting) error {
	_, err := r.s.exec(ctx, `INSERT INTO meter_sightings (meter, index_wh, clock_seconds, seen_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (meter) DO UPDATE SET index_wh = excluded.index_wh, clock_seconds = excluded.clock_seconds,
		seen_at = excluded.seen_at`, g.Meter[:], g.IndexWh, g.ClockSeconds, micros(g.SeenAt))
	return err
}

// Sightings returns the newest sighting of every meter.
func (r Readings) Sightings(ctx context.Context) ([]collect.Sighting, error) {
	return list(ctx, r.s, func(s scanner) (g collect.Sighting, err error) {
		var meter []byte
		var at int64
		if err := s.Scan(&meter, &g.IndexWh, &g.ClockSeconds, &at); err != nil {
			return g, err
		}
		g.SeenAt = fromMicros(at)
		g.Meter, err = dlms.SystemTitleFromBytes(meter)
		return g, err
	}, `SELECT meter, index_wh, clock_seconds, seen_at FROM meter_sightings ORDER BY meter`)
}

// MetersOf returns the meters of a concentrator.
func (r Readings) MetersOf(ctx context.Context, d dlms.SystemTitle) ([]dlms.SystemTitle, error) {
	return list(ctx, r.s, scanTitle, `SELECT title FROM meters WHERE concentrator = ? ORDER BY title`, d[:])
}

// Missing returns the meters of a concentrator of which a day is not stored yet.
func (r Readings) Missing(ctx context.Context, d dlms.SystemTitle, day string, ch dlms.OBIS) ([]dlms.SystemTitle, error) {
	return list(ctx, r.s, scanTitle, `SELECT title FROM meters m WHERE concentrator = ? AND state = 'enrolled' AND NOT EXISTS (
		SELECT 1 FROM readings r WHERE r.meter = m.title AND r.day = ? AND r.channel = ?) ORDER BY title`,
		d[:], day, ch[:])
}

// Stored counts the blocks and values of one day and channel.
func (r Readings) Stored(ctx context.Context, day string, ch dlms.OBIS) (blocks, values int, err error) {
	type pair struct{ blocks, values int }
	p, err := one(ctx, r.s, func(s scanner) (p pair, err error) { return p, s.Scan(&p.blocks, &p.values) },
		`SELECT count(*), CAST(coalesce(sum(vals), 0) AS BIGINT) FROM readings WHERE day = ? AND channel = ?`, day, ch[:])
	return p.blocks, p.values, err
}

func scanTitle(s scanner) (dlms.SystemTitle, error) {
	var b []byte
	err := s.Scan(&b)
	t, errT := dlms.SystemTitleFromBytes(b)
	return t, errors.Join(err, errT)
}

// ErrEpoch is returned for a boot counter that does not rise: a copy of the device was rewound, or two run at once.
var ErrEpoch = errors.New("boot counter does not rise: the device was rewound, or two run with one identity")

// RaiseEpoch notes the boot counter of a device; it must be higher than the last one.
func (s *Store) RaiseEpoch(ctx context.Context, device dlms.SystemTitle, epoch uint64) error {
	return s.Update(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, `INSERT INTO device_epochs (device, epoch) VALUES (?, ?)
			ON CONFLICT (device) DO UPDATE SET epoch = excluded.epoch WHERE device_epochs.epoch < excluded.epoch`,
			device[:], int64(epoch))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("device %s, boot %d: %w", device, epoch, ErrEpoch)
		}
		return nil
	})
}
