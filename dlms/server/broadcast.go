package server

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/security"
)

// underGlobalBroadcast is the security control of an APDU under the global broadcast key.
const underGlobalBroadcast = security.AuthenticatedEncrypted | security.Broadcast

// broadcast takes an unconfirmed service addressed to all stations, under the broadcast key of the sender's
// association or, where the client may, under the global broadcast key. It is never answered, whatever it is.
func (c *call) broadcast(tag apdu.Tag) {
	if c.index < 0 {
		return
	}
	c.attach()
	a := c.slot.assoc
	if a == nil || !a.open || len(c.req.APDU) > int(c.client.MaxPDU) {
		return
	}
	c.env.Broadcast = true
	k, p, ok := c.broadcastKeys(tag)
	if !ok {
		return
	}
	plain, err := c.receive(p, k)
	if err != nil {
		c.fail("broadcast", err)
		return
	}
	if len(plain) < 3 || apdu.InvokeID(plain[2]).Confirmed() {
		return
	}
	if t := apdu.Tag(plain[0]); t != apdu.TagSetRequest && t != apdu.TagActionRequest {
		return
	}
	c.dispatch(plain, 0)
}

// Members of classes 18 and 20 that put something in force (BB 4.4.6, 4.5.5).
const (
	activatePassiveCalendar     int8 = 1
	activatePassiveCalendarTime int8 = 10
)

// orders reports whether a method does what no broadcast may (ours), whatever the rights: every meter that holds the key
// could have made it. It switches the supply, changes keys or secrets, or puts an image or a calendar in force.
func orders(m dlms.MethodRef) bool {
	switch m.Class {
	case dlms.ClassDisconnectControl, dlms.ClassSecuritySetup, dlms.ClassAssociationLN:
		return true
	case dlms.ClassImageTransfer:
		return m.Method == cosem.MethodImageActivate
	case dlms.ClassActivityCalendar:
		return m.Method == activatePassiveCalendar
	}
	return false
}

// ordersBy is orders for a SET: the threshold of a limiter switches the supply too.
func ordersBy(a dlms.AttributeRef) bool {
	switch a.Class {
	case dlms.ClassDisconnectControl, dlms.ClassLimiter, dlms.ClassSecuritySetup, dlms.ClassAssociationLN:
		return true
	case dlms.ClassActivityCalendar:
		return a.Attribute == activatePassiveCalendarTime
	}
	return false
}

// broadcastKeys returns the key that a broadcast claims to be under, if this client may use it so.
func (c *call) broadcastKeys(tag apdu.Tag) (keys, protected, bool) {
	p, err := c.parseProtected(c.req.APDU)
	if err != nil {
		return keys{}, p, false
	}
	s := c.slot.assoc.session
	switch tag {
	case apdu.TagDedSetRequest, apdu.TagDedActionRequest:
		if !c.client.Broadcast || s == nil || p.control != security.AuthenticatedEncrypted {
			return keys{}, p, false
		}
		k, err := c.sessionKeys(s)
		if err != nil {
			c.fail("broadcast", err)
		}
		return k, p, err == nil
	case apdu.TagGloSetRequest, apdu.TagGloActionRequest, apdu.TagGeneralGlo:
		if !c.client.GlobalBroadcast || p.control != underGlobalBroadcast {
			return keys{}, p, false
		}
		k, err := c.globalBroadcast()
		if err != nil {
			c.fail("broadcast", err)
		}
		return k, p, err == nil
	}
	return keys{}, p, false
}

// globalBroadcast asks the device for its global broadcast key. There is no counter to send with.
func (c *call) globalBroadcast() (keys, error) {
	h, ok := c.server.device.(BroadcastHolder)
	if !ok {
		return keys{}, fmt.Errorf("broadcast key: %w", ErrNoKey)
	}
	ciph, floor, err := h.BroadcastKey(c.client.Setup)
	if err != nil {
		return keys{}, fmt.Errorf("broadcast key of %s: %w", c.client.Setup, err)
	}
	if ciph == nil || floor == nil {
		return keys{}, fmt.Errorf("broadcast key: %w", ErrNoKey)
	}
	return keys{cipher: ciph, floor: floor}, nil
}
