package store

import (
	"context"
	"strconv"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
)

var _ rotation.ExposureStore = (*Store)(nil)

// liveHandouts are the handings-out of versions that may be in force: h the handing-out, l the version, m the meter, d the
// holder.
const liveHandouts = `FROM handouts h
	JOIN keys l ON l.meter = h.meter AND l.role = h.role AND l.version = h.version AND l.state IN ('active', 'sent')
	JOIN meters m ON m.title = h.meter
	JOIN devices d ON d.title = h.device`

// sqlGranted says that the terminal h.device has a grant for the meter h.meter that is in force at ?1.
const sqlGranted = `EXISTS (SELECT 1 FROM grant_meters gm JOIN grants g ON g.id = gm.grant_id
	WHERE gm.meter = h.meter AND g.terminal = h.device AND g.state = 'live' AND g.not_after >= ?1)`

// sqlWhy says by what right, or without which, h.device holds the version.
const sqlWhy = `CASE WHEN d.state = 'revoked' THEN '` + rotation.WhyRevoked + `'
	WHEN d.kind = 'concentrator' AND m.concentrator = h.device THEN '` + rotation.WhyOwn + `'
	WHEN d.kind = 'concentrator' THEN '` + rotation.WhyMoved + `'
	WHEN ` + sqlGranted + ` THEN '` + rotation.WhyGrant + `'
	ELSE '` + rotation.WhyEnded + `' END`

// sqlUnentitled says that h.device has no right to the version any more.
const sqlUnentitled = sqlWhy + ` IN ('` + rotation.WhyRevoked + `', '` + rotation.WhyMoved + `', '` + rotation.WhyEnded + `')`

// holdings are the live handings-out, one row a holder and version.
func holdings(q rotation.ExposureQuery, now time.Time, today dlms.Day) (from string, args []any) {
	args = []any{micros(now), today.String()}
	where := `(h.last_day IS NULL OR h.last_day >= ?2)`
	switch holder := q.Holder(); {
	case !q.Meter.IsZero():
		where, args = where+` AND h.meter = ?3`, append(args, q.Meter[:])
	case !holder.IsZero():
		where, args = where+` AND h.device = ?3`, append(args, holder[:])
	}
	if q.Unentitled {
		where += ` AND ` + sqlUnentitled
	}
	return `(SELECT h.meter AS meter, h.role AS role, h.version AS version, l.state AS state, h.device AS holder, d.kind AS kind,
		min(h.at) AS since, ` + sqlWhy + ` AS why, CASE WHEN count(*) = count(h.last_day) THEN max(h.last_day) ELSE '' END AS last_day ` + liveHandouts + ` WHERE ` + where + `
		GROUP BY h.meter, h.role, h.version, l.state, h.device, d.kind, d.state, m.concentrator) x`, args
}

// Exposure implements rotation.ExposureStore. It is one moment's view.
func (s *Store) Exposure(ctx context.Context, q rotation.ExposureQuery, now time.Time) (e rotation.Exposure, err error) {
	if q.Limit <= 0 {
		q.Limit = 1000
	}
	from, args := holdings(q, now, dlms.DayOf(now.In(s.zone)))
	err = s.View(ctx, func(ctx context.Context) error {
		e.Totals, err = list(ctx, s, scanTotal, `SELECT role, why, count(*), min(since), max(since) FROM `+from+
			` GROUP BY role, why ORDER BY max(since) DESC, role, why`, args...)
		if err != nil {
			return err
		}
		e.Holdings, err = list(ctx, s, scanHolding, `SELECT meter, role, version, state, holder, kind, since, why, last_day FROM `+from+
			` ORDER BY since DESC, meter, role, version, holder LIMIT ?`+strconv.Itoa(len(args)+1), append(args, q.Limit)...)
		return err
	})
	if err != nil {
		return rotation.Exposure{}, err
	}
	if e.Totals == nil { // a list in JSON, and an empty one
		e.Totals, e.Holdings = []rotation.ExposureTotal{}, []rotation.Holding{}
	}
	for _, t := range e.Totals {
		e.Omitted += t.Keys
	}
	e.Omitted -= len(e.Holdings)
	return e, nil
}

func scanTotal(r scanner) (t rotation.ExposureTotal, err error) {
	var n int
	var oldest, newest int64
	err = r.Scan(&n, &t.Why, &t.Keys, &oldest, &newest)
	t.Role, t.Oldest, t.Newest = role.Role(n), fromMicros(oldest), fromMicros(newest)
	return t, err
}

func scanHolding(r scanner) (h rotation.Holding, err error) {
	var since int64
	var last string
	if err = r.Scan(titleOf(&h.Meter), &h.Role, &h.Version, &h.State, titleOf(&h.Holder), &h.Kind, &since, &h.Why, &last); err != nil {
		return h, err
	}
	h.Since = fromMicros(since)
	return h, h.LastDay.UnmarshalText([]byte(last))
}
