package api

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/internal/shipment"
)

// MakerRequest registers a maker's key. Fingerprint is what a person compared with the maker.
type MakerRequest struct {
	Key         shipment.MakerPublic `json:"key"`
	Fingerprint string               `json:"fingerprint"`
}

// MakerRevocation ends a maker's key.
type MakerRevocation struct {
	Fingerprint string `json:"fingerprint"`
	// Why is for the record.
	Why string `json:"why"`
}

// Maker is a key that a maker signs its shipments with.
type Maker struct {
	Maker       string    `json:"maker"`
	Fingerprint string    `json:"fingerprint"`
	State       string    `json:"state"`
	AddedAt     time.Time `json:"added_at"`
	RevokedAt   time.Time `json:"revoked_at,omitzero"`
}

// AddMaker implements Backend.
func (c *Client) AddMaker(ctx context.Context, q MakerRequest) error {
	_, err := ask[none](ctx, c, "/v1/makers", q)
	return err
}

// RevokeMaker implements Backend.
func (c *Client) RevokeMaker(ctx context.Context, q MakerRevocation) error {
	_, err := ask[none](ctx, c, "/v1/makers/revoke", q)
	return err
}

// Makers implements Backend.
func (c *Client) Makers(ctx context.Context) ([]Maker, error) {
	return get[[]Maker](ctx, c, "/v1/makers")
}
