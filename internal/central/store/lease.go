package store

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/internal/central/lease"
)

var _ lease.Store = (*Store)(nil)

// AcquireLeases implements lease.Store. A row is never deleted, so its token never begins again.
func (s *Store) AcquireLeases(ctx context.Context, owner string, now, until time.Time, names []lease.Name) (got []lease.Lease, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		s.memo(ctx).leases = nil
		tokens, err := each(ctx, s, names, func(n lease.Name) []any {
			return []any{n.Kind, n.Subject[:], owner, micros(until), micros(now), micros(now.Add(lease.Horizon))}
		}, scanInt, `INSERT INTO leases (kind, subject, owner, token, until) VALUES (?1, ?2, ?3, 1, ?4)
			ON CONFLICT (kind, subject) DO UPDATE SET owner = excluded.owner, token = leases.token + 1, until = excluded.until
			WHERE leases.owner = excluded.owner OR leases.until <= ?5 OR leases.until > ?6 RETURNING token`)
		got = nil
		for i, t := range tokens {
			if len(t) > 0 {
				got = append(got, lease.Lease{Name: names[i], Owner: owner, Token: t[0], Until: until})
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

func leaseArgs(l lease.Lease) []any { return []any{l.Name.Kind, l.Name.Subject[:], l.Owner, l.Token} }

// RenewLeases implements lease.Store.
func (s *Store) RenewLeases(ctx context.Context, until time.Time, leases []lease.Lease) (kept []lease.Lease, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		rows, err := each(ctx, s, leases, func(l lease.Lease) []any { return append(leaseArgs(l), micros(until)) }, scanInt,
			`UPDATE leases SET until = ?5 WHERE kind = ?1 AND subject = ?2 AND owner = ?3 AND token = ?4 RETURNING token`)
		kept = nil
		for i, r := range rows {
			if len(r) > 0 {
				l := leases[i]
				l.Until = until
				kept = append(kept, l)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// ReleaseLeases implements lease.Store. One that was lost meanwhile is left as it is.
func (s *Store) ReleaseLeases(ctx context.Context, leases []lease.Lease) error {
	return s.Update(ctx, func(ctx context.Context) error {
		s.memo(ctx).leases = nil
		return s.insertEach(ctx, `UPDATE leases SET owner = '', until = 0
			WHERE kind = ? AND subject = ? AND owner = ? AND token = ?`, len(leases),
			func(i int) []any { return leaseArgs(leases[i]) })
	})
}

// Leases implements lease.Store.
func (s *Store) Leases(ctx context.Context, kind string) ([]lease.Lease, error) {
	return list(ctx, s, func(r scanner) (l lease.Lease, err error) {
		var until int64
		l.Name.Kind = kind
		err = r.Scan(titleOf(&l.Name.Subject), &l.Owner, &l.Token, &until)
		l.Until = fromMicros(until)
		return l, err
	}, `SELECT subject, owner, token, until FROM leases WHERE kind = ? AND owner <> '' ORDER BY subject`, kind)
}

// holds reads whether a lease is still held, in the transaction. Owner and token together: after a fail-over that has
// lost the last commits two nodes may have been given one token.
func (s *Store) holds(ctx context.Context, t *tx, l lease.Lease) (held bool, err error) {
	if held, known := t.memo.leases[endless(l)]; known {
		return held, nil
	}
	err = t.work.query(context.WithoutCancel(ctx), queryLease,
		leaseArgs(l), func(r scanner) error {
			held = true
			_, err := scanInt(r)
			return err
		})
	return held, err
}
