package central

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/collect"
	"github.com/meterseal/meterseal/internal/central/fleet"
	"github.com/meterseal/meterseal/internal/central/relay"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// loadCurve is the channel that is collected: A+.
var loadCurve = dlms.OBIS{1, 1, 99, 1, 0, 255}

// ImportShipment implements api.Backend.
func (is *IS) ImportShipment(ctx context.Context, r io.Reader) (*shipment.Report, error) {
	return is.vault.ImportShipment(ctx, who(ctx), r)
}

// Enrol implements api.Backend.
func (is *IS) Enrol(ctx context.Context, e api.Enrolment) error {
	if err := is.vault.EnrolDevice(ctx, who(ctx), e.File, e.Fingerprint); err != nil {
		return err
	}
	if e.File.Kind != enrol.Concentrator || is.server == nil {
		return nil
	}
	return is.server.AddUser(bus.User{Title: e.File.Title, NKeyPublic: e.File.NKeyPublic})
}

// Associate implements api.Backend.
func (is *IS) Associate(ctx context.Context, d dlms.SystemTitle) (bus.StatusResult, error) {
	reply, err := is.order(ctx, d, bus.Order{Status: &bus.Status{Associate: true}})
	if err != nil || reply.Status == nil {
		return bus.StatusResult{}, err
	}
	return *reply.Status, is.lacking(ctx, d, reply.Status.Failed)
}

// collectWidth is how many concentrators collect at once: each answers when it has read all of its meters.
const collectWidth = 256

// Collect implements api.Backend.
func (is *IS) Collect(ctx context.Context, day string) (c api.Collected, err error) {
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return c, fmt.Errorf("day: want YYYY-MM-DD, got %q", day)
	}
	c.Day = day
	devices, err := is.fleet.Of(ctx, string(enrol.Concentrator))
	if err != nil {
		return c, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	sem := make(chan struct{}, is.width(collectWidth))
	for _, d := range devices {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			asked, failed, e := is.collectFrom(ctx, d.Title, day)
			mu.Lock()
			defer mu.Unlock()
			c.Asked += asked
			c.Failed = append(c.Failed, failed...)
			err = errors.Join(err, e)
		})
	}
	wg.Wait()
	if err == nil {
		err = is.awaitReadings(ctx, &c)
	}
	return c, err
}

func (is *IS) collectFrom(ctx context.Context, d dlms.SystemTitle, day string) (asked int, failed []bus.MeterFault, err error) {
	missing, err := is.store.Readings().Missing(ctx, d, day, loadCurve)
	if err != nil || len(missing) == 0 {
		return 0, nil, err
	}
	reply, err := is.order(ctx, d, bus.Order{Collect: &bus.Collect{Meters: missing, Day: day}})
	if err == nil && reply.Collect != nil {
		failed = reply.Collect.Failed
		err = is.lacking(ctx, d, failed)
	}
	return len(missing), failed, err
}

// readingsWait is how long the concentrators' spools may take to be delivered after an order.
const readingsWait = 15 * time.Second

// awaitReadings waits until what was read has come: concentrators deliver by themselves.
func (is *IS) awaitReadings(ctx context.Context, c *api.Collected) error {
	meters, err := is.store.CountServed(ctx)
	if err != nil {
		return err
	}
	late := time.NewTimer(readingsWait)
	defer late.Stop()
	for {
		if c.Stored, c.Values, err = is.store.Readings().Stored(ctx, c.Day, loadCurve); err != nil {
			return err
		}
		if c.Stored+len(c.Failed) >= meters {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Readings implements api.Backend.
func (is *IS) Readings(ctx context.Context, meter dlms.SystemTitle, day string) (collect.Day, error) {
	return is.collector.Read(ctx, meter, day, loadCurve)
}

// Sightings implements api.Backend.
func (is *IS) Sightings(ctx context.Context) ([]collect.Sighting, error) {
	return is.store.Readings().Sightings(ctx)
}

// rolesOf lists the roles that a meter's profile has, of those asked for.
func rolesOf(m fleet.Meter, asked []role.Role) (out []role.Role) {
	if len(asked) == 0 {
		asked = role.Associations()
	}
	for _, r := range asked {
		if r != role.CCIS || m.EndToEnd() {
			out = append(out, r)
		}
	}
	return out
}

// Rotate implements api.Backend.
func (is *IS) Rotate(ctx context.Context, q api.Rotation) (api.Asked, error) {
	if err := is.stillHere(ctx, q.Meters...); err != nil {
		return api.Asked{}, err
	}
	return is.rotate(ctx, q, func(n int) error {
		if n > maxRotate {
			return errTooMany
		}
		return is.gate.Spend(ctx, access.BulkKeys, n)
	})
}

// rotateOwed changes keys because something else was done that wants it: it counts against nobody's quota.
func (is *IS) rotateOwed(ctx context.Context, q api.Rotation) (api.Asked, error) {
	return is.rotate(ctx, q, func(int) error { return nil })
}

// maxRotate bounds the key changes that are asked for in one go, which is one commit.
const maxRotate = 100_000

var errTooMany = fmt.Errorf("rotate: want at most %d keys in one go: start a campaign, which asks for any number, little by little", maxRotate)

// rotate asks for key changes, once spend has agreed to how many.
func (is *IS) rotate(ctx context.Context, q api.Rotation, spend func(n int) error) (a api.Asked, err error) {
	a.Reason = q.Reason
	if q.Reason == "" {
		return a, errors.New("rotate: want a reason, for the record")
	}
	before := map[rotation.MeterRole]bool{}
	if q.Once {
		done, err := is.store.Changes().ByReason(ctx, q.Reason)
		if err != nil {
			return a, err
		}
		for _, c := range done {
			before[rotation.MeterRole{Meter: c.Meter, Role: c.Role}] = true
		}
	}
	meters, err := is.selected(ctx, q)
	if err != nil {
		return a, err
	}
	var changes []rotation.Change
	for _, m := range meters {
		for _, r := range rolesOf(m, q.Roles) {
			a.Selected++
			if !before[rotation.MeterRole{Meter: m.Title, Role: r}] {
				changes = append(changes, rotation.Change{Meter: m.Title, Concentrator: m.Concentrator, Role: r, Reason: q.Reason})
			}
		}
	}
	if len(changes) == 0 {
		return a, nil
	}
	if err := spend(len(changes)); err != nil {
		return a, err
	}
	a.Asked, err = is.reconciler.Ask(ctx, changes)
	return a, err
}

func (is *IS) selected(ctx context.Context, q api.Rotation) (out []fleet.Meter, err error) {
	if len(q.Meters) > 0 {
		known, err := is.fleet.MetersByTitle(ctx, q.Meters)
		if err != nil {
			return nil, err
		}
		for _, t := range q.Meters {
			m, ok := known[t]
			if !ok {
				return nil, fmt.Errorf("%w meter %s", fleet.ErrUnknown, t)
			}
			switch {
			case !m.InService(): // given to another head-end: nothing is owed
			case m.Concentrator.IsZero():
				return nil, fmt.Errorf("meter %s is under no concentrator: assign it to one", t)
			default:
				out = append(out, m)
			}
		}
		return out, nil
	}
	err = is.fleet.Pages(ctx, func(page []fleet.Meter) error {
		for _, m := range page {
			if m.InService() && !m.Concentrator.IsZero() && (q.Concentrator.IsZero() || m.Concentrator == q.Concentrator) {
				out = append(out, m)
			}
		}
		if len(out) > maxRotate { // each has a key at least
			return errTooMany
		}
		return nil
	})
	return out, err
}

// Changes implements api.Backend.
func (is *IS) Changes(ctx context.Context, reason string) ([]rotation.Change, error) {
	return is.store.Changes().ByReason(ctx, reason)
}

// Breaker implements api.Backend.
func (is *IS) Breaker(ctx context.Context, b api.Breaker) error {
	do := is.hand.Breaker
	switch b.Through {
	case "":
	case "concentrator":
		do = is.hand.BreakerThroughConcentrator
	default:
		return fmt.Errorf("breaker: through: want nothing or \"concentrator\", got %q", b.Through)
	}
	if _, err := is.fleet.Find(ctx, b.Meter); err != nil {
		return err
	}
	if err := is.stillHere(ctx, b.Meter); err != nil {
		return err
	}
	if err := is.gate.Spend(ctx, access.Breakers, 1); err != nil {
		return err
	}
	return do(ctx, b.Meter, relay.BreakerOp(b.Op))
}

// BreakerStatus implements api.Backend.
func (is *IS) BreakerStatus(ctx context.Context, meter dlms.SystemTitle) (api.BreakerStatus, error) {
	s, err := is.hand.BreakerStatus(ctx, meter)
	out := api.BreakerStatus{State: s.State}
	for _, e := range s.Events {
		out.Events = append(out.Events, api.Event(e))
	}
	return out, err
}

// SetClock implements api.Backend.
func (is *IS) SetClock(ctx context.Context, meter dlms.SystemTitle) error {
	if err := is.stillHere(ctx, meter); err != nil {
		return err
	}
	return is.hand.SetClock(ctx, meter, *is.cfg.UTCOffset)
}

// BroadcastClock implements api.Backend.
func (is *IS) BroadcastClock(ctx context.Context, d dlms.SystemTitle) (bus.BroadcastResult, error) {
	reply, err := is.order(ctx, d, bus.Order{Broadcast: &bus.Broadcast{Clock: true}})
	if err != nil || reply.Broadcast == nil {
		return bus.BroadcastResult{}, err
	}
	return *reply.Broadcast, nil
}

// width is how many things are done at once.
func (is *IS) width(most int) int {
	if is.deps.Serial {
		return 1
	}
	return most
}

// RollCall implements api.Backend.
func (is *IS) RollCall(ctx context.Context) (r api.RollCall, err error) {
	var mu sync.Mutex
	var astray []rotation.MeterRole
	call := func(m fleet.Meter) {
		other, e := is.called(ctx, m)
		mu.Lock()
		defer mu.Unlock()
		astray = append(astray, other...)
		if e == nil {
			r.Answered++
			return
		}
		r.Missing = append(r.Missing, m.Title)
		is.deps.Log.Warn("meter did not answer the roll call", "meter", m.Title.String(), "error", e)
	}
	err = is.fleet.Pages(ctx, func(page []fleet.Meter) error {
		var wg sync.WaitGroup
		sem := make(chan struct{}, is.width(8))
		for _, m := range page {
			if !m.InService() {
				continue
			}
			sem <- struct{}{}
			wg.Go(func() { defer func() { <-sem }(); call(m) })
		}
		wg.Wait()
		return nil
	})
	if err != nil {
		return r, err
	}
	return r, is.astray(ctx, &r, astray)
}

// Keys implements api.Backend.
func (is *IS) Keys(ctx context.Context, meter dlms.SystemTitle) ([]api.Key, error) {
	infos, err := is.vault.History(ctx, meter)
	if err != nil {
		return nil, err
	}
	out := make([]api.Key, len(infos))
	for i, in := range infos {
		out[i] = api.Key{
			KeyRef: in.Ref, State: string(in.State), CheckValue: in.CheckValue.String(), CreatedAt: in.CreatedAt,
			SentAt: in.SentAt, ActiveAt: in.ActiveAt, EndedAt: in.EndedAt,
		}
		holders, err := is.store.Holders(ctx, in.Ref)
		if err != nil {
			return nil, err
		}
		for _, h := range holders {
			out[i].Holders = append(out[i].Holders, h.String())
		}
	}
	return out, nil
}

// ExportAudit implements api.Backend.
func (is *IS) ExportAudit(ctx context.Context, w io.Writer) error {
	_, err := is.audit.Export(ctx, w)
	return err
}
