package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

const keyColumns = `meter, role, version, suite, term, sealed, mac, check_value, fingerprint, state,
	created_at, sent_at, active_at, ended_at`

func scanKeyRow(r scanner) (k vault.KeyRow, err error) {
	var created, sent, active, ended int64
	err = r.Scan(titleOf(&k.Ref.Meter), &k.Ref.Role, &k.Ref.Version, &k.Suite, &k.Term, &k.Sealed, &k.MAC,
		bytesOf(k.CheckValue[:]), bytesOf(k.Fingerprint[:]), &k.State, &created, &sent, &active, &ended)
	k.CreatedAt, k.SentAt = fromMicros(created), fromMicros(sent)
	k.ActiveAt, k.EndedAt = fromMicros(active), fromMicros(ended)
	return k, err
}

// AddKeys implements vault.Store.
func (s *Store) AddKeys(ctx context.Context, rows []vault.KeyRow) error {
	if err := s.claim(ctx, rows); err != nil {
		return err
	}
	err := s.insertEach(ctx, `INSERT INTO keys (`+keyColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		len(rows), func(i int) []any {
			k := rows[i]
			return append(refArgs(k.Ref), k.Suite, k.Term, k.Sealed, k.MAC, k.CheckValue[:], k.Fingerprint[:], string(k.State),
				micros(k.CreatedAt), micros(k.SentAt), micros(k.ActiveAt), micros(k.EndedAt))
		})
	if err != nil && s.engine.isTaken(err, "keys_fingerprint") {
		return fmt.Errorf("%w: %w", vault.ErrKeyTaken, err)
	}
	return err
}

// claim writes the fingerprints of keys where they stand apart: in their order, for they belong all over the table and a
// batch then comes to each of its pages once.
func (s *Store) claim(ctx context.Context, rows []vault.KeyRow) error {
	if !s.engine.fingerprintsApart() {
		return nil
	}
	fps := make([]vault.Fingerprint, len(rows))
	for i, k := range rows {
		fps[i] = k.Fingerprint
	}
	slices.SortFunc(fps, func(a, b vault.Fingerprint) int { return bytes.Compare(a[:], b[:]) })
	err := s.insertEach(ctx, `INSERT INTO fingerprints (fingerprint) VALUES (?)`, len(fps), func(i int) []any { return []any{fps[i][:]} })
	if err != nil && s.engine.isTaken(err, "fingerprints_fingerprint") {
		return fmt.Errorf("%w: %w", vault.ErrKeyTaken, err)
	}
	return err
}

// KeyRows implements vault.Store.
func (s *Store) KeyRows(ctx context.Context, refs []role.KeyRef) (map[role.KeyRef]vault.KeyRow, error) {
	rows, err := each(ctx, s, refs, refArgs, scanKeyRow,
		`SELECT `+keyColumns+` FROM keys WHERE meter = ? AND role = ? AND version = ?`)
	if err != nil {
		return nil, err
	}
	out := make(map[role.KeyRef]vault.KeyRow, len(refs))
	for i, ref := range refs {
		if len(rows[i]) > 0 {
			out[ref] = rows[i][0]
		}
	}
	return out, nil
}

// KeyVersions implements vault.Store.
func (s *Store) KeyVersions(ctx context.Context, keys []vault.Target) ([][]vault.KeyRow, error) {
	return each(ctx, s, keys, func(t vault.Target) []any { return []any{t.Meter[:], t.Role} }, scanKeyRow,
		`SELECT `+keyColumns+` FROM keys WHERE meter = ? AND role = ? ORDER BY version DESC`)
}

// LiveKeyVersions implements vault.Store.
func (s *Store) LiveKeyVersions(ctx context.Context, keys []vault.Target) ([][]vault.KeyRow, error) {
	return each(ctx, s, keys, func(t vault.Target) []any { return []any{t.Meter[:], t.Role} }, scanKeyRow,
		`SELECT `+keyColumns+` FROM keys WHERE meter = ? AND role = ? AND ended_at = 0 ORDER BY version DESC`)
}

// KeyStates implements vault.Store.
func (s *Store) KeyStates(ctx context.Context, refs []role.KeyRef) (map[role.KeyRef]vault.State, error) {
	rows, err := each(ctx, s, refs, refArgs, func(r scanner) (st vault.State, err error) { return st, r.Scan(&st) },
		`SELECT state FROM keys WHERE meter = ? AND role = ? AND version = ?`)
	if err != nil {
		return nil, err
	}
	out := make(map[role.KeyRef]vault.State, len(refs))
	for i, ref := range refs {
		if len(rows[i]) > 0 {
			out[ref] = rows[i][0]
		}
	}
	return out, nil
}

// MeterKeyRows implements vault.Store.
func (s *Store) MeterKeyRows(ctx context.Context, meter dlms.SystemTitle) ([]vault.KeyRow, error) {
	return list(ctx, s, scanKeyRow, `SELECT `+keyColumns+` FROM keys WHERE meter = ? ORDER BY role, version`, meter[:])
}

// SetKeyStates implements vault.Store. Those of one state go together, unless a version stands twice.
func (s *Store) SetKeyStates(ctx context.Context, changes []vault.StateChange) error {
	seen := make(map[role.KeyRef]bool, len(changes))
	for _, c := range changes {
		seen[c.Ref] = true
	}
	if len(seen) == len(changes) {
		changes = slices.SortedStableFunc(slices.Values(changes), func(a, b vault.StateChange) int {
			return strings.Compare(string(a.State), string(b.State))
		})
	}
	for len(changes) > 0 {
		state := changes[0].State
		same := slices.IndexFunc(changes, func(c vault.StateChange) bool { return c.State != state })
		if same < 0 {
			same = len(changes)
		}
		if err := s.setKeyState(ctx, state, changes[:same]); err != nil {
			return err
		}
		changes = changes[same:]
	}
	return nil
}

// setKeyState moves versions to one state; each of them must be there.
func (s *Store) setKeyState(ctx context.Context, state vault.State, changes []vault.StateChange) error {
	query, ok := stateUpdate(state)
	if !ok {
		return fmt.Errorf("store: key state %q", state)
	}
	n, err := s.execEach(ctx, query, len(changes), func(i int) []any {
		return append([]any{string(state), micros(changes[i].At)}, refArgs(changes[i].Ref)...)
	})
	if err != nil {
		return err
	}
	if n != int64(len(changes)) {
		return fmt.Errorf("store: state of %s and %d more: want %d rows, got %d", changes[0].Ref, len(changes)-1, len(changes), n)
	}
	return nil
}

// stateUpdate also sets the time that goes with the state. A version that comes back into force is no longer ended.
func stateUpdate(state vault.State) (query string, ok bool) {
	set := ""
	switch state {
	case vault.Sent:
		set = `sent_at = ?`
	case vault.Active:
		set = `active_at = ?, ended_at = 0`
	case vault.Superseded, vault.Abandoned:
		set = `ended_at = ?`
	default:
		return "", false
	}
	return `UPDATE keys SET state = ?, ` + set + ` WHERE meter = ? AND role = ? AND version = ?`, true
}

// SendCounters implements vault.Store.
func (s *Store) SendCounters(ctx context.Context, title dlms.SystemTitle, refs []role.KeyRef,
) (map[role.KeyRef]vault.CounterRow, error) {
	rows, err := each(ctx, s, refs, func(r role.KeyRef) []any { return append(refArgs(r), title[:]) },
		func(r scanner) (c vault.CounterRow, err error) { return c, r.Scan(&c.Ceiling, &c.Raised) },
		`SELECT ceiling, raised FROM send_counters WHERE meter = ? AND role = ? AND version = ? AND title = ?`)
	if err != nil {
		return nil, err
	}
	out := make(map[role.KeyRef]vault.CounterRow, len(refs))
	for i, ref := range refs {
		if len(rows[i]) > 0 {
			c := rows[i][0]
			c.Ref, c.Title = ref, title
			out[ref] = c
		}
	}
	return out, nil
}

// RaiseSendCounters implements vault.Store. The maximum is taken in the statement itself: whatever order two writers
// come in, a ceiling does not fall (law 4).
func (s *Store) RaiseSendCounters(ctx context.Context, rows []vault.CounterRow) error {
	var spent []role.KeyRef
	for _, r := range rows {
		if r.Ceiling >= halfSpent {
			spent = append(spent, r.Ref)
		}
	}
	if err := s.noteSpent(ctx, spent); err != nil {
		return err
	}
	return s.insertEach(ctx, `INSERT INTO send_counters (meter, role, version, title, ceiling, raised)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (meter, role, version, title) DO UPDATE SET
		ceiling = CASE WHEN excluded.ceiling > send_counters.ceiling THEN excluded.ceiling ELSE send_counters.ceiling END,
		raised = CASE WHEN excluded.raised > send_counters.raised THEN excluded.raised ELSE send_counters.raised END`,
		len(rows), func(i int) []any {
			r := rows[i]
			return append(refArgs(r.Ref), r.Title[:], r.Ceiling, r.Raised)
		})
}

// ReceiveFloors implements vault.Store.
func (s *Store) ReceiveFloors(ctx context.Context, refs []role.KeyRef) ([][]vault.FloorRow, error) {
	out, err := each(ctx, s, refs, refArgs, func(r scanner) (f vault.FloorRow, err error) {
		return f, r.Scan(titleOf(&f.Title), &f.Last)
	}, `SELECT title, last FROM receive_floors WHERE meter = ? AND role = ? AND version = ?`)
	for i, ref := range refs {
		for j := range out[i] {
			out[i][j].Ref = ref
		}
	}
	return out, err
}

// ErrFloor is returned for a counter that was accepted before.
var ErrFloor = errors.New("store: a counter at or below one that was accepted")

// RaiseReceiveFloors implements vault.Store. A node may have read the floor before another one raised it; the store has
// the last word (law 4). What is read here stays as it is until the commit.
func (s *Store) RaiseReceiveFloors(ctx context.Context, floors []vault.FloorRow) (refused []error, err error) {
	if _, err := s.writer(ctx); err != nil {
		return nil, err
	}
	held, err := s.floorsOf(ctx, floors)
	if err != nil {
		return nil, err
	}
	refused = make([]error, len(floors))
	var rise []vault.FloorRow
	var spent []role.KeyRef
	for i, f := range floors {
		name := floorName{f.Ref, f.Title}
		if last, known := held[name]; known && f.Last <= last {
			refused[i] = fmt.Errorf("%w: %d of %s under %s", ErrFloor, f.Last, f.Title, f.Ref)
			continue
		}
		held[name] = f.Last
		rise = append(rise, f)
		if f.Last >= halfSpent {
			spent = append(spent, f.Ref)
		}
	}
	if err := s.noteSpent(ctx, spent); err != nil {
		return nil, err
	}
	return refused, s.insertEach(ctx, `INSERT INTO receive_floors (meter, role, version, title, last)
		VALUES (?, ?, ?, ?, ?) ON CONFLICT (meter, role, version, title) DO UPDATE SET last = excluded.last`,
		len(rise), func(i int) []any { return append(refArgs(rise[i].Ref), rise[i].Title[:], rise[i].Last) })
}

// floorName says whose floor it is, under which key.
type floorName struct {
	ref   role.KeyRef
	title dlms.SystemTitle
}

func (s *Store) floorsOf(ctx context.Context, floors []vault.FloorRow) (map[floorName]uint32, error) {
	rows, err := each(ctx, s, floors, func(f vault.FloorRow) []any { return append(refArgs(f.Ref), f.Title[:]) },
		func(r scanner) (last uint32, err error) { return last, r.Scan(&last) },
		`SELECT last FROM receive_floors WHERE meter = ? AND role = ? AND version = ? AND title = ?`)
	out := make(map[floorName]uint32, len(floors))
	for i, f := range floors {
		if err == nil && len(rows[i]) > 0 {
			out[floorName{f.Ref, f.Title}] = rows[i][0]
		}
	}
	return out, err
}
