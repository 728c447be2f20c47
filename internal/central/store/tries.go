package store

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// tryTerm is how long a try counts.
const tryTerm = time.Hour

// BeginTry notes that an association with a meter is about to be tried, unless as many as limit were within the hour: then
// false. A time that is further ahead than an hour was written by a clock that was ahead, and does not count.
func (s *Store) BeginTry(ctx context.Context, meter dlms.SystemTitle, now time.Time, limit int) (may bool, err error) {
	err = s.Update(ctx, func(ctx context.Context) error {
		_, err := s.exec(ctx, `DELETE FROM tries WHERE meter = ? AND (at <= ? OR at > ?)`,
			meter[:], micros(now.Add(-tryTerm)), micros(now.Add(tryTerm)))
		if err != nil {
			return err
		}
		n, err := one(ctx, s, scanInt, `SELECT count(*) FROM tries WHERE meter = ?`, meter[:])
		if may = err == nil && int(n) < limit; !may {
			return err
		}
		_, err = s.exec(ctx, `INSERT INTO tries (meter, at) VALUES (?, ?)`, meter[:], micros(now))
		return err
	})
	return may && err == nil, err
}

// ForgetTries forgets what was tried on a meter: it has answered.
func (s *Store) ForgetTries(ctx context.Context, meter dlms.SystemTitle) error {
	return s.Update(ctx, func(ctx context.Context) error {
		_, err := s.exec(ctx, `DELETE FROM tries WHERE meter = ?`, meter[:])
		return err
	})
}
