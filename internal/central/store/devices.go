package store

import (
	"bytes"
	"context"
	"fmt"
	"time"

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

// AppendDeviceLog appends what a device tells of its own use of keys, and returns what of it is new. Entries that are
// there already are passed over, and must be the same; the first new one must follow from the last one known: a
// LogGapError where entries between are missing.
func (s *Store) AppendDeviceLog(ctx context.Context, d dlms.SystemTitle, entries []keylog.Entry) (fresh []keylog.Entry, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		last, err := s.LastDeviceLog(ctx, d)
		if err != nil {
			return err
		}
		if fresh, err = follow(d, last, entries); err != nil {
			return fmt.Errorf("device %s: %w", d, err)
		}
		return s.addDeviceLog(ctx, d, fresh)
	})
	return fresh, err
}

// addDeviceLog writes entries that name the use of a key apart from the others: PostgreSQL cannot tell the type of a column
// that is NULL in every row.
func (s *Store) addDeviceLog(ctx context.Context, d dlms.SystemTitle, entries []keylog.Entry) error {
	var told, used [][]any
	for _, e := range entries {
		row := []any{d[:], int64(e.Sequence), micros(e.Time), e.Text, e.Hash}
		if u, ok := keylog.ParseUse(e.Text); ok {
			used = append(used, append(row, u.Ref.Meter[:], int(u.Ref.Role), int64(u.Ref.Version)))
		} else {
			told = append(told, row)
		}
	}
	err := s.insertEach(ctx, `INSERT INTO device_logs (device, sequence, at, text, hash) VALUES (?, ?, ?, ?, ?)`,
		len(told), func(i int) []any { return told[i] })
	if err != nil {
		return err
	}
	return s.insertEach(ctx, `INSERT INTO device_logs (device, sequence, at, text, hash, meter, role, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		len(used), func(i int) []any { return used[i] })
}

// follow returns the entries after last, which they must follow from. Where last is told again, it must be the same: what
// stands before it then is the same too, for each hash holds all before it.
func follow(d dlms.SystemTitle, last keylog.Entry, entries []keylog.Entry) ([]keylog.Entry, error) {
	if len(entries) > 0 && entries[0].Sequence > last.Sequence+1 {
		return nil, &LogGapError{d, last.Sequence, entries[0].Sequence}
	}
	if len(entries) == 0 || entries[0].Sequence > last.Sequence {
		if err := keylog.Verify(last, entries); err != nil {
			return nil, err
		}
		return entries, nil
	}
	if err := keylog.Verify(entries[0], entries[1:]); err != nil {
		return nil, err
	}
	known := last.Sequence - entries[0].Sequence
	if known >= uint64(len(entries)) {
		return nil, nil
	}
	if !bytes.Equal(entries[known].Hash, last.Hash) {
		return nil, fmt.Errorf("%w: entry %d is told in another way than before", keylog.ErrChain, last.Sequence)
	}
	return entries[known+1:], nil
}

// SetDeviceTold notes that a device has told of its log.
func (s *Store) SetDeviceTold(ctx context.Context, d dlms.SystemTitle, at time.Time) error {
	_, err := s.exec(ctx, `UPDATE devices SET told_at = ? WHERE title = ?`, micros(at), d[:])
	return err
}

// DeviceTold is how far the log of a device is known.
type DeviceTold struct {
	Device dlms.SystemTitle
	Kind   string
	// Told is when it told of its log last, zero: never.
	Told time.Time
	// Last is the newest entry known, At its time by the device's clock.
	Last uint64
	At   time.Time
	// Ended is when the newest of its grants that are over ended, zero where there is none.
	Ended time.Time
}

// DevicesTold lists how far the logs of all devices are known.
func (s *Store) DevicesTold(ctx context.Context) ([]DeviceTold, error) {
	return list(ctx, s, func(r scanner) (t DeviceTold, err error) {
		var told, last, at, ended int64
		err = r.Scan(titleOf(&t.Device), &t.Kind, &told, &last, &at, &ended)
		t.Told, t.Last, t.At, t.Ended = fromMicros(told), uint64(last), fromMicros(at), fromMicros(ended)
		return t, err
	}, `SELECT d.title, d.kind, d.told_at,
		coalesce((SELECT l.sequence FROM device_logs l WHERE l.device = d.title ORDER BY l.sequence DESC LIMIT 1), 0),
		coalesce((SELECT l.at FROM device_logs l WHERE l.device = d.title ORDER BY l.sequence DESC LIMIT 1), 0),
		coalesce((SELECT max(CASE WHEN g.ended_at < g.not_after THEN g.ended_at ELSE g.not_after END) FROM grants g
			WHERE g.terminal = d.title AND g.state <> 'live'), 0) FROM devices d ORDER BY d.title`)
}

// DeviceUse is one use of a key of a meter by a device, as its own log tells it.
type DeviceUse struct {
	Device dlms.SystemTitle
	keylog.Entry
}

// DeviceUses lists what devices have told of a meter's keys, by device and in their order, after one of them.
func (s *Store) DeviceUses(ctx context.Context, meter dlms.SystemTitle, after DeviceUse, limit int) ([]DeviceUse, error) {
	return list(ctx, s, func(r scanner) (u DeviceUse, err error) {
		var seq, at int64
		err = r.Scan(titleOf(&u.Device), &seq, &at, &u.Text, &u.Hash)
		u.Sequence, u.Time = uint64(seq), fromMicros(at)
		return u, err
	}, `SELECT device, sequence, at, text, hash FROM device_logs WHERE meter = ? AND (device > ? OR device = ? AND sequence > ?)
		ORDER BY device, sequence LIMIT ?`, meter[:], after.Device[:], after.Device[:], int64(after.Sequence), limit)
}

// CheckDeviceLog refuses a device whose own log ends before what it has told: its state was taken back, and with it its
// counters.
func (s *Store) CheckDeviceLog(ctx context.Context, d dlms.SystemTitle, sequence uint64) error {
	last, err := s.LastDeviceLog(ctx, d)
	if err == nil && sequence < last.Sequence {
		err = fmt.Errorf("device %s: its log ends at entry %d and it has told %d: %w", d, sequence, last.Sequence, ErrEpoch)
	}
	return err
}

// LastDeviceLog returns the newest entry that a device has told, the zero entry for none.
func (s *Store) LastDeviceLog(ctx context.Context, d dlms.SystemTitle) (keylog.Entry, error) {
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

// NextConcentrators lists the enrolled concentrators that come after one by title, the first after the last, at most limit.
func (s *Store) NextConcentrators(ctx context.Context, d dlms.SystemTitle, limit int) ([]dlms.SystemTitle, error) {
	const enrolled = `SELECT title FROM devices WHERE kind = 'concentrator' AND state = 'enrolled' AND title `
	after, err := list(ctx, s, scanTitle, enrolled+`> ? ORDER BY title LIMIT ?`, d[:], limit)
	if err != nil || len(after) == limit {
		return after, err
	}
	before, err := list(ctx, s, scanTitle, enrolled+`< ? ORDER BY title LIMIT ?`, d[:], limit-len(after))
	return append(after, before...), err
}
