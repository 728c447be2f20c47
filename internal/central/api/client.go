package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/collect"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/shipment"
)

// ErrNoIS is returned when nothing answers on the socket.
var ErrNoIS = errors.New("no central system answers on this data directory: start one with 'meterseal central --config FILE'")

// Client works a running IS over its socket; it is a [Backend] itself.
type Client struct{ http http.Client }

var _ Backend = (*Client)(nil)

// NewClient returns a client for the IS with this data directory.
func NewClient(dataDir string) *Client {
	path := filepath.Join(dataDir, SocketName)
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "unix", path)
			if err != nil {
				return nil, fmt.Errorf("%w (%w)", ErrNoIS, err)
			}
			return c, nil
		},
	}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://is"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	var f failure
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f)
	if err != nil || f.Error == "" {
		f.Error = resp.Status
	}
	return nil, errors.Join(errors.New(f.Error), resp.Body.Close())
}

// ask posts q and decodes the answer.
func ask[A any](ctx context.Context, c *Client, path string, q any) (a A, err error) {
	b, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	body, err := c.do(ctx, http.MethodPost, path, bytes.NewReader(b))
	if err != nil {
		return a, err
	}
	return decode[A](body)
}

func get[A any](ctx context.Context, c *Client, path string) (a A, err error) {
	body, err := c.do(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		return a, err
	}
	return decode[A](body)
}

func decode[A any](body io.ReadCloser) (a A, err error) {
	err = json.NewDecoder(body).Decode(&a)
	return a, errors.Join(err, body.Close())
}

// Status implements Backend.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// ImportShipment implements Backend.
func (c *Client) ImportShipment(ctx context.Context, r io.Reader) (*shipment.Report, error) {
	body, err := c.do(ctx, http.MethodPost, "/v1/shipments", r)
	if err != nil {
		return nil, err
	}
	a, err := decode[struct {
		Report *shipment.Report `json:"report"`
		Error  string           `json:"error"`
	}](body)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a.Report, err
}

// Enrol implements Backend.
func (c *Client) Enrol(ctx context.Context, e Enrolment) error {
	_, err := ask[none](ctx, c, "/v1/devices", e)
	return err
}

// Assign implements Backend.
func (c *Client) Assign(ctx context.Context, a Assignment) error {
	_, err := ask[none](ctx, c, "/v1/assign", a)
	return err
}

// Evict implements Backend.
func (c *Client) Evict(ctx context.Context, e Eviction) (Evicted, error) {
	return ask[Evicted](ctx, c, "/v1/evict", e)
}

// Provision implements Backend.
func (c *Client) Provision(ctx context.Context, d dlms.SystemTitle) (Provisioned, error) {
	return ask[Provisioned](ctx, c, "/v1/provision", title{d})
}

// Associate implements Backend.
func (c *Client) Associate(ctx context.Context, d dlms.SystemTitle) (bus.StatusResult, error) {
	return ask[bus.StatusResult](ctx, c, "/v1/associate", title{d})
}

// Collect implements Backend.
func (c *Client) Collect(ctx context.Context, day string) (Collected, error) {
	return ask[Collected](ctx, c, "/v1/collect", dayOf{Day: day})
}

// Readings implements Backend.
func (c *Client) Readings(ctx context.Context, m dlms.SystemTitle, day string) (collect.Day, error) {
	return ask[collect.Day](ctx, c, "/v1/readings", dayOf{m, day})
}

// Rotate implements Backend.
func (c *Client) Rotate(ctx context.Context, r Rotation) (Asked, error) {
	return ask[Asked](ctx, c, "/v1/rotate", r)
}

// StartCampaign implements Backend.
func (c *Client) StartCampaign(ctx context.Context, q CampaignRequest) (rotation.Progress, error) {
	return ask[rotation.Progress](ctx, c, "/v1/campaigns", q)
}

// Campaigns implements Backend.
func (c *Client) Campaigns(ctx context.Context) ([]rotation.Progress, error) {
	return get[[]rotation.Progress](ctx, c, "/v1/campaigns")
}

// Campaign implements Backend.
func (c *Client) Campaign(ctx context.Context, id int64) (rotation.Progress, error) {
	return ask[rotation.Progress](ctx, c, "/v1/campaigns/show", numbered{id})
}

// SteerCampaign implements Backend.
func (c *Client) SteerCampaign(ctx context.Context, s CampaignSteering) (rotation.Progress, error) {
	return ask[rotation.Progress](ctx, c, "/v1/campaigns/steer", s)
}

// Exposure implements Backend.
func (c *Client) Exposure(ctx context.Context, q rotation.ExposureQuery) (rotation.Exposure, error) {
	return ask[rotation.Exposure](ctx, c, "/v1/exposure", q)
}

// RevokeTerminal implements Backend.
func (c *Client) RevokeTerminal(ctx context.Context, r Revocation) (Revoked, error) {
	return ask[Revoked](ctx, c, "/v1/terminals/revoke", r)
}

// Changes implements Backend.
func (c *Client) Changes(ctx context.Context, reason string) ([]rotation.Change, error) {
	return ask[[]rotation.Change](ctx, c, "/v1/changes", named{reason})
}

// Breaker implements Backend.
func (c *Client) Breaker(ctx context.Context, b Breaker) error {
	_, err := ask[none](ctx, c, "/v1/breaker", b)
	return err
}

// BreakerStatus implements Backend.
func (c *Client) BreakerStatus(ctx context.Context, m dlms.SystemTitle) (BreakerStatus, error) {
	return ask[BreakerStatus](ctx, c, "/v1/breaker/status", title{m})
}

// SetClock implements Backend.
func (c *Client) SetClock(ctx context.Context, m dlms.SystemTitle) error {
	_, err := ask[none](ctx, c, "/v1/clock", title{m})
	return err
}

// BroadcastClock implements Backend.
func (c *Client) BroadcastClock(ctx context.Context, d dlms.SystemTitle) (bus.BroadcastResult, error) {
	return ask[bus.BroadcastResult](ctx, c, "/v1/clock/broadcast", title{d})
}

// Sightings implements Backend.
func (c *Client) Sightings(ctx context.Context) ([]collect.Sighting, error) {
	return get[[]collect.Sighting](ctx, c, "/v1/sightings")
}

// Grant implements Backend.
func (c *Client) Grant(ctx context.Context, g GrantRequest) (enrol.Grant, error) {
	return ask[enrol.Grant](ctx, c, "/v1/grants", g)
}

// EndGrant implements Backend.
func (c *Client) EndGrant(ctx context.Context, id string) (Asked, error) {
	return ask[Asked](ctx, c, "/v1/grants/end", named{id})
}

// RollCall implements Backend.
func (c *Client) RollCall(ctx context.Context) (RollCall, error) {
	return ask[RollCall](ctx, c, "/v1/rollcall", none{})
}

// Keys implements Backend.
func (c *Client) Keys(ctx context.Context, m dlms.SystemTitle) ([]Key, error) {
	return ask[[]Key](ctx, c, "/v1/keys", title{m})
}

// ExportAudit implements Backend.
func (c *Client) ExportAudit(ctx context.Context, w io.Writer) error {
	body, err := c.do(ctx, http.MethodGet, "/v1/audit", http.NoBody)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, body)
	return errors.Join(err, body.Close())
}

// Backup implements Backend.
func (c *Client) Backup(ctx context.Context, dir string) (Backup, error) {
	return ask[Backup](ctx, c, "/v1/backup", named{Name: dir})
}

// Missing implements Backend.
func (c *Client) Missing(ctx context.Context) (Missing, error) {
	return get[Missing](ctx, c, "/v1/vault/missing")
}
