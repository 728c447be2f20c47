// Package relay is the IS's own hand on a meter: associations that it opens itself, end to end, through a
// concentrator that forwards the APDUs as they are and could not open them.
//
// Under CC_IS (profile hardened) that is the IS's association on client SAP 64. Under CC_LAN it is an association on
// the read/write SAP that the concentrator lends for a moment (bus.Claim), under the IS's own system title: the proof
// and the search of a key change. Profile linky has no CC_IS; what it does instead goes through the concentrator's own
// association (bus.Perform), as the publication has it.
package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/role"
)

// Bus carries an order to a concentrator. The order's ID and deadline are filled in by it.
type Bus interface {
	Order(ctx context.Context, concentrator dlms.SystemTitle, o bus.Order) (bus.Reply, error)
}

// errNoRequest is returned by Receive before a Send.
var errNoRequest = errors.New("relay: nothing was sent")

// conn is a link.Conn over the WAN: one relay envelope an exchange. A lost answer is a timeout of the order, so a
// conn never has to match a late answer to a later request.
type conn struct {
	bus          Bus
	concentrator dlms.SystemTitle
	meter        dlms.SystemTitle
	client       dlms.SAP
	apdu         []byte
}

// Send keeps the APDU; the exchange happens in Receive.
func (c *conn) Send(_ context.Context, apdu []byte) error {
	c.apdu = append(c.apdu[:0], apdu...)
	return nil
}

// Receive relays what Send kept, once, and returns the meter's answer.
func (c *conn) Receive(ctx context.Context) ([]byte, error) {
	if len(c.apdu) == 0 {
		return nil, errNoRequest
	}
	envelope := &bus.Relay{Meter: c.meter, ClientSAP: c.client, ServerSAP: role.SAPServer, APDU: c.apdu}
	reply, err := order(ctx, c.bus, c.concentrator, bus.Order{Relay: envelope})
	c.apdu = c.apdu[:0]
	if err != nil {
		return nil, err
	}
	if reply.Relay == nil {
		return nil, fmt.Errorf("relay: concentrator %s: an answer without an APDU", c.concentrator)
	}
	return reply.Relay.APDU, nil
}

// Close does nothing: there is no connection to keep.
func (c *conn) Close() error { return nil }

// order sends one order and makes a fault an error. What is done under a lease is not sent once it is lost.
func order(ctx context.Context, b Bus, concentrator dlms.SystemTitle, o bus.Order) (bus.Reply, error) {
	if err := lease.Check(ctx); err != nil { // paused past its lease: another process works there by now
		return bus.Reply{}, err
	}
	reply, err := b.Order(ctx, concentrator, o)
	if err != nil {
		return bus.Reply{}, fmt.Errorf("concentrator %s: %w", concentrator, err)
	}
	if reply.Fault != nil {
		return bus.Reply{}, fmt.Errorf("concentrator %s: %w", concentrator, reply.Fault)
	}
	return reply, nil
}

// claimFor is how long a claim lasts at the most; it is released earlier.
const claimFor = 2 * time.Minute
