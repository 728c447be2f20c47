package access

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/internal/central/audit"
)

// Journalled returns the store with a second place that learns of every certificate that is issued or revoked, before that is
// committed: a restore of the store must forget neither.
func Journalled(s Store, note func(ctx context.Context, c Certificate) error) Store {
	return journalled{s, note}
}

type journalled struct {
	Store
	note func(ctx context.Context, c Certificate) error
}

// AddCertificate implements Store.
func (s journalled) AddCertificate(ctx context.Context, c Certificate) error {
	if err := s.Store.AddCertificate(ctx, c); err != nil {
		return err
	}
	return s.note(ctx, c)
}

// RevokeCertificates implements Store.
func (s journalled) RevokeCertificates(ctx context.Context, name, fingerprint string, at time.Time, by audit.Actor, why string) (int, error) {
	before, err := s.Certificates(ctx)
	if err != nil {
		return 0, err
	}
	n, err := s.Store.RevokeCertificates(ctx, name, fingerprint, at, by, why)
	if err != nil {
		return n, err
	}
	for _, c := range before {
		if c.Name == name && c.RevokedAt.IsZero() && (fingerprint == "" || fingerprint == c.Fingerprint) {
			c.RevokedAt, c.RevokedBy, c.Why = at, by, why
			if err := s.note(ctx, c); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
