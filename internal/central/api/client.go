package api

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/collect"
	"github.com/meterseal/meterseal/internal/central/life"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/shipment"
)

// ErrNoIS is returned when nothing answers on the socket.
var ErrNoIS = errors.New("no central system answers on this data directory: start one with 'meterseal central --config FILE'")

// Client works a running IS as one person; it is a [Backend] itself.
type Client struct {
	http http.Client
	who  *access.Identity
	dial func(ctx context.Context) (net.Conn, error)
	// nobody is why there is nobody to call as.
	nobody error
}

var _ Backend = (*Client)(nil)

// Target is which IS is worked, and as whom.
type Target struct {
	// Data is the IS's data directory, with its socket; Address its TCP address, which goes first if it is not empty.
	Data, Address string
	As            *access.Identity
	// Nobody, where As is nil, is why: each call returns it, if there is an IS to call.
	Nobody error
}

// NewClient returns a client.
func NewClient(to Target) *Client {
	network, address := "unix", filepath.Join(to.Data, SocketName)
	if to.Address != "" {
		network, address = "tcp", to.Address
	}
	c := &Client{who: to.As, nobody: to.Nobody}
	c.dial = func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", ErrNoIS, err)
		}
		return conn, nil
	}
	if to.As != nil {
		c.http.Transport = &http.Transport{
			TLSClientConfig: to.As.ClientTLS(),
			DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		}
	}
	return c
}

// unnamed says why nothing can be asked: there is no IS, or nobody to ask as.
func (c *Client) unnamed(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.nobody, conn.Close())
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	if c.who == nil {
		return nil, c.unnamed(ctx)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+access.ServerName+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explained(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	var f failure
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&f)
	if err != nil || f.Error == "" {
		f.Error = resp.Status
	}
	return nil, errors.Join(failed(resp.StatusCode, f), resp.Body.Close())
}

// ErrRefused is returned where the IS does not let the caller do it.
var ErrRefused = errors.New("refused")

// failed makes an error of a failure again.
func failed(status int, f failure) error {
	switch {
	case f.Pending != nil:
		return f.Pending
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrRefused, f.Error)
	}
	return errors.New(f.Error)
}

// explained says what a handshake that failed means.
func (c *Client) explained(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		for alert, meaning := range map[string]string{
			"expired certificate":            "it has ended, or is not valid yet: have another one issued (meterseal central people add)",
			"unknown certificate authority":  "another authority issued it, not this central system's: have one issued here (meterseal central people add)",
			"bad certificate":                "it is no certificate of a person",
			"certificate required":           "none was shown",
			"protocol version not supported": "the central system speaks TLS 1.3 alone",
		} {
			if strings.Contains(op.Err.Error(), alert) {
				return fmt.Errorf("%w: the certificate of %s: %s", ErrRefused, c.who.Name, meaning)
			}
		}
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w: what answers is not the central system that issued the certificate of %s: check --data, --connect and --as", ErrRefused, c.who.Name)
	}
	return err
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

// Meters implements Backend.
func (c *Client) Meters(ctx context.Context, q MeterQuery) (MeterPage, error) {
	return ask[MeterPage](ctx, c, "/v1/meters", q)
}

// EachMeter calls do with every meter of the fleet, page by page, that q does not leave out, until do returns false.
func (c *Client) EachMeter(ctx context.Context, q MeterQuery, do func(MeterStatus) bool) error {
	for {
		p, err := c.Meters(ctx, q)
		if err != nil {
			return err
		}
		for _, m := range p.Meters {
			if !do(m) {
				return nil
			}
		}
		if q.After = p.Next; p.Next.IsZero() {
			return nil
		}
	}
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

// TakeTerminalLog implements Backend.
func (c *Client) TakeTerminalLog(ctx context.Context, f enrol.LogFile) (LogTaken, error) {
	return ask[LogTaken](ctx, c, "/v1/terminals/log", f)
}

// KeyLife implements Backend.
func (c *Client) KeyLife(ctx context.Context, meter dlms.SystemTitle) (life.Life, error) {
	return ask[life.Life](ctx, c, "/v1/keys/life", title{meter})
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
