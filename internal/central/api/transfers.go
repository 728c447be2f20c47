package api

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// MeterExport asks to give meters to another head-end: those named, or all of a concentrator.
type MeterExport struct {
	// To is the transport key of the other head-end's vault.
	To           transport.Public   `json:"to"`
	Meters       []dlms.SystemTitle `json:"meters,omitempty"`
	Concentrator dlms.SystemTitle   `json:"concentrator,omitzero"`
	// File is a new file, an absolute path on the machine of the IS.
	File string `json:"file"`
	// Unproven lets meters go that are in the middle of a key change.
	Unproven bool `json:"unproven,omitempty"`
}

// Exported says what was written.
type Exported struct {
	File   string `json:"file"`
	To     string `json:"to"` // fingerprint of the transport key
	Meters int    `json:"meters"`
	Keys   int    `json:"keys"`
}

// MeterImport asks to take meters over from another head-end.
type MeterImport struct {
	// File is an absolute path on the machine of the IS.
	File string `json:"file"`
	// From is the audit key of the head-end that gives the meters away, as its status shows it.
	From string `json:"from"`
}

// ExportMeters implements Backend.
func (c *Client) ExportMeters(ctx context.Context, q MeterExport) (Exported, error) {
	return ask[Exported](ctx, c, "/v1/vault/export", q)
}

// ImportMeters implements Backend.
func (c *Client) ImportMeters(ctx context.Context, q MeterImport) (*shipment.Report, error) {
	return ask[*shipment.Report](ctx, c, "/v1/vault/import", q)
}
