package store

import (
	"context"

	"github.com/meterseal/meterseal/internal/central/vault"
)

// PutMakers implements vault.Store.
func (s *Store) PutMakers(ctx context.Context, makers []vault.MakerRow) error {
	return s.insertEach(ctx, `INSERT INTO makers (fingerprint, maker, public_key, state, added_at, revoked_at)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (fingerprint) DO UPDATE SET state = 'revoked', revoked_at = excluded.revoked_at
		WHERE excluded.state = 'revoked' AND makers.state <> 'revoked'`, len(makers), func(i int) []any {
		m := makers[i]
		return []any{m.Fingerprint, m.Maker, m.Public, m.State, micros(m.AddedAt), micros(m.RevokedAt)}
	})
}

// MakerRows implements vault.Store.
func (s *Store) MakerRows(ctx context.Context) ([]vault.MakerRow, error) {
	return list(ctx, s, func(r scanner) (m vault.MakerRow, err error) {
		var added, revoked int64
		err = r.Scan(&m.Fingerprint, &m.Maker, &m.Public, &m.State, &added, &revoked)
		m.AddedAt, m.RevokedAt = fromMicros(added), fromMicros(revoked)
		return m, err
	}, `SELECT fingerprint, maker, public_key, state, added_at, revoked_at FROM makers ORDER BY maker, added_at, fingerprint`)
}
