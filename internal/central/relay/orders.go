package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/role"
)

// Objects of the meter that the IS uses (docs/divergences.md, domain: OBIS table).
var (
	breaker    = dlms.OBIS{0, 0, 96, 3, 10, 255}
	clock      = dlms.OBIS{0, 0, 1, 0, 0, 255}
	mainLog    = dlms.OBIS{0, 0, 99, 98, 1, 255}
	breakerLog = dlms.OBIS{0, 0, 99, 98, 3, 255}
)

// Event codes of the main log.
const (
	eventLANChanged    = 94
	eventLocaleChanged = 95
)

// invoke invokes a method as the meter's profile wants it: end to end, or through the concentrator.
func (h *Hand) invoke(ctx context.Context, meter dlms.SystemTitle, purpose string, m dlms.MethodRef, param dlms.Data) error {
	place, err := h.locate(ctx, meter)
	if err != nil {
		return err
	}
	if !place.EndToEnd {
		return h.Perform(ctx, meter, action(m, param))
	}
	return h.With(ctx, meter, purpose, func(ctx context.Context, a *client.Association) error {
		_, err := a.Action(ctx, m, param)
		return err
	})
}

func action(m dlms.MethodRef, param dlms.Data) bus.Op {
	raw, _ := param.AppendBinary(nil) // data made here always encodes
	return bus.Op{Kind: bus.OpAction, Class: m.Class, Instance: m.Instance, Index: m.Method, Data: raw}
}

// Perform orders the concentrator to carry out operations in its own read/write association, and returns the first
// refusal of the meter.
func (h *Hand) Perform(ctx context.Context, meter dlms.SystemTitle, ops ...bus.Op) error {
	place, err := h.locate(ctx, meter)
	if err != nil {
		return err
	}
	unlock, err := h.locks.hold(ctx, meter)
	if err != nil {
		return err
	}
	defer unlock()
	reply, err := order(ctx, h.cfg.Bus, place.Concentrator, bus.Order{Perform: &bus.Perform{Meter: meter, Ops: ops}})
	if err != nil {
		var f *bus.Fault
		if h.cfg.NoKey != nil && errors.As(err, &f) && (f.Code == bus.FaultNoKey || f.Code == bus.FaultKeyRefused) {
			h.cfg.NoKey(place.Concentrator)
		}
		return err
	}
	if reply.Perform == nil || len(reply.Perform.Results) == 0 {
		return fmt.Errorf("concentrator %s: performed nothing", place.Concentrator)
	}
	for i, r := range reply.Perform.Results {
		if r.Result != 0 {
			return fmt.Errorf("operation %d on %s: %w", i+1, meter, dlms.ActionResult(r.Result))
		}
	}
	if n := len(reply.Perform.Results); n != len(ops) {
		return fmt.Errorf("concentrator %s: performed %d of %d operations", place.Concentrator, n, len(ops))
	}
	return nil
}

// Shows reads the check value of a role's key, and whether the main log tells of a change of it, in an association of
// the IS's own.
func (h *Hand) Shows(ctx context.Context, k rotation.MeterRole) (cv key.CheckValue, logged bool, err error) {
	obj, ok := k.Role.CheckValueObject()
	if !ok {
		return cv, false, fmt.Errorf("%s shows no check value", k.Role)
	}
	err = h.With(ctx, k.Meter, "check value of "+k.Role.String(), func(ctx context.Context, a *client.Association) error {
		v, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassData, Instance: obj, Attribute: 2})
		if err != nil {
			return fmt.Errorf("check value of %s: %w", k.Role, err)
		}
		if cv, err = checkValueOf(v); err != nil {
			return err
		}
		events, err := readLog(ctx, a, mainLog)
		for _, e := range events {
			logged = logged || e.Code == eventOf(k.Role)
		}
		return err
	})
	return cv, logged, err
}

// CheckValues opens an association of the IS's own and reads the check values of the keys that can be read there, by role.
// The key that it was opened under is proven by that.
func (h *Hand) CheckValues(ctx context.Context, meter dlms.SystemTitle, purpose string) (map[role.Role]key.CheckValue, error) {
	out := map[role.Role]key.CheckValue{}
	err := h.With(ctx, meter, purpose, func(ctx context.Context, a *client.Association) error {
		for _, r := range []role.Role{role.CCLAN, role.CCLOCALE} {
			obj, _ := r.CheckValueObject()
			v, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassData, Instance: obj, Attribute: 2})
			var refused dlms.DataAccessResult
			if errors.As(err, &refused) { // a profile that does not show it
				continue
			}
			if err != nil {
				return fmt.Errorf("check value of %s: %w", r, err)
			}
			if out[r], err = checkValueOf(v); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func eventOf(r role.Role) int {
	if r == role.CCLAN {
		return eventLANChanged
	}
	return eventLocaleChanged
}

func checkValueOf(v dlms.Data) (cv key.CheckValue, err error) {
	if v.Len() < 1 || len(v.At(0).Bytes()) != len(cv) {
		return cv, errors.New("check value object: want a structure that begins with 3 bytes")
	}
	copy(cv[:], v.At(0).Bytes())
	return cv, nil
}

// Event is one row of a meter's log.
type Event struct {
	Time time.Time `json:"time"`
	Code int       `json:"code"`
}

// readLog reads a log, a profile generic whose rows are date-time and event code.
func readLog(ctx context.Context, a *client.Association, log dlms.OBIS) ([]Event, error) {
	v, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassProfileGeneric, Instance: log, Attribute: 2})
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", log, err)
	}
	events := make([]Event, 0, v.Len())
	for i := range v.Len() {
		row := v.At(i)
		if row.Len() != 2 {
			return nil, fmt.Errorf("log %s: row %d: want 2 columns, got %d", log, i+1, row.Len())
		}
		code, err := row.At(1).Int()
		if err != nil {
			return nil, fmt.Errorf("log %s: row %d: %w", log, i+1, err)
		}
		e := Event{Code: int(code)}
		if dt, err := dlms.ParseDateTime(row.At(0).Bytes()); err == nil {
			e.Time, _ = dt.Time() // an event of a cold clock has no time
		}
		events = append(events, e)
	}
	return events, nil
}

// BreakerOp is what can be done with the breaker.
type BreakerOp string

// Operations of the breaker (class 70). Arm is remote_reconnect: the customer presses to close.
const (
	BreakerOpen BreakerOp = "open"
	BreakerArm  BreakerOp = "arm"
)

func (op BreakerOp) method() (dlms.MethodRef, error) {
	m := dlms.MethodRef{Class: dlms.ClassDisconnectControl, Instance: breaker, Method: 1}
	switch op {
	case BreakerOpen:
	case BreakerArm:
		m.Method = 2
	default:
		return m, fmt.Errorf("breaker: want open or arm, got %q", op)
	}
	return m, nil
}

// Breaker opens or arms the breaker (class 70 methods 1 and 2).
func (h *Hand) Breaker(ctx context.Context, meter dlms.SystemTitle, op BreakerOp) error {
	m, err := op.method()
	if err != nil {
		return err
	}
	return h.invoke(ctx, meter, "breaker "+string(op), m, dlms.Int8(0))
}

// BreakerThroughConcentrator orders the concentrator to do it in its own association, whatever the profile: a meter of
// profile hardened refuses it.
func (h *Hand) BreakerThroughConcentrator(ctx context.Context, meter dlms.SystemTitle, op BreakerOp) error {
	m, err := op.method()
	if err != nil {
		return err
	}
	return h.Perform(ctx, meter, action(m, dlms.Int8(0)))
}

// BreakerStatus is the state of the breaker and its log, read in an association of the IS's own.
type BreakerStatus struct {
	State  string  `json:"state"`
	Events []Event `json:"events"`
}

// BreakerStatus reads class 70 attribute 3 and the breaker log.
func (h *Hand) BreakerStatus(ctx context.Context, meter dlms.SystemTitle) (s BreakerStatus, err error) {
	err = h.With(ctx, meter, "breaker status", func(ctx context.Context, a *client.Association) error {
		v, err := a.Get(ctx, dlms.AttributeRef{Class: dlms.ClassDisconnectControl, Instance: breaker, Attribute: 3})
		if err != nil {
			return fmt.Errorf("breaker state: %w", err)
		}
		n, err := v.Int()
		if err != nil || n < 0 || n > 2 {
			return fmt.Errorf("breaker state: want 0, 1 or 2: %w", err)
		}
		s.State = [...]string{"open", "closed", "armed"}[n]
		s.Events, err = readLog(ctx, a, breakerLog)
		return err
	})
	return s, err
}

// SetClock sets a meter's clock to the IS's time: the one way to set a cold or wrong clock.
func (h *Hand) SetClock(ctx context.Context, meter dlms.SystemTitle, utcOffset time.Duration) error {
	now := h.cfg.Now().In(time.FixedZone("", int(utcOffset/time.Second)))
	ref := dlms.AttributeRef{Class: dlms.ClassClock, Instance: clock, Attribute: 2}
	value := dlms.DateTimeOf(now, 0).Octets()
	place, err := h.locate(ctx, meter)
	if err != nil {
		return err
	}
	if !place.EndToEnd {
		raw, err := value.AppendBinary(nil)
		if err != nil {
			return err
		}
		return h.Perform(ctx, meter, bus.Op{Kind: bus.OpSet, Class: ref.Class, Instance: ref.Instance, Index: ref.Attribute, Data: raw})
	}
	return h.With(ctx, meter, "set clock", func(ctx context.Context, a *client.Association) error {
		return a.Set(ctx, ref, value)
	})
}
