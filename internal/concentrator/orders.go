package concentrator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/role"
)

// maxClaim bounds a claim, whatever the IS asks for: a lost release must not keep a meter unread for long.
const maxClaim = 5 * time.Minute

// order carries one order out. ctx ends at its deadline.
func (c *Concentrator) order(ctx context.Context, o bus.Order) bus.Reply {
	r := c.dispatch(ctx, o)
	if r.Fault != nil {
		c.deps.Log.Info("order.failed", "order", o.Kind(), "id", o.ID, "code", string(r.Fault.Code), "text", r.Fault.Text)
	} else {
		c.deps.Log.Debug("order.done", "order", o.Kind(), "id", o.ID)
	}
	return r
}

func (c *Concentrator) dispatch(ctx context.Context, o bus.Order) bus.Reply {
	switch {
	case o.Provision != nil:
		return c.provision(*o.Provision)
	case o.Relay != nil:
		return c.relay(ctx, *o.Relay)
	case o.Claim != nil:
		return c.claim(ctx, *o.Claim)
	case o.Release != nil:
		return c.release(*o.Release)
	case o.Perform != nil:
		return c.perform(ctx, *o.Perform)
	case o.Collect != nil:
		return c.collect(ctx, *o.Collect)
	case o.Broadcast != nil:
		if !o.Broadcast.Clock {
			return fail(refused("broadcast: want clock: there is nothing else to send"))
		}
		return c.broadcastClock(ctx)
	case o.Status != nil:
		return c.status(ctx, *o.Status)
	case o.Recall != nil:
		return c.recall(*o.Recall)
	}
	return fail(refused("an order for nothing"))
}

// provision takes keys and phases. Held lists those of the order that are now durable.
func (c *Concentrator) provision(p bus.Provision) bus.Reply {
	r := &bus.ProvisionResult{Held: []bus.HeldKey{}}
	if err := c.escrow.keep(p.Escrow); err != nil {
		return fail(err)
	}
	r.Escrowed = len(p.Escrow)
	asked := map[bus.HeldKey]bool{}
	errs := c.ring.TakeAll(p.Keys)
	for i, k := range p.Keys {
		if err := errs[i]; err != nil {
			c.deps.Log.Warn("keyring.refused", "meter", k.Meter.String(), "version", k.Version, "error", err)
			r.Refused = append(r.Refused, bus.KeyFault{Meter: k.Meter, Version: k.Version, Text: clip(err.Error())})
			continue
		}
		asked[bus.HeldKey{Meter: k.Meter, Version: k.Version}] = true
	}
	for _, t := range p.Remove {
		if err := c.ring.Remove(t); err != nil {
			return fail(fmt.Errorf("remove the keys of meter %s: %w", t, err))
		}
		c.meter(t).forget()
	}
	for _, h := range c.ring.Held() {
		if asked[bus.HeldKey{Meter: h.Meter, Version: h.Version}] {
			r.Held = append(r.Held, h)
		}
	}
	return bus.Reply{Provision: r}
}

// relay forwards an APDU as it is. Associations of its own are out of bounds for anybody else: what comes over the WAN
// could replay or disturb them. Only a claim opens the read/write SAP, and nothing the broadcast SAP or all stations.
func (c *Concentrator) relay(ctx context.Context, e bus.Relay) bus.Reply {
	switch {
	case len(e.APDU) == 0 || len(e.APDU) > wrapper.MaxAPDU:
		return fail(refused(fmt.Sprintf("relay: want 1 to %d bytes, got %d", wrapper.MaxAPDU, len(e.APDU))))
	case e.ServerSAP == dlms.SAPAllStations || e.ClientSAP == role.SAPBroadcast:
		return fail(refused("relay: nothing is relayed as a broadcast"))
	case e.ClientSAP == role.SAPReadWrite && !c.claimed(e.Meter):
		return fail(refused(fmt.Sprintf("relay: client %s is this concentrator's own: claim meter %s first", e.ClientSAP, e.Meter)))
	}
	lines := c.lan.find(ctx, e.Meter)
	if len(lines) == 0 {
		return fail(&bus.Fault{Code: bus.FaultNoMeter, Text: fmt.Sprintf("meter %s was not found on the local network", e.Meter)})
	}
	for i, l := range lines {
		answer, err := l.Exchange(ctx, e.ClientSAP, e.ServerSAP, e.APDU)
		if err == nil {
			return bus.Reply{Relay: &bus.RelayResult{APDU: answer}}
		}
		c.doubt(l, err)
		// Once it has left it is not sent again: the meter may have taken it.
		if !errors.Is(err, ErrNotSent) || i == len(lines)-1 {
			return fail(err)
		}
	}
	return fail(ErrNotSent)
}

func (c *Concentrator) claimed(t dlms.SystemTitle) bool {
	return c.concerns(t) && c.meter(t).isClaimed(c.deps.Now())
}

// claim lends the read/write SAP of these meters to the IS: of all or of none.
func (c *Concentrator) claim(ctx context.Context, q bus.Claim) bus.Reply {
	now := c.deps.Now()
	if !q.Until.After(now) || len(q.Meters) == 0 {
		return fail(refused("claim: want meters and a time to come"))
	}
	until := q.Until
	if until.Sub(now) > maxClaim {
		until = now.Add(maxClaim)
	}
	// In one order, whatever the order says: two claims of the same meters do not wait for each other.
	meters := slices.SortedFunc(slices.Values(q.Meters), func(a, b dlms.SystemTitle) int { return bytes.Compare(a[:], b[:]) })
	for _, t := range meters {
		if !c.concerns(t) {
			return fail(&bus.Fault{Code: bus.FaultNoMeter, Text: fmt.Sprintf("meter %s is not one of this concentrator's", t)})
		}
	}
	for i, t := range meters {
		if err := c.meter(t).claim(ctx, until); err != nil {
			for _, done := range meters[:i] {
				c.meter(done).release()
			}
			return fail(err)
		}
	}
	return bus.Reply{Claim: &bus.ClaimResult{Meters: meters}}
}

func (c *Concentrator) release(q bus.Release) bus.Reply {
	for _, t := range q.Meters {
		if c.concerns(t) {
			c.meter(t).release()
		}
	}
	return bus.Reply{}
}

// perform carries out operations in the own read/write association, in order, up to the first refusal. An operation is
// sent once: one whose answer is lost leaves the outcome unknown.
func (c *Concentrator) perform(ctx context.Context, p bus.Perform) bus.Reply {
	ops, err := parseOps(p.Ops)
	if err != nil {
		return fail(err)
	}
	if !c.concerns(p.Meter) {
		return fail(&bus.Fault{Code: bus.FaultNoMeter, Text: fmt.Sprintf("meter %s is not one of this concentrator's", p.Meter)})
	}
	m := c.meter(p.Meter)
	give, err := m.own(ctx, c.deps.Now)
	if err != nil {
		return fail(err)
	}
	defer give()
	s, _, err := c.ready(ctx, m)
	if err != nil {
		return fail(err)
	}
	r := bus.Reply{Perform: &bus.PerformResult{Results: []bus.OpResult{}}}
	for i, op := range ops {
		result, err := op.run(ctx, s)
		if err != nil {
			m.setReadWrite(nil)
			r.Fault = faultOf(fmt.Errorf("operation %d on meter %s: %w", i+1, p.Meter, err))
			return r
		}
		r.Perform.Results = append(r.Perform.Results, result)
		if result.Result != 0 {
			break
		}
	}
	return r
}

// operation is an Op whose data was parsed.
type operation struct {
	bus.Op
	data dlms.Data
}

func parseOps(ops []bus.Op) ([]operation, error) {
	out := make([]operation, len(ops))
	for i, op := range ops {
		out[i] = operation{Op: op}
		if op.Kind != bus.OpGet && op.Kind != bus.OpSet && op.Kind != bus.OpAction {
			return nil, refused(fmt.Sprintf("operation %d: want get, set or action, got %q", i+1, clip(string(op.Kind))))
		}
		if len(op.Data) == 0 {
			if op.Kind == bus.OpSet {
				return nil, refused(fmt.Sprintf("operation %d: a set wants data", i+1))
			}
			continue
		}
		d, rest, err := dlms.ParseData(op.Data)
		if err != nil || len(rest) != 0 {
			return nil, refused(fmt.Sprintf("operation %d: its data is not one value", i+1))
		}
		out[i].data = d
	}
	return out, nil
}

// run returns what the meter answered. An error says that it did not, or not so that it can be believed.
func (o operation) run(ctx context.Context, s *session) (bus.OpResult, error) {
	ref := dlms.AttributeRef{Class: o.Class, Instance: o.Instance, Attribute: o.Index}
	var value dlms.Data
	var err error
	switch o.Kind {
	case bus.OpGet:
		value, err = s.assoc.GetSelected(ctx, ref, apdu.Selection{Selector: o.Selector, Parameters: o.data})
	case bus.OpSet:
		err = s.assoc.Set(ctx, ref, o.data)
	case bus.OpAction:
		value, err = s.assoc.Action(ctx, dlms.MethodRef{Class: o.Class, Instance: o.Instance, Method: o.Index}, o.data)
	}
	var access dlms.DataAccessResult
	var action dlms.ActionResult
	switch {
	case errors.As(err, &access):
		return bus.OpResult{Result: uint8(access)}, nil
	case errors.As(err, &action):
		return bus.OpResult{Result: uint8(action)}, nil
	case err != nil:
		return bus.OpResult{}, err
	case value.IsNull():
		return bus.OpResult{}, nil
	}
	raw, err := value.AppendBinary(nil)
	return bus.OpResult{Data: raw}, err
}

// status tells what is open, after opening all if asked to.
func (c *Concentrator) status(ctx context.Context, q bus.Status) bus.Reply {
	r := &bus.StatusResult{}
	if q.Associate {
		_, _, r.Failed = c.openAll(ctx)
	}
	r.Found = c.lan.found()
	r.Associations = c.associations()
	r.LANBytesIn, r.LANBytesOut = c.lan.in.Load(), c.lan.out.Load()
	r.Spooled = c.spool.len()
	return bus.Reply{Status: r}
}

func (c *Concentrator) associations() []bus.AssociationStatus {
	list := []bus.AssociationStatus{}
	for _, m := range c.allMeters() {
		rw, bc := m.sessions()
		if rw != nil {
			list = append(list, bus.AssociationStatus{Meter: m.title, ClientSAP: role.SAPReadWrite, KeyVersion: rw.version, Since: rw.since})
		}
		if bc != nil {
			list = append(list, bus.AssociationStatus{Meter: m.title, ClientSAP: role.SAPBroadcast, KeyVersion: bc.version, Since: bc.since})
		}
	}
	slices.SortFunc(list, func(a, b bus.AssociationStatus) int {
		return cmp.Or(bytes.Compare(a.Meter[:], b.Meter[:]), cmp.Compare(a.ClientSAP, b.ClientSAP))
	})
	return list
}
