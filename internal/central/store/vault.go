package store

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

var _ vault.Store = (*Store)(nil)

// TitleKinds implements vault.Store.
func (s *Store) TitleKinds(ctx context.Context, titles []dlms.SystemTitle) (map[dlms.SystemTitle]string, error) {
	known := s.memo(ctx)
	if len(titles) == 1 && known.kinds[titles[0]] != "" {
		return map[dlms.SystemTitle]string{titles[0]: known.kinds[titles[0]]}, nil
	}
	rows, err := each(ctx, s, titles, func(t dlms.SystemTitle) []any { return []any{t[:]} }, scanText,
		`SELECT kind FROM titles WHERE title = ?`)
	if err != nil {
		return nil, err
	}
	out := make(map[dlms.SystemTitle]string, len(titles))
	for i, t := range titles {
		if len(rows[i]) > 0 {
			out[t] = rows[i][0]
		}
	}
	if len(titles) == 1 {
		known.kinds = maps.Clone(out) // a title never becomes another kind
	}
	return out, nil
}

func scanText(r scanner) (s string, err error) { return s, r.Scan(&s) }

func scanInt(r scanner) (n int64, err error) { return n, r.Scan(&n) }

// insertTitle is the one way to a title: the primary key refuses one that anything bears already (law 4).
const insertTitle = `INSERT INTO titles (title, kind, created_at) VALUES (?, ?, ?)`

func (s *Store) addTitles(ctx context.Context, kind string, at time.Time, titles []dlms.SystemTitle) error {
	return s.insertEach(ctx, insertTitle, len(titles),
		func(i int) []any { return []any{titles[i][:], kind, micros(at)} })
}

// FingerprintsInUse implements vault.Store.
func (s *Store) FingerprintsInUse(ctx context.Context, fps []vault.Fingerprint) (map[vault.Fingerprint]bool, error) {
	rows, err := each(ctx, s, fps, func(f vault.Fingerprint) []any { return []any{f[:], f[:]} }, scanInt,
		`SELECT 1 FROM fingerprints WHERE fingerprint = ? UNION ALL SELECT 1 FROM device_keys WHERE fingerprint = ?`)
	if err != nil {
		return nil, err
	}
	out := map[vault.Fingerprint]bool{}
	for i, f := range fps {
		if len(rows[i]) > 0 {
			out[f] = true
		}
	}
	return out, nil
}

// DeviceFingerprintsInUse implements vault.Store.
func (s *Store) DeviceFingerprintsInUse(ctx context.Context, fps []vault.Fingerprint) (map[vault.Fingerprint]bool, error) {
	rows, err := each(ctx, s, fps, func(f vault.Fingerprint) []any { return []any{f[:]} }, scanInt,
		`SELECT 1 FROM device_keys WHERE fingerprint = ?`)
	out := map[vault.Fingerprint]bool{}
	for i, f := range fps {
		if err == nil && len(rows[i]) > 0 {
			out[f] = true
		}
	}
	return out, err
}

// AddMeters implements vault.Store.
func (s *Store) AddMeters(ctx context.Context, meters []vault.MeterRow) error {
	err := s.insertEach(ctx, insertTitle, len(meters),
		func(i int) []any { return []any{meters[i].Title[:], "meter", micros(meters[i].EnrolledAt)} })
	if err != nil {
		return err
	}
	return s.insertEach(ctx, `INSERT INTO meters (title, maker, batch, profile, suite, concentrator, state, enrolled_at)
		VALUES (?, ?, ?, ?, ?, NULL, 'enrolled', ?)`, len(meters), func(i int) []any {
		m := meters[i]
		return []any{m.Title[:], m.Maker, m.Batch, m.Profile, m.Suite, micros(m.EnrolledAt)}
	})
}

// MeterRows implements vault.Store.
func (s *Store) MeterRows(ctx context.Context, titles []dlms.SystemTitle) (map[dlms.SystemTitle]vault.MeterRow, error) {
	rows, err := each(ctx, s, titles, func(t dlms.SystemTitle) []any { return []any{t[:]} }, scanMeterRow,
		`SELECT title, maker, batch, profile, suite, enrolled_at FROM meters WHERE title = ?`)
	if err != nil {
		return nil, err
	}
	out := make(map[dlms.SystemTitle]vault.MeterRow, len(titles))
	for i, t := range titles {
		if len(rows[i]) > 0 {
			out[t] = rows[i][0]
		}
	}
	return out, nil
}

func scanMeterRow(r scanner) (m vault.MeterRow, err error) {
	var at int64
	err = r.Scan(titleOf(&m.Title), &m.Maker, &m.Batch, &m.Profile, &m.Suite, &at)
	m.EnrolledAt = fromMicros(at)
	return m, err
}

// AddDevice implements vault.Store.
func (s *Store) AddDevice(ctx context.Context, d vault.DeviceRow) error {
	if err := s.addTitles(ctx, d.Kind, d.EnrolledAt, []dlms.SystemTitle{d.Title}); err != nil {
		return err
	}
	_, err := s.exec(ctx, `INSERT INTO devices (title, kind, nkey_public, fingerprint, state, enrolled_at)
		VALUES (?, ?, ?, ?, ?, ?)`, d.Title[:], d.Kind, d.NKeyPublic, d.Fingerprint, d.State, micros(d.EnrolledAt))
	if err != nil {
		return err
	}
	keys := []struct {
		use string
		row vault.DeviceKeyRow
	}{{"kek", d.KEK}, {"mac", d.MAC}}
	return s.insertEach(ctx, `INSERT INTO device_keys (device, use, term, sealed, mac, fingerprint)
		VALUES (?, ?, ?, ?, ?, ?)`, len(keys), func(i int) []any {
		k := keys[i]
		return []any{d.Title[:], k.use, k.row.Term, k.row.Sealed, k.row.MAC, k.row.Fingerprint[:]}
	})
}

// DeviceRow implements vault.Store.
func (s *Store) DeviceRow(ctx context.Context, title dlms.SystemTitle) (d vault.DeviceRow, ok bool, err error) {
	d, err = one(ctx, s, func(r scanner) (d vault.DeviceRow, err error) {
		var at int64
		err = r.Scan(titleOf(&d.Title), &d.Kind, &d.NKeyPublic, &d.Fingerprint, &d.State, &at,
			&d.KEK.Term, &d.KEK.Sealed, &d.KEK.MAC, bytesOf(d.KEK.Fingerprint[:]),
			&d.MAC.Term, &d.MAC.Sealed, &d.MAC.MAC, bytesOf(d.MAC.Fingerprint[:]))
		d.EnrolledAt = fromMicros(at)
		return d, err
	}, `SELECT d.title, d.kind, d.nkey_public, d.fingerprint, d.state, d.enrolled_at,
			k.term, k.sealed, k.mac, k.fingerprint, m.term, m.sealed, m.mac, m.fingerprint
		FROM devices d
		JOIN device_keys k ON k.device = d.title AND k.use = 'kek'
		JOIN device_keys m ON m.device = d.title AND m.use = 'mac'
		WHERE d.title = ?`, title[:])
	if errors.Is(err, ErrNotFound) {
		return vault.DeviceRow{}, false, nil
	}
	return d, err == nil, err
}

// AddHandouts implements vault.Store.
func (s *Store) AddHandouts(ctx context.Context, hs []vault.Handout) error {
	return s.insertEach(ctx, `INSERT INTO handouts
		(device, meter, role, version, first_counter, last_counter, grant_id, at, last_day) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		len(hs), func(i int) []any {
			h := hs[i]
			return []any{
				h.Device[:], h.Ref.Meter[:], h.Ref.Role, h.Ref.Version,
				h.FirstCounter, h.LastCounter, h.Grant, micros(h.At), nullDay(h.LastDay),
			}
		})
}

// nullDay stores no day as NULL.
func nullDay(d dlms.Day) any {
	if d.IsZero() {
		return nil
	}
	return d.String()
}

// AssignedMeters implements vault.Store.
func (s *Store) AssignedMeters(ctx context.Context, concentrator dlms.SystemTitle, meters []dlms.SystemTitle,
) (map[dlms.SystemTitle]bool, error) {
	return s.which(ctx, meters, func(m dlms.SystemTitle) []any { return []any{m[:], concentrator[:]} },
		`SELECT 1 FROM meters WHERE title = ? AND concentrator = ? AND state = 'enrolled'`)
}

// GrantedMeters implements vault.Store.
func (s *Store) GrantedMeters(ctx context.Context, terminal dlms.SystemTitle, now time.Time, meters []dlms.SystemTitle,
) (map[dlms.SystemTitle]bool, error) {
	at := micros(now)
	return s.which(ctx, meters, func(m dlms.SystemTitle) []any { return []any{m[:], terminal[:], at} },
		`SELECT 1 FROM grant_meters gm JOIN grants g ON g.id = gm.grant_id
		WHERE gm.meter = ? AND g.terminal = ? AND g.state = 'live' AND g.not_after >= ?`)
}

// which returns the items for which a query has a row.
func (s *Store) which(ctx context.Context, items []dlms.SystemTitle, args func(dlms.SystemTitle) []any, query string,
) (map[dlms.SystemTitle]bool, error) {
	rows, err := each(ctx, s, items, args, scanInt, query)
	if err != nil {
		return nil, err
	}
	out := map[dlms.SystemTitle]bool{}
	for i, t := range items {
		if len(rows[i]) > 0 {
			out[t] = true
		}
	}
	return out, nil
}

// GrantRow implements vault.Store.
func (s *Store) GrantRow(ctx context.Context, id string) (g vault.GrantRow, ok bool, err error) {
	err = s.View(ctx, func(ctx context.Context) error {
		if g, err = one(ctx, s, scanGrantRow, `SELECT id, terminal, not_before, not_after, state FROM grants
			WHERE id = ?`, id); err != nil {
			return err
		}
		g.Meters, err = s.grantMeters(ctx, id)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return vault.GrantRow{}, false, nil
	}
	return g, err == nil, err
}

func (s *Store) grantMeters(ctx context.Context, id string) ([]dlms.SystemTitle, error) {
	return list(ctx, s, func(r scanner) (t dlms.SystemTitle, err error) { return t, r.Scan(titleOf(&t)) },
		`SELECT meter FROM grant_meters WHERE grant_id = ? ORDER BY meter`, id)
}

func scanGrantRow(r scanner) (g vault.GrantRow, err error) {
	var from, to int64
	var state string
	err = r.Scan(&g.ID, titleOf(&g.Terminal), &from, &to, &state)
	g.NotBefore, g.NotAfter, g.Live = fromMicros(from), fromMicros(to), state == "live"
	return g, err
}

// JournalPosition implements vault.Store.
func (s *Store) JournalPosition(ctx context.Context) (p vault.Position, ok bool, err error) {
	node, known := s.nodeName(), s.memo(ctx)
	if at, read := known.places[node]; read {
		return at.at, at.known, nil
	}
	p, err = one(ctx, s, func(r scanner) (p vault.Position, err error) {
		return p, r.Scan(&p.Vault, &p.Bytes, &p.Hash)
	}, `SELECT vault, bytes, hash FROM journal_position WHERE node = ?`, node)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return vault.Position{}, false, err
	}
	if known.places == nil {
		known.places = map[string]place{}
	}
	known.places[node] = place{at: p, known: err == nil}
	return p, err == nil, nil
}

// SetJournalPosition implements vault.Store.
func (s *Store) SetJournalPosition(ctx context.Context, p vault.Position) error {
	s.memo(ctx).places = nil
	_, err := s.exec(ctx, `INSERT INTO journal_position (node, vault, bytes, hash) VALUES (?, ?, ?, ?)
		ON CONFLICT (node) DO UPDATE SET vault = excluded.vault, bytes = excluded.bytes, hash = excluded.hash`,
		s.nodeName(), p.Vault, p.Bytes, p.Hash)
	return err
}

// titleOf scans a system title.
func titleOf(t *dlms.SystemTitle) sql.Scanner { return bytesOf(t[:]) }

// bytesOf scans a BLOB of exactly the length of dst; NULL gives zeros.
func bytesOf(dst []byte) sql.Scanner { return fixed(dst) }

type fixed []byte

// Scan implements sql.Scanner.
func (f fixed) Scan(v any) error {
	b, ok := v.([]byte)
	switch {
	case v == nil:
		clear(f)
		return nil
	case !ok || len(b) != len(f):
		return errors.New("store: a column has the wrong length or type")
	}
	copy(f, b)
	return nil
}

// refArgs are the three columns that name a key version.
func refArgs(r role.KeyRef) []any { return []any{r.Meter[:], r.Role, r.Version} }
