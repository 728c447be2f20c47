package store

import (
	"context"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/keylog"
	"github.com/meterseal/meterseal/internal/role"
)

// HandedOut returns which of the key versions were sealed to a device before.
func (s *Store) HandedOut(ctx context.Context, d dlms.SystemTitle, keys []role.KeyRef) (map[role.KeyRef]bool, error) {
	rows, err := each(ctx, s, keys, func(k role.KeyRef) []any { return append(refArgs(k), d[:]) }, scanInt,
		`SELECT 1 FROM handouts WHERE meter = ? AND role = ? AND version = ? AND device = ?`)
	out := make(map[role.KeyRef]bool, len(keys))
	for i := range rows {
		out[keys[i]] = len(rows[i]) > 0
	}
	return out, err
}

// Holders returns the devices that a key version was sealed to.
func (s *Store) Holders(ctx context.Context, k role.KeyRef) ([]dlms.SystemTitle, error) {
	return list(ctx, s, scanTitle, `SELECT DISTINCT device FROM handouts WHERE meter = ? AND role = ? AND version = ?
		ORDER BY device`, k.Meter[:], int(k.Role), k.Version)
}

// LogGapError is returned for entries that begin behind the end of what is known of a device's log.
type LogGapError struct {
	Device dlms.SystemTitle
	// Known is the last entry that is known, 0 for none.
	Known, First uint64
}

// Error says from where on the log is missing.
func (e *LogGapError) Error() string {
	return fmt.Sprintf("device %s: its log is known to entry %d, and what it tells begins at entry %d", e.Device, e.Known, e.First)
}

// Unwrap makes it a broken chain.
func (e *LogGapError) Unwrap() error { return keylog.ErrChain }

// AppendDeviceLog appends what a device tells of its own use of keys. Entries that are there already are passed over;
// the first new one must follow from the last one known: a LogGapError where entries between are missing.
func (s *Store) AppendDeviceLog(ctx context.Context, d dlms.SystemTitle, entries []keylog.Entry) error {
	return s.Update(ctx, func(ctx context.Context) error {
		last, err := s.lastDeviceLog(ctx, d)
		if err != nil {
			return err
		}
		for len(entries) > 0 && entries[0].Sequence <= last.Sequence {
			entries = entries[1:]
		}
		if len(entries) > 0 && entries[0].Sequence > last.Sequence+1 {
			return &LogGapError{d, last.Sequence, entries[0].Sequence}
		}
		if err := keylog.Verify(last, entries); err != nil {
			return fmt.Errorf("device %s: %w", d, err)
		}
		return s.insertEach(ctx, `INSERT INTO device_logs (device, sequence, at, text, hash) VALUES (?, ?, ?, ?, ?)`,
			len(entries), func(i int) []any {
				e := entries[i]
				return []any{d[:], int64(e.Sequence), micros(e.Time), e.Text, e.Hash}
			})
	})
}

// CheckDeviceLog refuses a device whose own log ends before what it has told: its state was taken back, and with it its
// counters.
func (s *Store) CheckDeviceLog(ctx context.Context, d dlms.SystemTitle, sequence uint64) error {
	last, err := s.lastDeviceLog(ctx, d)
	if err == nil && sequence < last.Sequence {
		err = fmt.Errorf("device %s: its log ends at entry %d and it has told %d: %w", d, sequence, last.Sequence, ErrEpoch)
	}
	return err
}

func (s *Store) lastDeviceLog(ctx context.Context, d dlms.SystemTitle) (keylog.Entry, error) {
	rows, err := list(ctx, s, func(r scanner) (e keylog.Entry, err error) {
		var seq, at int64
		err = r.Scan(&seq, &at, &e.Text, &e.Hash)
		e.Sequence, e.Time = uint64(seq), fromMicros(at)
		return e, err
	}, `SELECT sequence, at, text, hash FROM device_logs WHERE device = ? ORDER BY sequence DESC LIMIT 1`, d[:])
	if err != nil || len(rows) == 0 {
		return keylog.Entry{}, err
	}
	return rows[0], nil
}
