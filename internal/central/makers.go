package central

import (
	"context"

	"github.com/meterseal/meterseal/internal/central/api"
)

// AddMaker implements api.Backend.
func (is *IS) AddMaker(ctx context.Context, q api.MakerRequest) error {
	return is.vault.AddMaker(ctx, who(ctx), q.Key, q.Fingerprint)
}

// RevokeMaker implements api.Backend.
func (is *IS) RevokeMaker(ctx context.Context, q api.MakerRevocation) error {
	return is.vault.RevokeMaker(ctx, who(ctx), q.Fingerprint, q.Why)
}

// Makers implements api.Backend.
func (is *IS) Makers(ctx context.Context) ([]api.Maker, error) {
	rows, err := is.vault.Makers(ctx)
	out := make([]api.Maker, len(rows))
	for i, m := range rows {
		out[i] = api.Maker{Maker: m.Maker, Fingerprint: m.Fingerprint, State: m.State, AddedAt: m.AddedAt, RevokedAt: m.RevokedAt}
	}
	return out, err
}
