package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
)

// AddMoves implements fleet.Store. A meter that comes back to where it was is not to be forgotten there any more; that its
// key was elsewhere in the meantime is in the row of that move.
func (s *Store) AddMoves(ctx context.Context, to dlms.SystemTitle, meters []dlms.SystemTitle, at time.Time) error {
	_, err := s.execEach(ctx, `INSERT INTO moves (meter, from_device, at, told)
		SELECT title, concentrator, ?1, 0 FROM meters WHERE title = ?2 AND concentrator IS NOT NULL AND concentrator <> ?3
		ON CONFLICT (meter, from_device) DO UPDATE SET at = excluded.at, told = 0`,
		len(meters), func(i int) []any { return []any{micros(at), meters[i][:], to[:]} })
	if err == nil {
		_, err = s.execEach(ctx, `DELETE FROM moves WHERE meter = ? AND from_device = ?`,
			len(meters), func(i int) []any { return []any{meters[i][:], to[:]} })
	}
	if err != nil {
		return fmt.Errorf("note moves of meters: %w", err)
	}
	return nil
}

// Moved is a meter that was moved and has no change of CC_LAN under way.
type Moved struct {
	Meter        dlms.SystemTitle
	Concentrator dlms.SystemTitle // the present one
	// Since is when the version in force was handed out to another concentrator last; the zero time: to none.
	Since time.Time
}

// Moved lists them, newest exposure first, at most limit.
func (s *Store) Moved(ctx context.Context, limit int) ([]Moved, error) {
	return list(ctx, s, func(r scanner) (m Moved, err error) {
		var since int64
		err = r.Scan(titleOf(&m.Meter), titleOf(&m.Concentrator), &since)
		m.Since = fromMicros(since)
		return m, err
	}, `SELECT v.meter, m.concentrator, COALESCE((SELECT max(h.at) FROM handouts h WHERE h.meter = k.meter AND h.role = k.role
			AND h.version = k.version AND h.device <> m.concentrator), 0) AS since
		FROM (SELECT DISTINCT meter FROM moves) v
		JOIN meters m ON m.title = v.meter AND m.concentrator IS NOT NULL
		JOIN keys k ON k.meter = v.meter AND k.role = ?1 AND k.state = 'active'
		WHERE NOT EXISTS (SELECT 1 FROM changes c WHERE c.meter = v.meter AND c.role = ?1 AND c.done_at = 0)
		ORDER BY since DESC, v.meter LIMIT ?2`, int(role.CCLAN), limit)
}

// DropMoves forgets the moves of meters, but not those of which a concentrator that is still there was not told.
func (s *Store) DropMoves(ctx context.Context, meters []dlms.SystemTitle) error {
	return s.Update(ctx, func(ctx context.Context) error {
		return s.insertEach(ctx, `DELETE FROM moves WHERE meter = ? AND (told = 1
			OR from_device IN (SELECT title FROM devices WHERE state = 'revoked'))`,
			len(meters), func(i int) []any { return []any{meters[i][:]} })
	})
}

// Untold lists the concentrators that have still to forget a meter.
func (s *Store) Untold(ctx context.Context) ([]dlms.SystemTitle, error) {
	return list(ctx, s, scanTitle, `SELECT DISTINCT v.from_device FROM moves v
		JOIN devices d ON d.title = v.from_device AND d.state = 'enrolled' WHERE v.told = 0 ORDER BY v.from_device`)
}

// ToForget lists the meters that a concentrator has still to forget.
func (s *Store) ToForget(ctx context.Context, d dlms.SystemTitle) ([]dlms.SystemTitle, error) {
	return list(ctx, s, scanTitle, `SELECT meter FROM moves WHERE from_device = ? AND told = 0 ORDER BY meter`, d[:])
}

// Told notes that a concentrator has forgotten meters.
func (s *Store) Told(ctx context.Context, d dlms.SystemTitle, meters []dlms.SystemTitle) error {
	return s.Update(ctx, func(ctx context.Context) error {
		return s.insertEach(ctx, `UPDATE moves SET told = 1 WHERE from_device = ? AND meter = ?`,
			len(meters), func(i int) []any { return []any{d[:], meters[i][:]} })
	})
}

// Revoked lists the devices that were revoked.
func (s *Store) Revoked(ctx context.Context) ([]dlms.SystemTitle, error) {
	return list(ctx, s, scanTitle, `SELECT title FROM devices WHERE state = 'revoked' ORDER BY title`)
}

// Move puts the open changes of meters under another concentrator, within the Update that moves the meters. A change of
// CC_LAN that was not sent goes back to its beginning: the one before may hold its version, so the answer lists what is
// to be abandoned, and with it what a crash or a restored backup has left. One that was sent goes on.
func (c Changes) Move(ctx context.Context, to dlms.SystemTitle, meters []dlms.SystemTitle) (abandon []role.KeyRef, err error) {
	found, err := each(ctx, c.s, meters, func(m dlms.SystemTitle) []any { return []any{m[:], int(role.CCLAN)} }, scanRef,
		`SELECT meter, role, version FROM keys WHERE meter = ?1 AND role = ?2 AND state = 'pending'
		UNION SELECT k.meter, k.role, k.version FROM changes c
			JOIN keys k ON k.meter = c.meter AND k.role = c.role AND k.version = c.to_version AND k.state = 'sent'
			WHERE c.meter = ?1 AND c.role = ?2 AND c.step IN (`+unsent+`)`)
	if err != nil {
		return nil, fmt.Errorf("move key changes: %w", err)
	}
	_, err = c.s.execEach(ctx, `UPDATE changes SET step = 'wanted', to_version = 0 WHERE meter = ? AND role = ? AND step IN (`+unsent+`)`,
		len(meters), func(i int) []any { return []any{meters[i][:], int(role.CCLAN)} })
	if err == nil {
		_, err = c.s.execEach(ctx, `UPDATE changes SET concentrator = ? WHERE meter = ? AND done_at = 0`,
			len(meters), func(i int) []any { return []any{to[:], meters[i][:]} })
	}
	if err == nil {
		_, err = c.s.execEach(ctx, `UPDATE campaign_keys SET concentrator = ? WHERE meter = ? AND (state = 'waiting' OR state = 'asked')`,
			len(meters), func(i int) []any { return []any{to[:], meters[i][:]} })
	}
	if err != nil {
		return nil, fmt.Errorf("move key changes: %w", err)
	}
	return slices.Concat(found...), nil
}

// unsent are the steps at which the version of a change has not left for its meter.
const unsent = `'` + string(rotation.StepGenerated) + `', '` + string(rotation.StepProvisioned) + `'`

func scanRef(r scanner) (k role.KeyRef, err error) {
	return k, r.Scan(titleOf(&k.Meter), &k.Role, &k.Version)
}
