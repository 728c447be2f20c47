package store

import (
	"context"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/role"
)

var _ fleet.Store = (*Store)(nil)

const meterColumns = `SELECT title, maker, profile, concentrator, state, enrolled_at FROM meters`

// Meters implements fleet.Store.
func (s *Store) Meters(ctx context.Context) ([]fleet.Meter, error) {
	return list(ctx, s, scanMeter, meterColumns+` ORDER BY title`)
}

// MetersAfter implements fleet.Store.
func (s *Store) MetersAfter(ctx context.Context, after dlms.SystemTitle, limit int) ([]fleet.Meter, error) {
	return list(ctx, s, scanMeter, meterColumns+` WHERE title > ? ORDER BY title LIMIT ?`, after[:], limit)
}

// Meter implements fleet.Store.
func (s *Store) Meter(ctx context.Context, title dlms.SystemTitle) (fleet.Meter, bool, error) {
	rows, err := list(ctx, s, scanMeter, meterColumns+` WHERE title = ?`, title[:])
	if err != nil || len(rows) == 0 {
		return fleet.Meter{}, false, err
	}
	return rows[0], true, nil
}

// MetersByTitle implements fleet.Store.
func (s *Store) MetersByTitle(ctx context.Context, titles []dlms.SystemTitle) (map[dlms.SystemTitle]fleet.Meter, error) {
	rows, err := each(ctx, s, titles, func(t dlms.SystemTitle) []any { return []any{t[:]} }, scanMeter, meterColumns+` WHERE title = ?`)
	out := make(map[dlms.SystemTitle]fleet.Meter, len(titles))
	for _, r := range rows {
		for _, m := range r {
			out[m.Title] = m
		}
	}
	return out, err
}

func scanMeter(r scanner) (m fleet.Meter, err error) {
	var at int64
	var dc []byte
	if err := r.Scan(titleOf(&m.Title), &m.Maker, &m.Profile, &dc, &m.State, &at); err != nil {
		return m, err
	}
	m.EnrolledAt = fromMicros(at)
	if dc != nil {
		m.Concentrator, err = dlms.SystemTitleFromBytes(dc)
	}
	return m, err
}

// Devices implements fleet.Store.
func (s *Store) Devices(ctx context.Context) ([]fleet.Device, error) {
	return list(ctx, s, func(r scanner) (d fleet.Device, err error) {
		return d, r.Scan(titleOf(&d.Title), &d.Kind, &d.NKeyPublic, &d.State)
	}, `SELECT title, kind, nkey_public, state FROM devices ORDER BY title`)
}

// AssignMeters implements fleet.Store; it counts the meters that are there, if the concentrator is.
func (s *Store) AssignMeters(ctx context.Context, dc dlms.SystemTitle, meters []dlms.SystemTitle) (int, error) {
	changed, err := s.execEach(ctx, `UPDATE meters SET concentrator = ?1 WHERE title = ?2 AND EXISTS (
		SELECT 1 FROM devices WHERE title = ?1 AND kind = 'concentrator' AND state = 'enrolled')`, len(meters),
		func(i int) []any { return []any{dc[:], meters[i][:]} })
	return int(changed), err
}

// AddNode implements fleet.Store.
func (s *Store) AddNode(ctx context.Context, title dlms.SystemTitle, at time.Time) error {
	return s.addTitles(ctx, fleet.KindNode, at, []dlms.SystemTitle{title})
}

// SetDeviceState implements fleet.Store.
func (s *Store) SetDeviceState(ctx context.Context, title dlms.SystemTitle, state string) (bool, error) {
	n, err := s.exec(ctx, `UPDATE devices SET state = ? WHERE title = ? AND state <> ?`, state, title[:], state)
	return n > 0, err
}

// AddGrant implements fleet.Store.
func (s *Store) AddGrant(ctx context.Context, g fleet.Grant, at time.Time) error {
	_, err := s.exec(ctx, `INSERT INTO grants (id, terminal, not_before, not_after, state, created_at, ended_at, closed_at)
		VALUES (?, ?, ?, ?, ?, ?, 0, 0)`, g.ID, g.Terminal[:], micros(g.NotBefore), micros(g.NotAfter), g.State, micros(at))
	if err != nil {
		return fmt.Errorf("insert grant: %w", err)
	}
	return s.insertEach(ctx, `INSERT INTO grant_meters (grant_id, meter) VALUES (?, ?)`, len(g.Meters),
		func(i int) []any { return []any{g.ID, g.Meters[i][:]} })
}

// SetGrantState implements fleet.Store: live to ended to closed, never back.
func (s *Store) SetGrantState(ctx context.Context, id, state string, at time.Time) (bool, error) {
	from, column := fleet.GrantLive, "ended_at"
	if state == fleet.GrantClosed {
		from, column = fleet.GrantEnded, "closed_at"
	}
	n, err := s.exec(ctx, `UPDATE grants SET state = ?, `+column+` = ? WHERE id = ? AND state = ?`,
		state, micros(at), id, from)
	return n > 0, err
}

// GivenAway returns the meters of a grant whose terminal may have CC_LOCALE itself under it, and not only what was derived
// from it until a day.
func (s *Store) GivenAway(ctx context.Context, grant string) ([]dlms.SystemTitle, error) {
	return list(ctx, s, scanTitle, `SELECT gm.meter FROM grant_meters gm WHERE gm.grant_id = ?1 AND
		(EXISTS (SELECT 1 FROM handouts h WHERE h.grant_id = gm.grant_id AND h.meter = gm.meter AND h.last_day IS NULL)
		OR NOT EXISTS (SELECT 1 FROM handouts h WHERE h.grant_id = gm.grant_id AND h.meter = gm.meter)) ORDER BY gm.meter`, grant)
}

// Lent implements fleet.Store.
func (s *Store) Lent(ctx context.Context, meters []dlms.SystemTitle, today dlms.Day) ([][]fleet.Lent, error) {
	return each(ctx, s, meters, func(m dlms.SystemTitle) []any { return []any{m[:], int(role.CCLOCALE), today.String()} },
		func(r scanner) (l fleet.Lent, err error) {
			var last string
			var until int64
			if err := r.Scan(titleOf(&l.Terminal), &last, &until); err != nil {
				return l, err
			}
			l.NotAfter = fromMicros(until)
			return l, l.LastDay.UnmarshalText([]byte(last))
		}, `SELECT h.device, COALESCE(h.last_day, ''), CAST(0 AS BIGINT) FROM handouts h
			JOIN keys k ON k.meter = h.meter AND k.role = h.role AND k.version = h.version AND k.state = 'active'
			WHERE h.meter = ?1 AND h.role = ?2 AND (h.last_day IS NULL OR h.last_day >= ?3)
		UNION SELECT g.terminal, '', g.not_after FROM grant_meters gm JOIN grants g ON g.id = gm.grant_id
			WHERE gm.meter = ?1 AND g.state = 'live' AND NOT EXISTS (SELECT 1 FROM handouts h WHERE h.grant_id = g.id AND h.meter = gm.meter)`)
}

// Grants implements fleet.Store.
func (s *Store) Grants(ctx context.Context, state string) ([]fleet.Grant, error) {
	gs, err := list(ctx, s, func(r scanner) (g fleet.Grant, err error) {
		var from, to, ended int64
		err = r.Scan(&g.ID, titleOf(&g.Terminal), &from, &to, &g.State, &ended)
		g.NotBefore, g.NotAfter, g.EndedAt = fromMicros(from), fromMicros(to), fromMicros(ended)
		return g, err
	}, `SELECT id, terminal, not_before, not_after, state, ended_at FROM grants WHERE state = ? ORDER BY created_at`, state)
	for i := range gs {
		if err != nil {
			break
		}
		gs[i].Meters, err = s.grantMeters(ctx, gs[i].ID)
	}
	return gs, err
}
