package sim

import (
	"encoding/json"

	"github.com/meterseal/meterseal/internal/bus"
)

// pretend makes the answer of a concentrator that says what it likes: result 0 for success.
func (s *station) pretend(order []byte, result uint8) []byte {
	o, err := bus.ReadOrder(order)
	if err != nil {
		return nil
	}
	r := bus.Reply{ID: o.ID}
	switch {
	case o.Perform != nil:
		r.Perform = &bus.PerformResult{}
		for range o.Perform.Ops {
			r.Perform.Results = append(r.Perform.Results, bus.OpResult{Result: result})
		}
	case o.Provision != nil:
		r.Provision = &bus.ProvisionResult{Held: []bus.HeldKey{}}
		if result == 0 {
			for _, k := range o.Provision.Keys {
				r.Provision.Held = append(r.Provision.Held, bus.HeldKey{Meter: k.Meter, Version: k.Version, Phase: k.Phase})
			}
		}
	case o.Claim != nil && result == 0:
		r.Claim = &bus.ClaimResult{Meters: o.Claim.Meters}
	case o.Relay != nil:
		r.Relay = &bus.RelayResult{APDU: s.w.forged(o.Relay.APDU)}
	default:
		r.Fault = &bus.Fault{Code: bus.FaultRefused, Text: "no"}
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return b
}
