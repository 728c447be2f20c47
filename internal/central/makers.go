package central

import (
	"context"
	"encoding/hex"
	"encoding/json"

	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/vault"
)

// admit counts a shipment's meters for the maker who signed it, before the first comes in, and gives back in the end what it
// did not bring. Above the quota a second person approves this very file.
func (is *IS) admit(ctx context.Context, a vault.Arrival) (told func(ctx context.Context, imported int) error, err error) {
	if c, ok := access.CallFrom(ctx); ok {
		c.Params, err = json.Marshal(map[string]any{"maker": a.Maker, "batch": a.Batch, "meters": a.Count, "sha256": hex.EncodeToString(a.Sum)})
		if err != nil {
			return nil, err
		}
		ctx = access.WithCall(ctx, c)
	}
	class, at, n := access.Imports.Of(a.Maker), is.deps.Now(), a.Count
	left, err := is.gate.Left(ctx, class)
	if err == nil && n > left { // a file may come again, after a crash: what is there already counts no more
		n, err = a.Fresh(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := is.gate.Spend(ctx, class, n); err != nil {
		return nil, err
	}
	return func(ctx context.Context, imported int) error { return is.gate.GiveBack(ctx, class, n-imported, at) }, nil
}

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
