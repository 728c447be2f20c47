package central

import (
	"context"

	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/enrol"
)

// Status implements api.Backend.
func (is *IS) Status(ctx context.Context) (s api.Status, err error) {
	s = api.Status{SystemTitle: is.own, VaultRecipient: is.vault.Transport(), BusURL: is.URL(), AuditKey: is.auditKey, Time: is.deps.Now()}
	if s.Meters, err = is.store.CountMeters(ctx); err != nil {
		return s, err
	}
	devices, err := is.fleet.Devices(ctx)
	if err != nil {
		return s, err
	}
	for _, d := range devices {
		if d.Kind == string(enrol.Concentrator) {
			s.Concentrators = append(s.Concentrators, d.Title)
		} else {
			s.Terminals = append(s.Terminals, d.Title)
		}
	}
	if s.Logs, err = is.deviceLogs(ctx); err != nil {
		return s, err
	}
	if s.Alarms, err = is.alarmed(ctx); err != nil {
		return s, err
	}
	stats := is.wan.Stats()
	s.BusBytesIn, s.BusBytesOut = stats.BytesIn, stats.BytesOut
	s.OpenChanges, _, err = is.store.Changes().Open(ctx)
	return s, err
}

// Meters implements api.Backend.
func (is *IS) Meters(ctx context.Context, q api.MeterQuery) (p api.MeterPage, err error) {
	if q.Limit <= 0 || q.Limit > api.MaxMeterPage {
		q.Limit = api.MaxMeterPage
	}
	some, err := is.fleet.MetersAfter(ctx, q.After, q.Limit)
	if err != nil {
		return p, err
	}
	if len(some) == q.Limit {
		p.Next = some[len(some)-1].Title
	}
	p.Meters = []api.MeterStatus{}
	for _, m := range some {
		if !q.Unassigned || m.Concentrator.IsZero() {
			p.Meters = append(p.Meters, api.MeterStatus{
				Meter: m.Title, Profile: m.Profile, Maker: m.Maker, Concentrator: m.Concentrator, State: m.State,
			})
		}
	}
	return p, nil
}
